"""How much work SMSR is, counted as its paper counts it.

The paper's "FLOPs" are multiply-adds for an HR frame of 1280x720: the numbers of a convolution's kernel times its
output pixels, over all convolutions, mask branches included. (A transposed convolution is counted by the same rule,
which is four times what it takes.) Not counted: biases, ReLUs, the colour mean, channel attention, the bicubic base.
That gives the published 224.1 G (x2), 100.5 G (x3) and 57.2 G (x4) of the dense network.

The work that is used is less by sparsity times the masked bodies (four 3x3 convolutions and the 1x1 collect of each
SMM): the published 131.6 G, 67.8 G and 41.6 G come out at sparsities of 0.49, 0.39 and 0.33. So the 0.51, 0.61 and 0.67
of the paper's table are the shares that are computed. This count is cautious: dense outputs at an inactive pixel read
dense inputs only, so an engine that skips all it may does less.
"""

from __future__ import annotations

from collections.abc import Sequence

from vs_smsr.families import NetworkSpec

HR_PIXELS = 1280 * 720


def gflops_720p(spec: NetworkSpec, sparsity: Sequence[float] = ()) -> float:
    """10^9 multiply-adds for an HR frame of 1280x720 at this sparsity, a share 0..1 per mask; none: dense."""
    skipped = sum(share * macs for share, macs in zip(sparsity, spec.masked_macs, strict=bool(sparsity)))
    return (spec.macs - skipped) * HR_PIXELS / spec.scale**2 / 1e9
