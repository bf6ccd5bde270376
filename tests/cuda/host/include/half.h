// What: half and bfloat16 with exact rounding (to nearest, ties to even), scalar and in pairs, and their intrinsics.
// Note: add, subtract, multiply, divide and square root in float and one rounding equal the operation itself, because
//       float has more than twice the digits; a fused multiply-add takes double, corrected for its own rounding.
#pragma once

#include "vectors.h"

namespace emu {

template <class To, class From>
inline To bit_cast(From from) {
    static_assert(sizeof(To) == sizeof(From));
    To to;
    __builtin_memcpy(&to, &from, sizeof to);
    return to;
}

// a * b + c in double, the last bit set when the sum is not exact ("round to odd"): rounding this again to few digits
// gives the correctly rounded result.
inline double fma_to_odd(double a, double b, double c) {
    const double product = a * b;  // exact: the factors are halves
    const double sum = product + c;
    const double back = sum - product;
    const double error = (product - (sum - back)) + (c - back);
    if (error == 0.0 || !(std::fabs(sum) < HUGE_VAL)) return sum;
    auto bits = bit_cast<std::int64_t>(sum);
    if (!(bits & 1)) bits += ((error > 0) == (sum > 0)) ? 1 : -1;
    return bit_cast<double>(bits);
}

// float with its last bit set when the double does not fit.
inline float to_odd_float(double x) {
    float y = static_cast<float>(x);
    const double error = x - static_cast<double>(y);
    if (error == 0.0 || !(std::fabs(x) < 3e38)) return y;
    auto bits = bit_cast<std::int32_t>(y);
    if (!(bits & 1)) bits += ((error > 0) == (x > 0)) ? 1 : -1;
    return bit_cast<float>(bits);
}

struct HalfFormat {
    static float to_float(std::uint16_t h) {
#ifdef __F16C__
        typedef short v8hi __attribute__((vector_size(16)));
        return __builtin_ia32_vcvtph2ps(v8hi{static_cast<short>(h)})[0];
#else
        const std::uint32_t sign = (h & 0x8000u) << 16, magnitude = h & 0x7fffu;
        if (magnitude >= 0x7c00)  // infinity, NaN (made quiet)
            return bit_cast<float>(sign | 0x7f800000u | (magnitude & 0x3ff) << 13 | (magnitude > 0x7c00 ? 0x400000u : 0));
        if (magnitude >= 0x400) return bit_cast<float>(sign | ((magnitude << 13) + 0x38000000u));
        const float small = static_cast<float>(magnitude) * 5.9604644775390625e-8f;  // 2^-24
        return bit_cast<float>(sign | bit_cast<std::uint32_t>(small));
#endif
    }
    static std::uint16_t from_float(float f) {
#ifdef __F16C__
        typedef float v4sf __attribute__((vector_size(16)));
        return static_cast<std::uint16_t>(__builtin_ia32_vcvtps2ph(v4sf{f}, 0)[0]);
#else
        const std::uint32_t bits = bit_cast<std::uint32_t>(f), sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7fffffffu;
        if (magnitude > 0x7f800000u) return static_cast<std::uint16_t>(sign | 0x7e00u | (magnitude >> 13 & 0x3ff));
        if (magnitude >= 0x477ff000u) return static_cast<std::uint16_t>(sign | 0x7c00u);  // 65520 and more
        if (magnitude < 0x38800000u) {                                                     // below 2^-14
            const float steps = bit_cast<float>(magnitude) * 16777216.0f;                  // of 2^-24; exact
            return static_cast<std::uint16_t>(sign | static_cast<std::uint32_t>(std::nearbyintf(steps)));
        }
        const std::uint32_t rounded = magnitude + 0xfffu + (magnitude >> 13 & 1);
        return static_cast<std::uint16_t>(sign | (rounded - 0x38000000u) >> 13);
#endif
    }
};

struct BrainFormat {
    static float to_float(std::uint16_t h) { return bit_cast<float>(static_cast<std::uint32_t>(h) << 16); }
    static std::uint16_t from_float(float f) {
        const auto bits = bit_cast<std::uint32_t>(f);
        if ((bits & 0x7fffffffu) > 0x7f800000u) return 0x7fff;  // what CUDA gives for NaN
        return static_cast<std::uint16_t>((bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
    }
};

template <class Format>
struct Small {  // a 16-bit float
    std::uint16_t bits;
    Small() = default;
    Small(float f) : bits(Format::from_float(f)) {}
    Small(double f) : bits(Format::from_float(to_odd_float(f))) {}
    Small(int i) : Small(static_cast<double>(i)) {}
    Small(unsigned i) : Small(static_cast<double>(i)) {}
    operator float() const { return Format::to_float(bits); }
    static Small of_bits(std::uint16_t bits) {
        Small s;
        s.bits = bits;
        return s;
    }
};

template <class Format>
struct alignas(4) SmallPair {
    Small<Format> x, y;
    SmallPair() = default;
    SmallPair(Small<Format> x, Small<Format> y) : x(x), y(y) {}
};

#define EMU_EACH(symbol)                                                                                      \
    template <class F>                                                                                        \
    inline Small<F> operator symbol(Small<F> a, Small<F> b) {                                                 \
        return Small<F>(static_cast<float>(a) symbol static_cast<float>(b));                                  \
    }                                                                                                         \
    template <class F>                                                                                        \
    inline Small<F> &operator symbol##=(Small<F> &a, Small<F> b) {                                            \
        return a = a symbol b;                                                                                \
    }                                                                                                         \
    template <class F>                                                                                        \
    inline SmallPair<F> operator symbol(SmallPair<F> a, SmallPair<F> b) {                                     \
        return {a.x symbol b.x, a.y symbol b.y};                                                              \
    }                                                                                                         \
    template <class F>                                                                                        \
    inline SmallPair<F> &operator symbol##=(SmallPair<F> &a, SmallPair<F> b) {                                \
        return a = a symbol b;                                                                                \
    }
EMU_EACH(+)
EMU_EACH(-)
EMU_EACH(*)
EMU_EACH(/)
#undef EMU_EACH
#define EMU_COMPARE(symbol)                                                                                   \
    template <class F>                                                                                        \
    inline bool operator symbol(Small<F> a, Small<F> b) {                                                     \
        return static_cast<float>(a) symbol static_cast<float>(b);                                            \
    }
EMU_COMPARE(<)
EMU_COMPARE(>)
EMU_COMPARE(<=)
EMU_COMPARE(>=)
EMU_COMPARE(==)
EMU_COMPARE(!=)
#undef EMU_COMPARE
template <class F>
inline Small<F> operator-(Small<F> a) {
    return Small<F>::of_bits(a.bits ^ 0x8000u);
}
template <class F>
inline SmallPair<F> operator-(SmallPair<F> a) {
    return {-a.x, -a.y};
}

// The intrinsics that half and bfloat16 share; __hmax and __hmin give the number when one side is NaN.
template <class F>
inline Small<F> fma(Small<F> a, Small<F> b, Small<F> c) {
    return Small<F>(fma_to_odd(static_cast<float>(a), static_cast<float>(b), static_cast<float>(c)));
}
template <class F>
inline Small<F> larger(Small<F> a, Small<F> b) {
    return Small<F>(std::fmax(static_cast<float>(a), static_cast<float>(b)));
}
template <class F>
inline Small<F> smaller(Small<F> a, Small<F> b) {
    return Small<F>(std::fmin(static_cast<float>(a), static_cast<float>(b)));
}

}  // namespace emu

