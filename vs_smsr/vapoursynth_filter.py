"""The VapourSynth door: clip in, clip `scale` times as large out."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import vapoursynth as vs

from vs_smsr import engine as engines
from vs_smsr.engine.contract import Frame
from vs_smsr.errors import SmsrError, plain
from vs_smsr.options import Attention, EngineName, EngineOptions, Precision, TilingOptions, parse_bytes
from vs_smsr.tiling import Frames, TiledFrame, Tiler
from vs_smsr.vapoursynth_tiles import TILES, errors_of_frame, tiled

log = logging.getLogger(__name__)

_DEVICE = 'Use device="cuda:N".'
_WHOLE = "Tiles have no seams and the right overlap by themselves: leave it out, or use tile= or memory=."
PEERS = {  # what users of other filters type -> what to do here
    "backend": "Use engine= and device=.",
    "batch_size": "Use num_streams=.",
    "device_id": _DEVICE,
    "device_index": _DEVICE,
    "fp16": 'Use precision="fp16" or give an RGBH clip.',
    "gpu_id": _DEVICE,
    "model_path": "Use weights=.",
    "overlap": _WHOLE,
    "tile_pad": _WHOLE,
    "tiles": _WHOLE,
    "tilesize": _WHOLE,
}
WITHOUT_TRANSFER = {1, 4, 5, 6, 7, 8, 9}  # matrices that need no transfer function; the others are luminance based
UNSPECIFIED, RESERVED = 2, 3
FLOATS = 12  # bytes of an RGBS pixel


def smsr(
    clip: vs.VideoNode,
    scale: int = 2,
    *,
    model: str = "smsr",
    weights: str | Path | None = None,
    device: str = "auto",
    engine: EngineName = "auto",
    precision: Precision | None = None,
    num_streams: int = 2,
    threads: int = 0,
    memory: int | str | None = None,
    tile: int = 0,
    attention: Attention = "frame",
    reuse: str = "exact",
    temporal_tile: int = 48,
    **unknown: object,
) -> vs.VideoNode:
    """Upscale a clip with SMSR.

    RGBS and RGBH go to the network as they are. Any other clip is converted to RGBS and back by zimg, frame by frame
    as its props say: `_Matrix`, `_Transfer`, `_Primaries`, `_Range` (or `_ColorRange`), `_ChromaLocation`. What a
    frame leaves open: BT.709 if it is 1280 or more wide or more than 576 high, else BT.601; full range for RGB, else
    limited; chroma left. Integers are rounded, not dithered.

    Args:
        clip: constant format and size; RGB, YUV or GRAY; integer up to 16 bits, half or float.
        scale: 2, 3 or 4.
        model: name of shipped weights.
        weights: a .safetensors file instead of shipped weights.
        device: "auto", "cpu", "cuda" or "cuda:N".
        engine: "auto", "cpu", "cuda" or "reference".
        precision: "fp32", "bf16", "fp16" or "auto" (the fastest the device has); None: "fp32" for a float clip, "auto"
            for all others.
        num_streams: how many frames are in the network at the same time; each costs memory. With attention "held" or
            "auto" a frame reuses what the one before it left, so they go one by one unless reuse is "off".
        threads: CPU threads of the network; 0 = all.
        memory: most memory that the process may use, such as "2G" or in bytes; None: a share of what is free.
        tile: side of a tile in source pixels; 0 = as large as the memory allows.
        attention: "frame": each frame's channel means are its own. "held": those of the first frame of a temporal tile
            (48 frames, or up to the next scene cut) serve all its frames, so that unchanged regions need no work;
            "auto": held where that makes no visible difference. A cut is where `_SceneChangePrev` is set, or, on frames
            without that prop, where the picture says so.
        reuse: "exact" copies what did not change, "near:2" takes changes up to 2 (of 255) for none, "off".
        temporal_tile: most frames in a temporal tile.
    Returns:
        A clip of the same format, length, frame rate and frame props, with three more props: `SMSRSparsity`, the mean
        share of work that the network skipped, and `SMSRReused`, the share of pixels that were copied, both 0..1;
        `SMSRHeld`, 1 if the attention was held. All but SMSRReused depend on the clip and the frame's number alone.
    Raises:
        vs.Error: an argument or the clip is not fit, or the engine does not work here; the message begins "smsr: ".
    """
    _refuse_unknown(unknown)
    _require_type(int, "a whole number", scale=scale, num_streams=num_streams, threads=threads)
    _require_type(int, "a whole number", tile=tile, temporal_tile=temporal_tile)
    _require_type(str, "a string", model=model, device=device, engine=engine, attention=attention, reuse=reuse)
    _require_type((int, str, type(None)), 'a size such as "2G" or None', memory=memory)
    _require_type((str, type(None)), "a string or None", precision=precision)
    _require_type((str, Path, type(None)), "the path of a .safetensors file or None", weights=weights)
    if num_streams < 1:
        raise vs.Error(f"smsr: num_streams must be 1 or more, got {num_streams}.")
    _check_clip(clip)
    if precision is None:
        is_single = clip.format.sample_type == vs.FLOAT and clip.format.bits_per_sample == 32
        precision = "fp32" if is_single else "auto"
    try:
        options = EngineOptions(
            scale=scale,
            model=model,
            weights=None if weights is None else Path(weights),
            device=device,
            engine=engine,
            precision=precision,
            threads=threads,
        )
        tiling = TilingOptions(
            memory=parse_bytes(memory) if isinstance(memory, str) else memory,
            tile=tile,
            attention=attention,
            reuse=reuse,
            temporal_tile=temporal_tile,
        )
        tiles = TILES if tiling.has_temporal_tiles else 1
        tiler = Tiler(engines.create(options), tiling, in_flight=num_streams, tiles=tiles)
        large = scale**2 * clip.width * clip.height
        overhead = (num_streams + 2) * FLOATS * (large + clip.width * clip.height)  # frames that VapourSynth holds
        if memory is not None:
            tiler.plan(clip.height, clip.width, overhead)  # a budget that cannot work fails at once
    except SmsrError as error:
        raise vs.Error(f"smsr: {plain(error)}") from error

    if clip.format.id in (vs.RGBS, vs.RGBH):
        return _upscaled(clip, clip, tiler, num_streams, overhead)
    return _from_rgb(_upscaled(_to_rgb(clip), clip, tiler, num_streams, overhead), clip)


def _refuse_unknown(unknown: Mapping[str, object]) -> None:
    for name in unknown:
        raise vs.Error(f"smsr: there is no argument {name!r}. {PEERS.get(name, 'See help(smsr).')}")


def _require_type(kinds: type | tuple[type, ...], rule: str, **arguments: object) -> None:
    for name, value in arguments.items():
        if not isinstance(value, kinds) or isinstance(value, bool):
            raise vs.Error(f"smsr: {name} must be {rule}, got {value!r}.")


def _check_clip(clip: object) -> None:
    if not isinstance(clip, vs.VideoNode):
        raise vs.Error(f"smsr: clip must be a video clip, got {type(clip).__name__}.")
    if clip.format is None or clip.format.color_family == vs.UNDEFINED or not clip.width or not clip.height:
        raise vs.Error("smsr: clip must have one format and one size, got a clip in which they vary. Resize it first.")
    if clip.format.sample_type == vs.INTEGER and clip.format.bits_per_sample > 16:
        raise vs.Error(f"smsr: clip must have at most 16 bits per integer sample, got {clip.format.name}.")


def _upscaled(rgb: vs.VideoNode, source: vs.VideoNode, tiler: Tiler, num_streams: int, overhead: int) -> vs.VideoNode:
    """The RGBS or RGBH clip through the network, with the frame props of `source` and our own.

    VapourSynth calls the function of one ModifyFrame for one frame at a time. So there are `num_streams` of them, and
    FrameEval deals the requests out in the order in which they come: that many frames run side by side, and no more.
    Which of them serves a frame does not matter to its pixels.
    """
    core = vs.core
    width, height = tiler.scale * rgb.width, tiler.scale * rgb.height
    blank = core.std.BlankClip(rgb, width=width, height=height, keep=True)
    blank = core.std.CopyFrameProps(blank, source)
    warned = False

    def finish(n: int, large: vs.VideoFrame, result: TiledFrame) -> vs.VideoFrame:
        nonlocal warned
        if large.props.get("_FieldBased", 0) and not warned:
            warned = True
            log.warning("smsr: frame %d is interlaced; the network is for progressive frames. Deinterlace first.", n)
        return _filled(large, result)

    if tiler.options.has_temporal_tiles:
        return tiled(rgb, source, blank, tiler, _read, finish, num_streams=num_streams, overhead=overhead)
    frames = Frames(tiler, overhead)

    def run(n: int, f: list[vs.VideoFrame]) -> vs.VideoFrame:
        small = _read(n, f[1])
        with errors_of_frame(n):
            result = frames.upscale(small)
        return finish(n, f[0].copy(), result)

    streams = [core.std.ModifyFrame(blank, [blank, rgb], run) for _ in range(num_streams)]
    for stream in streams:
        core.std.SetVideoCache(stream, mode=0)  # never: FrameEval's own cache serves repeated requests
    turns = itertools.count()
    return core.std.FrameEval(blank, lambda n: streams[next(turns) % num_streams], clip_src=streams)


def _read(n: int, small: vs.VideoFrame) -> Frame:
    """RGB half or float 0..1 as (H, W, 3) float32 0..255."""
    frame = np.empty((small.height, small.width, 3), np.float32)
    for plane in range(3):
        np.multiply(np.asarray(small[plane]), np.float32(255), out=frame[..., plane])
    if not np.isfinite(frame).all():  # one such value would spread over the whole frame
        raise vs.Error(f"smsr: frame {n} must be finite everywhere, got NaN or infinity. Limit the clip first.")
    return frame


def _filled(large: vs.VideoFrame, result: TiledFrame) -> vs.VideoFrame:
    """`large` (RGB half or float 0..1, its props already right) with the result in it."""
    for plane in range(3):
        np.divide(result.frame[..., plane], np.float32(255), out=np.asarray(large[plane]), casting="same_kind")
    large.props["SMSRSparsity"] = result.skipped
    large.props["SMSRReused"] = result.reused
    large.props["SMSRHeld"] = int(result.held)
    return large


class _Colour(NamedTuple):
    """How a frame that is not RGBS or RGBH codes its colours, in the numbers of ITU-T H.273."""

    matrix: int
    range: int  # 0 limited, 1 full
    chroma: int  # location of chroma samples


def _colour(n: int, props: Mapping[str, Any], clip: vs.VideoNode) -> _Colour:
    """What the frame's props say, else the convention; see `smsr`."""
    family = clip.format.color_family
    full = props.get("_Range", family == vs.RGB)  # VapourSynth itself turns the older _ColorRange into _Range
    chroma = int(props.get("_ChromaLocation", vs.CHROMA_LEFT))
    matrix = int(props.get("_Matrix", UNSPECIFIED))
    if family == vs.RGB:
        return _Colour(0, int(full), chroma)
    if matrix in (UNSPECIFIED, RESERVED) or (family == vs.GRAY and matrix == 0):  # grey taken out of RGB keeps its prop
        matrix = 1 if clip.width >= 1280 or clip.height > 576 else 6
    if matrix == 0:
        raise vs.Error(f"smsr: frame {n}: _Matrix is 0 (RGB), but the clip is {clip.format.name}. Set its matrix.")
    if matrix not in WITHOUT_TRANSFER and props.get("_Transfer", UNSPECIFIED) == UNSPECIFIED:
        raise vs.Error(f"smsr: frame {n}: _Matrix {matrix} needs _Transfer and _Primaries, and they are not set.")
    return _Colour(matrix, int(full), chroma)


