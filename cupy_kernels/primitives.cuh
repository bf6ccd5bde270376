// Everything that is not plain C++: the instructions of the GPU behind small functions, and nothing else.
//
// The kernels (*.cu and the other *.cuh) are plain C++17 over the names of this file, the built-in variables threadIdx,
// blockIdx, blockDim, gridDim (.x), the built-in types uint2, uint4, int4, float4, the functions fmaf, fmaxf, fminf,
// floorf, min, max, and __restrict__. They include no header, declare no __shared__ variable (only dynamic_shared), and
// call no intrinsic and no asm of their own. So this file is the seam: another implementation of it runs the same kernels
// elsewhere (tests/cuda/host/ does, on the CPU).
//
// Words: a warp is 32 threads, lane = threadIdx.x % 32; every kernel is one-dimensional in its threads and a multiple
// of 32 of them. "All lanes" = every lane of the warp calls it together; "all threads" = every thread of the block.
//
// Two halves in one unsigned: bits 0..15 the lower index, bits 16..31 the higher one.
#pragma once

#define DEVICE static __device__ __forceinline__

// extern "C" KERNEL(256) name(...) { ... }: at most 256 threads a block; with 2 arguments, also at least that many
// blocks resident on a multiprocessor.
#define KERNEL(...) __global__ void __launch_bounds__(__VA_ARGS__)

struct half_bits {  // one IEEE binary16; a type of its own, so that nobody calculates with the bits
    unsigned short bits;
};
typedef long long int64;

// ---- blocks and warps ---------------------------------------------------------------------------------------------

// The dynamic shared memory of the block, aligned to 128 bytes; its content is undefined when the block starts.
DEVICE unsigned char* dynamic_shared() {
    extern __shared__ __align__(128) unsigned char bytes[];
    return bytes;
}

// All threads: wait for each other; shared and global writes of before are seen by the block after.
DEVICE void barrier() { __syncthreads(); }

// All lanes: wait for each other; shared writes of before are seen by the warp after.
DEVICE void warp_barrier() { __syncwarp(); }

// All lanes: bit i of the result is the predicate of lane i.
DEVICE unsigned ballot(bool predicate) { return __ballot_sync(0xffffffffu, predicate); }

// All lanes: the value of lane (lane ^ mask).
DEVICE float shuffle_xor(float value, int mask) { return __shfl_xor_sync(0xffffffffu, value, mask); }
DEVICE int shuffle_xor(int value, int mask) { return __shfl_xor_sync(0xffffffffu, value, mask); }
DEVICE unsigned shuffle_xor(unsigned value, int mask) { return __shfl_xor_sync(0xffffffffu, value, mask); }

// All lanes: the value of lane (lane - distance); the own value where that lane does not exist.
DEVICE int shuffle_up(int value, int distance) { return __shfl_up_sync(0xffffffffu, value, distance); }

DEVICE int count_bits(unsigned bits) { return __popc(bits); }

// Add to global memory; order-free, since integers.
DEVICE void atomic_add(int64* address, int64 value) {
    atomicAdd(reinterpret_cast<unsigned long long*>(address), static_cast<unsigned long long>(value));
}

// ---- numbers ------------------------------------------------------------------------------------------------------

// Round to the nearest integer, ties to even.
DEVICE int round_to_int(float value) { return __float2int_rn(value); }

// Rounded by itself: no fused multiply-add comes of it, so that the host gets the same bits.
DEVICE float product(float a, float b) { return __fmul_rn(a, b); }

DEVICE unsigned float_bits(float value) { return __float_as_uint(value); }

DEVICE float exponential(float value) { return expf(value); }

// Two floats to two halves, rounded to nearest even; beyond the largest half: infinity.
DEVICE unsigned pack_halves(float low, float high) {
    unsigned packed;
#if __CUDA_ARCH__ >= 800
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
#else
    asm("{ .reg .f16 l, h; cvt.rn.f16.f32 l, %1; cvt.rn.f16.f32 h, %2; mov.b32 %0, {l, h}; }"
        : "=r"(packed)
        : "f"(low), "f"(high));
#endif
    return packed;
}

DEVICE float low_half(unsigned packed) {
    float value;
    asm("{ .reg .f16 l, h; mov.b32 {l, h}, %1; cvt.f32.f16 %0, l; }" : "=f"(value) : "r"(packed));
    return value;
}

DEVICE float high_half(unsigned packed) {
    float value;
    asm("{ .reg .f16 l, h; mov.b32 {l, h}, %1; cvt.f32.f16 %0, h; }" : "=f"(value) : "r"(packed));
    return value;
}

// ---- memory -------------------------------------------------------------------------------------------------------

// 16 bytes at an address that is a multiple of 16.
DEVICE uint4 load16(const void* address) { return *static_cast<const uint4*>(address); }
DEVICE void store16(void* address, uint4 value) { *static_cast<uint4*>(address) = value; }

// Start copying 16 bytes from global to shared memory, both aligned to 16. Where not valid, zeros are written instead
// and global is not read (it may be any address). The bytes are there for this thread after a copy_wait that covers
// the group, for the other threads after a barrier behind it; until then nobody may read or write them.
DEVICE void copy_async(void* shared, const void* global, bool valid) {
#if __CUDA_ARCH__ >= 800
    unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(shared));
    int bytes = valid ? 16 : 0;
    asm volatile("cp.async.ca.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(global), "r"(bytes) : "memory");
#else
    uint4 value = {0, 0, 0, 0};
    if (valid) value = load16(global);
    store16(shared, value);
#endif
}

// Close the group of this thread's copies since the last commit (the group may be empty).
DEVICE void copy_commit() {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Wait until at most Pending of this thread's groups, the youngest ones, are unfinished.
template <int Pending>
DEVICE void copy_wait() {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_group %0;" ::"n"(Pending) : "memory");
#endif
}

// ---- tensor cores -------------------------------------------------------------------------------------------------

// All lanes (PTX ldmatrix.sync.aligned.m8n8.x4.shared.b16): four 8x8 matrices of halves from shared memory. Lane i gives
// the address, a multiple of 16, of the 16 bytes that are row (i % 8) of matrix (i / 8). matrices[m] of lane i becomes
// the two halves of matrix m at row i / 4, columns 2 * (i % 4) and that + 1.
DEVICE void load_matrices(unsigned (&matrices)[4], const void* row) {
    unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(matrices[0]), "=r"(matrices[1]), "=r"(matrices[2]), "=r"(matrices[3])
                 : "r"(address)
                 : "memory");
}

// All lanes (PTX mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32): sums (16x8) += a (16x16) * b (16x8), halves in,
// float sums. With g = lane / 4, t = lane % 4:
//   sums: [0] row g, column 2t; [1] row g, column 2t+1; [2] row g+8, column 2t; [3] row g+8, column 2t+1
//   a:    [0] row g, columns 2t, 2t+1; [1] row g+8, same columns; [2] row g, columns 2t+8, 2t+9; [3] row g+8, those
//   b0:   rows 2t, 2t+1 of column g; b1: rows 2t+8, 2t+9 of column g
DEVICE void multiply(float (&sums)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
#if __CUDA_ARCH__ >= 800
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#else
    asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(a[0]), "r"(a[1]), "r"(b0));
    asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(a[2]), "r"(a[3]), "r"(b1));
#endif
}
