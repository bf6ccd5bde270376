// Mask to lists of pixels, in raster order; the counts never leave the device.
#include "primitives.cuh"

constexpr int RUN = 16;  // consecutive pixels of a thread
constexpr int WARPS = SELECT_THREADS / 32;

static_assert(RUN * SELECT_THREADS < 1 << 15, "a block counts both kinds of pixels in one int");

// Every 8th bit of 4 bytes, from bit 0 on.
DEVICE unsigned low_bits(unsigned word) {
    return (word & 1) | (word >> 7 & 2) | (word >> 14 & 4) | (word >> 21 & 8);
}

struct Bits {
    unsigned active, inactive;  // bit i: pixel first + i is such a one
};

// Active ones in bits 0..15, inactive ones in bits 16..31.
DEVICE int both_counts(Bits bits) { return count_bits(bits.active) | count_bits(bits.inactive) << 16; }

// The mask holds 0: inactive, 1: active, or 2: left out of both lists.
DEVICE Bits read_mask(const unsigned char* mask, size_t first, size_t pixels) {
    Bits bits = {0, 0};
    if (first + RUN <= pixels) {
        const uint4 bytes = load16(mask + first);
        const unsigned words[4] = {bytes.x, bytes.y, bytes.z, bytes.w};
        for (int i = 0; i < 4; ++i) {
            bits.active |= low_bits(words[i]) << (4 * i);
            bits.inactive |= low_bits(~(words[i] | words[i] >> 1)) << (4 * i);
        }
    } else {
        for (int i = 0; i < RUN; ++i)
            if (first + i < pixels) {
                if (mask[first + i] == 1) bits.active |= 1u << i;
                if (mask[first + i] == 0) bits.inactive |= 1u << i;
            }
    }
    return bits;
}

DEVICE int warp_sum(int value) {
    for (int step = 16; step > 0; step /= 2) value += shuffle_xor(value, step);
    return value;
}

// What:   partial[b] = numbers of active and inactive pixels among those of block b.
// In/Out: mask (pixels,) bytes 0, 1 or 2 (see read_mask); partial (gridDim.x,), as both_counts gives them.
// Work:   a thread counts 16 consecutive pixels.
// Launch: ceil(pixels / (16 * SELECT_THREADS)) blocks of SELECT_THREADS threads.
// Needs:  SELECT_THREADS / 32 ints of shared memory; mask aligned to 16 bytes.
// Same as: numpy.add.reduceat (tests/cuda/test_kernels.py::test_select).
extern "C" KERNEL(SELECT_THREADS) count_pixels(
    const unsigned char* __restrict__ mask,  //
    int* __restrict__ partial,
    int64 pixels
) {
    int* of_warp = reinterpret_cast<int*>(dynamic_shared());
    const size_t first = (size_t(blockIdx.x) * SELECT_THREADS + threadIdx.x) * RUN;
    const int counts = warp_sum(both_counts(read_mask(mask, first, size_t(pixels))));
    if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = counts;
    barrier();
    if (threadIdx.x != 0) return;
    int total = 0;
    for (int i = 0; i < WARPS; ++i) total += of_warp[i];
    partial[blockIdx.x] = total;
}

// What:   the lists of active and of inactive pixels, and the way from a pixel to its place in the list of active ones.
// In/Out: mask (pixels,); partial from count_pixels; active, inactive (pixels,) as y << 16 | x; inverse (pixels,): 0, or
//         1 + place; counts (2,): active, inactive.
// Work:   a thread places 16 consecutive pixels; every block adds up the counts of the blocks before it.
// Launch: the grid of count_pixels.
// Needs:  3 * SELECT_THREADS / 32 ints of shared memory; mask and inverse aligned to 16 bytes; sides below 32768.
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
    int* before_on = reinterpret_cast<int*>(dynamic_shared());
    int* before_off = before_on + WARPS;
    int* of_warp = before_off + WARPS;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const size_t first = (size_t(blockIdx.x) * SELECT_THREADS + threadIdx.x) * RUN;
    const Bits bits = read_mask(mask, first, size_t(pixels));
    const int own = both_counts(bits);

    int on = 0, off = 0;  // pixels of the blocks before this one, spread over the threads
    for (int i = threadIdx.x; i < int(blockIdx.x); i += SELECT_THREADS) {
        on += partial[i] & 0xffff;
        off += partial[i] >> 16;
    }
    on = warp_sum(on), off = warp_sum(off);
    int upto = own;  // pixels of the warp up to and including this thread
    for (int step = 1; step < 32; step *= 2) {
        const int other = shuffle_up(upto, step);
        if (lane >= step) upto += other;
    }
    if (lane == 0) before_on[warp] = on, before_off[warp] = off;
    if (lane == 31) of_warp[warp] = upto;
    barrier();
    on = (upto - own) & 0xffff, off = (upto - own) >> 16;  // now the places of this thread's first pixels
    for (int i = 0; i < WARPS; ++i) {
        on += before_on[i] + (i < warp ? of_warp[i] & 0xffff : 0);
        off += before_off[i] + (i < warp ? of_warp[i] >> 16 : 0);
    }

    int y = int(first / width), x = int(first % width);
    int rows[RUN];
    for (int i = 0; i < RUN; ++i) {
        const unsigned packed = unsigned(y) << 16 | unsigned(x);
        rows[i] = 0;
        if (bits.active >> i & 1) {
            active[on] = packed;
            rows[i] = ++on;
        }
        if (bits.inactive >> i & 1) inactive[off++] = packed;
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
        counts[0] = on;
        counts[1] = off;
    }
}
