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
from vs_smsr.errors import SmsrError
from vs_smsr.options import EngineName, EngineOptions, Precision
from vs_smsr.tiling import Tiler

log = logging.getLogger(__name__)

_DEVICE = 'Use device="cuda:N".'
_WHOLE = "Frames are computed whole and have no seams: leave it out."
PEERS = {  # what users of other filters type -> what to do here
    "backend": "Use engine= and device=.",
    "batch_size": "Use num_streams=.",
    "device_id": _DEVICE,
    "device_index": _DEVICE,
    "fp16": 'Use precision="fp16" or give an RGBH clip.',
    "gpu_id": _DEVICE,
    "model_path": "Use weights=.",
    "overlap": _WHOLE,
    "tile": _WHOLE,
    "tile_pad": _WHOLE,
    "tiles": _WHOLE,
    "tilesize": _WHOLE,
}
WITHOUT_TRANSFER = {1, 4, 5, 6, 7, 8, 9}  # matrices that need no transfer function; the others are luminance based
UNSPECIFIED, RESERVED = 2, 3


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
        num_streams: how many frames are in the network at the same time; each costs memory.
        threads: CPU threads of the network; 0 = all.
    Returns:
        A clip of the same format, length, frame rate and frame props, with one more prop: `SMSRSparsity`, the mean
        share of work that the network skipped, 0..1.
    Raises:
        vs.Error: an argument or the clip is not fit, or the engine does not work here; the message begins "smsr: ".
    """
    _refuse_unknown(unknown)
    _require_type(int, "a whole number", scale=scale, num_streams=num_streams, threads=threads)
    _require_type(str, "a string", model=model, device=device, engine=engine)
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
        tiler = Tiler(engines.create(options))
    except SmsrError as error:
        raise vs.Error(f"smsr: {str(error).removeprefix('EngineOptions: ')}") from error

    if clip.format.id in (vs.RGBS, vs.RGBH):
        return _upscaled(clip, clip, tiler, num_streams)
    return _from_rgb(_upscaled(_to_rgb(clip), clip, tiler, num_streams), clip)


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


def _upscaled(rgb: vs.VideoNode, source: vs.VideoNode, tiler: Tiler, num_streams: int) -> vs.VideoNode:
    """The RGBS or RGBH clip through the network, with the frame props of `source` and SMSRSparsity.

    VapourSynth calls the function of one ModifyFrame for one frame at a time. So there are `num_streams` of them, and
    FrameEval deals the requests out in the order in which they come: that many frames run side by side, and no more.
    Which of them serves a frame does not matter to its pixels.
    """
    core = vs.core
    width, height = tiler.scale * rgb.width, tiler.scale * rgb.height
    blank = core.std.BlankClip(rgb, width=width, height=height, keep=True)
    blank = core.std.CopyFrameProps(blank, source)
    warned = False

    def run(n: int, f: list[vs.VideoFrame]) -> vs.VideoFrame:
        nonlocal warned
        if f[0].props.get("_FieldBased", 0) and not warned:
            warned = True
            log.warning("smsr: frame %d is interlaced; the network is for progressive frames. Deinterlace first.", n)
        return _upscale_frame(n, f[1], f[0].copy(), tiler)

    streams = [core.std.ModifyFrame(blank, [blank, rgb], run) for _ in range(num_streams)]
    for stream in streams:
        core.std.SetVideoCache(stream, mode=0)  # never: FrameEval's own cache serves repeated requests
    turns = itertools.count()
    return core.std.FrameEval(blank, lambda n: streams[next(turns) % num_streams], clip_src=streams)


def _upscale_frame(n: int, small: vs.VideoFrame, large: vs.VideoFrame, tiler: Tiler) -> vs.VideoFrame:
    """Fill `large` (RGB half or float 0..1, its props already right) with the upscaled `small`; returns it."""
    frame = np.empty((small.height, small.width, 3), np.float32)
    for plane in range(3):
        np.multiply(np.asarray(small[plane]), np.float32(255), out=frame[..., plane])
    if not np.isfinite(frame).all():  # one such value would spread over the whole frame
        raise vs.Error(f"smsr: frame {n} must be finite everywhere, got NaN or infinity. Limit the clip first.")
    try:
        result = tiler.upscale(frame)
    except SmsrError as error:
        raise vs.Error(f"smsr: frame {n}: {error}") from None
    for plane in range(3):
        np.divide(result.frame[..., plane], np.float32(255), out=np.asarray(large[plane]), casting="same_kind")
    large.props["SMSRSparsity"] = result.skipped
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
