// Copies through shared memory with cp.async. Planted: the last thread's target lies past what the launch asked for.
#include "primitives.cuh"

extern "C" KERNEL(128) planted(const float* in, float* out, int bug) {
    float* values = reinterpret_cast<float*>(dynamic_shared());
    const int i = threadIdx.x * 4;
    if (threadIdx.x < 32) copy_async(values + i + bug * 4 * (threadIdx.x == 31), in + blockIdx.x * 128 + i, true);
    copy_commit();
    copy_wait<0>();
    barrier();
    out[blockIdx.x * 128 + threadIdx.x] = values[threadIdx.x];
}
