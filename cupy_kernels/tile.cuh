// A block's share of a convolution: 128 pixels times OUT channels, as a product of small matrices.
//
// Macros: HALF (1: halves in, float sums, tensor cores; 0: float throughout), TILE_PIXELS, SLICE_CHUNKS, STAGES.
// Both types move the same bytes: a *chunk* is 16 bytes of channels, a *slice* is 64 bytes = 4 chunks of every pixel of
// the tile (or of every output channel, for weights), the unit that is staged in shared memory.
//
// A warp owns 32 pixels. With g = lane / 4, t = lane % 4 a thread holds the sums of pixels g, g+8, g+16, g+24 and of
// OUT / 4 channels that lie next to each other in memory: weights are packed so that column 8j + 2t + e of the product
// is channel t * OUT / 4 + 2j + e. So every thread stores whole vectors, straight from its registers.
#pragma once
#include "primitives.cuh"

#if HALF
typedef half_bits element;
#else
typedef float element;
#endif

constexpr int CHANNELS = 64;
constexpr int CHUNK = 16 / sizeof(element);     // channels in a chunk
constexpr int CHUNKS = CHANNELS / CHUNK;        // chunks of a pixel
constexpr int SLICE_BYTES = 16 * SLICE_CHUNKS;  // of one pixel
static_assert(SLICE_CHUNKS == 4, "slot() rotates 4 chunks");
static_assert(STAGES >= 2 && STAGES <= 9, "a window is read in the 9 taps before it is needed");
constexpr int SLICES = CHUNKS / SLICE_CHUNKS;  // of a pixel's 64 channels
constexpr int THREADS = TILE_PIXELS;           // of a block: 32 pixels a warp
constexpr float HALF_LIMIT = 65504.0f;         // the largest half

// Where chunk `chunk` of row `row` of a slice lies: rotated, so that 8 rows that are read together hit all banks.
DEVICE int slot(int row, int chunk) { return row * SLICE_BYTES + ((chunk ^ (row >> 1 & 3)) << 4); }

DEVICE int lane_row() { return threadIdx.x / 4 % 8; }  // g
DEVICE int lane_column() { return threadIdx.x % 4; }   // t
DEVICE int warp_index() { return threadIdx.x / 32; }

// Pixel of the tile whose sums are sums[r / 2][.][2 * (r % 2) + .] in this thread, r = 0..3.
DEVICE int pixel_of(int r) { return warp_index() * 32 + r * 8 + lane_row(); }

template <int TILES>
using Sums = float[2][TILES][4];

template <int TILES>
DEVICE void clear(Sums<TILES>& sums) {
    for (int m = 0; m < 2; ++m)
        for (int j = 0; j < TILES; ++j)
            for (int i = 0; i < 4; ++i) sums[m][j][i] = 0.0f;
}

// All lanes. sums += pixels (32 x slice) * weights (slice x 8 * TILES). The warp's pixel p is row first + p / 16 * PITCH
// + p % 16 of the slice at `pixels`; output column n is row n of the slice at `weights`.
template <int PITCH, int TILES>
DEVICE void multiply_slice(Sums<TILES>& sums, const unsigned char* pixels, int first, const unsigned char* weights) {
#if HALF
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int k = 0; k < SLICE_CHUNKS; k += 2) {
        unsigned a[2][4];
        for (int m = 0; m < 2; ++m) load_matrices(a[m], pixels + slot(first + m * PITCH + lane % 16, k + lane / 16));
#pragma unroll
        for (int j = 0; j < TILES; j += 2) {
            unsigned b[4];
            load_matrices(b, weights + slot(j * 8 + lane / 16 * 8 + lane % 8, k + lane / 8 % 2));
            for (int m = 0; m < 2; ++m) {
                multiply(sums[m][j], a[m], b[0], b[1]);
                multiply(sums[m][j + 1], a[m], b[2], b[3]);
            }
        }
    }
#else
#pragma unroll
    for (int k = 0; k < SLICE_CHUNKS; ++k) {
        float4 a[4];
        for (int r = 0; r < 4; ++r) {
            const int row = first + r / 2 * PITCH + r % 2 * 8 + lane_row();
            a[r] = *reinterpret_cast<const float4*>(pixels + slot(row, k));
        }
#pragma unroll
        for (int n = 0; n < 2 * TILES; ++n) {
            const int row = n / 2 * 8 + 2 * lane_column() + n % 2;
            const float4 b = *reinterpret_cast<const float4*>(weights + slot(row, k));
            for (int r = 0; r < 4; ++r) {
                float& sum = sums[r / 2][n / 2][2 * (r % 2) + n % 2];
                sum = fmaf(a[r].x, b.x, sum);
                sum = fmaf(a[r].y, b.y, sum);
                sum = fmaf(a[r].z, b.z, sum);
                sum = fmaf(a[r].w, b.w, sum);
            }
        }
    }
#endif
}

