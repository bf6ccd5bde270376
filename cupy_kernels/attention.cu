// The end of a masked block: the 1x1 that fuses its layers, channel attention, the residual, and the block's share of the
// network's 1x1 collect, in one pass. The mean of a 1x1 is the 1x1 of the means, so the scales are known beforehand.
#include "tile.cuh"

// What:   scales = sigmoid(W2 relu(W1 mean + b1) + b2), where mean = collect of the layers' channel means.
// In/Out: sums (256,) from conv_listed, four layers of 64; collect (256, 64) in, out; bias (64,); squeeze (64, 4) in, out;
//         squeeze_bias (4,); expand (4, 64); expand_bias (64,); scales (64,), 0..1.
// Work:   one block; thread (part, channel) sums 64 of the 256 inputs of a channel.
// Launch: 1 block of 256 threads.
// Needs:  (256 + 64 + 4) floats of shared memory.
// Same as: attention of the cpu engine (tests/cuda/test_late_kernels.py::test_attention).
extern "C" KERNEL(256) attention_scales(
    const int64* __restrict__ sums,
    const float* __restrict__ collect,
    const float* __restrict__ bias,
    const float* __restrict__ squeeze,
    const float* __restrict__ squeeze_bias,
    const float* __restrict__ expand,
    const float* __restrict__ expand_bias,
    float* __restrict__ scales,
    int64 pixels
) {
    float* parts = reinterpret_cast<float*>(dynamic_shared());  // (4, 64)
    float* mean = parts + 4 * CHANNELS;                         // (64,)
    float* hidden = mean + CHANNELS;                            // (4,)
    const int channel = threadIdx.x % CHANNELS, part = threadIdx.x / CHANNELS;
    const double unit = 1.0 / (double(SUM_SCALE) * double(pixels));
    float sum = 0.0f;
    for (int i = part * CHANNELS; i < (part + 1) * CHANNELS; ++i)
        sum = fmaf(float(double(sums[i]) * unit), collect[i * CHANNELS + channel], sum);
    parts[threadIdx.x] = sum;
    barrier();
    if (part == 0)
        mean[channel] =
            bias[channel] + ((parts[channel] + parts[channel + 64]) + (parts[channel + 128] + parts[channel + 192]));
    barrier();
    if (threadIdx.x < 4) {
        float value = squeeze_bias[threadIdx.x];
        for (int i = 0; i < CHANNELS; ++i) value = fmaf(mean[i], squeeze[i * 4 + threadIdx.x], value);
        hidden[threadIdx.x] = fmaxf(value, 0.0f);
    }
    barrier();
    if (part == 0) {
        float value = expand_bias[channel];
        for (int i = 0; i < 4; ++i) value = fmaf(hidden[i], expand[i * CHANNELS + channel], value);
        scales[channel] = 1.0f / (1.0f + exponential(-value));
    }
}

constexpr int SUMMED = 16;  // pixels that a block of sum_features takes at a time
constexpr int GROUPS = CHANNELS / 4;

