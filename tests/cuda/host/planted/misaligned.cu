// Copies 16 bytes a thread. Planted: from an address that is no multiple of 16.
#include "primitives.cuh"

extern "C" KERNEL(32) planted(const float* in, float* out, int bug) {
    store16(out + threadIdx.x * 4, load16(in + threadIdx.x * 4 + bug));
}
