// Between pictures as callers hold them and frames as the network reads and writes them: floats 0..255, colours packed.
//
// A picture has as many rows and columns as its frame, or less, where the frame was padded to even sides: the frame's last
// row or column then repeats the picture's last one, and what the network made of it is not packed.
//
// RGB: TYPE 0 unsigned char, 1 unsigned short, 2 half, 3 float; 0..white. Packed (rows, columns, 3) or planar
// (3, rows, columns). Planes of luma and chroma: TYPE 0 or 1. Chroma has one sample for 1 << shift luma samples of an
// axis, the first at luma position first / 2; 0 chroma rows: grey.
//
// table: 12 numbers of a matrix (three rows of four), then the weights across, 4 << shift of them, then those down.
// Beyond its edge a plane repeats its last sample. Sums have the order and the roundings of engine/picture_kernels.py.
#include "primitives.cuh"

#if TYPE == 0
typedef unsigned char outside;
#elif TYPE == 3
typedef float outside;
#else
typedef unsigned short outside;  // an integer, or the bits of a half
#endif

DEVICE float widen(outside value) {
#if TYPE == 2
    return low_half(value);
#else
    return float(value);
#endif
}

// Integers are rounded to the nearest, ties to even, and end at white.
DEVICE outside narrow(float value, float white) {
#if TYPE == 2
    return static_cast<outside>(pack_halves(value, 0.0f));
#elif TYPE == 3
    return value;
#else
    return static_cast<outside>(round_to_int(fminf(value, white)));
#endif
}

DEVICE int within(int place, int end) { return min(max(place, 0), end - 1); }

// Place of a pixel's first colour; its colours are `step` apart.
DEVICE size_t place_of(int y, int x, int rows, int columns, int planar, size_t& step) {
    step = planar ? size_t(rows) * columns : 1;
    return (size_t(y) * columns + x) * (planar ? 1 : 3);
}

// What:   frame = picture * unit.
// In/Out: RGB picture (see above); frame (height, width, 3) float 0..255; unit = 255 / white.
// Work:   a thread converts one pixel.
// Launch: ceil(height * width / 256) blocks of 256 threads.
// Needs:  nothing.
// Same as: engine.conversion.unpack (tests/cuda/test_picture.py).
extern "C" KERNEL(256) unpack_picture(
    const outside* __restrict__ picture,
    float* __restrict__ frame,
    float unit,
    int height,
    int width,
    int rows,
    int columns,
    int planar
) {
    const size_t pixel = size_t(blockIdx.x) * blockDim.x + threadIdx.x;
    if (pixel >= size_t(height) * width) return;
    const int y = within(int(pixel / width), rows), x = within(int(pixel % width), columns);
    size_t step;
    const size_t place = place_of(y, x, rows, columns, planar, step);
    for (int colour = 0; colour < 3; ++colour) frame[pixel * 3 + colour] = widen(picture[place + colour * step]) * unit;
}

// What:   picture = frame / unit.
// In/Out: frame (height, width, 3) float 0..255; RGB picture (see above); unit = 255 / white.
// Work:   a thread converts one pixel.
// Launch: ceil(rows * columns / 256) blocks of 256 threads.
// Needs:  nothing.
// Same as: engine.conversion.pack (tests/cuda/test_picture.py).
extern "C" KERNEL(256) pack_picture(
    const float* __restrict__ frame,
    outside* __restrict__ picture,
    float unit,
    float white,
    int width,
    int rows,
    int columns,
    int planar
) {
    const size_t pixel = size_t(blockIdx.x) * blockDim.x + threadIdx.x;
    if (pixel >= size_t(rows) * columns) return;
    const int y = int(pixel / columns), x = int(pixel % columns);
    size_t step;
    const size_t place = place_of(y, x, rows, columns, planar, step);
    const float* colours = frame + (size_t(y) * width + x) * 3;
    for (int colour = 0; colour < 3; ++colour)
        picture[place + colour * step] = narrow(colours[colour] / unit, white);
}

