// Reverses a block's values through shared memory. Planted: nobody waits between writing and reading.
#include "primitives.cuh"

extern "C" KERNEL(128) planted(const float* in, float* out, int bug) {
    float* values = reinterpret_cast<float*>(dynamic_shared());
    values[threadIdx.x] = in[blockIdx.x * 128 + threadIdx.x];
    if (!bug) barrier();
    out[blockIdx.x * 128 + threadIdx.x] = values[127 - threadIdx.x];
}
