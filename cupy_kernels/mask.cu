// The mask branch: which pixels are active. All sums and stored values are float in both precisions.
#include "window.cuh"

constexpr int HIDDEN = 16;              // channels of the branch
constexpr int HIDDEN_SIDE = MASK_SIDE;  // half-resolution positions of a block of mask_decide, per side
constexpr int MASK_THREADS = MASK_SIDE * MASK_SIDE;
constexpr int TILE_SIDE = HIDDEN_SIDE - 1;  // those it decides: the transposed convolution looks right and down
constexpr int POOLED_SIDE = HIDDEN_SIDE + 2;

// What:   pooled = mean over 2x2 of relu(conv3(f) + bias), 64 -> 16 channels.
// In/Out: high, low (height, width, 64), f exactly; weights (steps, 16, slice), split; pooled (height/2, width/2, 16).
// Work:   a block computes a window of 16x8 pixels, a warp 2 rows of it, so that a 2x2 is 2 threads' own.
// Launch: ceil(height / 8) * ceil(width / 16) blocks of TILE_PIXELS threads.
// Needs:  2 * REACH_BYTES + STAGES * 16 * SLICE_BYTES shared bytes; height and width even.
// Same as: spa_mask.0 and the pool of the cpu engine (tests/cuda/test_kernels.py::test_mask).
extern "C" KERNEL(THREADS, 2) mask_pool(
    const element* __restrict__ high,
    const element* __restrict__ low,
    const element* __restrict__ weights,
    const float* __restrict__ bias,
    float* __restrict__ pooled,
    int height,
    int width
) {
    const Window window = window_of(blockIdx.x, width);
    Sums<2> sums;
    convolve_window<2, HALF != 0>(sums, dynamic_shared(), high, low, weights, window, height, width);
    const int first = lane_column() * 4;
    float offset[4];
    load_floats(offset, bias + first);
    float columns[2][4];  // sums of two rows, at x and x + 8
    for (int i = 0; i < 4; ++i) {
        float values[4];
        for (int r = 0; r < 4; ++r) values[r] = fmaxf(sums[r / 2][i / 2][2 * (r % 2) + i % 2] + offset[i], 0.0f);
        columns[0][i] = values[0] + values[2];
        columns[1][i] = values[1] + values[3];
    }
    // The thread with the even x stores the 2x2 of the left half of the window, the one with the odd x that of the right.
    const bool odd = lane_row() % 2;
    float mean[4];
    for (int i = 0; i < 4; ++i) {
        const float other = shuffle_xor(odd ? columns[0][i] : columns[1][i], 4);
        mean[i] = ((odd ? columns[1][i] : columns[0][i]) + other) * 0.25f;
    }
    const Window pixel = pixel_of(window, odd);
    if (pixel.y >= height || pixel.x >= width) return;
    float* target = pooled + (size_t(pixel.y / 2) * (width / 2) + pixel.x / 2) * HIDDEN + first;
    *reinterpret_cast<float4*>(target) = float4{mean[0], mean[1], mean[2], mean[3]};
}

