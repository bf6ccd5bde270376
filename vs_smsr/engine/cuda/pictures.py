"""Pictures to the device and back in their own bytes; the kernels of picture.cu convert them there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cupy_kernels import Device, Kernels
from vs_smsr.engine.cuda.body import Array
from vs_smsr.engine.picture import Floats, Layout, Picture


class Converter:
    """The first and the last op of a frame, on one stream.

    Args:
        tables: for the matrices and weights of layouts: "decoding" and "encoding".
    """

    def __init__(self, device: Device, kernels: Kernels, tables: Mapping[str, Array]) -> None:
        self._device, self._kernels, self._at = device, kernels, tables
        self._tables: dict[str, Layout] = {}  # what is in them

    def unpack(self, picture: Picture, staging: Array, frame: Array) -> None:
        """Upload the planes into the bytes of `staging` and convert them to frame (H, W, 3), padded to its sides."""
        layout, (height, width) = picture.layout, (picture.height, picture.width)
        planes = layout.planes(staging, height, width)
        for on_device, plane in zip(planes, picture.planes, strict=True):
            self._device.upload(on_device, plane)
        if layout.is_rgb:
            given = _rgb(layout, staging, height, width)
            self._kernels.unpack_picture(given, frame, white=layout.peak, planar=layout.kind == "planar")
        else:
            table = self._table("decoding", layout, layout.decoding_table())
            self._kernels.unpack_planes(*_three(planes, staging), table, frame, **_places(layout))

    def pack(self, frame: Array, staging: Array, layout: Layout, height: int, width: int) -> Picture:
        """Convert the first rows and columns of a frame in `staging`, and start the download.

        Returns:
            A picture of undefined content until the device is synchronized.
        """
        planes = layout.planes(staging, height, width)
        if layout.is_rgb:
            made = _rgb(layout, staging, height, width)
            self._kernels.pack_picture(frame, made, white=layout.peak, planar=layout.kind == "planar")
        else:
            table = self._table("encoding", layout, layout.encoding_table())
            places = _places(layout)
            self._kernels.pack_planes(frame, table, *_three(planes, staging), peak=layout.peak, **places)
        memory = self._device.start_download(staging[: layout.size(height, width)])
        return layout.over(memory, height, width)

    def _table(self, place: str, layout: Layout, host: Floats) -> Array:
        """Uploaded where the last picture had another layout."""
        array = self._at[place][: len(host)]
        if self._tables.get(place) != layout:
            self._device.upload(array, host)
            self._tables[place] = layout
        return array


def _rgb(layout: Layout, staging: Array, height: int, width: int) -> Array:
    """All planes as one array, (H, W, 3) or (3, H, W)."""
    shape = (height, width, 3) if layout.kind == "packed" else (3, height, width)
    return staging[: layout.size(height, width)].view(np.dtype(layout.dtype)).reshape(shape)


def _three(planes: list[Array], staging: Array) -> tuple[Array, Array, Array]:
    """Luma and chroma, which is empty for grey."""
    if len(planes) == 3:
        return planes[0], planes[1], planes[2]
    nothing: NDArray[Any] = staging[:0].view(planes[0].dtype).reshape(0, 0)
    return planes[0], nothing, nothing


def _places(layout: Layout) -> dict[str, Any]:
    down, across = layout.down, layout.across
    return {"firsts": (down.first, across.first), "shifts": (down.shift, across.shift)}
