"""Make drawings/*.mkv, clips of drawn pictures to judge the model `anime` by; see README.md beside this.

python make_drawings.py renpy/demo/game/images renpy/the_question/game/images openclipart drawings
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

SIZE, FRAMES, FINE = (640, 360), 8, 2  # frames are drawn FINE times as large and reduced
SCENES = Path(__file__).parents[2] / "scripts" / "draw_scenes.py"
Pixels = NDArray[np.uint8]


def main(demo: str, question: str, openclipart: str, target: str) -> None:
    Path(target).mkdir(exist_ok=True)
    concert = cv2.imread(f"{demo}/concert1.png")
    hall = cv2.imread(f"{question}/bg lecturehall.jpg")
    lucy = [_over(hall, cv2.imread(f"{demo}/lucy {mood}.png", cv2.IMREAD_UNCHANGED), 520) for mood in ("happy", "mad")]
    clips = {  # picture; middle of the view, its width and what both change by in a frame, in pixels of the picture
        "band": (concert, (900, 765, 1800), (6, 1.5, 0)),
        "singer": (concert, (1720, 480, 1100), (0, 0, -14)),
        "lecture": (lucy[0], (640, 400, 1100), (1.3, -0.7, 0)),
        "angry": (lucy[1], (720, 330, 640), (0, 0, 0)),
        "clipart": (_scene(openclipart), (520, 340, 960), (2.6, 0.4, 0)),
    }
    for name, (picture, view, change) in clips.items():
        _write(Path(target) / f"{name}.mkv", [_frame(picture, view, change, time) for time in range(FRAMES)])


def _over(background: Pixels, figure: Pixels, left: int) -> Pixels:
    """A figure with transparency before a background of the same height."""
    result = background.astype(np.float32)
    part = result[:, left : left + figure.shape[1]]
    part += figure[..., 3:] / np.float32(255) * (figure[..., :3] - part)
    return np.rint(result).astype(np.uint8)


def _scene(drawings: str) -> Pixels:
    """One of the scenes that scripts/draw_scenes.py draws, of a seed that is not trained on."""
    spec = importlib.util.spec_from_file_location("draw_scenes", SCENES)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    paths = sorted(path for path in Path(drawings).rglob("*.svg") if path.stat().st_size <= script.LARGEST_FILE)
    return np.rint(script.draw(np.random.default_rng((1000, 3)), paths)).astype(np.uint8)


def _frame(picture: Pixels, view: tuple[float, ...], change: tuple[float, ...], time: int) -> Pixels:
    x, y, width = (start + step * time for start, step in zip(view, change, strict=True))
    fine = SIZE[0] * FINE, SIZE[1] * FINE
    step = width / fine[0]
    matrix = np.array([[step, 0, x - step * (fine[0] - 1) / 2], [0, step, y - step * (fine[1] - 1) / 2]])
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    large = cv2.warpAffine(picture, matrix, fine, flags=flags, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(cv2.resize(large, SIZE, interpolation=cv2.INTER_AREA), np.uint8)


def _write(path: Path, frames: list[Pixels]) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "6", "preset": "veryslow"})
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv444p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="bgr24")))
        container.mux(stream.encode())


if __name__ == "__main__":
    main(*sys.argv[1:])
