// From features to the upscaled frame.
#include "window.cuh"

constexpr int TILES = OUT / 8;         // OUT: 3 * SCALE * SCALE rounded up to a multiple of 16
constexpr int DETAIL_PITCH = OUT + 1;  // floats of a pixel in shared memory; odd, so that banks differ
constexpr int ENLARGED = SCALE * UP;   // UP: how many times the frame's sides those of the source are
constexpr int BASE_WIDTH = WINDOW_WIDTH / UP + 4, BASE_HEIGHT = WINDOW_HEIGHT / UP + 4;  // what the bicubic looks at
static_assert(WINDOW_HEIGHT % UP == 0, "a window begins at a pixel of the frame");

// The four weights of the cubic with a = -0.75 at distances 1 + t, t, 1 - t, 2 - t.
DEVICE void cubic(float (&weights)[4], float t) {
    const float a = -0.75f;
    const float u = 1.0f - t;
    weights[0] = ((a * (t + 1.0f) - 5.0f * a) * (t + 1.0f) + 8.0f * a) * (t + 1.0f) - 4.0f * a;
    weights[1] = ((a + 2.0f) * t - (a + 3.0f)) * t * t + 1.0f;
    weights[2] = ((a + 2.0f) * u - (a + 3.0f)) * u * u + 1.0f;
    weights[3] = ((a * (u + 1.0f) - 5.0f * a) * (u + 1.0f) + 8.0f * a) * (u + 1.0f) - 4.0f * a;
}

// Where output coordinate `fine` (>= 0, within the window) looks: the first of 4 pixels of the staged base, and its weights,
// which must not depend on where the window begins.
DEVICE int look(float (&weights)[4], int fine) {
    const float centre = (float(fine % ENLARGED) + 0.5f) / float(ENLARGED) - 0.5f;
    const float below = floorf(centre);
    cubic(weights, centre - below);
    return fine / ENLARGED + int(below) + 1;  // the base begins 2 pixels before the window, the cubic 1 before its pixel
}

// What:   pixel shuffle of conv3(source) + bias, plus the bicubic of frame, clamped to 0..255.
// In/Out: source (height, width, 64); weights (9 * SLICES, OUT, slice); bias (OUT,); frame (height / UP, width / UP, 3) float
//         0..255; out (SCALE * height, SCALE * width, 3) float.
// Work:   a block computes a window of 16x8 pixels, then its threads share the SCALE^2 * 128 pixels of the result.
// Launch: ceil(height / 8) * ceil(width / 16) blocks of TILE_PIXELS threads.
// Needs:  max(2 * REACH_BYTES + STAGES * OUT * SLICE_BYTES, 4 * (TILE_PIXELS * (OUT + 1) + BASE_WIDTH * BASE_HEIGHT * 3)) shared bytes.
// Same as: tail of the cpu engine (tests/cuda/test_late_kernels.py::test_tail).
extern "C" KERNEL(THREADS, 2) tail(
    const element* __restrict__ source,
    const element* __restrict__ weights,
    const float* __restrict__ bias,
    const float* __restrict__ frame,
    float* __restrict__ out,
    int height,
    int width
) {
    const Window window = window_of(blockIdx.x, width);
    Sums<TILES> sums;
    convolve_window<TILES, false>(sums, dynamic_shared(), source, source, weights, window, height, width);
    float* detail = reinterpret_cast<float*>(dynamic_shared());  // (TILE_PIXELS, DETAIL_PITCH)
    float* base = detail + TILE_PIXELS * DETAIL_PITCH;           // (BASE_HEIGHT, BASE_WIDTH, 3)
    const int first = lane_column() * (OUT / 4);
    for (int r = 0; r < 4; ++r) {
        float values[OUT / 4];
        take<TILES>(values, sums, r);
        for (int i = 0; i < OUT / 4; ++i) detail[pixel_of(r) * DETAIL_PITCH + first + i] = values[i] + bias[first + i];
    }
    for (int i = threadIdx.x; i < BASE_HEIGHT * BASE_WIDTH; i += THREADS) {
        const int y = window.y / UP - 2 + i / BASE_WIDTH, x = window.x / UP - 2 + i % BASE_WIDTH;
        const int inner_y = min(max(y, 0), height / UP - 1), inner_x = min(max(x, 0), width / UP - 1);
        for (int colour = 0; colour < 3; ++colour)
            base[i * 3 + colour] = frame[(size_t(inner_y) * (width / UP) + inner_x) * 3 + colour];
    }
    barrier();
    for (int i = threadIdx.x; i < TILE_PIXELS * SCALE * SCALE; i += THREADS) {
        const int fine_y = i / (WINDOW_WIDTH * SCALE), fine_x = i % (WINDOW_WIDTH * SCALE);
        const int y = window.y * SCALE + fine_y, x = window.x * SCALE + fine_x;
        if (y >= height * SCALE || x >= width * SCALE) continue;
        float down[4], across[4];
        const int top = look(down, fine_y), left = look(across, fine_x);
        // The warp's pixels lie in two rows of the window (see pixel_of): 16 of one, then 16 of the next.
        const int pixel = fine_y / SCALE * WINDOW_WIDTH + fine_x / SCALE;
        const int corner = fine_y % SCALE * SCALE + fine_x % SCALE;
        for (int colour = 0; colour < 3; ++colour) {
            float value = 0.0f;
            for (int j = 0; j < 4; ++j) {
                float line = 0.0f;
                for (int k = 0; k < 4; ++k)
                    line = fmaf(across[k], base[((top + j) * BASE_WIDTH + left + k) * 3 + colour], line);
                value = fmaf(down[j], line, value);
            }
            value += detail[pixel * DETAIL_PITCH + colour * SCALE * SCALE + corner];
            out[(size_t(y) * width * SCALE + x) * 3 + colour] = fminf(fmaxf(value, 0.0f), 255.0f);
        }
    }
}
