// Sums of four values. Planted: the sum of one thread begins with whatever the register holds.
#include "primitives.cuh"

extern "C" KERNEL(64) planted(const float* in, float* out, int bug) {
    float sum[4];
    for (int i = 0; i < 4 - bug * (threadIdx.x == 7); ++i) sum[i] = in[threadIdx.x * 4 + i];
    out[threadIdx.x] = sum[0] + sum[1] + sum[2] + sum[3];
}
