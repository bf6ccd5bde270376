"""Encoding: frames and copied packets into a file that is there whole or not at all."""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import av
from av.codec.codec import Codec
from av.container import OutputContainer
from av.sidedata.sidedata import Type as SideData
from av.stream import Stream

from vs_smsr.errors import MediaError
from vs_smsr.media import encoding, streams
from vs_smsr.media.colour import Array, depth
from vs_smsr.media.ffmpeg_log import errors_said
from vs_smsr.media.paths import is_pipe, url
from vs_smsr.media.preparation import Preparation, Prepared
from vs_smsr.media.reader import Packet, Reader, fraction, reason
from vs_smsr.media.targets import Settle, whole_or_nothing
from vs_smsr.options import VideoOptions

log = logging.getLogger(__name__)
NO_FILE = 0x0001  # AVFMT_NOFILE: not one file but many, or none
MUXER = {
    # It holds packets back until each stream has one: at most for 2 s of video, as lossless video is large.
    "max_interleave_delta": "2000000",
    "fflags": "+bitexact",  # no random numbers: equal jobs make equal files
}


class _Discarded(Exception):
    """Nobody wants the result."""


class Writer(Prepared):
    """A result being written. Opening it finds wrong options and targets before any frame is upscaled.

    As a context manager it finishes the file, reads it back and renames it to the target; if the block raises, it
    removes what was written.

    Attributes:
        frames: how many were written.
        notes: a line for everything that was not carried, and why; complete after the block.

    Raises:
        OutputExistsError: the target exists and may not be replaced.
        OptionError: the encoder or container does not take the options.
        MediaError: the target cannot be written.
    """

    def __init__(
        self,
        target: Path,
        reader: Reader,
        size: tuple[int, int],
        options: VideoOptions,
        settle: Settle | None = None,
    ) -> None:
        """
        Args:
            settle: see `whole_or_nothing`; `notes` are complete when it is called.
        """
        self.target, self.reader, self.options = target, reader, options
        self.notes: list[str] = []
        self.frames = 0
        self._given = False  # packets come from elsewhere
        codec = encoding.find_encoder(options)
        self.preparation = Preparation(reader.info, codec, size, options)
        self._copies: dict[int, Stream] = {}  # by index in the source
        self._written: dict[int, streams.Amount] = {}  # by index in the source
        self._moved: Counter[int] = Counter()  # packets whose times were out of order, by index in the source
        self._last_dts: dict[int, int] = {}
        with ExitStack() as undo:
            self._temporary = undo.enter_context(whole_or_nothing(target, options.overwrite, settle))
            with self._explained():
                self._output = self._open_container()
                undo.callback(self._abandon)
                self._add_streams(codec)
                self._write_header()
            self._undo = undo.pop_all()
        self._tell_in_advance(codec, size)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            with self._undo:
                self._finish()
        else:
            self._undo.__exit__(kind, error, trace)

    def discard(self) -> None:
        """Remove what was written instead of finishing it."""
        with suppress(_Discarded), self._undo:
            raise _Discarded

    def prepare(
        self, pixels: Array | av.VideoFrame, source: av.VideoFrame, alpha: Array | None = None
    ) -> av.VideoFrame:
        """The next frame for `write`, in the encoder's format, with the time of the source frame it was made from.

        It takes an eighth of the memory of the RGB that it is made from. One thread may prepare while another writes.

        Args:
            pixels: (H, W, 3) float32 RGB 0..255, resized if it is not of `size`; or a tagged frame of `pix_fmt`,
                `colour` and `size`.
            source: the frame as the reader gave it.
            alpha: (H, W) float32 0..255, or None for opaque.
        """
        with self._explained():
            return self.preparation.frame(pixels, source, alpha)

    def write(self, frame: av.VideoFrame) -> None:
        """Encode a prepared frame."""
        with self._explained():
            self._mux_encoded(frame)
        self.frames += 1

    def mux(self, packet: Packet) -> None:
        """Write a packet that an encoder with the same options made, in ticks of `preparation.time_base`."""
        packet.stream, packet.time_base = self._video, self.preparation.time_base
        with self._explained():
            self._output.mux(packet)
        self.frames += 1
        self._given = True

    def _mux_encoded(self, frame: av.VideoFrame | None) -> None:
        for packet in encoding.encoded(self._video, frame):
            self._output.mux(packet)

    def copy(self, packet: Packet) -> None:
        """Write a packet of another stream as it is, if that stream is carried."""
        copy = self._copies.get(packet.stream_index)
        if copy is None:
            return
        index = packet.stream_index
        packet.rescale_ts(copy.time_base)
        may_repeat = streams.may_repeat_times(copy, self._output)
        reorders = copy.type == "video" and not streams.is_cover(copy)
        self._moved[index] += streams.fit_times(packet, self._last_dts.get(index), may_repeat, reorders)
        assert packet.dts is not None, "fit_times gives every packet its times"
        self._last_dts[index] = packet.dts
        self._written.setdefault(index, streams.Amount()).add(packet)
        packet.stream = copy
        with self._explained():
            self._output.mux(packet)

    def _open_container(self) -> OutputContainer:
        mdta = streams.uses_reverse_dns(self.reader.container.metadata)
        try:
            options = MUXER | ({"movflags": "use_metadata_tags"} if mdta else {})
            output = av.open(url(self._temporary), "w", container_options=options)
        except ValueError as error:
            raise MediaError(
                f"{self.target}: no container is known for the ending {self.target.suffix!r}. Use .mkv or .mp4."
            ) from error
        if output.format.flags & NO_FILE:
            raise MediaError(f"{self.target}: {output.format.name} is not one video file. Use .mkv or .mp4.")
        output.metadata.update(streams.tags(self.reader.container.metadata))
        output.set_chapters(streams.chapters(self.reader))
        return output

    def _add_streams(self, codec: Codec) -> None:
        """In the order of the source, but attachments last, as Matroska has them."""
        matroska = self._output.format.name == "matroska"

        def attached(stream: Stream) -> bool:
            return stream.type == "attachment" or (matroska and streams.is_cover(stream))

        sources = sorted(self.reader.container.streams, key=attached)
        firsts, damaged = streams.first_packets(self.reader, self.options)
        for stream in sources:
            if stream is self.reader.video:
                self._add_video(codec)
            elif not streams.wanted(stream, self.options):
                continue
            elif streams.is_cover(stream) and is_pipe(self.reader.path):
                self.notes.append(f"{streams.name_of(stream)}: not carried: a pipe cannot be read twice for its cover")
            elif matroska and streams.is_cover(stream):
                streams.add_cover(self._output, stream)
            elif stream.index in damaged:  # players and ffprobe give up on a file with such a stream
                told = f"its header is damaged, and FFmpeg cannot decode it ({damaged[stream.index]})"
                self.notes.append(f"{streams.name_of(stream)}: not carried: {told}")
            elif refusal := streams.refusal(stream, self._output.format.name, firsts.get(stream.index)):
                self.notes.append(f"{streams.name_of(stream)}: not carried: {refusal}")
            else:
                self._copies[stream.index] = streams.add_copy(self._output, stream)
                if stream.type == "video" and not streams.is_cover(stream):
                    self.notes.append(f"{streams.name_of(stream)}: copied as it is; one video stream is upscaled")

    def _write_header(self) -> None:
        with errors_said() as words:
            try:
                self._output.start_encoding()
                self.preparation.ticks = fraction(self._video.time_base)
            except (av.error.InvalidDataError, av.error.ArgumentError) as error:
                said = "; ".join(words()[:3]) or reason(error)
                raise MediaError(
                    f"{self.target}: {self._output.format.name} does not take {self.options.codec}: {said}."
                ) from error

    def _add_video(self, codec: Codec) -> None:
        info, source = self.reader.info, self.reader.video
        self._video = encoding.add_video(self._output, codec, info, self.size, self.pix_fmt, self.options)
        self._video.metadata.update(streams.tags(source.metadata, of_video=True))
        self._video.disposition = source.disposition
        if info.display_matrix:
            self._video.set_display_matrix(info.display_matrix)
        self.preparation.time_base = fraction(self._video.codec_context.time_base)

    def _tell_in_advance(self, codec: Codec, size: tuple[int, int]) -> None:
        info = self.reader.info
        if info.interlaced:
            self.notes.append("video: interlaced; upscaled as whole frames. --deinterlace gives a clean result")
        if self.reader.filters.crop:
            self.notes.append(f"video: cropped before upscaling, as the container says: {self.reader.filters.crop}")
        if self.size != size:
            self.notes.append(
                f"video: {size[0]}x{size[1]} cut to {self.size[0]}x{self.size[1]}: {codec.name} needs even"
            )
        before, after = depth(av.VideoFormat(info.pix_fmt)), depth(av.VideoFormat(self.pix_fmt))
        if before > after:
            self.notes.append(f"video: {before} bits become {after} in {self.pix_fmt} of {codec.name}")
        told = self.reader.video.codec_context.coded_side_data
        if "dovi_conf" in told and SideData.DOVI_RPU_BUFFER not in info.side_data:  # else reading it back tells
            self.notes.append("video: not carried: Dolby Vision metadata")
        if self.reader.video.metadata.get("alpha_mode") == "1" and not info.alpha:
            self.notes.append("video: not carried: transparency, which FFmpeg's decoder for this codec does not give")

    def _finish(self) -> None:
        with self._explained():
            if not self._given:  # else the encoder was given nothing, and has nothing
                self._mux_encoded(None)
            kinds = {index: copy.index for index, copy in self._copies.items()}
            copies = {**kinds, self.reader.video.index: self._video.index}
            name = self._output.format.name
            self._output.close()
        changed, ticks = self.preparation.changed, self.preparation.ticks
        if changed.late:
            self.notes.append(f"video: {changed.late} frames come early or late: {name} counts time in {ticks} s here")
        for index, count in self._moved.items():
            if count:
                where = streams.name_of(self.reader.container.streams[index])
                self.notes.append(f"{where}: packets with times out of order: {count}; they follow the one before")
        if changed.transparent:
            self.notes.append(f"video: not carried: transparency; {self.pix_fmt} has none")
        if changed.resized:
            self.notes.append(f"video: {changed.resized} frames had another size and were resized to {self.size}")
        info = self.reader.info
        aspect = encoding.pixel_aspect(info, self.size)
        expected = dataclasses.replace(info, colour=self.colour, aspect=aspect)
        try:
            self.notes += streams.losses(
                self.reader, copies, self._written, self._temporary, expected, self.preparation.first, self.frames
            )
        except MediaError as error:  # it names a file that nobody will find
            told = str(error).removeprefix(f"{self._temporary}: ")
            raise MediaError(f"{self.target}: the result cannot be read back: {told}") from error

    def _abandon(self) -> None:
        with suppress(av.FFmpegError, ValueError):
            self._output.close()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn FFmpeg's errors into one line that names the target."""
        try:
            yield
        except av.FFmpegError as error:
            raise MediaError(f"{self.target}: cannot be written ({reason(error)}).") from error
