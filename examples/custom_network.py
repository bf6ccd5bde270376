"""A network of your own on the cpu engine: a spec, tensors with its names, and that is all.

Here a small one with random numbers; see docs/adding_a_network.md for training one and storing it in a file.
"""

import numpy as np

from vs_smsr.engine.cpu import CpuEngine
from vs_smsr.families import Convolution, LearnedMask, MaskedBlock, NetworkSpec
from vs_smsr.tiling import Tiler
from vs_smsr.weights import Weights

WIDTH, SCALE = 32, 2


def block(name: str) -> MaskedBlock:
    return MaskedBlock(
        mask=LearnedMask(
            first=Convolution(name=f"{name}.mask.0", inputs=WIDTH, outputs=8),
            second=Convolution(name=f"{name}.mask.1", inputs=8, outputs=8),
            decide=Convolution(name=f"{name}.mask.2", inputs=8, outputs=2, transposed=True),
        ),
        layers=tuple(Convolution(name=f"{name}.layer.{i}", inputs=WIDTH, outputs=WIDTH, bias=False) for i in range(2)),
        channel_mask=None,  # all channels are sparse: an inactive pixel costs next to nothing
        fuse=Convolution(name=f"{name}.fuse", inputs=2 * WIDTH, outputs=WIDTH, size=1),
        attention=None,
    )


spec = NetworkSpec(
    family="example",
    version=1,
    scale=SCALE,
    mean=(114.4, 111.5, 103.0),
    head=(Convolution(name="head.0", inputs=3, outputs=WIDTH), Convolution(name="head.1", inputs=WIDTH, outputs=WIDTH)),
    blocks=(block("body.0"), block("body.1")),
    collect=(
        Convolution(name="collect.0", inputs=2 * WIDTH, outputs=WIDTH, size=1),
        Convolution(name="collect.1", inputs=WIDTH, outputs=WIDTH),
    ),
    tail=Convolution(name="tail", inputs=WIDTH, outputs=3 * SCALE**2),
)
rng = np.random.default_rng(0)
tensors = {name: rng.normal(0, 0.02, shape).astype(np.float32) for name, shape in spec.shapes.items()}
engine = CpuEngine(Weights(spec, tensors))
small = rng.uniform(0, 255, (90, 160, 3)).astype(np.float32)
result = Tiler(engine).upscale(small)
print(f"{result.frame.shape}; {spec.macs / 1e3:.0f}K multiply-adds a pixel, {result.skipped:.0%} skipped")
