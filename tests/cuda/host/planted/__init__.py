"""Small kernels with a bug that an argument turns on; each must be caught (test_emulator_planted.py)."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from host import emulator
from host.device import HostDevice
from numpy.typing import NDArray

from cupy_kernels import source

BLOCKS = {
    "wrong_fragment.cu": 1,
    "misaligned.cu": 1,
    "missing_wait.cu": 1,
    "copy_over_read.cu": 1,
    "uninitialised.cu": 1,
}
OUTPUTS = {"blocks_share_an_output.cu": 2, "wrong_fragment.cu": 128, "misaligned.cu": 128, "uninitialised.cu": 64}
INPUTS = {"wrong_fragment.cu": 384}
SHARED_BYTES = {"missing_wait.cu": 1024}


def inputs(file: str) -> NDArray[np.float32]:
    """(256,) or (384,) float32, what every kernel here reads."""
    return np.random.default_rng(0).standard_normal(INPUTS.get(file, 256)).astype(np.float32)


def run(file: str, *, bug: bool, seed: int, races: bool = False) -> NDArray[np.float32]:
    """The kernel's output; arrays are exactly as large as it needs."""
    device = HostDevice(seed=seed)
    given = device.array(inputs(file))
    out: Any = device.empty((OUTPUTS.get(file, 256),), np.float32)
    if file == "blocks_share_an_output.cu":
        device.zero(out)
    text, threads = _text()
    emulator.build(text, races=races).launch(
        Path(file).stem,
        BLOCKS.get(file, 2),
        threads[file],
        [given, out, np.int32(bug)],
        shared_bytes=SHARED_BYTES.get(file, 512),
        seed=seed,
    )
    result: NDArray[np.float32] = out.copy()
    return result


@cache
def _text() -> tuple[str, dict[str, int]]:
    """All files as one text, for one compilation: each kernel `planted` gets its file's name; and their threads."""
    texts = {path.name: path.read_text() for path in sorted(Path(__file__).parent.glob("*.cu"))}
    threads = {}
    parts = []
    for file, text in texts.items():
        bounds = re.search(r"KERNEL\((\d+)\)", text)
        assert bounds, f"{file} says how many threads it has"
        threads[file] = int(bounds[1])
        parts += [f"#define planted {Path(file).stem}", f'#include "{file}"', "#undef planted"]
    return source.text("all.cu", (("all.cu", "\n".join(parts)), *texts.items())), threads
