"""`smsr` for scripts: its arguments, and the graph of nodes in which frames run side by side."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import vapoursynth as vs

from vs_smsr import engine as engines
from vs_smsr.engine.contract import Frame
from vs_smsr.engine.conversion import pack, unpack
from vs_smsr.engine.picture import Layout
from vs_smsr.errors import SmsrError, plain
from vs_smsr.options import Attention, EngineName, EngineOptions, Precision, TilingOptions, parse_bytes
from vs_smsr.tiling import Kept, PictureInFlight, TiledFrame, TiledPicture, Tiler
from vs_smsr.vapoursynth import formats
from vs_smsr.vapoursynth.temporal import TILES, errors_of_frame, tiled

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
ENDLESS = 100_000_000  # frames; players that do not know a length give one as high, and keep few frames


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

    RGB of any type, and YUV and GRAY of 8 to 16 bits, go to the engine as they are. All else (float YUV and GRAY, RGB
    in limited range, luminance-based matrices) is converted to RGBS and back by zimg. Both ways each frame is taken as
    its props say: `_Matrix`, `_Transfer`, `_Primaries`, `_Range` (or `_ColorRange`), `_ChromaLocation`. What a frame
    leaves open: BT.709 if it is 1280 or more wide or more than 576 high, else BT.601; full range for RGB, else limited;
    chroma left. Integers are rounded, not dithered. `_FieldBased` frames are taken as progressive, and that is said.

    Args:
        clip: constant format and size; RGB, YUV or GRAY; integer up to 16 bits, half or float.
        scale: 2, 3 or 4.
        model: name of shipped weights. A clip does not tell how it was coded, so nothing is chosen here: what
            `--model auto` would take for lossy video is "video", where it is shipped.
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
    if reuse in ("auto", "forward"):
        raise vs.Error(
            f"smsr: reuse must be 'exact', 'near:N' or 'off', got {reuse!r}, which needs frames in their order; here "
            'they may be asked for in any. Use "exact", or "near:2" where the source is noisy.'
        )
    if len(clip) > ENDLESS and (attention != "frame" or reuse.startswith("near")):
        raise vs.Error(
            f"smsr: attention {attention!r} with reuse {reuse!r} needs earlier frames than the one that is asked for, "
            f'and this host (its clip has {len(clip)} frames) keeps few. Use attention="frame" and reuse="exact".'
        )
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
        graph = _Graph(clip, tiler, num_streams)
        if memory is not None:
            tiler.plan(clip.height, clip.width, graph.overhead)  # a budget that cannot work fails at once
    except SmsrError as error:
        raise vs.Error(f"smsr: {plain(error)}") from error
    return graph.upscaled()


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


class _Graph:
    """The nodes that make the result of one clip.

    Attributes:
        overhead: bytes that VapourSynth holds while a frame is computed.
    """

    def __init__(self, clip: vs.VideoNode, tiler: Tiler, num_streams: int) -> None:
        self._clip, self._tiler, self._num_streams = clip, tiler, num_streams
        self._warned = False
        small = formats.frame_bytes(clip if formats.has_layouts(clip) else _blank(clip, vs.RGBS))
        self.overhead = (2 * num_streams + 2) * (1 + tiler.scale**2) * small

    def upscaled(self) -> vs.VideoNode:
        """The clip in its own format, with its frame props and our own."""
        clip = self._clip

        @cache  # made where it is needed: hardly any clip has both kinds of frames
        def through_rgb() -> vs.VideoNode:
            rgb = _blank(clip, vs.RGBS)
            colour = formats.colour_of(0, {}, rgb)
            layout = formats.layout_of(colour, rgb)
            return formats.from_rgb(self._enlarged(formats.to_rgb(clip), lambda n, props: layout), clip)

        if not formats.has_layouts(clip):
            return through_rgb()
        direct = self._enlarged(clip, lambda n, props: formats.layout_of(formats.colour_of(n, props, clip), clip))
        if clip.format.sample_type == vs.FLOAT:
            return direct

        def choose(n: int, f: vs.VideoFrame) -> vs.VideoNode:
            return direct if formats.has_layout(formats.colour_of(n, f.props, clip), clip) else through_rgb()

        return vs.core.std.FrameEval(direct, choose, prop_src=[clip], clip_src=[direct])

    def _enlarged(self, small: vs.VideoNode, layout_of: Callable[[int, vs.FrameProps], Layout]) -> vs.VideoNode:
        """A clip whose frames have layouts, through the network.

        VapourSynth calls the function of one ModifyFrame for one frame at a time. So there are `num_streams` of them,
        and FrameEval deals the requests out in the order in which they come: that many frames run side by side, and no
        more. Which of them serves a frame does not matter to its pixels.
        """
        core, tiler, source = vs.core, self._tiler, self._clip
        scale, overhead, num_streams = tiler.scale, self.overhead, self._num_streams
        blank = core.std.BlankClip(small, width=scale * small.width, height=scale * small.height, keep=True)
        blank = core.std.CopyFrameProps(blank, source)

        if tiler.options.has_temporal_tiles:

            def read(n: int, frame: vs.VideoFrame) -> Frame:
                return unpack(formats.picture_of(n, frame, layout_of(n, frame.props)))

            def finish(n: int, large: vs.VideoFrame, frame: vs.VideoFrame, result: TiledFrame) -> vs.VideoFrame:
                picture = pack(result.frame, layout_of(n, frame.props), large.height, large.width)
                return self._finished(n, large, TiledPicture(picture, result.sparsity, result.reused, result.held))

            return tiled(small, source, blank, tiler, read, finish, num_streams=num_streams, overhead=overhead)

        last: Kept[PictureInFlight] = Kept()

        def run(n: int, f: list[vs.VideoFrame]) -> vs.VideoFrame:
            layout = layout_of(n, f[1].props)
            with errors_of_frame(n):
                sent = tiler.submit(formats.picture_of(n, f[1], layout), layout, overhead, last)
                made = sent.result()
            reused = 0.0 if sent.computed else 1.0
            return self._finished(n, f[0].copy(), TiledPicture(made.picture, made.sparsity, reused, held=False))

        streams = [core.std.ModifyFrame(blank, [blank, small], run) for _ in range(num_streams)]
        for stream in streams:
            core.std.SetVideoCache(stream, mode=0)  # never: FrameEval's own cache serves repeated requests
        turns = itertools.count()
        return core.std.FrameEval(blank, lambda n: streams[next(turns) % num_streams], clip_src=streams)

    def _finished(self, n: int, large: vs.VideoFrame, result: TiledPicture) -> vs.VideoFrame:
        """`large`, whose props are already right, with the result in it."""
        if large.props.get("_FieldBased", 0) and not self._warned:
            self._warned = True
            log.warning("smsr: frame %d is interlaced; the network is for progressive frames. Deinterlace first.", n)
        formats.fill(large, result.picture)
        large.props["SMSRSparsity"] = result.skipped
        large.props["SMSRReused"] = result.reused
        large.props["SMSRHeld"] = int(result.held)
        return large


def _blank(clip: vs.VideoNode, form: int) -> vs.VideoNode:
    return vs.core.std.BlankClip(clip, format=form, keep=True)
