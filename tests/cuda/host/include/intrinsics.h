// What: warp and block operations, atomics, and the integer and float intrinsics.
#pragma once

#include "half.h"
#include "race.h"

// ---- block and memory
inline void __syncthreads(EMU_HERE) { emu::sync_block(0, EMU_SITE); }
inline int __syncthreads_count(int predicate, EMU_HERE) { return emu::sync_block(predicate != 0, EMU_SITE); }
inline int __syncthreads_or(int predicate, EMU_HERE) { return emu::sync_block(predicate != 0, EMU_SITE) != 0; }
inline int __syncthreads_and(int predicate, EMU_HERE) { return emu::sync_block(predicate == 0, EMU_SITE) == 0; }
inline void __threadfence() {}
inline void __threadfence_block() {}
inline void __threadfence_system() {}
[[noreturn]] inline void __trap(EMU_HERE) { emu::fail(EMU_SITE, "__trap()"); }
#undef assert
#define assert(what) ((what) ? (void)0 : ::emu::fail(::emu::nowhere, "%s:%d: assert(%s)", __FILE__, __LINE__, #what))

// ---- warp
namespace emu {
template <class T>
struct Shuffle {
    T value, result;
    unsigned from;
};
// Lane `from` of the 32; a lane outside of the mask gives no defined value: poison.
template <class T>
inline T shuffle(const char *what, Site site, unsigned mask, T value, unsigned from) {
    Shuffle<T> slot{value, value, from};
    meet(what, site, mask, slot, [mask](Shuffle<T> **slots) {
        for (std::uint32_t rest = mask; rest; rest &= rest - 1) {
            Shuffle<T> &mine = *slots[__builtin_ctz(rest)];
            if (mask >> mine.from & 1)
                mine.result = slots[mine.from]->value;
            else
                std::memset(&mine.result, machine.poison, sizeof(T));
        }
    });
    return slot.result;
}
inline void check_width(Site site, int width) {
    if (width < 1 || width > 32 || (width & (width - 1))) fail(site, "shuffle: the width %d is no power of 2", width);
}
struct Vote {
    unsigned value, result;
};
template <class Each>
inline unsigned vote(const char *what, Site site, unsigned mask, unsigned value, Each each) {
    Vote slot{value, 0};
    meet(what, site, mask, slot, [mask, each](Vote **slots) {
        for (std::uint32_t mine = mask; mine; mine &= mine - 1) {
            const unsigned lane = __builtin_ctz(mine);
            unsigned result = 0;
            bool first = true;
            for (std::uint32_t rest = mask; rest; rest &= rest - 1) {
                const unsigned other = __builtin_ctz(rest);
                result = each(result, slots[other]->value, other, slots[lane]->value, first);
                first = false;
            }
            slots[lane]->result = result;
        }
    });
    return slot.result;
}
}  // namespace emu

inline void __syncwarp(unsigned mask = 0xffffffffu, EMU_HERE) {
    char slot;
    emu::meet("__syncwarp", EMU_SITE, mask, slot, [mask](char **) {
        if (mask == 0xffffffffu) emu::order_warp();
    });
}
template <class T>
inline T __shfl_sync(unsigned mask, T value, int source, int width = 32, EMU_HERE) {
    emu::check_width(EMU_SITE, width);
    const unsigned lane = emu::current->lane, base = lane & ~(width - 1u);
    return emu::shuffle("__shfl_sync", EMU_SITE, mask, value, base + (static_cast<unsigned>(source) & (width - 1u)));
}
template <class T>
inline T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, EMU_HERE) {
    emu::check_width(EMU_SITE, width);
    const unsigned lane = emu::current->lane, in = lane & (width - 1u);
    return emu::shuffle("__shfl_up_sync", EMU_SITE, mask, value, in >= delta ? lane - delta : lane);
}
template <class T>
inline T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, EMU_HERE) {
    emu::check_width(EMU_SITE, width);
    const unsigned lane = emu::current->lane, in = lane & (width - 1u);
    return emu::shuffle("__shfl_down_sync", EMU_SITE, mask, value, in + delta < static_cast<unsigned>(width) ? lane + delta : lane);
}
template <class T>
inline T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32, EMU_HERE) {
    emu::check_width(EMU_SITE, width);
    const unsigned lane = emu::current->lane, other = lane ^ static_cast<unsigned>(lanes);
    const bool inside = other < (lane & ~(width - 1u)) + width;  // a lower group may be read, a higher one not
    return emu::shuffle("__shfl_xor_sync", EMU_SITE, mask, value, inside ? other : lane);
}
inline unsigned __ballot_sync(unsigned mask, int predicate, EMU_HERE) {
    return emu::vote("__ballot_sync", EMU_SITE, mask, predicate != 0,
                     [](unsigned r, unsigned v, unsigned lane, unsigned, bool) { return r | v << lane; });
}
inline int __any_sync(unsigned mask, int predicate, EMU_HERE) {
    return emu::vote("__any_sync", EMU_SITE, mask, predicate != 0,
                     [](unsigned r, unsigned v, unsigned, unsigned, bool) { return r | v; });
}
inline int __all_sync(unsigned mask, int predicate, EMU_HERE) {
    return emu::vote("__all_sync", EMU_SITE, mask, predicate != 0,
                     [](unsigned r, unsigned v, unsigned, unsigned, bool first) { return first ? v : r & v; });
}
inline unsigned __match_any_sync(unsigned mask, unsigned value, EMU_HERE) {
    return emu::vote("__match_any_sync", EMU_SITE, mask, value, [](unsigned r, unsigned v, unsigned lane, unsigned mine, bool) {
        return r | static_cast<unsigned>(v == mine) << lane;
    });
}
#define EMU_REDUCE(name, type, expression)                                                                    \
    inline type __reduce_##name##_sync(unsigned mask, type value, EMU_HERE) {                                 \
        return static_cast<type>(emu::vote("__reduce_" #name "_sync", EMU_SITE, mask, static_cast<unsigned>(value), \
                                           [](unsigned r, unsigned v, unsigned, unsigned, bool first) {       \
                                               const type a = static_cast<type>(r), b = static_cast<type>(v); \
                                               return first ? v : static_cast<unsigned>(expression);          \
                                           }));                                                               \
    }
