// Reverses a block's values. Planted: one warp waits at another barrier than the rest.
#include "primitives.cuh"

extern "C" KERNEL(128) planted(const float* in, float* out, int bug) {
    float* values = reinterpret_cast<float*>(dynamic_shared());
    values[threadIdx.x] = in[blockIdx.x * 128 + threadIdx.x];
    if (bug && threadIdx.x >= 96) __syncthreads();
    else __syncthreads();
    out[blockIdx.x * 128 + threadIdx.x] = values[127 - threadIdx.x];
}
