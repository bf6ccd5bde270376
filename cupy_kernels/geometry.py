"""Tile sizes: one dict feeds the macros of the compilation and the geometry of the launches."""

from __future__ import annotations

from collections.abc import Iterator

from cupy_kernels.device import Macros

CHANNELS = 64  # of features; narrower networks are padded with zeros
LAYERS = 4  # masked layers of a block, at most
MASK_CHANNELS = 16  # of a mask branch
ATTENTION_CHANNELS = 4  # inside channel attention
TILES = {
    "TILE_PIXELS": 128,  # pixels (and threads) of a block of a convolution
    "SLICE_CHUNKS": 4,  # 16-byte chunks of a pixel's channels that are staged at once
    "STAGES": 3,  # stages of the pipeline that copies into shared memory
    "WINDOW_WIDTH": 16,  # a full-frame block computes a window of that width
    "MASK_SIDE": 16,  # half-resolution positions of a block of the mask branch, per side
    "SELECT_THREADS": 256,  # threads that count and list pixels, 16 pixels each
    "SUM_SCALE": 1 << 20,  # channel sums are integers in units of 1 / SUM_SCALE
}
SLICE_BYTES = 16 * TILES["SLICE_CHUNKS"]
WINDOW_HEIGHT = TILES["TILE_PIXELS"] // TILES["WINDOW_WIDTH"]
REACH_BYTES = (TILES["WINDOW_WIDTH"] + 2) * (WINDOW_HEIGHT + 2) * SLICE_BYTES
PICTURE_TYPES = ("uint8", "uint16", "float16", "float32")  # of callers' pictures; TYPE is the place in it
ALIGNMENT = 256  # of what shares an array of bytes
STEP = 16  # dense channels of a layer are rounded up to a multiple of this


def allocated(size: int) -> int:
    """Bytes that an array of that many takes: CuPy's pool hands out multiples of 512."""
    return -(-size // 512) * 512


def macros(half: bool, **more: int) -> Macros:
    """All macros of a file; `more` are those of one specialisation."""
    return {"HALF": int(half), **TILES, **more}


def window_blocks(height: int, width: int) -> int:
    """Blocks of a full-frame convolution."""
    return -(-height // WINDOW_HEIGHT) * -(-width // TILES["WINDOW_WIDTH"])


def window_bytes(outputs: int) -> int:
    """Shared memory of a full-frame convolution with that many output channels."""
    return 2 * REACH_BYTES + TILES["STAGES"] * outputs * SLICE_BYTES


def list_bytes(outputs: int) -> int:
    """Shared memory of conv_listed."""
    stages = TILES["STAGES"] * (TILES["TILE_PIXELS"] + outputs) * SLICE_BYTES
    return stages + 11 * TILES["TILE_PIXELS"] * 4


def block_bytes(layers: int, half: bool) -> int:
    """The most that a block's weights take whose order follows from channel masks, and their tables."""
    element = 2 if half else 4
    convolutions = 2 * layers * 9 * CHANNELS**2 * element  # for active and for inactive pixels
    fuses = 2 * layers * CHANNELS * (CHANNELS * element + element)
    return convolutions + fuses + LAYERS * CHANNELS**2 * 4 + ALIGNMENT * (2 * layers + 5)


def residual_bytes(half: bool) -> int:
    """Shared memory of residual."""
    slices = CHANNELS * (2 if half else 4) // SLICE_BYTES
    product = TILES["STAGES"] * (TILES["TILE_PIXELS"] + CHANNELS) * SLICE_BYTES
    share = (slices * TILES["TILE_PIXELS"] + TILES["STAGES"] * CHANNELS) * SLICE_BYTES
    return max(product, share) + 4 * TILES["TILE_PIXELS"]


def tail_outputs(scale: int) -> int:
    """Output channels of the tail as they are computed: 3 * scale * scale, rounded up to a multiple of 16."""
    return -(-3 * scale * scale // 16) * 16


def tail_bytes(scale: int, up: int) -> int:
    """Shared memory of tail, whose source has `up` times the frame's sides."""
    outputs = tail_outputs(scale)
    base = (TILES["WINDOW_WIDTH"] // up + 4) * (WINDOW_HEIGHT // up + 4) * 3
    return max(window_bytes(outputs), 4 * (TILES["TILE_PIXELS"] * (outputs + 1) + base))


def mask_bytes() -> int:
    """Shared memory of mask_decide."""
    side = TILES["MASK_SIDE"]
    return 4 * 16 * ((side + 2) ** 2 + side**2 + 9 * 18)


def select_blocks(pixels: int) -> int:
    """Blocks of count_pixels and list_pixels."""
    return -(-pixels // (16 * TILES["SELECT_THREADS"]))


def variants(half: bool, scale: int, pairs: set[tuple[int, int]], up: int = 1) -> Iterator[tuple[str, Macros]]:
    """Every (file, macros) that a network needs.

    Args:
        half: fp16, else fp32.
        scale: of the tail, 1 to 4.
        pairs: dense channels (before, after) of the convolutions that run at inactive pixels.
        up: how many times larger the upsampling before the tail makes the frame's sides; 1: there is none.
    """
    yield "head.cu", macros(half, HEAD=1)
    yield "head.cu", macros(half, HEAD=0)
    yield "mask.cu", macros(half)
    yield "select.cu", macros(half)
    for before, after in sorted({(CHANNELS, CHANNELS), *pairs}):
        yield "conv.cu", macros(half, IN=before, OUT=after)
    yield "attention.cu", macros(half)
    if up > 1:
        yield "upsample.cu", macros(half)
    yield "tail.cu", macros(half, OUT=tail_outputs(scale), SCALE=scale, UP=up)
    for number in range(len(PICTURE_TYPES)):
        yield "picture.cu", {"TYPE": number}
