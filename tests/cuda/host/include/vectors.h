// What: CUDA's qualifiers, vector types with their alignment, dim3 and the built-in variables.
#pragma once

#include <cassert>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>

#define __global__ EMU_KERNEL_MARK  // program.py finds the kernels by it, after the preprocessor
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __restrict__ __restrict
#define __align__(n) __attribute__((aligned(n)))
#define __launch_bounds__(...) EMU_LAUNCH_BOUNDS(__VA_ARGS__)
#define __grid_constant__
// One block runs at a time, so that a static variable is a block's own; the section can be poisoned as a whole.
#define __shared__ static __attribute__((section("emu_shared")))

#define EMU_VECTOR(name, type, align1, align2, align4)                                                        \
    struct name##1 {                                                                                          \
        type x;                                                                                               \
    };                                                                                                        \
    struct alignas(align2) name##2 {                                                                          \
        type x, y;                                                                                            \
    };                                                                                                        \
    struct name##3 {                                                                                          \
        type x, y, z;                                                                                         \
    };                                                                                                        \
    struct alignas(align4) name##4 {                                                                          \
        type x, y, z, w;                                                                                      \
    };                                                                                                        \
    inline name##1 make_##name##1(type x) { return {x}; }                                                     \
    inline name##2 make_##name##2(type x, type y) { return {x, y}; }                                          \
    inline name##3 make_##name##3(type x, type y, type z) { return {x, y, z}; }                               \
    inline name##4 make_##name##4(type x, type y, type z, type w) { return {x, y, z, w}; }

EMU_VECTOR(char, signed char, 1, 2, 4)
EMU_VECTOR(uchar, unsigned char, 1, 2, 4)
EMU_VECTOR(short, short, 2, 4, 8)
EMU_VECTOR(ushort, unsigned short, 2, 4, 8)
EMU_VECTOR(int, int, 4, 8, 16)
EMU_VECTOR(uint, unsigned, 4, 8, 16)
EMU_VECTOR(float, float, 4, 8, 16)
EMU_VECTOR(longlong, long long, 8, 16, 16)
EMU_VECTOR(ulonglong, unsigned long long, 8, 16, 16)
EMU_VECTOR(double, double, 8, 16, 16)
#undef EMU_VECTOR

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

#define threadIdx (::emu::current->index)
#define blockIdx (::emu::block_index)
#define blockDim (::emu::block_dim)
#define gridDim (::emu::grid_dim)
constexpr int warpSize = 32;
