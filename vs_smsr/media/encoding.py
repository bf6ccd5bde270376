"""Which encoder, pixel format, options and clock a video result gets."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
from av.codec.codec import Codec, UnknownCodecError, find_best_pix_fmt_of_list
from av.codec.context import Flags
from av.container import OutputContainer
from av.video.codeccontext import VideoCodecContext
from av.video.format import VideoFormat
from av.video.stream import VideoStream

from vs_smsr.errors import OptionError
from vs_smsr.media import hdr
from vs_smsr.media.colour import BT470BG, BT709, CENTRE, FULL, LIMITED, RGB, Colour, depth, has_alpha, is_grey, is_rgb
from vs_smsr.media.ffmpeg_log import errors_said
from vs_smsr.media.hdr import Hdr
from vs_smsr.media.reader import Packet, VideoInfo, fraction, reason
from vs_smsr.media.streams import DECODING_TIMES
from vs_smsr.options import VideoOptions

UNCOMPRESSED = "wrapped_avframe"  # FFmpeg's encoder that passes frames on
DEFAULT_CRF = 16.0
MOST_THREADS = 16  # of an encoder
NO_DELAY = 1000  # seconds between decoding and showing that no encoder needs
UNTAGGED = 0
VARIABLE_FPS = 0x0400  # AVFMT_VARIABLE_FPS
PLAYED = {"h264", "hevc", "av1", "vp8", "vp9", "vvc", "mpeg4"}  # codecs for players, which want 4:2:0
QUANTISED = {"mpeg1video", "mpeg2video", "mpeg4", "msmpeg4v2", "msmpeg4v3", "wmv1", "wmv2", "flv1", "h263", "mjpeg"}
MPEG4_TICKS = 65535  # MPEG-4 part 2 counts time in 16 bits


def find_encoder(options: VideoOptions) -> Codec:
    """The encoder of that name.

    Raises:
        OptionError: FFmpeg has no video encoder of that name.
    """
    with suppress(UnknownCodecError):
        codec = Codec(options.codec, "w")
        if codec.type == "video":
            return codec
    raise OptionError(
        f"--codec: must be a video encoder of FFmpeg, got {options.codec!r}. "
        "For example libx264, libx265, libsvtav1, libvpx-vp9, prores_ks or ffv1."
    )


def choose_pix_fmt(codec: Codec, info: VideoInfo, size: tuple[int, int], wanted: str | None) -> str:
    """The pixel format to encode in.

    An encoder for players gets 4:2:0, 8 bit or more as the source has, if the result then has at least as many chroma
    samples as the source: always so from 2x up. Else it is the encoder's format nearest to the source's.

    Raises:
        OptionError: the wanted format is not one of the encoder's.
    """
    offered = [pix_fmt.name for pix_fmt in codec.video_formats or []]
    offered = [name for name in offered if not name.startswith("yuvj") and name != "cuda"]  # yuvj: yuv with a tag
    if wanted is not None:
        if wanted not in (offered or av.video.format.names):
            some = f"one of {', '.join(offered)}" if offered else "a pixel format of FFmpeg"
            raise OptionError(f"--pix-fmt: must be {some} for {codec.name}, got {wanted!r}.")
        return wanted
    source = VideoFormat(info.pix_fmt, info.width, info.height)
    nearest_to = info.pix_fmt.replace("yuvj", "yuv")
    if not offered:
        return nearest_to
    if codec.canonical_name in PLAYED and "yuv420p" in offered:
        offered = [name for name in offered if not name.startswith("gray")]  # few players show 4:0:0
        chroma = (info.width, info.height) if is_rgb(source) else (source.chroma_width(), source.chroma_height())
        if is_grey(source) or ((size[0] + 1) // 2 >= chroma[0] and (size[1] + 1) // 2 >= chroma[1]):
            bits = depth(source)
            nearest_to = "yuv420p" + ("" if bits <= 8 else "10le" if bits <= 10 else "12le")
            if has_alpha(source) and codec.canonical_name in ("vp8", "vp9"):
                nearest_to = "yuva420p"
    best, _ = find_best_pix_fmt_of_list(offered, nearest_to, has_alpha(source))
    return best.name if best else offered[0]


def even_size(codec: Codec, pix_fmt: str, size: tuple[int, int], options: VideoOptions) -> tuple[int, int]:
    """The size without its last odd column and row if the encoder can only halve even sizes.

    Raises:
        OptionError: the odd side was asked for.
    """
    target = VideoFormat(pix_fmt)
    if codec.canonical_name not in PLAYED:
        return size
    steps = (3 - target.chroma_width(2), 3 - target.chroma_height(2))
    for name, asked, step in (("width", options.width, steps[0]), ("height", options.height, steps[1])):
        if asked and asked % step:
            raise OptionError(f"--{name}: must be even for {codec.name} in {pix_fmt}, got {asked}.")
    return size[0] - size[0] % steps[0], size[1] - size[1] % steps[1]


def output_colour(info: VideoInfo, codec: Codec, pix_fmt: str) -> Colour:
    """The colour to write in: the source's; from RGB to YUV BT.709 in limited range. VP8 and JPEG know BT.601 alone."""
    target, source = VideoFormat(pix_fmt), VideoFormat(info.pix_fmt)
    colour = info.colour
    if codec.canonical_name in ("vp8", "mjpeg"):
        jpeg = codec.canonical_name == "mjpeg"
        return dataclasses.replace(colour, matrix=BT470BG, full=jpeg, siting=CENTRE if jpeg else colour.siting)
    if is_rgb(target):
        return Colour(RGB, True, transfer=colour.transfer, primaries=colour.primaries)
    if is_rgb(source):
        return Colour(BT709, False, transfer=colour.transfer, primaries=colour.primaries)
    if is_grey(source) and not is_grey(target) and not info.range_tagged:
        return Colour(colour.matrix, False, colour.siting, colour.transfer, colour.primaries)
    return colour


