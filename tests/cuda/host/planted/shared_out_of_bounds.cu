// Adds neighbours through static shared memory. Planted: the last thread writes one past the end of the array.
#include "primitives.cuh"

extern "C" KERNEL(128) planted(const float* in, float* out, int bug) {
    __shared__ float values[129];
    const int i = blockIdx.x * 128 + threadIdx.x;
    values[threadIdx.x + bug * 2 * (threadIdx.x == 127)] = in[i];
    if (threadIdx.x == 0) values[128] = 0.0f;
    barrier();
    out[i] = values[threadIdx.x] + values[threadIdx.x + 1];
}