// What:   adds each channel's sum of f over a window to sums; every value is rounded by itself, so any order gives the same.
// In/Out: high, low (height, width, 64): f exactly; sums (64,) in units of 1 / SUM_SCALE; window: rows top <= y < bottom,
//         columns left <= x < right.
// Work:   a thread takes 4 channels of a pixel; blocks take every gridDim.x-th SUMMED pixels.
// Launch: min(ceil(pixels / SUMMED), resident blocks) blocks of SUMMED * 16 threads.
// Needs:  SUMMED * 64 * 8 shared bytes.
// Same as: window_sums of the cpu engine (tests/cuda/test_late_kernels.py::test_sum_features).
extern "C" KERNEL(256) sum_features(
    const element* __restrict__ high,
    const element* __restrict__ low,
    int64* __restrict__ sums,
    int width,
    int top,
    int left,
    int bottom,
    int right
) {
    int64* parts = reinterpret_cast<int64*>(dynamic_shared());  // (SUMMED, 64)
    const int first = threadIdx.x % GROUPS * 4, across = right - left;
    const int64 pixels = int64(bottom - top) * across;
    int64 kept[4] = {};
    for (int64 i = int64(blockIdx.x) * SUMMED + threadIdx.x / GROUPS; i < pixels; i += int64(gridDim.x) * SUMMED) {
        const size_t pixel = size_t(top + i / across) * width + left + i % across;
        float values[4];
        load_exact(values, high, low, pixel * CHANNELS + first);
        for (int j = 0; j < 4; ++j) {
            const int whole = round_to_int(values[j]);  // and the rest is exact
            kept[j] += int64(whole) * SUM_SCALE + round_to_int((values[j] - float(whole)) * SUM_SCALE);
        }
    }
    for (int j = 0; j < 4; ++j) parts[threadIdx.x / GROUPS * CHANNELS + first + j] = kept[j];
    barrier();
    if (threadIdx.x >= CHANNELS) return;
    int64 total = 0;
    for (int i = 0; i < SUMMED; ++i) total += parts[i * CHANNELS + threadIdx.x];
    atomic_add(sums + threadIdx.x, total);
}

constexpr int STAGE_BYTES = (TILE_PIXELS + CHANNELS) * SLICE_BYTES;
constexpr int FEATURE_BYTES = TILE_PIXELS * SLICE_BYTES;  // one slice of the new features

