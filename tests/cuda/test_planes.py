"""Planes of luma and chroma: converted by the kernels as by the host's compiled code, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from cases import KINDS, SEEDS, SIZES, WATCHED_SIZE
from host.device import HostDevice
from layouts import LAYOUTS, random_picture
from numpy.typing import NDArray

from cupy_kernels import Kernels
from vs_smsr.engine.conversion import pack, unpack
from vs_smsr.engine.picture import Layout, Picture

pytestmark = pytest.mark.usefixtures("gpp")
RACES = [False, *sorted({kind.races for kind in KINDS if kind.races})]


def three(picture: Picture) -> list[NDArray[np.generic]]:
    """Luma and chroma, which is empty for grey."""
    empty = np.empty((0, 0), picture.layout.dtype)
    return [*picture.planes, empty, empty][:3]


@pytest.mark.parametrize("races", RACES, ids=lambda races: "races" if races else "plain")
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_kernels_convert_as_the_host_does(layout: Layout, races: bool) -> None:
    """All sizes of the table and odd ones: frames repeat the last row and column, results are cropped."""
    places = {
        "firsts": (layout.down.first, layout.across.first),
        "shifts": (layout.down.shift, layout.across.shift),
    }
    for height, width in [WATCHED_SIZE] if races else [(1, 1), (7, 13), (33, 9), *SIZES]:
        for seed in SEEDS:
            device = HostDevice(seed=seed, races=races)
            kernels = Kernels(device, False)
            source = random_picture(layout, height, width)
            wanted = unpack(source)
            frame = device.empty(wanted.shape, np.float32)
            luma, blue, red = map(device.array, three(source))
            kernels.unpack_planes(luma, blue, red, device.array(layout.decoding_table()), frame, **places)
            np.testing.assert_array_equal(frame, wanted)

            values = np.random.default_rng(seed).uniform(0, 255, wanted.shape).astype(np.float32)
            packed = pack(values, layout, height, width)
            table = device.array(layout.encoding_table())
            kernels.pack_planes(device.array(values), table, luma, blue, red, peak=layout.peak, **places)
            for got, plane in zip((luma, blue, red), three(packed), strict=True):
                np.testing.assert_array_equal(got, plane)
