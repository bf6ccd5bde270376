// Mask to lists of pixels, in raster order; the counts never leave the device.
#include "primitives.cuh"

constexpr int RUN = 16;  // consecutive pixels of a thread
constexpr int WARPS = SELECT_THREADS / 32;

// Bit i of the result: pixel first + i is active. The mask holds 0 or 1.
DEVICE unsigned active_bits(const unsigned char* mask, size_t first, size_t pixels) {
    unsigned bits = 0;
    if (first + RUN <= pixels) {
        const uint4 bytes = load16(mask + first);
        const unsigned words[4] = {bytes.x, bytes.y, bytes.z, bytes.w};
        for (int i = 0; i < 4; ++i) {
            const unsigned word = words[i];
            bits |= ((word & 1) | (word >> 7 & 2) | (word >> 14 & 4) | (word >> 21 & 8)) << (4 * i);
        }
    } else {
        for (int i = 0; i < RUN; ++i)
            if (first + i < pixels && mask[first + i]) bits |= 1u << i;
    }
    return bits;
}

DEVICE int warp_sum(int value) {
    for (int step = 16; step > 0; step /= 2) value += shuffle_xor(value, step);
    return value;
}

// What:   partial[b] = number of active pixels among those of block b.
// In/Out: mask (pixels,) bytes 0 or 1; partial (gridDim.x,).
// Work:   a thread counts 16 consecutive pixels.
// Launch: ceil(pixels / (16 * SELECT_THREADS)) blocks of SELECT_THREADS threads.
// Needs:  SELECT_THREADS / 32 ints of shared memory; mask aligned to 16 bytes.
// Same as: numpy.add.reduceat (tests/cuda/test_kernels.py::test_select).
extern "C" KERNEL(SELECT_THREADS) count_active(
    const unsigned char* __restrict__ mask,  //
    int* __restrict__ partial,
    int64 pixels
) {
    int* of_warp = reinterpret_cast<int*>(dynamic_shared());
    const size_t first = (size_t(blockIdx.x) * SELECT_THREADS + threadIdx.x) * RUN;
    const int count = warp_sum(count_bits(active_bits(mask, first, size_t(pixels))));
    if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = count;
    barrier();
    if (threadIdx.x != 0) return;
    int total = 0;
    for (int i = 0; i < WARPS; ++i) total += of_warp[i];
    partial[blockIdx.x] = total;
}

// What:   the lists of active and of inactive pixels, and the way from a pixel to its place in the list of active ones.
// In/Out: mask (pixels,); partial from count_active; active, inactive (pixels,) as y << 16 | x; inverse (pixels,): 0, or
//         1 + place; counts (2,): active, inactive.
// Work:   a thread places 16 consecutive pixels; every block adds up the counts of the blocks before it.
// Launch: the grid of count_active.
// Needs:  2 * SELECT_THREADS / 32 ints of shared memory; mask and inverse aligned to 16 bytes; sides below 32768.
// Same as: numpy.flatnonzero (tests/cuda/test_kernels.py::test_select).
extern "C" KERNEL(SELECT_THREADS) list_pixels(
    const unsigned char* __restrict__ mask,
    const int* __restrict__ partial,
    unsigned* __restrict__ active,
    unsigned* __restrict__ inactive,
    int* __restrict__ inverse,
    int* __restrict__ counts,
    int64 pixels,
    int width
) {
    int* before_warp = reinterpret_cast<int*>(dynamic_shared());
    int* of_warp = before_warp + WARPS;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const size_t first = (size_t(blockIdx.x) * SELECT_THREADS + threadIdx.x) * RUN;
    const unsigned bits = active_bits(mask, first, size_t(pixels));
    const int own = count_bits(bits);

    int before = 0;  // active pixels of the blocks before this one, spread over the threads
    for (int i = threadIdx.x; i < int(blockIdx.x); i += SELECT_THREADS) before += partial[i];
    before = warp_sum(before);
    int upto = own;  // active pixels of the warp up to and including this thread
    for (int step = 1; step < 32; step *= 2) {
        const int other = shuffle_up(upto, step);
        if (lane >= step) upto += other;
    }
    if (lane == 0) before_warp[warp] = before;
    if (lane == 31) of_warp[warp] = upto;
    barrier();
    int place = upto - own;
    for (int i = 0; i < WARPS; ++i) place += before_warp[i] + (i < warp ? of_warp[i] : 0);

    int y = int(first / width), x = int(first % width);
    int rows[RUN];
    for (int i = 0; i < RUN; ++i) {
        const size_t pixel = first + i;
        const bool on = bits >> i & 1;
        rows[i] = 0;
        if (pixel < size_t(pixels)) {
            const unsigned packed = unsigned(y) << 16 | unsigned(x);
            if (on) active[place] = packed;
            else inactive[pixel - place] = packed;
        }
        if (on) rows[i] = ++place;
        if (++x == width) x = 0, ++y;
    }
    if (first + RUN <= size_t(pixels)) {
        for (int i = 0; i < RUN; i += 4)
            store16(
                inverse + first + i,
                uint4{unsigned(rows[i]), unsigned(rows[i + 1]), unsigned(rows[i + 2]), unsigned(rows[i + 3])}
            );
    } else {
        for (int i = 0; i < RUN; ++i)
            if (first + i < size_t(pixels)) inverse[first + i] = rows[i];
    }
    if (blockIdx.x == gridDim.x - 1 && threadIdx.x == SELECT_THREADS - 1) {
        counts[0] = place;
        counts[1] = int(pixels) - place;
    }
}
