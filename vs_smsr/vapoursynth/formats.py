"""What the numbers of a clip's frames mean, by their props; and zimg for formats that the engine does not take."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np
import vapoursynth as vs

from vs_smsr.engine.picture import Layout, Picture
from vs_smsr.jobs.planes import PlanarKind, planar_layout
from vs_smsr.media.colour import RGB, UNSPECIFIED, Colour, usual_matrix

BY_FORMULA = {1, 4, 5, 6, 7, 8, 9}  # matrices that need no transfer function; the others are luminance based
RESERVED = 3
CUBIC = {"filter_param_a": 0, "filter_param_b": 0.5}
TAGS = ["_Matrix", "_Range", "_ChromaLocation", "_FieldBased"]  # what zimg looks at
KINDS: dict[int, PlanarKind] = {vs.RGB: "planar", vs.YUV: "yuv", vs.GRAY: "grey"}
MOST_SUBSAMPLED = 2  # log2, of what the engine takes


def colour_of(n: int, props: Mapping[str, Any], clip: vs.VideoNode) -> Colour:
    """How a frame codes its colours: what its props say, else the convention; see `smsr`.

    Raises:
        vs.Error: they contradict the clip's format, or lack something.
    """
    family = clip.format.color_family
    full = bool(props.get("_Range", family == vs.RGB))  # VapourSynth itself turns the older _ColorRange into _Range
    siting = int(props.get("_ChromaLocation", vs.CHROMA_LEFT)) + 1  # H.273 counts from 1 where FFmpeg says so
    if family == vs.RGB:
        return Colour(RGB, full, siting)
    matrix = int(props.get("_Matrix", UNSPECIFIED))
    if matrix in (UNSPECIFIED, RESERVED) or (family == vs.GRAY and matrix == RGB):  # grey taken out of RGB keeps it
        matrix = usual_matrix(clip.width, clip.height)
    if matrix == RGB:
        raise vs.Error(f"smsr: frame {n}: _Matrix is 0 (RGB), but the clip is {clip.format.name}. Set its matrix.")
    if matrix not in BY_FORMULA and props.get("_Transfer", UNSPECIFIED) == UNSPECIFIED:
        raise vs.Error(f"smsr: frame {n}: _Matrix {matrix} needs _Transfer and _Primaries, and they are not set.")
    return Colour(matrix, full, siting)


def has_layouts(clip: vs.VideoNode) -> bool:
    """Does the engine take planes of this format, at least with some colours?"""
    form = clip.format
    if form.sample_type == vs.FLOAT:
        return bool(form.color_family == vs.RGB)
    return int(max(form.subsampling_w, form.subsampling_h)) <= MOST_SUBSAMPLED


def has_layout(colour: Colour, clip: vs.VideoNode) -> bool:
    """Does the engine take planes with these colours? It has no limited RGB and no luminance based matrices."""
    if clip.format.color_family == vs.RGB:
        return colour.full or clip.format.sample_type == vs.FLOAT
    return colour.matrix in BY_FORMULA


def layout_of(colour: Colour, clip: vs.VideoNode) -> Layout:
    """Of a frame with these colours."""
    form = clip.format
    if form.sample_type == vs.FLOAT:
        return Layout("planar", "float32" if form.bits_per_sample == 32 else "float16", 1)
    return planar_layout(KINDS[form.color_family], form.bits_per_sample, colour, form.subsampling_w, form.subsampling_h)


def picture_of(n: int, frame: vs.VideoFrame, layout: Layout) -> Picture:
    """A copy of the frame's planes, which outlives it.

    Raises:
        vs.Error: a sample is not finite.
    """
    planes = tuple(np.array(frame[plane]) for plane in range(frame.format.num_planes))
    if planes[0].dtype.kind == "f" and not all(np.isfinite(plane).all() for plane in planes):  # one would spread
        raise vs.Error(f"smsr: frame {n} must be finite everywhere, got NaN or infinity. Limit the clip first.")
    return Picture(planes, layout)


def fill(frame: vs.VideoFrame, picture: Picture) -> None:
    """Copy the picture's planes into a frame of the same format."""
    for plane, values in enumerate(picture.planes):
        np.copyto(np.asarray(frame[plane]), values)


def frame_bytes(clip: vs.VideoNode) -> int:
    """Bytes of one frame."""
    form = clip.format
    chroma = (form.num_planes - 1) / (1 << form.subsampling_w + form.subsampling_h)
    return int((1 + chroma) * clip.width * clip.height * form.bytes_per_sample)


def to_rgb(clip: vs.VideoNode) -> vs.VideoNode:
    """Any clip as RGBS, gamma as coded, full range; interlaced frames as if they were progressive."""
    core = vs.core

    def convert(colour: Colour) -> vs.VideoNode:
        tags = {"_Matrix": colour.matrix, "_Range": int(colour.full), "_ChromaLocation": colour.siting - 1}
        return core.resize.Bicubic(core.std.SetFrameProps(clip, **tags, _FieldBased=0), format=vs.RGBS, **CUBIC)

    return _chosen_by_props(core.std.BlankClip(clip, format=vs.RGBS, keep=True), clip, convert)


def from_rgb(rgb: vs.VideoNode, clip: vs.VideoNode) -> vs.VideoNode:
    """RGBS that has the frame props of `clip` in the format of `clip`, frame by frame; the props stay as they are."""
    core = vs.core
    untagged = core.std.RemoveFrameProps(rgb, TAGS)

    def convert(colour: Colour) -> vs.VideoNode:
        options: dict[str, Any] = {"range": int(colour.full), **CUBIC}
        if clip.format.color_family != vs.RGB:
            options["matrix"] = colour.matrix
        if clip.format.subsampling_w or clip.format.subsampling_h:
            options["chromaloc"] = colour.siting - 1
        return core.resize.Bicubic(untagged, format=clip.format.id, **options)

    blank = core.std.BlankClip(rgb, format=clip.format.id, keep=True)
    return core.std.CopyFrameProps(_chosen_by_props(blank, clip, convert), rgb)


def _chosen_by_props(like: vs.VideoNode, clip: vs.VideoNode, convert: Callable[[Colour], vs.VideoNode]) -> vs.VideoNode:
    """Frame n of `convert(colour of clip's frame n)`; each conversion is made once."""
    convert = cache(convert)
    return vs.core.std.FrameEval(like, lambda n, f: convert(colour_of(n, f.props, clip)), prop_src=[clip])
