// One masked 3x3 convolution of a block, over a list of pixels.
//
// A layer's output is a full map of its dense channels and compact rows of its sparse channels, one row per active pixel
// in the order of the list; `inverse` leads from a pixel to 1 + its row, 0 where it has none (and the channels are 0).
// IN and OUT: all 64 channels for active pixels; for inactive ones the dense channels before and after, multiples of 16.
#include "tile.cuh"

constexpr int TILES = OUT / 8;
constexpr int OWN = OUT / 4;  // channels of a thread
constexpr int IN_CHUNKS = IN / CHUNK;
constexpr int STEPS = (9 * IN_CHUNKS + SLICE_CHUNKS - 1) / SLICE_CHUNKS;  // tap by tap; the last step is padded
constexpr int STAGE_BYTES = (TILE_PIXELS + OUT) * SLICE_BYTES;
constexpr int KEPT = (OWN + 7) / 8;  // channel sums that a thread keeps: those from lane_row() * KEPT of its own

// Channel sums must not depend on which pixels share a tile: a frame in windows has the sums of the whole frame. So every
// value is split into a multiple of 2^-1 and one of 1 / SUM_SCALE, and both multiples are added as integers. Adding
// 1.5 * 2^23 units to a float rounds it to a multiple of the unit, which then stands in its low bits.
constexpr float COARSE = 1.5f * (1 << 22), FINE = 1.5f * (1 << 23) / SUM_SCALE;
constexpr float SUM_LIMIT = (1 << 21) - 1;  // values beyond it, far beyond any half, count as it
static_assert(SUM_SCALE >= 1 << 16 && SUM_SCALE <= 1 << 24, "FINE must hold a rest of up to 1/4 exactly");

DEVICE void add(unsigned& coarse, unsigned& fine, float value, float counted) {
    const float most = fmaf(value, counted, COARSE);
    coarse += float_bits(most);
    fine += float_bits(fmaf(value, counted, COARSE - most) + FINE);
}

// All lanes: of the first 2 * COUNT values, lanes with bit `lane` keep the upper half and add the other lane's to it, the
// others the lower half.
template <int COUNT, int N>
DEVICE void exchange(unsigned (&values)[N], int lane) {
    const bool upper = threadIdx.x & lane;
#pragma unroll
    for (int i = 0; i < COUNT; ++i) {
        const unsigned sent = upper ? values[i] : values[COUNT + i];
        values[i] = (upper ? values[COUNT + i] : values[i]) + shuffle_xor(sent, lane);
    }
}

// All lanes: values[i], i < N / 8, becomes the sum of the 8 lanes of this lane_column(), each's at lane_row() * N / 8 + i.
template <int N>
DEVICE void share_out(unsigned (&values)[N]) {
    exchange<N / 2>(values, 16);
    exchange<N / 4>(values, 8);
    exchange<N / 8>(values, 4);
}

