// Adds neighbours; the last value has none. Planted: it reads one past the end of its input.
#include "primitives.cuh"

extern "C" KERNEL(128) planted(const float* in, float* out, int bug) {
    const int i = blockIdx.x * 128 + threadIdx.x;
    out[i] = in[i] + (i < 255 + bug ? in[i + 1] : 0.0f);
}
