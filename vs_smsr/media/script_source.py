"""A VapourSynth script as a video: its output 0, uncompressed, made frame by frame as it is read.

The script runs in this process, in its own folder, as vspipe runs it. What FFmpeg reads is a NUT file that nobody
stores, so that everything after it is the same as for a file.
"""

from __future__ import annotations

import contextlib
import functools
import re
import runpy
import traceback
from collections import deque
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import InputContainer, OutputContainer

from vs_smsr.errors import MediaError
from vs_smsr.media.colour import FULL, LIMITED

SUFFIX = ".vpy"
PREFETCH = 4  # frames that the script makes ahead
FINE = Fraction(1, 90_000)  # seconds per tick where the frame rate varies
# Colour families and kinds of samples -> FFmpeg's names; YUV by how often chroma is halved across and down.
SUBSAMPLED = {(0, 0): "444", (1, 0): "422", (1, 1): "420", (2, 0): "411", (2, 2): "410", (0, 1): "440"}  # log2 w, h


def is_script(path: Path) -> bool:
    return path.suffix.lower() == SUFFIX


def open_script(path: Path) -> InputContainer:
    """Run a script and open its output 0.

    Raises:
        MediaError: VapourSynth is not installed, the script fails (names the line), or its output is no video that can
            be taken. While packets are read: a frame cannot be made.
    """
    try:
        found = path.stat()
    except OSError as error:
        raise MediaError(f"{path}: the script cannot be read ({error.strerror}).") from error
    video = _ScriptVideo(path, _output(path.absolute(), found.st_mtime_ns, found.st_size))
    container = av.open(video, "r", format="nut")
    container.streams.video[0].codec_context.options = video.colours
    return container


