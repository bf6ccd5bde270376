// Features at twice the height and width.
#include "window.cuh"

// All threads: is the predicate true for any thread of the block? The beginning of shared memory is overwritten.
DEVICE bool any_thread(bool predicate) {
    unsigned* votes = reinterpret_cast<unsigned*>(dynamic_shared());
    const unsigned vote = ballot(predicate);
    if (threadIdx.x % 32 == 0) votes[warp_index()] = vote;
    barrier();
    unsigned all = 0;
    for (int warp = 0; warp < THREADS / 32; ++warp) all |= votes[warp];
    barrier();  // the votes have been read: their place is free
    return all != 0;
}

// What:   a leaky relu of the pixel shuffle by 2 of conv3(source) + bias, 64 -> 4 * 64 channels, 64 after the shuffle; 0
//         where the mask is not 1.
// In/Out: source (height, width, 64); weights (4, 9 * SLICES, 64, slice) and bias (4, 64), one for each pixel of a 2x2, row
//         by row; slope: of the leaky relu; mask (height >> level, width >> level) bytes; out (2 * height, 2 * width, 64).
// Work:   a block computes one pixel of every 2x2 of a window of 16x8, a warp 2 rows of it; the four blocks that share a
//         window's source follow each other. A window without an active pixel is zeros at once.
// Launch: 4 * ceil(height / 8) * ceil(width / 16) blocks of TILE_PIXELS threads.
// Needs:  2 * REACH_BYTES + STAGES * 64 * SLICE_BYTES shared bytes.
// Same as: upsampling of the cpu engine (tests/cuda/test_late_kernels.py::test_conv_shuffle).
extern "C" KERNEL(THREADS, 2) conv_shuffle(
    const element* __restrict__ source,
    const element* __restrict__ weights,
    const float* __restrict__ bias,
    float slope,
    const unsigned char* __restrict__ mask,
    int level,
    element* __restrict__ out,
    int height,
    int width
) {
    const int place = blockIdx.x % 4;  // in the 2x2
    const Window window = window_of(blockIdx.x / 4, width);
    const element* own = weights + place * 9 * CHANNELS * CHANNELS;
    auto active = [&](Window pixel) {
        if (pixel.y >= height || pixel.x >= width) return false;
        return mask[size_t(pixel.y >> level) * (width >> level) + (pixel.x >> level)] == 1;
    };
    const int thread = threadIdx.x;
    const bool some = any_thread(active({window.y + thread / WINDOW_WIDTH, window.x + thread % WINDOW_WIDTH}));
    Sums<8> sums;
    clear<8>(sums);
    if (some) convolve_window<8, false>(sums, dynamic_shared(), source, source, own, window, height, width);
    const int first = lane_column() * 16;
    float offset[16];
    load_floats(offset, bias + place * CHANNELS + first);
    for (int r = 0; r < 4; ++r) {
        const Window pixel = pixel_of(window, r);
        if (pixel.y >= height || pixel.x >= width) continue;
        float values[16];
        take<8>(values, sums, r);
        const bool on = active(pixel);
        for (int i = 0; i < 16; ++i) values[i] = on ? activate(values[i] + offset[i], slope) : 0.0f;
        const size_t row = 2 * size_t(pixel.y) + place / 2;
        store_channels(out + (row * 2 * width + 2 * pixel.x + place % 2) * CHANNELS + first, values);
    }
}
