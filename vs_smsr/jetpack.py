"""SMSR as a scaler of vs-jetpack 2: `SMSR().scale(clip, 1920, 1080)`, `Rescale(clip, ..., upscaler=SMSR)`, "smsr"."""

from __future__ import annotations

import math
from typing import Any

import vapoursynth as vs

from vs_smsr.engine.reach import reach
from vs_smsr.families import smsr as family
from vs_smsr.options import SCALES
from vs_smsr.vapoursynth import smsr
from vs_smsr.weights import load

try:
    from vskernels import Scaler
    from vsscale import BaseGenericScaler
except ImportError as error:
    raise ImportError(f"vs_smsr.jetpack needs vs-jetpack 2 ({error}). pip install 'vs-smsr[jetpack]'") from error


class SMSR(BaseGenericScaler):  # type: ignore[misc]  # its package is not seen by mypy
    """To any size, and found by its name wherever vs-jetpack takes a scaler's, once this module is imported.

    The network runs once, by the smallest of its scales that reaches the size, or by the largest; `scaler` does the
    rest. Where nothing is to be enlarged, `scaler` does all.

    Args:
        kernel, scaler, shifter: for the rest; as all generic scalers of vsscale take them.
        kwargs: `vs_smsr.smsr`'s own: model, weights, device, precision, memory ...
    """

    def scale(
        self,
        clip: vs.VideoNode,
        width: int | None = None,
        height: int | None = None,
        shift: tuple[float, float] = (0, 0),
        **kwargs: Any,
    ) -> vs.VideoNode:
        """Scale a clip of any format that `vs_smsr.smsr` takes; the format stays.

        Args:
            width, height: of the result; None: the clip's.
            shift: (top, left) in pixels of the result, as vsscale's other generic scalers.
            kwargs: as of the class, for this call.
        Raises:
            vs.Error: as `vs_smsr.smsr`.
        """
        width, height = self._wh_norm(clip, width, height)
        options = {**self.kwargs, **kwargs}
        factor = max(width / clip.width, height / clip.height) if clip.width and clip.height else math.inf
        result = clip if factor <= 1 else smsr(clip, _scale(factor, options.get("weights")), **options)
        return self._finish_scale(result, clip, width, height, shift)

    @Scaler.cachedproperty  # type: ignore[untyped-decorator]
    def kernel_radius(self) -> int:
        """How many pixels around it a result depends on, the attention of the whole frame aside."""
        first, end = reach(family.spec(2)).needs((0, 2))
        return int(max(-first, end - 2))


def _scale(factor: float, weights: Any) -> int:
    """The network's scale for that enlargement; that of the weights, where some are given."""
    if weights is not None:
        return load(weights).scale
    return next((scale for scale in SCALES if scale >= factor), max(SCALES))