class _ScriptVideo:
    """A NUT file that is made while it is read.

    Attributes:
        colours: options of a decoder, by the props of the first frame.
    """

    def __init__(self, path: Path, clip: Any) -> None:
        self._path, self._pix_fmt = path, _pix_fmt(path, clip)
        self._ticks = 1 / clip.fps if clip.fps else FINE
        self._frames = self._in_time(clip)
        self._waiting: deque[tuple[int, Any]] = deque([next(self._frames)])
        self.colours = _colours(self._waiting[0][1].props)
        self._made = bytearray()
        self._output: OutputContainer | None = av.open(self, "w", format="nut")
        self._stream = self._output.add_stream("rawvideo", rate=clip.fps or None)
        self._stream.width, self._stream.height, self._stream.pix_fmt = clip.width, clip.height, self._pix_fmt
        self._stream.codec_context.time_base = self._ticks
        self._stream.metadata["NUMBER_OF_FRAMES"] = str(clip.num_frames)

    def write(self, data: bytes) -> int:
        """What PyAV makes."""
        self._made += data
        return len(data)

    def read(self, size: int) -> bytes:
        """So many bytes of the file, fewer at its end."""
        while self._output and len(self._made) < size:
            pts, frame = self._waiting.popleft() if self._waiting else next(self._frames, (0, None))
            self._output.mux(self._stream.encode(self._converted(frame, pts) if frame else None))
            if frame is None:
                self._output.close()
                self._output = None
        data = bytes(self._made[:size])
        del self._made[:size]
        return data

    def _in_time(self, clip: Any) -> Iterator[tuple[int, Any]]:
        """Every frame and the tick at which it is shown: durations add up where the frame rate varies.

        Raises:
            MediaError: a frame cannot be made, or has no duration.
        """
        import vapoursynth as vs

        time = Fraction(0)
        frames = clip.frames(prefetch=PREFETCH)
        for number in range(clip.num_frames):
            try:
                frame = next(frames)
            except vs.Error as error:
                said = str(error).strip()
                lines = re.findall(rf'File "{re.escape(str(self._path.absolute()))}", line (\d+)', said)
                where = f" (line {lines[-1]})" if lines else ""
                raise MediaError(
                    f"{self._path}: frame {number} of the script cannot be made{where}: {said.splitlines()[-1]}."
                ) from error
            yield (number if clip.fps else round(time / FINE)), frame
            if not clip.fps:
                try:
                    time += Fraction(frame.props["_DurationNum"], frame.props["_DurationDen"])
                except (KeyError, ZeroDivisionError) as error:
                    raise MediaError(f"{self._path}: frame {number} of the script has no duration.") from error

    def _converted(self, frame: Any, pts: int) -> av.VideoFrame:
        """A copy for FFmpeg, whose planar RGB begins with green."""
        made = av.VideoFrame(frame.width, frame.height, self._pix_fmt)
        order = (1, 2, 0) if self._pix_fmt.startswith("gbr") else range(frame.format.num_planes)
        for plane, source in zip(made.planes, order, strict=True):
            values = np.asarray(frame[source])
            rows = np.frombuffer(plane, values.dtype).reshape(-1, plane.line_size // values.itemsize)
            np.copyto(rows[: values.shape[0], : values.shape[1]], values)
        made.pts, made.time_base = pts, self._ticks
        return made


@functools.lru_cache(maxsize=1)  # a job opens its source several times
def _output(path: Path, *_changed: int) -> Any:
    """The clip that a script has for output 0."""
    try:
        import vapoursynth as vs
    except ImportError as error:
        raise MediaError(f"{path}: needs VapourSynth. Install it with pip install vapoursynth.") from error
    vs.clear_outputs()
    try:
        with contextlib.chdir(path.parent):
            runpy.run_path(str(path), run_name="__vapoursynth__")
    except (Exception, SystemExit) as error:
        raise MediaError(
            f"{path}: the script fails{_line_of(error, path)}: {error or type(error).__name__}."
        ) from error
    found = vs.get_outputs().get(0)
    if found is None:
        raise MediaError(f"{path}: the script has no output 0. End it with clip.set_output().")
    clip = getattr(found, "clip", None)
    if not isinstance(clip, vs.VideoNode) or not clip.format or not clip.width:
        raise MediaError(f"{path}: output 0 of the script must be a video of one format and size.")
    return clip


def _line_of(error: BaseException, path: Path) -> str:
    """Where in the script it was raised."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return f" in line {error.lineno}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return f" in line {lines[-1]}" if lines else ""


def _pix_fmt(path: Path, clip: Any) -> str:
    """FFmpeg's name of the clip's format.

    Raises:
        MediaError: it has none, or NUT none for it.
    """
    import vapoursynth as vs

    form = clip.format
    floats, bits = form.sample_type == vs.FLOAT, form.bits_per_sample
    deep = "" if bits == 8 else f"{bits}le"
    found = None
    if form.color_family == vs.RGB:
        found = f"gbrpf{bits}le" if floats else f"gbrp{deep}"
    elif form.color_family == vs.GRAY and not floats:
        found = f"gray{deep}"
    elif form.color_family == vs.YUV and not floats:
        shape = SUBSAMPLED.get((form.subsampling_w, form.subsampling_h), "")
        found = f"yuv{shape}p{deep}" if shape in ("420", "422", "444") or not deep else None
    if found not in av.video.format.names:
        raise MediaError(
            f"{path}: the script's {form.name} has no equal in FFmpeg. Convert it there, to YUV444P16 for instance."
        )
    return found


def _colours(props: Mapping[str, Any]) -> dict[str, str]:
    """H.273 code points as VapourSynth and FFmpeg have them; chroma locations count from 0 there and from 1 here."""
    names = {"_Matrix": "colorspace", "_Transfer": "color_trc", "_Primaries": "color_primaries"}
    found = {option: str(int(props[prop])) for prop, option in names.items() if prop in props}
    if "_Range" in props:
        found["color_range"] = str(FULL if props["_Range"] else LIMITED)
    if "_ChromaLocation" in props:
        found["chroma_sample_location"] = str(int(props["_ChromaLocation"]) + 1)
    return found
