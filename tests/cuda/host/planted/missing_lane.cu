// Sums over a warp. Planted: half of the lanes stay away from the shuffle.
#include "primitives.cuh"

extern "C" KERNEL(128) planted(const float* in, float* out, int bug) {
    float sum = in[blockIdx.x * 128 + threadIdx.x];
    if (!bug || threadIdx.x % 32 < 16)
        for (int step = 16; step > 0; step /= 2) sum += shuffle_xor(sum, step);
    out[blockIdx.x * 128 + threadIdx.x] = sum;
}