// What:   hidden = relu(conv3(pooled)); logits = transposed conv3, stride 2; mask = logits[1] > logits[0].
// In/Out: pooled (rows, columns, 16) at half resolution; weights (9, 16, 16) tap, in, out; bias (16,);
//         up_weights (9, 16, 2) tap, in, out; up_bias (2,); mask (2 * rows, 2 * columns) bytes; quads: a 2x2 with an
//         active pixel is active as a whole.
// Work:   a thread computes one position of hidden, then its 2x2 pixels; a block's last row and column serve the others.
// Launch: ceil(rows / (MASK_SIDE - 1)) * ceil(columns / (MASK_SIDE - 1)) blocks of MASK_SIDE^2 threads.
// Needs:  4 * 16 * ((MASK_SIDE + 2)^2 + MASK_SIDE^2 + 9 * 18) shared bytes.
// Same as: spa_mask.3, .5 and the comparison of the cpu engine (tests/cuda/test_kernels.py::test_mask).
extern "C" KERNEL(MASK_THREADS) mask_decide(
    const float* __restrict__ pooled,
    const float* __restrict__ weights,
    const float* __restrict__ bias,
    const float* __restrict__ up_weights,
    const float* __restrict__ up_bias,
    unsigned char* __restrict__ mask,
    int rows,
    int columns,
    int quads
) {
    float* near = reinterpret_cast<float*>(dynamic_shared());   // (16, POOLED_SIDE^2)
    float* hidden = near + HIDDEN * POOLED_SIDE * POOLED_SIDE;  // (16, HIDDEN_SIDE^2)
    float* taps = hidden + HIDDEN * HIDDEN_SIDE * HIDDEN_SIDE;  // (9, 16, 16)
    float* up_taps = taps + 9 * HIDDEN * HIDDEN;                // (9, 16, 2)
    const int across = (columns + TILE_SIDE - 1) / TILE_SIDE;
    const int top = int(blockIdx.x) / across * TILE_SIDE, left = int(blockIdx.x) % across * TILE_SIDE;

    for (int i = threadIdx.x; i < POOLED_SIDE * POOLED_SIDE * 4; i += blockDim.x) {
        const int position = i / 4, channel = i % 4 * 4;
        const int y = top - 1 + position / POOLED_SIDE, x = left - 1 + position % POOLED_SIDE;
        float values[4] = {0.0f, 0.0f, 0.0f, 0.0f};
        if (unsigned(y) < unsigned(rows) && unsigned(x) < unsigned(columns))
            load_floats(values, pooled + (size_t(y) * columns + x) * HIDDEN + channel);
        for (int j = 0; j < 4; ++j) near[(channel + j) * POOLED_SIDE * POOLED_SIDE + position] = values[j];
    }
    for (int i = threadIdx.x; i < 9 * HIDDEN * HIDDEN; i += blockDim.x) taps[i] = weights[i];
    for (int i = threadIdx.x; i < 9 * HIDDEN * 2; i += blockDim.x) up_taps[i] = up_weights[i];
    barrier();

    const int row = threadIdx.x / HIDDEN_SIDE, column = threadIdx.x % HIDDEN_SIDE;
    const bool inside = top + row < rows && left + column < columns;
    float sums[HIDDEN];
    load_floats(sums, bias);
#pragma unroll 1
    for (int tap = 0; tap < 9; ++tap) {
        const int position = (row + tap / 3) * POOLED_SIDE + column + tap % 3;
        for (int channel = 0; channel < HIDDEN; ++channel) {
            const float value = near[channel * POOLED_SIDE * POOLED_SIDE + position];
            float factors[HIDDEN];
            load_floats(factors, taps + (tap * HIDDEN + channel) * HIDDEN);
            for (int i = 0; i < HIDDEN; ++i) sums[i] = fmaf(value, factors[i], sums[i]);
        }
    }
    for (int i = 0; i < HIDDEN; ++i)
        hidden[i * HIDDEN_SIDE * HIDDEN_SIDE + threadIdx.x] = inside ? fmaxf(sums[i], 0.0f) : 0.0f;
    barrier();

    if (row == TILE_SIDE || column == TILE_SIDE || !inside) return;
    unsigned pairs[2] = {0, 0};
#pragma unroll
    for (int odd_y = 0; odd_y < 2; ++odd_y) {
#pragma unroll
        for (int odd_x = 0; odd_x < 2; ++odd_x) {
            float off = up_bias[0], on = up_bias[1];
            // An even output row takes tap 1 of its own row; an odd one tap 0 of the next row and tap 2 of its own.
#pragma unroll 1
            for (int part = 0; part < (1 + odd_y) * (1 + odd_x); ++part) {
                const int below = part / (1 + odd_x), right = part % (1 + odd_x);
                const int tap = (odd_y ? 2 - 2 * below : 1) * 3 + (odd_x ? 2 - 2 * right : 1);
                const int position = (row + below) * HIDDEN_SIDE + column + right;
                for (int channel = 0; channel < HIDDEN; ++channel) {
                    const float value = hidden[channel * HIDDEN_SIDE * HIDDEN_SIDE + position];
                    off = fmaf(value, up_taps[(tap * HIDDEN + channel) * 2], off);
                    on = fmaf(value, up_taps[(tap * HIDDEN + channel) * 2 + 1], on);
                }
            }
            pairs[odd_y] |= unsigned(on > off) << (8 * odd_x);
        }
    }
    if (quads) pairs[0] = pairs[1] = pairs[0] | pairs[1] ? 0x0101 : 0;
    for (int odd_y = 0; odd_y < 2; ++odd_y) {
        const size_t place = (size_t(2 * (top + row) + odd_y) * columns + left + column) * 2;
        *reinterpret_cast<unsigned short*>(mask + place) = static_cast<unsigned short>(pairs[odd_y]);
    }
}