EMU_REDUCE(add, unsigned, a + b)
EMU_REDUCE(min, unsigned, a < b ? a : b)
EMU_REDUCE(max, unsigned, a > b ? a : b)
EMU_REDUCE(and, unsigned, a &b)
EMU_REDUCE(or, unsigned, a | b)
EMU_REDUCE(xor, unsigned, a ^ b)
EMU_REDUCE(min, int, a < b ? a : b)
EMU_REDUCE(max, int, a > b ? a : b)
inline int __reduce_add_sync(unsigned mask, int value, EMU_HERE) {
    return static_cast<int>(__reduce_add_sync(mask, static_cast<unsigned>(value), emu_file, emu_line));
}
#undef EMU_REDUCE

// ---- atomics (one thread runs at a time; relaxed, so that two builds may share memory)
namespace emu {
template <class T, class Change>
EMU_PLAIN inline T atomic(T *at, Change change, Site site) {
    using Bits = std::conditional_t<sizeof(T) == 8, std::uint64_t, std::uint32_t>;
    static_assert(sizeof(T) == sizeof(Bits));
    if (reinterpret_cast<std::uintptr_t>(at) % sizeof(T)) fail(site, "atomic: the address %p is not aligned", (void *)at);
    auto *bits = reinterpret_cast<Bits *>(at);
    Bits old = __atomic_load_n(bits, __ATOMIC_RELAXED);
    while (!__atomic_compare_exchange_n(bits, &old, bit_cast<Bits>(static_cast<T>(change(bit_cast<T>(old)))), true,
                                        __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
    }
    return bit_cast<T>(old);
}
template <class T>
struct same {  // takes the type from the pointer alone
    using type = T;
};
}  // namespace emu
#define EMU_ATOMIC(name, expression)                                                                          \
    template <class T>                                                                                        \
    inline T name(T *at, typename emu::same<T>::type v, EMU_HERE) {                                           \
        return emu::atomic(at, [v](T o) { return expression; }, EMU_SITE);                                        \
    }                                                                                                         \
    template <class T>                                                                                        \
    inline T name##_block(T *at, typename emu::same<T>::type v, EMU_HERE) {                                   \
        return name(at, v, emu_file, emu_line);                                                                             \
    }
EMU_ATOMIC(atomicAdd, o + v)
EMU_ATOMIC(atomicSub, o - v)
EMU_ATOMIC(atomicMin, v < o ? v : o)
EMU_ATOMIC(atomicMax, v > o ? v : o)
EMU_ATOMIC(atomicAnd, o &v)
EMU_ATOMIC(atomicOr, o | v)
EMU_ATOMIC(atomicXor, o ^ v)
EMU_ATOMIC(atomicExch, ((void)o, v))
EMU_ATOMIC(atomicInc, o >= v ? 0 : o + 1)
EMU_ATOMIC(atomicDec, (o == 0 || o > v) ? v : o - 1)
#undef EMU_ATOMIC
template <class T>
inline T atomicCAS(T *at, typename emu::same<T>::type compare, typename emu::same<T>::type value, EMU_HERE) {
    return emu::atomic(at, [=](T old) { return old == compare ? value : old; }, EMU_SITE);
}

