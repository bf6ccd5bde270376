// Reverses a warp's values through shared memory; a ballot meets but orders no memory. Planted: only the ballot.
#include "primitives.cuh"

extern "C" KERNEL(128) planted(const float* in, float* out, int bug) {
    float* values = reinterpret_cast<float*>(dynamic_shared());
    values[threadIdx.x] = in[blockIdx.x * 128 + threadIdx.x];
    if (ballot(true) != 0xffffffffu) return;
    if (!bug) warp_barrier();
    out[blockIdx.x * 128 + threadIdx.x] = values[threadIdx.x ^ 31];
}
