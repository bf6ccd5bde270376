"""`vs-smsr plan` and `--dry-run`: what would be done with a file, in lines."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from av.stream import Stream
from numpy.typing import NDArray

from vs_smsr.engine.contract import Frame
from vs_smsr.engine.memory import size
from vs_smsr.engine.picture import to_frame
from vs_smsr.engine.reach import reach
from vs_smsr.engine.window import whole
from vs_smsr.jobs.arrays import conversion_bytes
from vs_smsr.media.images import is_image, kind_of, read_image
from vs_smsr.media.paths import is_pipe
from vs_smsr.media.streams import name_of, refusal, wanted
from vs_smsr.options import VideoOptions
from vs_smsr.tiling import FramePlan, Tiler, prediction
from vs_smsr.tiling.geometry import cover

CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".webm": "webm"}
LOOK = (0, 12, 24, 36)  # frames that the time is predicted from: the first one is often black


def describe(source: Path, target: Path, tiler: Tiler, options: VideoOptions, network: str) -> str:
    """The plan for one file; `network` is the name of the weights.

    Raises:
        MediaError: the file cannot be read. MemoryBudgetError: the budget is too small.
    """
    what, *lines = _image(source, tiler) if kind_of(source) == "image" else _video(source, target, tiler, options)
    return "\n".join([what, f"  model                    {network}", *lines])


def _image(source: Path, tiler: Tiler) -> list[str]:
    pixels = read_image(source).pixels
    height, width = pixels.shape[:2]
    plan = tiler.plan(height, width, conversion_bytes(pixels, tiler.scale))
    lines = [f"{source}: image, {width}x{height} -> {width * tiler.scale}x{height * tiler.scale}"]
    return lines + _engine(tiler, plan, [_colours(pixels)], 1)


def _colours(pixels: NDArray[Any]) -> Frame:
    """An image as the network sees it: grey as three equal channels, alpha left out; RGB 0..255."""
    channels = pixels.reshape(*pixels.shape[:2], -1)
    colours = channels[..., :3] if channels.shape[2] >= 3 else np.repeat(channels[..., :1], 3, axis=2)
    return to_frame(np.ascontiguousarray(colours))


def _video(source: Path, target: Path, tiler: Tiler, options: VideoOptions) -> list[str]:
    from vs_smsr.jobs.pipeline import fit
    from vs_smsr.jobs.sizing import Size, final_size
    from vs_smsr.media.colour import to_rgb
    from vs_smsr.media.reader import Reader
    from vs_smsr.media.y4m import pipe_options

    options = pipe_options(options) if is_pipe(target) else options
    with Reader(source, options.damaged, options.deinterlace, options.range) as reader:
        info = reader.info
        large = final_size(Size(info.width, info.height), tiler.scale, options, multiple=2)
        limits = fit(tiler, info, large, options)
        count = f"{info.frames} frames" if info.frames else "frames not told"
        made = target.suffix[1:] if is_image(target) else "y4m" if is_pipe(target) else options.codec
        lines = [f"{source}: video, {info.width}x{info.height} -> {large[0]}x{large[1]}, {count}, {made}"]
        if reader.filters.crop:
            lines.append(f"  cropped before           {reader.filters.crop} (the container's)")
        if reader.filters.interlaced:
            lines.append(f"  interlaced               {_interlaced(options)}")
        lines += [f"  note                     {note}" for note in reader.notes]
        for stream in reader.container.streams:
            if stream is not reader.video:
                lines.append(f"  {name_of(stream):24} {_fate(stream, target, options)}")
        if limits.level.note:
            lines.append(f"  encoder                  {limits.level.note}")
        looked_at = [to_rgb(frame) for n, frame in enumerate(islice(reader, LOOK[-1] + 1)) if n in LOOK]
    return lines + _engine(tiler, limits.plan, looked_at, info.frames)


def _interlaced(options: VideoOptions) -> str:
    return "deinterlaced, a frame for a frame" if options.deinterlace else "upscaled as whole frames (--deinterlace)"


def _fate(stream: Stream, target: Path, options: VideoOptions) -> str:
    if not wanted(stream, options):
        return "left out"
    if is_pipe(target):
        return "dropped: y4m holds video alone"
    reason = refusal(stream, CONTAINERS.get(target.suffix.lower(), "matroska"))
    return f"dropped: {reason}" if reason else "copied"


def _engine(tiler: Tiler, plan: FramePlan, frames: Sequence[Frame], count: int | None) -> list[str]:
    engine = tiler.engine
    lines = [f"  engine                   {engine.name}, {engine.device}, {engine.precision}, x{tiler.scale}"]
    chosen = f"--precision {engine.precision} --attention {tiler.options.attention} --reuse {tiler.options.reuse}"
    lines.append(f"  which is                 {chosen}")
    bounds, spec = whole(plan.height, plan.width), engine.weights.spec
    network = reach(spec)
    passes = "1 pass over the whole frame"
    if plan.tile is not None:
        tiles = cover(bounds, plan.tile, plan.tile)
        halo = tiles[len(tiles) // 2].expand(network.stage_needs, bounds)
        passes = (
            f"{spec.stages + 1} passes over {len(tiles)} tiles of at most {plan.tile}x{plan.tile}, "
            f"windows up to {halo.width}x{halo.height}; features between them: "
            f"{plan.in_memory / plan.rows:.0%} in memory, the rest on disk"
        )
    lines += [f"  tiles                    {passes}", f"  frames at the same time  {plan.in_flight}"]
    stage, far = (max(-first, end - 1) for first, end in (network.stage_needs((0, 1)), network.needs((0, 1))))
    lines.append(f"  halo                     {stage} pixels a stage, {far} through the whole network")
    kept = {
        "features": "the features of every stage, so that only changed pixels are computed",
        "regions": "input and result, so that unchanged regions are copied",
        "frames": "input and result, so that a repeated frame is copied",
        "nothing": "nothing",
    }
    lines.append(f"  kept of the last frame   {kept[plan.keep]}")
    lines += [f"  memory, {name:17}{size(amount):>7}" for name, amount in plan.bytes.items() if amount]
    lines.append(f"  memory, sum              {size(plan.total):>7} of {size(plan.budget)}")
    seconds = prediction.seconds(engine, plan, frames)
    total = f", {seconds * count / 60:.1f} min for {count} frames" if count and count > 1 else ""
    lines.append(f"  time                     about {seconds:.2f} s a frame{total}, when nothing is reused")
    return lines