// What:   a leaky relu of conv3(source) at the listed pixels; adds each channel's sum over those in the window to sums.
// In/Out: source: dense (height, width, dense_in), rows (active, IN - dense_in), inverse (height, width); weights (STEPS,
//         OUT, slice); list, count: pixels as y << 16 | x; out: dense_out (height, width, dense_channels), rows_out
//         (active, OUT - dense_channels); sums (OUT,) in units of 1 / SUM_SCALE; slope: of the leaky relu; window: rows
//         top <= y < bottom, columns left <= x < right.
// Work:   a block computes tiles of TILE_PIXELS pixels, a warp 32 of them; blocks take every gridDim.x-th tile.
// Launch: min(ceil(height * width / TILE_PIXELS), resident blocks) blocks of TILE_PIXELS threads.
// Needs:  STAGES * STAGE_BYTES + 11 * TILE_PIXELS * 4 shared bytes; dense_in = IN or a multiple of 16 below it.
// Same as: conv3x3 of the cpu engine (tests/cuda/test_kernels.py::test_conv_listed).
extern "C" KERNEL(THREADS, 2) conv_listed(
    const element* __restrict__ dense,
    const element* __restrict__ rows,
    const int* __restrict__ inverse,
    int dense_in,
    const element* __restrict__ weights,
    const unsigned* __restrict__ list,
    const int* __restrict__ count,
    element* __restrict__ dense_out,
    element* __restrict__ rows_out,
    int dense_channels,
    int64* __restrict__ sums_out,
    float slope,
    int height,
    int width,
    int top,
    int left,
    int bottom,
    int right
) {
    unsigned char* stages = dynamic_shared();
    int* places = reinterpret_cast<int*>(stages + STAGES * STAGE_BYTES);  // (9, TILE_PIXELS): -1 outside, else inverse
    int* pixels = places + 9 * TILE_PIXELS;                               // y * width + x
    float* counted = reinterpret_cast<float*>(pixels + TILE_PIXELS);      // 1 in the window, else 0
    const int total = *count;
    const int dense_chunks = dense_in / CHUNK, row_chunks = IN_CHUNKS - dense_chunks;
    const int chunk = threadIdx.x % SLICE_CHUNKS;  // the chunk of a slice that this thread copies, of every 32nd pixel
    int64 kept[KEPT] = {};

    for (int64 tile = blockIdx.x; tile * TILE_PIXELS < total; tile += gridDim.x) {
        const int item = int(tile) * TILE_PIXELS + threadIdx.x;
        const unsigned packed = item < total ? list[item] : 0;
        const int y = int(packed >> 16), x = int(packed & 0xffff);
        pixels[threadIdx.x] = y * width + x;
        counted[threadIdx.x] = item < total && y >= top && y < bottom && x >= left && x < right ? 1.0f : 0.0f;
#pragma unroll
        for (int tap = 0; tap < 9; ++tap) {
            const int yy = y + tap / 3 - 1, xx = x + tap % 3 - 1;
            const bool inside = item < total && unsigned(yy) < unsigned(height) && unsigned(xx) < unsigned(width);
            int place = inside ? 0 : -1;
            if (inside && row_chunks) place = inverse[yy * width + xx];
            places[tap * TILE_PIXELS + threadIdx.x] = place;
        }
        barrier();

        auto load = [&](int step, int buffer) {
            unsigned char* stage = stages + buffer * STAGE_BYTES;
            const int flat = step * SLICE_CHUNKS + chunk;
            const int tap = flat / IN_CHUNKS, channel = flat % IN_CHUNKS;
            const bool real = tap < 9;
            const int shift = (tap / 3 - 1) * width + tap % 3 - 1;
            const bool in_map = channel < dense_chunks;
#pragma unroll
            for (int i = 0; i < SLICE_CHUNKS; ++i) {
                const int pixel = threadIdx.x / SLICE_CHUNKS + i * (TILE_PIXELS / SLICE_CHUNKS);
                const int place = real ? places[tap * TILE_PIXELS + pixel] : -1;
                const bool valid = in_map ? place >= 0 : place > 0;
                const element* source = dense;
                if (valid) {
                    source = in_map ? dense + (size_t(pixels[pixel] + shift) * dense_chunks + channel) * CHUNK
                                    : rows + (size_t(place - 1) * row_chunks + channel - dense_chunks) * CHUNK;
                }
                copy_async(stage + slot(pixel, chunk), source, valid);
            }
            load_weights<OUT>(stage + TILE_PIXELS * SLICE_BYTES, weights, step);
        };
        Sums<TILES> sums;
        clear<TILES>(sums);
        pipeline(STEPS, load, [&](int, int buffer) {
            const unsigned char* stage = stages + buffer * STAGE_BYTES;
            multiply_slice<16, TILES>(sums, stage, warp_index() * 32, stage + TILE_PIXELS * SLICE_BYTES);
        });

        const int first = lane_column() * OWN;
        unsigned coarse[8 * KEPT] = {}, fine[8 * KEPT] = {};
#pragma unroll
        for (int r = 0; r < 4; ++r) {
            float values[OWN];
            take<TILES>(values, sums, r);
            const int pixel = pixel_of(r), row = int(tile) * TILE_PIXELS + pixel;
            const float counts = counted[pixel];
            for (int i = 0; i < OWN; ++i) {
                values[i] = activate(values[i], slope);
                add(coarse[i], fine[i], fmaxf(fminf(values[i], SUM_LIMIT), -SUM_LIMIT), counts);
            }
            if (row >= total) continue;
            element* target = first < dense_channels
                                  ? dense_out + size_t(pixels[pixel]) * dense_channels + first
                                  : rows_out + size_t(row) * (OUT - dense_channels) + first - dense_channels;
            store_channels(target, values);
        }
        share_out(coarse);
        share_out(fine);
        for (int i = 0; i < KEPT; ++i) {  // sums of 32 values: what was added to each for rounding goes
            const int most = int(coarse[i] - 32 * float_bits(COARSE)), rest = int(fine[i] - 32 * float_bits(FINE));
            kept[i] += int64(most) * (SUM_SCALE / 2) + rest;
        }
        barrier();  // the places of this tile are read no more
    }
    for (int i = 0; i < KEPT; ++i) {
        const int channel = lane_row() * KEPT + i;
        if (channel < OWN && kept[i]) atomic_add(sums_out + lane_column() * OWN + channel, kept[i]);
    }
}
