"""Pictures to frames and back on the host, in compiled bands of rows: the first and the last op of a frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vs_smsr.engine import picture_kernels
from vs_smsr.engine.contract import Frame
from vs_smsr.engine.picture import MATRIX, Floats, Layout, Picture, Sampling, codes, levels

type Call = tuple[Any, int, tuple[Any, ...]]  # a kernel, its rows, and its arguments after `start` and `stop`
type Run = Callable[[Sequence[Call]], None]


def alone(calls: Sequence[Call]) -> None:
    """Run kernels in this thread; an engine may share the rows among its own."""
    for kernel, rows, arguments in calls:
        kernel(0, rows, *arguments)


def unpack(picture: Picture, run: Run = alone) -> Frame:
    """(H, W, 3) float32 RGB 0..255; H and W are even: a missing row or column repeats the last one."""
    height, width, layout = picture.height, picture.width, picture.layout
    frame = np.empty((height + height % 2, width + width % 2, 3), np.float32)
    inner = frame[:height, :width]
    if layout.is_rgb:
        planes = [picture.planes[0]] if layout.kind == "packed" else picture.planes
        targets = [inner] if layout.kind == "packed" else inner.transpose(2, 0, 1)
        for plane, target in zip(planes, targets, strict=True):
            target[:] = levels(plane, layout.peak)
    else:
        luma, blue, red = _three(picture)
        matrix, across, down = _parts(layout.decoding_table(), layout)
        arguments = luma, blue, red, matrix, across, down, *_places(layout), frame
        run([(picture_kernels.unpack_planes, height, arguments)])
    frame[height:] = frame[height - 1 : height]
    frame[:, width:] = frame[:, width - 1 : width]
    return frame


def pack(frame: Frame, layout: Layout, height: int, width: int, run: Run = alone) -> Picture:
    """A new picture of that layout and size from the first `height` rows and `width` columns of a frame.

    Integers are rounded to the nearest, ties to even, and end at 0 and the layout's peak.
    """
    picture = layout.empty(height, width)
    inner = frame[:height, :width]
    if layout.is_rgb:
        sources = [inner] if layout.kind == "packed" else inner.transpose(2, 0, 1)
        for plane, source in zip(picture.planes, sources, strict=True):
            codes(source, layout.peak, plane)
        return picture
    luma, blue, red = _three(picture)
    matrix, across, down = _parts(layout.encoding_table(), layout)
    peak = np.float32(layout.peak)
    calls: list[Call] = [(picture_kernels.pack_luma, height, (frame, matrix, peak, luma))]
    if layout.kind == "yuv":
        places = matrix, across, down, *_places(layout), peak, height, width
        calls.append((picture_kernels.pack_chroma, len(blue), (frame, *places, blue, red)))
    run(calls)
    return picture


def compile_for(layout: Layout) -> None:
    """Compile what pictures of that layout need now, not at the first of them."""
    pack(unpack(layout.empty(2, 2)), layout, 2, 2)


def _three(picture: Picture) -> list[NDArray[Any]]:
    """Y, Cb, Cr as the kernels take them; empty chroma for grey."""
    planes = [np.require(plane, requirements=["C", "W", "A"]) for plane in picture.planes]
    return planes if len(planes) == 3 else [planes[0], *(np.empty((0, 0), planes[0].dtype) for _ in range(2))]


def _parts(table: Floats, layout: Layout) -> tuple[Floats, Floats, Floats]:
    """Matrix, weights across, weights down."""
    end = MATRIX + (4 << layout.across.shift)
    return table[:MATRIX], table[MATRIX:end], table[end:]


def _places(layout: Layout) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Firsts and shifts, each down and across."""
    axes: tuple[Sampling, Sampling] = layout.down, layout.across
    return np.array([axis.first for axis in axes], np.int64), np.array([axis.shift for axis in axes], np.int64)