#if TYPE < 2
// What:   frame = matrix * (luma, blue, red, 1), chroma resampled to luma's samples; clipped to 0..255.
// In/Out: luma (rows, columns); blue, red (chroma_rows, chroma_columns); table: of decoding, 4 weights for each place of
//         a luma sample in its chroma sample; frame (height, width, 3) float.
// Work:   a thread converts one pixel.
// Launch: ceil(height * width / 256) blocks of 256 threads.
// Needs:  nothing.
// Same as: engine.conversion.unpack (tests/cuda/test_picture.py).
extern "C" KERNEL(256) unpack_planes(
    const outside* __restrict__ luma,
    const outside* __restrict__ blue,
    const outside* __restrict__ red,
    const float* __restrict__ table,
    float* __restrict__ frame,
    int height,
    int width,
    int rows,
    int columns,
    int chroma_rows,
    int chroma_columns,
    int first_down,
    int first_across,
    int shift_down,
    int shift_across
) {
    const size_t pixel = size_t(blockIdx.x) * blockDim.x + threadIdx.x;
    if (pixel >= size_t(height) * width) return;
    const int y = within(int(pixel / width), rows), x = within(int(pixel % width), columns);
    const float light = widen(luma[size_t(y) * columns + x]);
    float b = 0.0f, r = 0.0f;
    if (chroma_rows > 0) {
        const float* across = table + 12 + 4 * (x & ((1 << shift_across) - 1));
        const float* down = table + 12 + (4 << shift_across) + 4 * (y & ((1 << shift_down) - 1));
        const int top = ((2 * y - first_down) >> (shift_down + 1)) - 1;
        const int left = ((2 * x - first_across) >> (shift_across + 1)) - 1;
        for (int i = 0; i < 4; ++i) {
            const int column = within(left + i, chroma_columns);
            float column_b = 0.0f, column_r = 0.0f;
            for (int t = 0; t < 4; ++t) {
                const size_t place = size_t(within(top + t, chroma_rows)) * chroma_columns + column;
                column_b += product(widen(blue[place]), down[t]);
                column_r += product(widen(red[place]), down[t]);
            }
            b += product(column_b, across[i]);
            r += product(column_r, across[i]);
        }
    }
    for (int colour = 0; colour < 3; ++colour) {
        const float* m = table + 4 * colour;
        const float value = product(light, m[0]) + product(b, m[1]) + product(r, m[2]) + m[3];
        frame[pixel * 3 + colour] = fminf(fmaxf(value, 0.0f), 255.0f);
    }
}

DEVICE outside code(float red, float green, float blue, const float* m, float peak) {
    const float value = product(red, m[0]) + product(green, m[1]) + (product(blue, m[2]) + m[3]);
    return static_cast<outside>(round_to_int(fminf(fmaxf(value, 0.0f), peak)));
}

// What:   (luma, blue, red) = matrix * (frame, 1), chroma resampled to its samples; rounded to the nearest, ties to even.
// In/Out: frame (height, width, 3) float 0..255; table: of encoding; the planes as in unpack_planes.
// Work:   a thread makes one sample of luma, or one of blue and one of red.
// Launch: ceil((rows * columns + chroma_rows * chroma_columns) / 256) blocks of 256 threads.
// Needs:  nothing.
// Same as: engine.conversion.pack (tests/cuda/test_picture.py).
extern "C" KERNEL(256) pack_planes(
    const float* __restrict__ frame,
    const float* __restrict__ table,
    outside* __restrict__ luma,
    outside* __restrict__ blue,
    outside* __restrict__ red,
    float peak,
    int width,
    int rows,
    int columns,
    int chroma_rows,
    int chroma_columns,
    int first_down,
    int first_across,
    int shift_down,
    int shift_across
) {
    const size_t sample = size_t(blockIdx.x) * blockDim.x + threadIdx.x;
    const size_t area = size_t(rows) * columns;
    if (sample < area) {
        const float* pixel = frame + (sample / columns * width + sample % columns) * 3;
        luma[sample] = code(pixel[0], pixel[1], pixel[2], table, peak);
        return;
    }
    const size_t place = sample - area;
    if (place >= size_t(chroma_rows) * chroma_columns) return;
    const float* across = table + 12;
    const float* down = across + (4 << shift_across);
    const int top = (int(place / chroma_columns) - 2) * (1 << shift_down) + (first_down >> 1) + 1;
    const int left = (int(place % chroma_columns) - 2) * (1 << shift_across) + (first_across >> 1) + 1;
    float sums[3] = {0.0f, 0.0f, 0.0f};
    for (int i = 0; i < 4 << shift_across; ++i) {
        if (across[i] == 0.0f) continue;
        const int x = within(left + i, columns);
        float column[3] = {0.0f, 0.0f, 0.0f};
        for (int t = 0; t < 4 << shift_down; ++t) {
            if (down[t] == 0.0f) continue;
            const float* pixel = frame + (size_t(within(top + t, rows)) * width + x) * 3;
            for (int colour = 0; colour < 3; ++colour) column[colour] += product(pixel[colour], down[t]);
        }
        for (int colour = 0; colour < 3; ++colour) sums[colour] += product(column[colour], across[i]);
    }
    blue[place] = code(sums[0], sums[1], sums[2], table + 4, peak);
    red[place] = code(sums[0], sums[1], sums[2], table + 8, peak);
}
#endif