// All threads. Runs step(i, buffer) for i = 0 .. steps-1, each after the copies that load(i, buffer) started have
// arrived; loads run STAGES - 1 steps ahead, buffer = i % STAGES. On return every thread is done with shared memory.
template <class Load, class Step>
DEVICE void pipeline(int steps, Load load, Step step) {
    for (int i = 0; i < STAGES - 1; ++i) {
        if (i < steps) load(i, i);
        copy_commit();
    }
    for (int i = 0; i < steps; ++i) {
        copy_wait<STAGES - 2>();
        barrier();  // the data of step i is there for all, and nobody reads the buffer of step i - 1 any more
        const int next = i + STAGES - 1;
        if (next < steps) load(next, next % STAGES);
        copy_commit();
        step(i, i % STAGES);
    }
    copy_wait<0>();
    barrier();
}

// Start copying the weights of one step: OUT rows of a slice.
template <int OUT_ROWS>
DEVICE void load_weights(unsigned char* target, const element* weights, int step) {
    const unsigned char* source =
        reinterpret_cast<const unsigned char*>(weights) + size_t(step) * OUT_ROWS * SLICE_BYTES;
    for (int i = threadIdx.x; i < OUT_ROWS * SLICE_CHUNKS; i += THREADS)
        copy_async(target + slot(i / SLICE_CHUNKS, i % SLICE_CHUNKS), source + i * 16, true);
}

// ---- vectors of channels between registers and memory --------------------------------------------------------------

// The thread's sums of its r-th pixel: N = OUT / 4 channels.
template <int TILES>
DEVICE void take(float (&values)[2 * TILES], const Sums<TILES>& sums, int r) {
    for (int i = 0; i < 2 * TILES; ++i) values[i] = sums[r / 2][i / 2][2 * (r % 2) + i % 2];
}

// A leaky relu; a slope of 0 is a relu, 1 no activation at all.
DEVICE float activate(float value, float slope) { return fmaf(slope, fminf(value, 0.0f), fmaxf(value, 0.0f)); }

DEVICE float clamp_half(float value) { return fminf(fmaxf(value, -HALF_LIMIT), HALF_LIMIT); }

template <int N>
DEVICE void load_floats(float (&values)[N], const float* source) {
    for (int i = 0; i < N; i += 4) {
        const float4 four = *reinterpret_cast<const float4*>(source + i);
        values[i] = four.x, values[i + 1] = four.y, values[i + 2] = four.z, values[i + 3] = four.w;
    }
}

template <int N>
DEVICE void load_channels(float (&values)[N], const element* source) {
#if HALF
    for (int i = 0; i < N; i += 4) {
        const uint2 four = *reinterpret_cast<const uint2*>(source + i);
        values[i] = low_half(four.x), values[i + 1] = high_half(four.x);
        values[i + 2] = low_half(four.y), values[i + 3] = high_half(four.y);
    }
#else
    load_floats(values, source);
#endif
}

// N = 4, 8, 12 or 16 channels to an address that is a multiple of N elements.
template <int N>
DEVICE void store_channels(element* target, const float (&values)[N]) {
#if HALF
    unsigned packed[N / 2];
    for (int i = 0; i < N / 2; ++i) packed[i] = pack_halves(clamp_half(values[2 * i]), clamp_half(values[2 * i + 1]));
    if constexpr (N % 8 == 0) {
        for (int i = 0; i < N / 2; i += 4)
            store16(target + 2 * i, uint4{packed[i], packed[i + 1], packed[i + 2], packed[i + 3]});
    } else {
        for (int i = 0; i < N / 2; i += 2) *reinterpret_cast<uint2*>(target + 2 * i) = uint2{packed[i], packed[i + 1]};
    }
#else
    for (int i = 0; i < N; i += 4)
        *reinterpret_cast<float4*>(target + i) = float4{values[i], values[i + 1], values[i + 2], values[i + 3]};
#endif
}

// The residual stream f is kept exactly, for the masks are decided on it: as floats, or as two maps of halves whose
// sum it is, `high` (what convolutions read) and `low` (the rest). With floats `low` is never touched.
template <int N>
DEVICE void load_exact(float (&values)[N], const element* high, const element* low, size_t place) {
    load_channels(values, high + place);
#if HALF
    float rest[N];
    load_channels(rest, low + place);
    for (int i = 0; i < N; ++i) values[i] += rest[i];
#endif
}

// What rounding to halves leaves over.
template <int N>
DEVICE void leftover(float (&rest)[N], const float (&values)[N]) {
    for (int i = 0; i < N; i += 2) {
        const unsigned pair = pack_halves(clamp_half(values[i]), clamp_half(values[i + 1]));
        rest[i] = values[i] - low_half(pair);
        rest[i + 1] = values[i + 1] - high_half(pair);
    }
}

template <int N>
DEVICE void store_exact(element* high, element* low, size_t place, const float (&values)[N]) {
    store_channels(high + place, values);
#if HALF
    float rest[N];
    leftover(rest, values);
    store_channels(low + place, rest);
#endif
}

// The values as load_exact would give them after store_exact.
template <int N>
DEVICE void make_exact(float (&values)[N]) {
#if HALF
    float rest[N];
    leftover(rest, values);
    for (int i = 0; i < N; i += 2) {
        const unsigned high = pack_halves(clamp_half(values[i]), clamp_half(values[i + 1]));
        const unsigned low = pack_halves(clamp_half(rest[i]), clamp_half(rest[i + 1]));
        values[i] = low_half(high) + low_half(low);
        values[i + 1] = high_half(high) + high_half(low);
    }
#endif
}
