// The first and the last 3x3 convolutions over the whole frame.
#include "window.cuh"

// What:   conv3(frame - mean), 3 -> 64 channels, zeros outside the frame. If alone, it is f_0, stored exactly (see
//         tile.cuh); else a leaky relu of it, stored in `high` alone.
// In/Out: frame (height, width, 3) float 0..255; weights (27, 64) float, tap-major; bias (64,); high, low (height, width,
//         64); slope: of the leaky relu.
// Work:   a thread computes 16 channels of one pixel; 4 threads share a pixel.
// Launch: ceil(4 * height * width / 128) blocks of 128 threads.
// Needs:  27 * 64 * 4 shared bytes.
// Same as: head.0 of the cpu engine (tests/cuda/test_kernels.py::test_head).
extern "C" KERNEL(128) head_first(
    const float* __restrict__ frame,
    const float* __restrict__ mean,
    const float* __restrict__ weights,
    const float* __restrict__ bias,
    element* high,
    element* low,
    int alone,
    float slope,
    int height,
    int width
) {
    float* staged = reinterpret_cast<float*>(dynamic_shared());
    for (int i = threadIdx.x; i < 27 * CHANNELS; i += blockDim.x) staged[i] = weights[i];
    barrier();
    const size_t item = size_t(blockIdx.x) * blockDim.x + threadIdx.x;
    const size_t pixel = item / 4;
    const int first = int(item % 4) * 16;
    if (pixel >= size_t(height) * width) return;
    const int y = int(pixel / width), x = int(pixel % width);
    float sums[16];
    load_floats(sums, bias + first);
#pragma unroll 1
    for (int tap = 0; tap < 9; ++tap) {
        const int yy = y + tap / 3 - 1, xx = x + tap % 3 - 1;
        if (unsigned(yy) >= unsigned(height) || unsigned(xx) >= unsigned(width)) continue;
        const float* source = frame + (size_t(yy) * width + xx) * 3;
        for (int colour = 0; colour < 3; ++colour) {
            const float value = source[colour] - mean[colour];
            float row[16];
            load_floats(row, staged + (tap * 3 + colour) * CHANNELS + first);
            for (int i = 0; i < 16; ++i) sums[i] = fmaf(value, row[i], sums[i]);
        }
    }
    const size_t place = pixel * CHANNELS + first;
    if (alone) {
        store_exact(high, low, place, sums);
        return;
    }
    for (int i = 0; i < 16; ++i) sums[i] = activate(sums[i], slope);
    store_channels(high + place, sums);
}

// What:   conv3(source) + bias, 64 -> 64 channels. HEAD = 1: the result is f_0, stored exactly (see tile.cuh);
//         HEAD = 0: + added, stored in `high` alone.
// In/Out: source, added, high, low (height, width, 64); weights (9 * SLICES, 64, slice); bias (64,).
// Work:   a block computes a window of 16x8 pixels, a warp 2 rows of it.
// Launch: ceil(height / 8) * ceil(width / 16) blocks of TILE_PIXELS threads.
// Needs:  2 * REACH_BYTES + STAGES * 64 * SLICE_BYTES shared bytes; high may be `added`, not `source`.
// Same as: head.2 and collect.2 of the cpu engine (tests/cuda/test_kernels.py::test_conv_frame).
extern "C" KERNEL(THREADS, 2) conv_frame(
    const element* __restrict__ source,
    const element* __restrict__ weights,
    const float* __restrict__ bias,
    const element* added,
    element* high,
    element* low,
    int height,
    int width
) {
    const Window window = window_of(blockIdx.x, width);
    Sums<8> sums;
    convolve_window<8, false>(sums, dynamic_shared(), source, source, weights, window, height, width);
    const int first = lane_column() * 16;
    float offset[16];
    load_floats(offset, bias + first);
    for (int r = 0; r < 4; ++r) {
        const Window pixel = pixel_of(window, r);
        if (pixel.y >= height || pixel.x >= width) continue;
        const size_t place = (size_t(pixel.y) * width + pixel.x) * CHANNELS + first;
        float values[16];
        take<8>(values, sums, r);
        for (int i = 0; i < 16; ++i) values[i] += offset[i];
#if HEAD
        store_exact(high, low, place, values);
#else
        float more[16];
        load_channels(more, added + place);
        for (int i = 0; i < 16; ++i) values[i] += more[i];
        store_channels(high + place, values);
#endif
    }
}