// What:   at the listed pixels: f' = (collect(layers) + bias) * scales + f; if shared, collected += share(f'), or, for the
//         first block, = share_bias + share(f'); for the last one a leaky relu of that.
// In/Out: layers: the four layers' maps and rows in one buffer; table (chunks, 4): for every 16-byte chunk of a pixel's
//         inputs {1 where it lies in the rows, start of its map in units of chunks * pixels, chunks of a pixel there,
//         number in the pixel}; weights (steps, 64, slice); high, low -> high_out, low_out (height, width, 64): f exactly;
//         share (SLICES, 64, slice); collected (height, width, 64).
// Work:   a block computes tiles of TILE_PIXELS pixels, a warp 32 of them; blocks take every gridDim.x-th tile.
// Launch: min(ceil(height * width / TILE_PIXELS), resident blocks) blocks of TILE_PIXELS threads, once per list.
// Needs:  max(STAGES * STAGE_BYTES, SLICES * FEATURE_BYTES + STAGES * 64 * SLICE_BYTES) + 4 * TILE_PIXELS shared bytes;
//         high_out, low_out may be high, low. With active pixels in the list, place in the list = row.
// Same as: residual of the cpu engine (tests/cuda/test_late_kernels.py::test_residual).
extern "C" KERNEL(THREADS, 2) residual(
    const element* __restrict__ layers,
    const int4* __restrict__ table,
    int chunks,
    const element* __restrict__ weights,
    const float* __restrict__ bias,
    const float* __restrict__ scales,
    const element* high,
    const element* low,
    element* high_out,
    element* low_out,
    const element* __restrict__ share,
    const float* __restrict__ share_bias,
    element* __restrict__ collected,
    const unsigned* __restrict__ list,
    const int* __restrict__ count,
    int shared,
    int is_first,
    int is_last,
    float slope,
    int height,
    int width
) {
    constexpr int PRODUCT_BYTES = STAGES * STAGE_BYTES;
    constexpr int SHARE_BYTES = SLICES * FEATURE_BYTES + STAGES * CHANNELS * SLICE_BYTES;
    unsigned char* memory = dynamic_shared();
    int* pixels = reinterpret_cast<int*>(memory + (PRODUCT_BYTES > SHARE_BYTES ? PRODUCT_BYTES : SHARE_BYTES));
    const int total = *count;
    const size_t area = size_t(height) * width;
    const int chunk = threadIdx.x % SLICE_CHUNKS;
    const int first = lane_column() * 16;

    for (int64 tile = blockIdx.x; tile * TILE_PIXELS < total; tile += gridDim.x) {
        const int start = int(tile) * TILE_PIXELS;
        const unsigned packed = start + int(threadIdx.x) < total ? list[start + threadIdx.x] : 0;
        pixels[threadIdx.x] = int(packed >> 16) * width + int(packed & 0xffff);
        barrier();

        auto load = [&](int step, int buffer) {
            unsigned char* stage = memory + buffer * STAGE_BYTES;
            const int flat = step * SLICE_CHUNKS + chunk;
            const int4 entry = flat < chunks ? table[flat] : int4{0, 0, 0, 0};
#pragma unroll
            for (int i = 0; i < SLICE_CHUNKS; ++i) {
                const int pixel = threadIdx.x / SLICE_CHUNKS + i * (TILE_PIXELS / SLICE_CHUNKS);
                const bool valid = flat < chunks && start + pixel < total;
                const element* source = layers;
                if (valid) {
                    const size_t place = entry.x ? start + pixel : pixels[pixel];
                    source += (size_t(entry.y) * area + place * entry.z + entry.w) * CHUNK;
                }
                copy_async(stage + slot(pixel, chunk), source, valid);
            }
            load_weights<CHANNELS>(stage + FEATURE_BYTES, weights, step);
        };
        Sums<8> sums;
        clear<8>(sums);
        pipeline((chunks + SLICE_CHUNKS - 1) / SLICE_CHUNKS, load, [&](int, int buffer) {
            const unsigned char* stage = memory + buffer * STAGE_BYTES;
            multiply_slice<16, 8>(sums, stage, warp_index() * 32, stage + FEATURE_BYTES);
        });

#pragma unroll
        for (int r = 0; r < 4; ++r) {
            const int pixel = pixel_of(r);
            float values[16] = {};
            if (start + pixel < total) {
                float offset[16], factor[16], before[16];
                take<8>(values, sums, r);
                load_floats(offset, bias + first);
                load_floats(factor, scales + first);
                const size_t place = size_t(pixels[pixel]) * CHANNELS + first;
                load_exact(before, high, low, place);
                for (int i = 0; i < 16; ++i) values[i] += offset[i];
                // The total and f as if they had been stored and loaded: then a frame in tiles has the same bits.
                make_exact(values);
                for (int i = 0; i < 16; ++i) values[i] = fmaf(values[i], factor[i], before[i]);
                make_exact(values);
                store_exact(high_out, low_out, place, values);
            }
            for (int i = 0; i < 16; i += CHUNK) {
                float part[CHUNK];
                for (int j = 0; j < CHUNK; ++j) part[j] = values[i + j];
                const int number = (first + i) / CHUNK;
                unsigned char* target =
                    memory + number / SLICE_CHUNKS * FEATURE_BYTES + slot(pixel, number % SLICE_CHUNKS);
                store_channels(reinterpret_cast<element*>(target), part);
            }
        }
        if (!shared) {
            barrier();  // the pixels of this tile are read no more
            continue;
        }
        unsigned char* share_buffers = memory + SLICES * FEATURE_BYTES;
        clear<8>(sums);
        pipeline(
            SLICES,
            [&](int step, int buffer) {
                load_weights<CHANNELS>(share_buffers + buffer * CHANNELS * SLICE_BYTES, share, step);
            },
            [&](int step, int buffer) {
                const unsigned char* stage = share_buffers + buffer * CHANNELS * SLICE_BYTES;
                multiply_slice<16, 8>(sums, memory + step * FEATURE_BYTES, warp_index() * 32, stage);
            }
        );
#pragma unroll
        for (int r = 0; r < 4; ++r) {
            const int pixel = pixel_of(r);
            if (start + pixel >= total) continue;
            element* target = collected + size_t(pixels[pixel]) * CHANNELS + first;
            float values[16], before[16];
            take<8>(values, sums, r);
            if (is_first) load_floats(before, share_bias + first);
            else load_channels(before, target);
            for (int i = 0; i < 16; ++i) {
                values[i] += before[i];
                if (is_last) values[i] = activate(values[i], slope);
            }
            store_channels(target, values);
        }
        barrier();  // the pixels of this tile are read no more
    }
}
