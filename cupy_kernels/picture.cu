// Between pictures as callers hold them and frames as the network reads and writes them: floats 0..255, colours packed.
//
// A picture: TYPE 0 unsigned char, 1 unsigned short, 2 half, 3 float; 0..white. Packed (height, pitch, 3) or planar
// (3, height, pitch); where pitch > width the rest of a row is neither read nor written.
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

// Place of a pixel's first colour; its colours are `step` apart.
DEVICE size_t place_of(int y, int x, int height, int pitch, int planar, size_t& step) {
    step = planar ? size_t(height) * pitch : 1;
    return (size_t(y) * pitch + x) * (planar ? 1 : 3);
}

// What:   frame = picture * unit.
// In/Out: picture (see above); frame (height, width, 3) float 0..255; unit = 255 / white.
// Work:   a thread converts one pixel.
// Launch: ceil(height * width / 256) blocks of 256 threads.
// Needs:  nothing.
// Same as: engine.picture.to_frame (tests/cuda/test_picture.py).
extern "C" KERNEL(256) unpack_picture(
    const outside* __restrict__ picture,
    float* __restrict__ frame,
    float unit,
    int height,
    int width,
    int pitch,
    int planar
) {
    const size_t pixel = size_t(blockIdx.x) * blockDim.x + threadIdx.x;
    if (pixel >= size_t(height) * width) return;
    size_t step;
    const size_t place = place_of(int(pixel / width), int(pixel % width), height, pitch, planar, step);
    for (int colour = 0; colour < 3; ++colour) frame[pixel * 3 + colour] = widen(picture[place + colour * step]) * unit;
}

// What:   picture = frame / unit.
// In/Out: frame (height, width, 3) float 0..255; picture (see above); unit = 255 / white.
// Work:   a thread converts one pixel.
// Launch: ceil(height * width / 256) blocks of 256 threads.
// Needs:  nothing.
// Same as: engine.picture.from_frame (tests/cuda/test_picture.py).
extern "C" KERNEL(256) pack_picture(
    const float* __restrict__ frame,
    outside* __restrict__ picture,
    float unit,
    float white,
    int height,
    int width,
    int pitch,
    int planar
) {
    const size_t pixel = size_t(blockIdx.x) * blockDim.x + threadIdx.x;
    if (pixel >= size_t(height) * width) return;
    size_t step;
    const size_t place = place_of(int(pixel / width), int(pixel % width), height, pitch, planar, step);
    for (int colour = 0; colour < 3; ++colour)
        picture[place + colour * step] = narrow(frame[pixel * 3 + colour] / unit, white);
}
