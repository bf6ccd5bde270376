"""What comes along beside the pixels: other streams packet for packet, tags, chapters; and what did not make it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import av
from av.audio.codeccontext import AudioCodecContext
from av.bitstream import BitStreamFilterContext
from av.container import OutputContainer
from av.stream import Discard, Disposition, Stream
from av.video.codeccontext import VideoCodecContext

from vs_smsr.errors import MediaError
from vs_smsr.media.paths import is_pipe, url
from vs_smsr.media.reader import Packet, Reader, VideoInfo, fraction, reason
from vs_smsr.media.side_data import SEEN
from vs_smsr.options import VideoOptions

if TYPE_CHECKING:
    from av.container.core import Chapter

TS_NONSTRICT = 0x20000  # AVFMT_TS_NONSTRICT: packets of one stream may have equal times
SEEN_LATE = Fraction(1, 100)  # seconds: below it nobody sees that a frame comes early or late
# What decoders say of a header that is damaged; the second of a kind that they do not know, the third is a plain -1.
REFUSED = (av.error.InvalidDataError, av.error.NotImplementedError, av.error.PermissionError)
FIRST_PACKETS = 1000  # how far into a file the first packets of its streams are looked for
# Facts of the old file that would be untrue in the new one, or that every muxer writes by itself.
NOT_TAGS = {"major_brand", "minor_version", "compatible_brands", "encoder", "duration", "vendor_id"}
UNSET_TIMES = {"1970-01-01T00:00:00.000000Z", "1904-01-01T00:00:00.000000Z", "1601-01-01T00:00:00.000000Z"}
OF_THE_OLD_VIDEO = {"bps", "number_of_frames", "number_of_bytes", "_statistics_writing_app", "_statistics_tags"}
DECODING_TIMES = ("avi", "mxf")  # containers without a time to show a frame at: it is the time to decode it
UPRIGHT = (1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)  # the display matrix that changes nothing


def tags(metadata: dict[str, str], of_video: bool = False) -> dict[str, str]:
    """The tags that are true of the new file as well."""
    dropped = NOT_TAGS | (OF_THE_OLD_VIDEO if of_video else set())

    def is_true(key: str, value: str) -> bool:
        name = key.lower().split("-")[0]
        written_by_ffmpeg = name == "software" and value.startswith("Lavf")  # AVI's name for the encoder tag
        unset = name == "creation_time" and value in UNSET_TIMES  # the zero of the container's clock
        return bool(value) and name not in dropped and not written_by_ffmpeg and not unset

    kept = {key: value for key, value in metadata.items() if is_true(key, value)}
    if "creation_time" in kept:  # QuickTime has it twice, and FFmpeg joins them
        kept["creation_time"] = kept["creation_time"].split(";")[0]
    return kept


def wanted(stream: Stream, options: VideoOptions) -> bool:
    """False for what the user left out, and for what the muxer makes anew from chapters and from the timecode tag."""
    if stream.type == "audio":
        return options.copy_audio
    if stream.type == "subtitle":
        return options.copy_subtitles
    made_anew = stream.discard == Discard.all or "timecode" in stream.metadata
    return not (stream.type == "data" and made_anew)


def name_of(stream: Stream) -> str:
    """Like "stream #3 (subtitle subrip, eng)"."""
    context = stream.codec_context
    codec = context.name if context is not None else getattr(stream, "name", None) or "of an unknown codec"
    words = [" ".join(filter(None, (stream.type, codec))), stream.metadata.get("language", "")]
    return f"stream #{stream.index} ({', '.join(filter(None, words))})"


def first_packets(reader: Reader, options: VideoOptions) -> tuple[dict[int, Packet], dict[int, str]]:
    """The first packet of each stream of sound or pictures to carry, but of those that begin late in the file.

    Returns:
        packets, and FFmpeg's reasons why it cannot decode a stream whose header is damaged; both by index.
    """
    kinds = ("audio", "video")
    others = [stream for stream in reader.container.streams if stream.type in kinds and stream is not reader.video]
    indexes = [stream.index for stream in others if wanted(stream, options) and not is_cover(stream)]
    found: dict[int, Packet] = {}
    damaged: dict[int, str] = {}
    if not indexes or is_pipe(reader.path):
        return found, damaged
    with av.open(url(reader.path)) as again:
        for packet in islice(again.demux(), FIRST_PACKETS):
            if packet.size and packet.stream_index in indexes:
                found.setdefault(packet.stream_index, packet)
            if len(found) == len(indexes):
                break
        for index in indexes:
            context = again.streams[index].codec_context
            try:
                if context is not None and not context.is_open:
                    context.open(strict=False)
            except REFUSED as error:
                damaged[index] = reason(error)
            except (av.FFmpegError, ValueError):
                continue  # no decoder for it here; others may have one
    return found, damaged


def refusal(stream: Stream, container: str, first: Packet | None = None) -> str | None:
    """Why a container format cannot hold this stream, or None: found by writing it alone, to memory.

    Args:
        stream: of the source.
        container: FFmpeg's name of the format.
        first: a packet of the stream, as some muxers refuse only then; None writes a header alone.
    """
    if _is_late(stream):
        return "it begins so late in the file that FFmpeg does not know its format yet"
    trial = av.open(BytesIO(), "w", format=container)
    try:
        copy = add_copy(trial, stream)
        trial.start_encoding()
        if first is not None:
            first.stream = copy
            first.pts = first.dts = 0
            trial.mux(first)
            trial.close()
    except (av.FFmpegError, ValueError):
        return f"{container} cannot hold it"
    finally:
        with suppress(av.FFmpegError, ValueError):
            trial.close()
    return None


def _is_late(stream: Stream) -> bool:
    """True if nothing of a stream was read when the file was opened, as of one that only a joined part has."""
    context = stream.codec_context
    if isinstance(context, AudioCodecContext):
        return not context.sample_rate
    return isinstance(context, VideoCodecContext) and not context.width


def add_copy(output: OutputContainer, stream: Stream) -> Stream:
    """Add a stream for the packets of another file's stream, with its tags and disposition.

    Raises:
        ValueError, av.FFmpegError: PyAV has no way to add it; whether the container can hold it, its header tells.
    """
    copy: Stream
    if stream.type in ("attachment", "data"):
        copy = output.add_stream_from_template(stream)
    else:  # PyAV's templates know fewer codecs than the container holds (WMA or ADPCM in Matroska)
        copy = output.add_mux_stream(output.default_video_codec)
        copy.time_base = fraction(stream.time_base)
        _copy_parameters(stream, copy)
    copy.metadata.update(tags(stream.metadata))
    copy.disposition = stream.disposition
    return copy


def _copy_parameters(old: Stream, new: Stream) -> None:
    """Give a stream all codec parameters of another but its tag, which each container has of its own."""
    with av.open(BytesIO(), "w", format="null") as untagged:
        if old.codec_context is not None:
            old = untagged.add_stream_from_template(old, opaque=True)
        BitStreamFilterContext("null", old, new)  # it copies what it is given; no packet goes through it


def is_cover(stream: Stream) -> bool:
    """True for a still picture that a player shows for the file, not in it."""
    return bool(stream.disposition & Disposition.attached_pic)


def add_cover(output: OutputContainer, stream: Stream) -> None:
    """Attach a cover picture to a Matroska file, whose muxer would write it as a video track."""
    with av.open(stream.container.name) as again:  # its packet may come after the header
        data = next(bytes(packet) for packet in again.demux(again.streams[stream.index]) if packet.size)
    codec = stream.codec_context.name
    ending = {"mjpeg": "jpg"}.get(codec, codec)
    kind = {"mjpeg": "image/jpeg"}.get(codec, f"image/{codec}")
    name = stream.metadata.get("filename", f"cover.{ending}")
    output.add_attachment(name, stream.metadata.get("mimetype", kind), data)


def chapters(reader: Reader) -> list[Chapter]:
    """The source's chapters on the clock of its mended times, cut to the range."""
    moved = []
    for chapter in reader.container.chapters():
        base = fraction(chapter["time_base"])
        ticks = round(reader.origin / base)
        begin, end = chapter["start"] - ticks, chapter["end"] - ticks
        last = end if reader.length is None else round(reader.length / base)
        if not reader.part or (end > 0 and begin < last):
            chapter["start"], chapter["end"] = max(begin, 0), max(min(end, last), 0)
            moved.append(chapter)
    return moved


