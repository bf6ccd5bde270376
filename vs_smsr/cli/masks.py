"""`vs-smsr masks`: pictures of where the network works on a video or an image."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from vs_smsr import engine
from vs_smsr.cli import charts
from vs_smsr.cli.report import say
from vs_smsr.engine.contract import Frame
from vs_smsr.engine.window import whole
from vs_smsr.jobs.choosing import choose
from vs_smsr.media.image_files import write_image
from vs_smsr.media.images import Image, kind_of, read_image
from vs_smsr.options import EngineOptions, TilingOptions
from vs_smsr.tiling import Sequence, TiledFrame, Tiler
from vs_smsr.tiling.geometry import cover

GRID = 128  # side of the tiles that are drawn where the memory needs none


def draw(source: Path, folder: Path, frames: int, engine_options: EngineOptions, tiling_options: TilingOptions) -> None:
    """Upscale the first frames and write pictures: smm_1.png ... (the masks of the last of them; upsampling.png
    where that has one), work.png (its masks, tiles and reused regions), sparsity.png and channels.png.

    Raises:
        MediaError: the source cannot be read, or the folder not be written.
    """
    tiler = Tiler(engine.create(choose(engine_options, source)), tiling_options)
    sequence = Sequence(tiler)
    results: list[tuple[tuple[float, ...], float]] = []
    last: tuple[Frame, TiledFrame] | None = None
    for frame in islice(_frames(source), frames):
        last = frame, sequence.upscale(frame)
        results.append((last[1].sparsity, last[1].reused))
    assert last is not None, "a file that can be read has a frame"
    frame, result = last
    plan = tiler.plan(*frame.shape[:2])
    side = plan.tile or GRID
    tiles = cover(whole(*result.masks[0].shape), side, side)
    spec = tiler.engine.weights.spec
    names = [f"smm_{k}.png" for k, _ in enumerate(spec.blocks, 1)] + ["upsampling.png"] * bool(spec.upsampling_mask)
    drawn = {
        **{name: charts.mask_overlay(frame, mask) for name, mask in zip(names, result.masks, strict=True)},
        "work.png": charts.work_overlay(frame, result.masks, result.computed, tiles),
        "sparsity.png": charts.sparsity_chart([one for one, _ in results], [reused for _, reused in results]),
        "channels.png": charts.channel_chart(tiler.engine.weights),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, picture in drawn.items():
        write_image(folder / name, Image(picture), overwrite=True)
    active = " ".join(f"{share:.0%}" for share in result.active)
    say(f"{folder}: {len(drawn)} pictures of {len(results)} frames; active pixels of each mask in the last: {active}")


def _frames(source: Path) -> Iterator[Frame]:
    """(H, W, 3) float32 RGB 0..255."""
    if kind_of(source) == "image":
        pixels = read_image(source).pixels
        white = np.iinfo(pixels.dtype).max if pixels.dtype.kind == "u" else 1
        pixels = pixels.reshape(*pixels.shape[:2], -1)
        rgb = pixels[..., :3] if pixels.shape[2] >= 3 else pixels[..., :1].repeat(3, axis=2)
        yield np.ascontiguousarray(rgb, np.float32) * np.float32(255 / white)
        return
    from vs_smsr.media.colour import to_rgb
    from vs_smsr.media.reader import Reader

    with Reader(source) as reader:
        yield from map(to_rgb, reader)
