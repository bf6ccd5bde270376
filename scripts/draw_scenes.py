"""Draw pictures to learn drawn content from: vector drawings, sharp at any size, strewn over plain backgrounds, and
drawn figures that stand before painted ones.

scripts/draw_scenes.py runs/debian/openclipart-svg --count 300 --out runs/scenes
    (Debian's package openclipart-svg: 8,000 drawings in the public domain; apt-get download, dpkg -x)
scripts/draw_scenes.py runs/debian/openclipart-svg --figures DIR --backgrounds DIR --count 300 --out runs/anime
    (every other scene: pictures with an alpha channel before pictures without)
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
    parser.add_argument("--figures", type=Path, metavar="DIR", help="pictures with alpha (PNG, WebP)")
    parser.add_argument("--backgrounds", type=Path, metavar="DIR", help="pictures of at least 1280x720 for them")
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--licence", default="", help="of the drawings, for the set's index")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    try:
        drawings = sorted(p for p in arguments.drawings.rglob("*.svg") if p.stat().st_size <= LARGEST_FILE)
        if not drawings:
            raise OptionError(f"draw_scenes: {arguments.drawings} holds no .svg files.")
        if (arguments.figures is None) != (arguments.backgrounds is None):
            raise OptionError("draw_scenes: --figures and --backgrounds need each other.")
        figures = pictures(arguments.figures, 4) if arguments.figures else []
        backgrounds = pictures(arguments.backgrounds, 3) if arguments.backgrounds else []
    except SmsrError as error:
        print(f"draw_scenes: {error}", file=sys.stderr)
        return 1
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows = ["file\tsource\tlicence"]
    for number in range(arguments.count):
        name = f"scene_{number:04d}.png"
        rng = np.random.default_rng((arguments.seed, number))
        scene = play(rng, figures, backgrounds) if figures and number % 2 else draw(rng, drawings)
        cv2.imwrite(str(arguments.out / name), np.rint(scene).astype(np.uint8))
        rows.append(f"{name}\tscene {number} of seed {arguments.seed}, {arguments.drawings.name}\t{arguments.licence}")
    (arguments.out / SOURCES).write_text("\n".join(rows) + "\n")
    print(f"{arguments.out}: {arguments.count} scenes from {len(drawings)} drawings")
    return 0


def pictures(folder: Path, channels: int) -> list[NDArray[np.uint8]]:
    """Those of a folder that have so many channels, BGR or BGRA, backgrounds that fill a scene.

    Raises:
        OptionError: there is none.
    """
    images = [cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in sorted(folder.rglob("*")) if path.is_file()]
    found = [np.asarray(image, np.uint8) for image in images if image is not None and image.ndim == 3]
    found = [image for image in found if image.shape[2] == channels]
    if channels == 3:
        found = [image for image in found if image.shape[0] >= HEIGHT and image.shape[1] >= WIDTH]
    if not found:
        raise OptionError(f"draw_scenes: {folder} holds no pictures with {channels} channels of a fitting size.")
    return found


def play(rng: np.random.Generator, figures: list[NDArray[np.uint8]], backgrounds: list[NDArray[np.uint8]]) -> Scene:
    """One scene: a part of a background, reduced by up to the half, and three to seven figures before it."""
    background = backgrounds[rng.integers(len(backgrounds))]
    least = max(WIDTH / background.shape[1], HEIGHT / background.shape[0])
    factor = rng.uniform(max(least, 0.5), 1)
    reduced = cv2.resize(background, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    top, left = rng.integers(reduced.shape[0] - HEIGHT + 1), rng.integers(reduced.shape[1] - WIDTH + 1)
    scene = np.ascontiguousarray(reduced[top : top + HEIGHT, left : left + WIDTH], np.float32)
    scene = scene[:, ::-1].copy() if rng.integers(2) else scene
    for factor in sorted(rng.uniform(0.5, 1, rng.integers(3, 8))):
        figure = figures[rng.integers(len(figures))]
        figure = figure[:, ::-1] if rng.integers(2) else figure
        colours = figure.astype(np.float32)
        colours[..., :3] *= colours[..., 3:] / 255  # what is not seen must not shine through at the rim
        small = cv2.resize(colours, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        small[..., :3] /= np.maximum(small[..., 3:] / 255, 1e-3)
        paste(scene, small, rng)
    return scene


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


def paste(scene: Scene, drawing: NDArray[np.uint8] | NDArray[np.float32], rng: np.random.Generator) -> None:
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