def uses_reverse_dns(metadata: dict[str, str]) -> bool:
    """True if the tags are those of QuickTime's "mdta" kind (com.apple.quicktime.make ...), as phones write them."""
    return any(key.startswith("com.") for key in metadata)


def may_repeat_times(stream: Stream, output: OutputContainer) -> bool:
    """True if packets of a stream may have equal decoding times: subtitles and data always may."""
    return stream.type in ("subtitle", "data") or bool(output.format.flags & TS_NONSTRICT)


HELD_BACK = 16  # most frames that H.264 and HEVC hold back


def fit_times(packet: Packet, last: int | None, may_repeat: bool, reorders: bool) -> bool:
    """Give a copied packet times that the muxer takes: decoding times do not fall, or rise if they may not repeat.

    Args:
        packet: its times are in ticks of the stream that it goes to.
        last: decoding time of the stream's packet before, if there is one.
        may_repeat: see `may_repeat_times`.
        reorders: packets come in another order than they are shown, as B-frames do.

    Returns:
        True if the packet had to be moved.
    """
    if packet.dts is None and packet.pts is not None and reorders:
        # Matroska tells only when frames are shown, so the first have none: a tick each, before the first is shown.
        packet.dts = packet.pts - HELD_BACK if last is None else min(packet.pts, last + 1)
    if packet.dts is None:
        packet.dts = packet.pts
    if packet.dts is None:
        packet.dts = 0 if last is None else last
    if packet.pts is None:
        packet.pts = packet.dts
    least = packet.dts if last is None else last + (not may_repeat)
    moved = packet.dts < least
    packet.dts = max(packet.dts, least)
    packet.pts = max(packet.pts, packet.dts)
    return moved