def _chosen_by_props(
    like: vs.VideoNode, clip: vs.VideoNode, convert: Callable[[_Colour], vs.VideoNode]
) -> vs.VideoNode:
    """Frame n of `convert(colour of clip's frame n)`; each conversion is made once."""
    convert = cache(convert)
    return vs.core.std.FrameEval(like, lambda n, f: convert(_colour(n, f.props, clip)), prop_src=[clip])


def _to_rgb(clip: vs.VideoNode) -> vs.VideoNode:
    """Any clip as RGBS, gamma as coded, full range."""
    core = vs.core

    def convert(colour: _Colour) -> vs.VideoNode:
        tagged = core.std.SetFrameProps(clip, _Matrix=colour.matrix, _Range=colour.range, _ChromaLocation=colour.chroma)
        return core.resize.Bicubic(tagged, format=vs.RGBS, filter_param_a=0, filter_param_b=0.5)

    return _chosen_by_props(core.std.BlankClip(clip, format=vs.RGBS, keep=True), clip, convert)


def _from_rgb(rgb: vs.VideoNode, clip: vs.VideoNode) -> vs.VideoNode:
    """RGBS that has the frame props of `clip` in the format of `clip`, frame by frame; the props stay as they are."""
    core = vs.core
    untagged = core.std.RemoveFrameProps(rgb, ["_Matrix", "_Range", "_ChromaLocation"])

    def convert(colour: _Colour) -> vs.VideoNode:
        options = {"range": colour.range, "filter_param_a": 0, "filter_param_b": 0.5}
        if clip.format.color_family != vs.RGB:
            options["matrix"] = colour.matrix
        if clip.format.subsampling_w or clip.format.subsampling_h:
            options["chromaloc"] = colour.chroma
        return core.resize.Bicubic(untagged, format=clip.format.id, **options)

    blank = core.std.BlankClip(rgb, format=clip.format.id, keep=True)
    return core.std.CopyFrameProps(_chosen_by_props(blank, clip, convert), rgb)