using __half = emu::Small<emu::HalfFormat>;
using half = __half;
using __half2 = emu::SmallPair<emu::HalfFormat>;
using half2 = __half2;
using __nv_bfloat16 = emu::Small<emu::BrainFormat>;
using nv_bfloat16 = __nv_bfloat16;
using __nv_bfloat162 = emu::SmallPair<emu::BrainFormat>;
using nv_bfloat162 = __nv_bfloat162;

#define EMU_SMALL(T, P)                                                                                       \
    inline T __hadd(T a, T b) { return a + b; }                                                               \
    inline T __hsub(T a, T b) { return a - b; }                                                               \
    inline T __hmul(T a, T b) { return a * b; }                                                               \
    inline T __hdiv(T a, T b) { return a / b; }                                                               \
    inline T __hneg(T a) { return -a; }                                                                       \
    inline T __habs(T a) { return T::of_bits(a.bits & 0x7fffu); }                                             \
    inline T __hfma(T a, T b, T c) { return emu::fma(a, b, c); }                                              \
    inline T __hmax(T a, T b) { return emu::larger(a, b); }                                                   \
    inline T __hmin(T a, T b) { return emu::smaller(a, b); }                                                  \
    inline bool __hgt(T a, T b) { return a > b; }                                                             \
    inline bool __hge(T a, T b) { return a >= b; }                                                            \
    inline bool __hlt(T a, T b) { return a < b; }                                                             \
    inline bool __hle(T a, T b) { return a <= b; }                                                            \
    inline bool __heq(T a, T b) { return a == b; }                                                            \
    inline bool __hne(T a, T b) { return a != b; }                                                            \
    inline bool __hisnan(T a) { return std::isnan(static_cast<float>(a)); }                                   \
    inline T hsqrt(T a) { return T(std::sqrt(static_cast<float>(a))); }                                       \
    inline P __hadd2(P a, P b) { return a + b; }                                                              \
    inline P __hsub2(P a, P b) { return a - b; }                                                              \
    inline P __hmul2(P a, P b) { return a * b; }                                                              \
    inline P __h2div(P a, P b) { return a / b; }                                                              \
    inline P __hneg2(P a) { return -a; }                                                                      \
    inline P __habs2(P a) { return {__habs(a.x), __habs(a.y)}; }                                              \
    inline P __hfma2(P a, P b, P c) { return {emu::fma(a.x, b.x, c.x), emu::fma(a.y, b.y, c.y)}; }            \
    inline P __hmax2(P a, P b) { return {emu::larger(a.x, b.x), emu::larger(a.y, b.y)}; }                     \
    inline P __hmin2(P a, P b) { return {emu::smaller(a.x, b.x), emu::smaller(a.y, b.y)}; }