@dataclass
class Amount:
    """How much of a stream was written or is in a file."""

    packets: int = 0
    bytes: int = 0
    start: Fraction | None = None  # seconds, of the earliest packet

    def add(self, packet: Packet, by_decoding: bool = False) -> None:
        self.packets += 1
        self.bytes += packet.size
        ticks = packet.dts if by_decoding else packet.pts
        if ticks is not None:
            time = ticks * fraction(packet.time_base)
            self.start = time if self.start is None else min(self.start, time)


def losses(
    reader: Reader,
    copies: dict[int, int],
    written: dict[int, Amount],
    result: Path,
    expected: VideoInfo,
    first: Fraction,
    frames: int,
) -> list[str]:
    """Read the result again and tell what of the source is not in it, a line each.

    Args:
        reader: the source.
        copies: index of a stream in the source -> in the result, for all streams that were carried, the video's too.
        written: how much of a copied stream was written, by its index in the source.
        result: the written file.
        expected: what the result's video should say of itself.
        first: time of the first frame in seconds.
        frames: number of frames that were encoded.

    Raises:
        MediaError: the result cannot be read back, or has fewer frames than were encoded.
    """
    source = reader.container
    with Reader(result) as again:
        made, name = again.container, result.suffix.removeprefix(".")
        notes = lost_tags("file", tags(source.metadata), made.metadata)
        wanted = len(chapters(reader))
        missing = wanted - len(made.chapters())
        if missing > 0:
            notes.append(f"{missing} of {wanted} chapters were not carried: {name}")
        for old_index, new_index in copies.items():
            old = source.streams[old_index]
            new = made.streams[new_index] if new_index < len(made.streams) else None
            if new is None or new.type != old.type:
                notes.append(f"{name_of(old)}: not carried: {name} keeps no {old.type} streams of this kind")
                continue
            of_all = {"creation_time": made.metadata.get("creation_time", "")}  # in Matroska the file's alone has it
            notes += lost_tags(name_of(old), tags(old.metadata, old is reader.video), of_all | new.metadata)
            lost = old.disposition & ~new.disposition & ~Disposition.default
            if lost:
                notes.append(f"{name_of(old)}: not carried: disposition {lost.name}")
        notes += lost_from_video(expected, again.info)
        broadcast = again.is_broadcast
    amounts = _amounts(result)
    video = amounts[copies[reader.video.index]]
    if video.packets < frames:
        raise MediaError(f"{result}: has only {video.packets} of the {frames} frames that were written.")
    for index, whole in written.items():
        there = amounts.get(copies[index], Amount())
        if there.packets < whole.packets and there.bytes < whole.bytes:  # PCM comes back in packets of another size
            missing, where = whole.packets - there.packets, name_of(source.streams[index])
            notes.append(f"{where}: {missing} of {whole.packets} packets were not carried: {name}")
    late = (video.start or 0) - first
    if abs(late) > SEEN_LATE and not broadcast:
        notes.append(f"all times are {float(late):+.3f} s off: {name} cannot start where the source does")
    return notes


def _amounts(path: Path) -> dict[int, Amount]:
    """How much there is of each stream of a file, by its index."""
    with av.open(url(path)) as file:
        amounts = {stream.index: Amount() for stream in file.streams}
        for packet in file.demux():
            if packet.size:
                amounts[packet.stream_index].add(packet, file.format.name == "avi")  # FFmpeg guesses the others
        return amounts


def lost_tags(where: str, old: dict[str, str], new: dict[str, str]) -> list[str]:
    """A tag counts as kept if its name or its value is there: containers rename some and rewrite others.

    But AVI's muxer writes its own name as the software.
    """
    names, values = {name.lower() for name in new if name != "software"} | {"handler_name"}, {*new.values(), "und"}
    lost = [name for name, value in old.items() if name.lower() not in names and value not in values]
    return [f"{where}: not carried: tags {', '.join(sorted(lost))}"] if lost else []


def lost_from_video(expected: VideoInfo, found: VideoInfo) -> list[str]:
    lost = [name for kind, name in SEEN.items() if kind in expected.side_data and kind not in found.side_data]
    if (expected.display_matrix or UPRIGHT) != (found.display_matrix or UPRIGHT):
        lost.append("rotation")
    if (expected.aspect or 1) != (found.aspect or 1):
        lost.append(f"pixel aspect ratio {expected.aspect}")
    for name in ("matrix", "full", "transfer", "primaries"):
        if getattr(expected.colour, name) != getattr(found.colour, name):
            lost.append(f"colour tag ({'range' if name == 'full' else name})")
    return [f"video: not carried: {', '.join(lost)}"] if lost else []
