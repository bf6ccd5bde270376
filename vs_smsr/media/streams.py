"""What comes along beside the pixels: other streams packet for packet, tags, chapters; and what did not make it."""

from __future__ import annotations

from contextlib import suppress
from fractions import Fraction
from io import BytesIO
from pathlib import Path

import av
from av.container import OutputContainer
from av.sidedata.sidedata import Type as SideData
from av.stream import Discard, Disposition, Stream

from vs_smsr.errors import MediaError
from vs_smsr.media.reader import Packet, Reader, VideoInfo, fraction
from vs_smsr.options import VideoOptions

# Facts of the old file that would be untrue in the new one, or that every muxer writes by itself.
NOT_TAGS = {"major_brand", "minor_version", "compatible_brands", "encoder", "duration", "vendor_id", "software"}
OF_THE_OLD_VIDEO = {"bps", "number_of_frames", "number_of_bytes", "_statistics_writing_app", "_statistics_tags"}
# Side data of frames that a viewer would miss.
SEEN = {
    SideData.MASTERING_DISPLAY_METADATA: "HDR mastering display",
    SideData.CONTENT_LIGHT_LEVEL: "HDR content light level",
    SideData.DYNAMIC_HDR_PLUS: "HDR10+ dynamic metadata",
    SideData.DYNAMIC_HDR_VIVID: "HDR Vivid dynamic metadata",
    SideData.DOVI_RPU_BUFFER: "Dolby Vision metadata",
    SideData.AMBIENT_VIEWING_ENVIRONMENT: "ambient viewing environment",
    SideData.A53_CC: "closed captions in the video",
    SideData.STEREO3D: "stereo 3D arrangement",
    SideData.SPHERICAL: "spherical (360 degree) projection",
    SideData.ICC_PROFILE: "ICC profile",
}
UPRIGHT = (1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)  # the display matrix that changes nothing


def tags(metadata: dict[str, str], of_video: bool = False) -> dict[str, str]:
    """The tags that are true of the new file as well."""
    dropped = NOT_TAGS | (OF_THE_OLD_VIDEO if of_video else set())
    return {key: value for key, value in metadata.items() if key.lower().split("-")[0] not in dropped}


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
    codec = context.name if context is not None else stream.name
    words = [" ".join(filter(None, (stream.type, codec))), stream.metadata.get("language", "")]
    return f"stream #{stream.index} ({', '.join(filter(None, words))})"


def refusal(stream: Stream, container: str) -> str | None:
    """Why a container format cannot hold this stream, or None: found by writing a header for it alone, to memory."""
    trial = av.open(BytesIO(), "w", format=container)
    try:
        add_copy(trial, stream)
        trial.start_encoding()
    except (av.FFmpegError, ValueError):
        return f"{container} cannot hold it"
    finally:
        with suppress(av.FFmpegError, ValueError):
            trial.close()
    return None


def add_copy(output: OutputContainer, stream: Stream) -> Stream:
    """Add a stream for the packets of another file's stream, with its tags and disposition."""
    copy = output.add_stream_from_template(stream, opaque=True)
    copy.metadata.update(tags(stream.metadata))
    copy.disposition = stream.disposition
    return copy


def is_cover(stream: Stream) -> bool:
    """True for a still picture that a player shows for the file, not in it."""
    return bool(stream.disposition & Disposition.attached_pic)


def add_cover(output: OutputContainer, stream: Stream) -> None:
    """Attach a cover picture to a Matroska file, whose muxer would write it as a video track."""
    with av.open(stream.container.name) as again:  # its packet may come after the header, an attachment is in it
        data = next(bytes(packet) for packet in again.demux(again.streams[stream.index]) if packet.size)
    codec = stream.codec_context.name
    ending = {"mjpeg": "jpg"}.get(codec, codec)
    kind = {"mjpeg": "image/jpeg"}.get(codec, f"image/{codec}")
    name = stream.metadata.get("filename", f"cover.{ending}")
    output.add_attachment(name, stream.metadata.get("mimetype", kind), data)


