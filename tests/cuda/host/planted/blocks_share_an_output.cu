// Counts values above 0 with an atomic. Planted: a plain addition, which loses counts when blocks really run at once.
#include "primitives.cuh"

extern "C" KERNEL(128) planted(const float* in, float* out, int bug) {
    int64* count = reinterpret_cast<int64*>(out);
    const unsigned above = ballot(in[blockIdx.x * 128 + threadIdx.x] > 0.0f);
    if (threadIdx.x % 32) return;
    if (bug) *count += count_bits(above);
    else atomic_add(count, count_bits(above));
}
