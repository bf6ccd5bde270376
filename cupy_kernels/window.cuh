// A 3x3 convolution over the whole frame: a block computes a window of 16x8 pixels from its 18x10 neighbourhood, which is
// read once, slice by slice, and stays in shared memory for all 9 taps.
//
// Macros: those of tile.cuh, WINDOW_WIDTH. SPLIT = 1 (halves only): the source is the exact pair of maps (see tile.cuh), and so are the weights; the product is
// high * high + high * low + low * high, all but 2^-22 of the float product.
#pragma once
#include "tile.cuh"

static_assert(WINDOW_WIDTH == 16, "a warp's 32 pixels are 2 rows of the window");
constexpr int WINDOW_HEIGHT = TILE_PIXELS / WINDOW_WIDTH;
constexpr int REACH_WIDTH = WINDOW_WIDTH + 2;
constexpr int REACH = REACH_WIDTH * (WINDOW_HEIGHT + 2);  // pixels read
constexpr int REACH_BYTES = REACH * SLICE_BYTES;

struct Window {
    int y, x;  // top left pixel
};

// The windows are numbered in rows.
DEVICE Window window_of(int number, int width) {
    const int across = (width + WINDOW_WIDTH - 1) / WINDOW_WIDTH;
    return {number / across * WINDOW_HEIGHT, number % across * WINDOW_WIDTH};
}

// The thread's r-th pixel, r = 0..3: x of 0 and 2, 1 and 3 is the same, y of 2 and 3 is one below.
DEVICE Window pixel_of(Window window, int r) {
    return {window.y + 2 * warp_index() + r / 2, window.x + r % 2 * 8 + lane_row()};
}

// Shared bytes: 2 * REACH_BYTES + STAGES * 8 * TILES * SLICE_BYTES.
// high, low: (height, width, 64); weights: (steps, 8 * TILES, slice), a step per slice (and part of the split) and tap.
template <int TILES, bool SPLIT>
DEVICE void convolve_window(
    Sums<TILES>& sums,
    unsigned char* shared,
    const element* high,
    const element* low,
    const element* weights,
    Window window,
    int height,
    int width
) {
    constexpr int OUT_ROWS = 8 * TILES;
    constexpr int LONG = SPLIT ? 18 : 9;  // steps of a slice of `high`
    constexpr int STEPS = SLICES * LONG + (SPLIT ? SLICES * 9 : 0);
    constexpr int ALL_SLICES = SPLIT ? 2 * SLICES : SLICES;  // those of `high`, then those of `low`
    unsigned char* weight_buffers = shared + 2 * REACH_BYTES;

    auto slice_of = [](int step) { return step < SLICES * LONG ? step / LONG : SLICES + (step - SLICES * LONG) / 9; };
    auto first_of = [](int slice) { return slice < SLICES ? slice * LONG : SLICES * LONG + (slice - SLICES) * 9; };
    auto load_slice = [&](int slice) {
        const element* source = slice < SLICES ? high : low;
        for (int i = threadIdx.x; i < REACH * SLICE_CHUNKS; i += THREADS) {
            const int row = i / SLICE_CHUNKS, chunk = i % SLICE_CHUNKS;
            const int y = window.y - 1 + row / REACH_WIDTH, x = window.x - 1 + row % REACH_WIDTH;
            const bool inside = unsigned(y) < unsigned(height) && unsigned(x) < unsigned(width);
            const size_t pixel = inside ? size_t(y) * width + x : 0;
            const element* from = source + pixel * CHANNELS + (slice % SLICES * SLICE_CHUNKS + chunk) * CHUNK;
            copy_async(shared + slice % 2 * REACH_BYTES + slot(row, chunk), from, inside);
        }
    };
    auto load = [&](int step, int buffer) {
        if (step == 0) load_slice(0);
        // `step` is STAGES - 1 ahead: here slice_of(now) begins, so the buffer of the slice before is free.
        const int now = step - (STAGES - 1);
        if (now >= 0 && now == first_of(slice_of(now)) && slice_of(now) + 1 < ALL_SLICES) load_slice(slice_of(now) + 1);
        load_weights<OUT_ROWS>(weight_buffers + buffer * OUT_ROWS * SLICE_BYTES, weights, step);
    };
    clear<TILES>(sums);
    pipeline(STEPS, load, [&](int step, int buffer) {
        const int slice = slice_of(step);
        const int tap = (step - first_of(slice)) % 9;
        const int first = (2 * warp_index() + tap / 3) * REACH_WIDTH + tap % 3;
        multiply_slice<REACH_WIDTH, TILES>(
            sums, shared + slice % 2 * REACH_BYTES, first, weight_buffers + buffer * OUT_ROWS * SLICE_BYTES
        );
    });
}
