"""The kernels of planes against dense matrices in double precision; without compiled code, so sanitizers can run it."""

from __future__ import annotations

import numpy as np
import pytest
from cases import SIZES
from host.device import HostDevice
from layouts import LAYOUTS, random_picture
from numpy.typing import NDArray

from cupy_kernels import Kernels
from vs_smsr.engine.picture import Layout, Sampling

pytestmark = pytest.mark.usefixtures("gpp")


def cubic(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keys' cubic with a = -0.6."""
    d = np.abs(distance)
    near, far = 1.4 * d**3 - 2.4 * d**2 + 1, -0.6 * (d**3 - 5 * d**2 + 8 * d - 4)
    return np.where(d < 1, near, np.where(d < 2, far, 0))


def matrix(targets: NDArray[np.float64], count: int, width: float) -> NDArray[np.float64]:
    """(targets, count): weights of samples 0 .. count - 1 at these places; what is beyond an end counts for the end."""
    margin = 12
    weights = cubic((targets[:, None] - np.arange(-margin, count + margin)) / width)
    weights /= weights.sum(1, keepdims=True)
    inner = weights[:, margin:-margin].copy()
    inner[:, 0] += weights[:, :margin].sum(1)
    inner[:, -1] += weights[:, -margin:].sum(1)
    return inner


def both(axis: Sampling, luma: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Matrices from chroma to luma samples and back."""
    chroma, step = axis.count(luma), 1 << axis.shift
    up = matrix((np.arange(luma) - axis.first / 2) / step, chroma, 1)
    return up, matrix(np.arange(chroma) * step + axis.first / 2, luma, step)


@pytest.mark.parametrize("size", [(1, 1), (7, 13), *SIZES])
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_planes_in_double_precision(layout: Layout, size: tuple[int, int]) -> None:
    device = HostDevice()
    kernels = Kernels(device, False)
    height, width = size
    frame = device.empty((height + height % 2, width + width % 2, 3), np.float32)
    empty = np.empty((0, 0), layout.dtype)
    luma, blue, red = map(device.array, [*(planes := random_picture(layout, *size).planes), empty, empty][:3])
    places = {"firsts": (layout.down.first, layout.across.first), "shifts": (layout.down.shift, layout.across.shift)}
    (up_y, down_y), (up_x, down_x) = both(layout.down, height), both(layout.across, width)

    kernels.unpack_planes(luma, blue, red, device.array(layout.decoding_table()), frame, **places)
    full = [planes[0].astype(np.float64), *(up_y @ plane.astype(np.float64) @ up_x.T for plane in planes[1:])]
    encoding = np.array(layout.encoding)
    if len(planes) == 1:
        rgb = np.repeat((full[0][..., None] - encoding[0, 3]) / encoding[0, :3].sum(), 3, 2)
    else:
        rgb = (np.stack(full, -1) - encoding[:, 3]) @ np.linalg.inv(encoding[:, :3]).T
    assert np.abs(frame[:height, :width] - rgb.clip(0, 255)).max() < 0.002

    values = np.random.default_rng(1).uniform(0, 255, frame.shape).astype(np.float32)
    table = device.array(layout.encoding_table())
    kernels.pack_planes(device.array(values), table, luma, blue, red, peak=layout.peak, **places)
    cut = values[:height, :width].astype(np.float64)
    small = np.einsum("ay,yxc,bx->abc", down_y, cut, down_x)
    for index, got in enumerate((luma, blue, red)[: len(planes)]):
        codes = (small if index else cut) @ encoding[index, :3] + encoding[index, 3]
        assert np.abs(got - codes.clip(0, layout.peak)).max() < 0.51 + 2e-6 * layout.peak
