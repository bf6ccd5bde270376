// Sums eight rounds through one buffer. Planted: a fast thread overwrites what a slow one has not read yet.
#include "primitives.cuh"

extern "C" KERNEL(128) planted(const float* in, float* out, int bug) {
    float* values = reinterpret_cast<float*>(dynamic_shared());
    float sum = 0.0f;
    for (int round = 0; round < 8; ++round) {
        values[threadIdx.x] = in[(blockIdx.x * 128 + threadIdx.x + round) % 256];
        barrier();
        sum += values[127 - threadIdx.x];
        if (!bug) barrier();
    }
    out[blockIdx.x * 128 + threadIdx.x] = sum;
}
