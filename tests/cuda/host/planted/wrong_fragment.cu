// A product of one 16x16 and one 16x8 matrix (both in `in`, as floats) on the tensor cores. Planted: the two halves of
// the depth are swapped in one fragment of b.
#include "primitives.cuh"

extern "C" KERNEL(32) planted(const float* in, float* out, int bug) {
    const int g = threadIdx.x / 4, t = threadIdx.x % 4;
    const float *a = in, *b = in + 256;
    unsigned left[4], right[2];
    for (int r = 0; r < 4; ++r) {
        const int place = (g + r % 2 * 8) * 16 + 2 * t + r / 2 * 8;
        left[r] = pack_halves(a[place], a[place + 1]);
    }
    for (int r = 0; r < 2; ++r) {
        const int row = 2 * t + (r ^ bug) * 8;
        right[r] = pack_halves(b[row * 8 + g], b[(row + 1) * 8 + g]);
    }
    float sums[4] = {};
    multiply(sums, left, right[0], right[1]);
    for (int i = 0; i < 4; ++i) out[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = sums[i];
}
