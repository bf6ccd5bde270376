"""Make the picture at the top of README.md: a detail of real coded footage, enlarged by Lanczos and by the models."""

from __future__ import annotations

import argparse
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from vs_smsr import Upscaler
from vs_smsr.media.image_files import write_image
from vs_smsr.media.images import Image

Pixels = NDArray[np.uint8]
SCALE = 2
ZOOM, GAP, BAR = 2, 8, 30  # each pixel of the results is shown ZOOM x ZOOM; pixels between and above the panes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("clip", type=Path, nargs="?", default=Path("tests/data/city.mpg"))
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/images/before_after.png"))
    parser.add_argument("-m", "--model", nargs="+", default=["smsr", "video"], help="a pane each (smsr video)")
    parser.add_argument("--frame", type=int, default=2)
    parser.add_argument(
        "--crop",
        type=int,
        nargs=4,
        metavar=("X", "Y", "WIDTH", "HEIGHT"),
        default=(60, 232, 104, 100),
        help="in the clip",
    )
    arguments = parser.parse_args()

    with av.open(str(arguments.clip)) as container:
        frame = next(islice(container.decode(video=0), arguments.frame, None)).to_ndarray(format="rgb24")
    results = {"Lanczos": cv2.resize(frame, None, fx=SCALE, fy=SCALE, interpolation=cv2.INTER_LANCZOS4)}
    results |= {f"vs-smsr, {model}": Upscaler(scale=SCALE, model=model).upscale(frame) for model in arguments.model}
    x, y, width, height = (SCALE * side for side in arguments.crop)
    panes = [_pane(pixels[y : y + height, x : x + width], name) for name, pixels in results.items()]
    gap = np.full((panes[0].shape[0], GAP, 3), 255, np.uint8)
    parts = [part for pane in panes for part in (gap, pane)][1:]
    write_image(arguments.output, Image(np.hstack(parts)), overwrite=True)


def _pane(detail: Pixels, text: str) -> Pixels:
    large = detail.repeat(ZOOM, axis=0).repeat(ZOOM, axis=1)
    bar = np.full((BAR, large.shape[1], 3), 255, np.uint8)
    cv2.putText(bar, text, (4, BAR - 9), cv2.FONT_HERSHEY_SIMPLEX, 0.7, (30, 30, 30), 1, cv2.LINE_AA)
    return np.vstack([bar, large])


if __name__ == "__main__":
    main()
