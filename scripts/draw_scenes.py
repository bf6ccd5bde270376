"""Draw pictures to learn drawn content from: vector drawings, sharp at any size, strewn over plain backgrounds.

scripts/draw_scenes.py runs/debian/openclipart-svg --count 300 --out runs/scenes
    (Debian's package openclipart-svg: 8,000 drawings in the public domain; apt-get download, dpkg -x)
scripts/prepare_data.py --clean runs/scenes --footage --out runs/drawn
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np
import resvg_py
from numpy.typing import NDArray

from vs_smsr.errors import OptionError, SmsrError
from vs_smsr.training.prepare import SOURCES

Scene = NDArray[np.float32]  # (HEIGHT, WIDTH, 3) BGR, 0..255
WIDTH, HEIGHT = 1280, 720
LARGEST_FILE = 300_000  # bytes of an SVG; larger ones take seconds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("drawings", type=Path, help="folder of .svg files")
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder for the pictures (PNG)")
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--licence", default="", help="of the drawings, for the set's index")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    try:
        drawings = sorted(p for p in arguments.drawings.rglob("*.svg") if p.stat().st_size <= LARGEST_FILE)
        if not drawings:
            raise OptionError(f"draw_scenes: {arguments.drawings} holds no .svg files.")
    except SmsrError as error:
        print(f"draw_scenes: {error}", file=sys.stderr)
        return 1
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows = ["file\tsource\tlicence"]
    for number in range(arguments.count):
        name = f"scene_{number:04d}.png"
        scene = draw(np.random.default_rng((arguments.seed, number)), drawings)
        cv2.imwrite(str(arguments.out / name), np.rint(scene).astype(np.uint8))
        rows.append(f"{name}\tscene {number} of seed {arguments.seed}, {arguments.drawings.name}\t{arguments.licence}")
    (arguments.out / SOURCES).write_text("\n".join(rows) + "\n")
    print(f"{arguments.out}: {arguments.count} scenes from {len(drawings)} drawings")
    return 0


def draw(rng: np.random.Generator, drawings: list[Path]) -> Scene:
    """One scene: a background that runs from one colour to another, and 8 to 23 drawings, the larger ones behind."""
    ends = rng.uniform(0, 255, (2, 3)).astype(np.float32)
    ramp = np.linspace(0, 1, HEIGHT, dtype=np.float32)[:, None, None]
    scene = np.repeat(ends[0] + (ends[1] - ends[0]) * ramp, WIDTH, axis=1)
    for size in sorted(rng.uniform(80, 700, rng.integers(8, 24)), reverse=True):
        drawing = render(drawings[rng.integers(len(drawings))], int(size))
        if drawing is not None:
            paste(scene, drawing, rng)
    return scene


def render(path: Path, width: int) -> NDArray[np.uint8] | None:
    """(h, w, 4) BGRA, or None where the file is damaged or of an odd shape: old collections hold some."""
    try:
        png = resvg_py.svg_to_bytes(svg_path=str(path), width=width, skip_system_fonts=True)
    except ValueError:
        return None
    image = cv2.imdecode(np.frombuffer(bytes(png), np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None or image.ndim != 3 or image.shape[2] != 4 or image.shape[0] > 2 * HEIGHT:
        return None
    return np.asarray(image, np.uint8)


def paste(scene: Scene, drawing: NDArray[np.uint8], rng: np.random.Generator) -> None:
    """Lay a drawing over the scene, its middle anywhere in it."""
    height, width = drawing.shape[:2]
    y, x = int(rng.integers(HEIGHT)) - height // 2, int(rng.integers(WIDTH)) - width // 2
    top, left = max(0, y), max(0, x)
    part = drawing[top - y : HEIGHT - y, left - x : WIDTH - x].astype(np.float32)
    alpha = part[..., 3:] / 255
    place = scene[top : top + part.shape[0], left : left + part.shape[1]]
    place += alpha * (part[..., :3] - place)


if __name__ == "__main__":
    sys.exit(main())