EMU_SMALL(__half, __half2)
EMU_SMALL(__nv_bfloat16, __nv_bfloat162)
#undef EMU_SMALL

inline __half __float2half(float a) { return __half(a); }
inline __half __float2half_rn(float a) { return __half(a); }
inline __half __double2half(double a) { return __half(a); }
inline __half __int2half_rn(int a) { return __half(a); }
inline __half __uint2half_rn(unsigned a) { return __half(a); }
inline __half __ushort2half_rn(unsigned short a) { return __half(static_cast<unsigned>(a)); }
inline float __half2float(__half a) { return a; }
inline int __half2int_rn(__half a) { return static_cast<int>(std::nearbyintf(a)); }
inline unsigned short __half_as_ushort(__half a) { return a.bits; }
inline __half __ushort_as_half(unsigned short a) { return __half::of_bits(a); }
inline __half2 __half2half2(__half a) { return {a, a}; }
inline __half2 __halves2half2(__half a, __half b) { return {a, b}; }
inline __half2 make_half2(__half a, __half b) { return {a, b}; }
inline __half2 __float2half2_rn(float a) { return {__half(a), __half(a)}; }
inline __half2 __floats2half2_rn(float a, float b) { return {__half(a), __half(b)}; }
inline __half2 __float22half2_rn(float2 a) { return {__half(a.x), __half(a.y)}; }
inline float2 __half22float2(__half2 a) { return {a.x, a.y}; }
inline float __low2float(__half2 a) { return a.x; }
inline float __high2float(__half2 a) { return a.y; }
inline __half __low2half(__half2 a) { return a.x; }
inline __half __high2half(__half2 a) { return a.y; }
inline __half2 __lowhigh2highlow(__half2 a) { return {a.y, a.x}; }
inline __half2 __lows2half2(__half2 a, __half2 b) { return {a.x, b.x}; }
inline __half2 __highs2half2(__half2 a, __half2 b) { return {a.y, b.y}; }
inline __nv_bfloat16 __float2bfloat16(float a) { return __nv_bfloat16(a); }
inline __nv_bfloat16 __float2bfloat16_rn(float a) { return __nv_bfloat16(a); }
inline float __bfloat162float(__nv_bfloat16 a) { return a; }
inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 a) { return a.bits; }
inline __nv_bfloat16 __ushort_as_bfloat16(unsigned short a) { return __nv_bfloat16::of_bits(a); }
inline __nv_bfloat162 __floats2bfloat162_rn(float a, float b) { return {__nv_bfloat16(a), __nv_bfloat16(b)}; }
inline float2 __bfloat1622float2(__nv_bfloat162 a) { return {a.x, a.y}; }