def choose_time_base(codec: Codec, container: OutputContainer, info: VideoInfo) -> Fraction:
    """Seconds per tick: the source's, or one frame where the codec or container only knows a constant rate."""
    constant = bool(codec.frame_rates) or not container.format.flags & VARIABLE_FPS
    if constant or (codec.canonical_name == "mpeg4" and info.time_base.denominator > MPEG4_TICKS):
        return 1 / info.rate
    return info.time_base


def add_video(
    output: OutputContainer, codec: Codec, info: VideoInfo, size: tuple[int, int], pix_fmt: str, options: VideoOptions
) -> VideoStream:
    """Add the video stream to the container and open its encoder.

    Raises:
        OptionError: the container cannot hold the codec, or the encoder refuses the options.
    """
    try:
        stream = output.add_stream(codec.name, rate=info.rate.limit_denominator(1_000_000))
    except ValueError as error:
        raise OptionError(
            f"--codec: must be one that the container {output.format.name} can hold, got {codec.name!r}. "
            f"Choose another codec ({output.default_video_codec}) or another ending of the file name."
        ) from error
    assert isinstance(stream, VideoStream), "find_encoder gives video encoders only"
    context = stream.codec_context
    hdr.tell_container(stream, Hdr.of(info.side_data))
    context.framerate = info.rate.limit_denominator(1_000_000)
    context.width, context.height = size
    context.pix_fmt = pix_fmt
    context.time_base = choose_time_base(codec, output, info)
    if output.format.name in DECODING_TIMES:
        context.max_b_frames = 0
    context.flags |= Flags.frame_duration  # else the last frame is shown as long as a mean frame
    _tag(context, info, size)
    if codec.canonical_name == "hevc" and output.format.name in ("mp4", "mov"):
        context.codec_tag = "hvc1"  # Apple's players want it
    context.options = encoder_options(codec, context, info, options)
    if codec.name == "libx264":
        context.thread_type = "FRAME"  # else x264 cuts frames into slices, one a thread, and files get a fifth larger
    if codec.canonical_name in QUANTISED and not {"b", "qscale", "global_quality"} & set(options.encoder_options):
        context.qscale, context.global_quality = True, 2 * 118  # quality 2 of 31, in FFmpeg's lambda units
    _open(context, options)
    return stream


def encoded(stream: VideoStream, frame: av.VideoFrame | None) -> Iterator[Packet]:
    """The packets that the encoder gives for a frame, or at the end for None."""
    unit = fraction(stream.codec_context.time_base)
    for packet in stream.encode(frame):
        # Of videos of one or two frames x265 gives the decoding time from memory that it never wrote.
        if packet.pts is not None and packet.dts is not None and abs(packet.pts - packet.dts) * unit > NO_DELAY:
            packet.dts = packet.pts
        yield packet