def uses_reverse_dns(metadata: dict[str, str]) -> bool:
    """True if the tags are those of QuickTime's "mdta" kind (com.apple.quicktime.make ...), as phones write them."""
    return any(key.startswith("com.") for key in metadata)


def fit_times(packet: Packet, last: int | None) -> int | None:
    """Give a copied packet a decoding time above the last one, as muxers demand; returns it."""
    if packet.dts is None:
        packet.dts = packet.pts
    if packet.dts is None:
        return last
    if last is not None and packet.dts <= last:
        packet.dts = last + 1
        packet.pts = packet.dts if packet.pts is None else max(packet.pts, packet.dts)
    return packet.dts


def losses(
    reader: Reader, copies: dict[int, int], result: Path, expected: VideoInfo, first: Fraction, frames: int
) -> list[str]:
    """Read the result again and tell what of the source is not in it, a line each.

    Args:
        reader: the source.
        copies: index of a stream in the source -> in the result, for all streams that were carried, the video's too.
        result: the written file.
        expected: what the result's video should say of itself.
        first: time of the first frame in seconds.
        frames: number of frames that were encoded.

    Raises:
        MediaError: the result cannot be read back, or has fewer frames than were encoded.
    """
    source = reader.container
    with Reader(result) as again:
        made = again.container
        notes = _lost_tags("file", tags(source.metadata), made.metadata)
        chapters = len(source.chapters()) - len(made.chapters())
        if chapters > 0:
            notes.append(f"{chapters} of {len(source.chapters())} chapters were not carried: {made.format.name}")
        for old_index, new_index in copies.items():
            old = source.streams[old_index]
            new = made.streams[new_index] if new_index < len(made.streams) else None
            if new is None or new.type != old.type:
                notes.append(
                    f"{name_of(old)}: not carried: {made.format.name} keeps no {old.type} streams of this kind"
                )
                continue
            notes += _lost_tags(name_of(old), tags(old.metadata, old is reader.video), new.metadata)
            lost = old.disposition & ~new.disposition & ~Disposition.default
            if lost:
                notes.append(f"{name_of(old)}: not carried: disposition {lost.name}")
        notes += _lost_from_video(expected, again.info)
        broadcast, name = again.is_broadcast, made.format.name
    there, begin = _count(result, copies[reader.video.index])
    if there < frames:
        raise MediaError(f"{result}: has only {there} of the {frames} frames that were written.")
    late = begin - first
    if abs(late) > Fraction(1, 1000) and not broadcast:
        notes.append(f"all times are {float(late):+.3f} s off: {name} cannot start where the source does")
    return notes


def _count(path: Path, stream: int) -> tuple[int, Fraction]:
    """(number of packets, time of the earliest in seconds) of a stream."""
    with av.open(str(path)) as file:
        count, begin = 0, None
        for packet in file.demux(file.streams[stream]):
            count += packet.size > 0
            if packet.pts is not None:
                begin = packet.pts if begin is None else min(begin, packet.pts)
        return count, (begin or 0) * fraction(file.streams[stream].time_base)


def _lost_tags(where: str, old: dict[str, str], new: dict[str, str]) -> list[str]:
    """A tag counts as kept if its name or its value is there: containers rename some and rewrite others."""
    names, values = {name.lower() for name in new} | {"handler_name"}, {*new.values(), "und"}
    lost = [name for name, value in old.items() if name.lower() not in names and value not in values]
    return [f"{where}: not carried: tags {', '.join(sorted(lost))}"] if lost else []


def _lost_from_video(expected: VideoInfo, found: VideoInfo) -> list[str]:
    lost = [name for kind, name in SEEN.items() if kind in expected.side_data and kind not in found.side_data]
    if (expected.display_matrix or UPRIGHT) != (found.display_matrix or UPRIGHT):
        lost.append("rotation")
    if (expected.aspect or 1) != (found.aspect or 1):
        lost.append(f"pixel aspect ratio {expected.aspect}")
    for name in ("matrix", "full", "transfer", "primaries"):
        if getattr(expected.colour, name) != getattr(found.colour, name):
            lost.append(f"colour tag ({'range' if name == 'full' else name})")
    return [f"video: not carried: {', '.join(lost)}"] if lost else []