// ---- integers
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __clz(int x) { return x ? __builtin_clz(static_cast<unsigned>(x)) : 32; }
inline int __clzll(long long x) { return x ? __builtin_clzll(static_cast<unsigned long long>(x)) : 64; }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __ffsll(long long x) { return __builtin_ffsll(x); }
inline unsigned __brev(unsigned x) {
    unsigned result = 0;
    for (int i = 0; i < 32; ++i) result |= (x >> i & 1u) << (31 - i);
    return result;
}
inline unsigned __umulhi(unsigned a, unsigned b) { return static_cast<unsigned>(static_cast<std::uint64_t>(a) * b >> 32); }
inline int __mul24(int a, int b) { return a * b; }
inline unsigned __byte_perm(unsigned a, unsigned b, unsigned selector) {
    const std::uint64_t bytes = static_cast<std::uint64_t>(b) << 32 | a;
    unsigned result = 0;
    for (int i = 0; i < 4; ++i) {
        const unsigned which = selector >> 4 * i & 15;
        unsigned byte = static_cast<unsigned>(bytes >> 8 * (which & 7)) & 255;
        if (which & 8) byte = byte & 128 ? 255 : 0;
        result |= byte << 8 * i;
    }
    return result;
}
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift) {
    return static_cast<unsigned>((static_cast<std::uint64_t>(high) << 32 | low) >> (shift & 31));
}
inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned shift) {
    return static_cast<unsigned>((static_cast<std::uint64_t>(high) << 32 | low) << (shift & 31) >> 32);
}

template <class A, class B>
constexpr std::common_type_t<A, B> min(A a, B b) {
    using T = std::common_type_t<A, B>;
    if constexpr (std::is_floating_point_v<T>)
        return std::fmin(T(a), T(b));
    else
        return T(b) < T(a) ? T(b) : T(a);
}
template <class A, class B>
constexpr std::common_type_t<A, B> max(A a, B b) {
    using T = std::common_type_t<A, B>;
    if constexpr (std::is_floating_point_v<T>)
        return std::fmax(T(a), T(b));
    else
        return T(a) < T(b) ? T(b) : T(a);
}

// ---- floats
inline float __int_as_float(int x) { return emu::bit_cast<float>(x); }
inline float __uint_as_float(unsigned x) { return emu::bit_cast<float>(x); }
inline int __float_as_int(float x) { return emu::bit_cast<int>(x); }
inline unsigned __float_as_uint(float x) { return emu::bit_cast<unsigned>(x); }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
inline float __fsqrt_rn(float a) { return std::sqrt(a); }
inline float __frcp_rn(float a) { return 1.0f / a; }
inline float __fdividef(float a, float b) { return a / b; }
inline float __expf(float a) { return std::exp(a); }
inline float __logf(float a) { return std::log(a); }
inline float rsqrtf(float a) { return 1.0f / std::sqrt(a); }
inline float __saturatef(float a) { return std::fmin(std::fmax(a, 0.0f), 1.0f); }  // NaN gives 0
namespace emu {
template <class T>
inline T to_integer(double rounded) {  // saturates, NaN gives 0
    constexpr double above = 2.0 * static_cast<double>(std::numeric_limits<T>::max() / 2 + 1);  // the first too large
    if (std::isnan(rounded)) return 0;
    if (rounded >= above) return std::numeric_limits<T>::max();
    if (rounded <= static_cast<double>(std::numeric_limits<T>::min())) return std::numeric_limits<T>::min();
    return static_cast<T>(rounded);
}
}  // namespace emu
#define EMU_TO_INTEGER(name, T)                                                                               \
    inline T __##name##_rn(EMU_FROM a) { return emu::to_integer<T>(std::nearbyint(a)); }                      \
    inline T __##name##_rz(EMU_FROM a) { return emu::to_integer<T>(std::trunc(a)); }                          \
    inline T __##name##_rd(EMU_FROM a) { return emu::to_integer<T>(std::floor(a)); }                          \
    inline T __##name##_ru(EMU_FROM a) { return emu::to_integer<T>(std::ceil(a)); }
#define EMU_FROM float
EMU_TO_INTEGER(float2int, int)
EMU_TO_INTEGER(float2uint, unsigned)
EMU_TO_INTEGER(float2ll, long long)
#undef EMU_FROM
#define EMU_FROM double
EMU_TO_INTEGER(double2int, int)
EMU_TO_INTEGER(double2ll, long long)
#undef EMU_FROM
#undef EMU_TO_INTEGER
inline float __int2float_rn(int a) { return static_cast<float>(a); }
inline float __uint2float_rn(unsigned a) { return static_cast<float>(a); }

// ---- loads and stores with cache hints
#define EMU_LOAD(name)                                                                                        \
    template <class T>                                                                                        \
    inline T name(const T *at) {                                                                              \
        return *at;                                                                                           \
    }
#define EMU_STORE(name)                                                                                       \
    template <class T>                                                                                        \
    inline void name(T *at, typename emu::same<T>::type value) {                                              \
        *at = value;                                                                                          \
    }
EMU_LOAD(__ldg)
EMU_LOAD(__ldca)
EMU_LOAD(__ldcg)
EMU_LOAD(__ldcs)
EMU_LOAD(__ldlu)
EMU_LOAD(__ldcv)
EMU_STORE(__stwb)
EMU_STORE(__stcg)
EMU_STORE(__stcs)
EMU_STORE(__stwt)
#undef EMU_LOAD
#undef EMU_STORE