def _tag(context: VideoCodecContext, info: VideoInfo, size: tuple[int, int]) -> None:
    """Say in the stream what its numbers mean. The matrix is named even if the source did not name it.

    For players guess an unnamed matrix from the size, and the result has another size.
    """
    colour = output_colour(info, context.codec, context.pix_fmt or "")
    context.colorspace = colour.matrix
    context.color_range = FULL if colour.full else LIMITED if info.range_tagged else UNTAGGED
    context.color_trc, context.color_primaries = colour.transfer, colour.primaries
    target = VideoFormat(context.pix_fmt or "")
    context.chroma_sample_location = colour.siting if target.chroma_width(2) == 1 else 0
    aspect = pixel_aspect(info, size)
    if aspect:
        context.sample_aspect_ratio = aspect


def pixel_aspect(info: VideoInfo, size: tuple[int, int]) -> Fraction | None:
    """The source's pixel shape; another one if the size has another shape than the source, so that circles stay so."""
    width, height = size
    shape = Fraction(info.width, info.height)
    if abs(width - height * shape) <= 1 or abs(height - width / shape) <= 1:  # a side was rounded to even
        return info.aspect
    return ((info.aspect or 1) * shape * height / width).limit_denominator(10_000)


def encoder_options(codec: Codec, context: VideoCodecContext, info: VideoInfo, options: VideoOptions) -> dict[str, str]:
    """The options of the encoder: what was asked for, quality 16 where it has a quality, static HDR numbers."""
    private = {option.name for option in context.supported_options.private}
    known = private | {option.name for option in context.supported_options.generic}
    chosen = hdr.encoder_options(codec.name, Hdr.of(info.side_data))
    if codec.name == "libx265":  # it writes to stderr past FFmpeg's log
        chosen["x265-params"] = ":".join(filter(None, ("log-level=error", chosen.get("x265-params"))))
    if codec.name == "libx264" and _has_avx512():
        # With AVX-512 x264's lookahead reads what it has not written: the same frames become other bytes now and then.
        chosen["x264-params"] = ":".join(filter(None, ("asm=avx2", chosen.get("x264-params"))))
    if codec.name == "libsvtav1":  # so does this one
        os.environ.setdefault("SVT_LOG", "1")  # errors alone
    if "crf" in private:
        chosen["crf"] = f"{DEFAULT_CRF if options.crf is None else options.crf:g}"
    elif options.crf is not None:
        raise OptionError(f"--crf: must be left out for {codec.name}, which has no such option, got {options.crf:g}.")
    if options.preset is not None:
        if "preset" not in private:
            raise OptionError(f"--preset: must be left out for {codec.name}, which has none, got {options.preset!r}.")
        chosen["preset"] = options.preset
    for key, value in options.encoder_options.items():
        if key not in known:
            raise OptionError(f"--encoder-option: must be an option of {codec.name}, got {key!r}.")
        chosen[key] = f"{chosen[key]}:{value}" if key.endswith("-params") and key in chosen else value
    return chosen


def encoder_threads() -> int:
    """How many threads an encoder gets; more than some make files larger and hardly anything faster."""
    return min(os.cpu_count() or 1, MOST_THREADS)


@cache
def _has_avx512() -> bool:
    import llvmlite.binding as llvm

    return bool(llvm.get_host_cpu_features().get("avx512f"))


def _open(context: VideoCodecContext, options: VideoOptions) -> None:
    with errors_said() as words, _same_priority():
        try:
            context.open()
        except (av.FFmpegError, ValueError) as error:
            said = "; ".join(words()[:3]) or reason(error)
            raise OptionError(
                f"--codec: {options.codec} refuses {context.width}x{context.height} {context.pix_fmt} with "
                f"{context.options or 'no options'}: {said}."
            ) from error
    if context.options:
        raise OptionError(f"--encoder-option: {options.codec} does not know {', '.join(sorted(context.options))}.")


@contextmanager
def _same_priority() -> Iterator[None]:
    """Threads keep the scheduling that they have: SVT-AV1, run by root, makes the whole process real-time (FIFO 99)."""
    if not hasattr(os, "sched_getscheduler") or not Path("/proc/self/task").exists():  # no Linux
        yield
        return
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        for thread in Path("/proc/self/task").iterdir():
            with suppress(OSError):  # it has ended
                if os.sched_getscheduler(int(thread.name)) != policy:
                    os.sched_setscheduler(int(thread.name), policy, parameters)
