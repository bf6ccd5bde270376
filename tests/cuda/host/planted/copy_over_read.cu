// Two rounds of cp.async through one buffer. Planted: the second starts while others still read the first.
#include "primitives.cuh"

extern "C" KERNEL(32) planted(const float* in, float* out, int bug) {
    float* values = reinterpret_cast<float*>(dynamic_shared());
    for (int round = 0; round < 2; ++round) {
        copy_async(values + threadIdx.x * 4, in + round * 128 + threadIdx.x * 4, true);
        copy_commit();
        copy_wait<0>();
        barrier();
        for (int i = 0; i < 4; ++i) out[round * 128 + i * 32 + threadIdx.x] = values[i * 32 + threadIdx.x];
        if (!bug) barrier();
    }
}
