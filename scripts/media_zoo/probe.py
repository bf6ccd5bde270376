"""What ffprobe and ffmpeg, the programs, say of a file."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

PATIENCE = 60  # seconds for ffprobe
SMALL = (16, 12)  # width and height at which pictures are compared


class Unreadable(Exception):
    """ffprobe finds no video in the file, or fails on it."""


@dataclass(frozen=True)
class Packet:
    """Time in seconds, None if it has none; hash of the bytes; True if an edit list leaves it out."""

    time: float | None
    hash: str
    hidden: bool


class Probed:
    """A file as ffprobe sees it; what costs a second run is found out when it is asked for.

    Attributes:
        streams: as in ffprobe's JSON; `video` is the longest, then largest of the moving pictures.
        packets: of each stream, by index.
        chapters: (start, end, title), in seconds.
        tags: of the file; names in lower case.

    Raises:
        Unreadable: no video in it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._said = ""
        answer = self._ask("-show_format", "-show_streams", "-show_chapters", "-show_packets", "-show_data_hash", "MD5")
        self.streams: list[dict[str, Any]] = answer.get("streams", [])
        self.packets: dict[int, list[Packet]] = {stream["index"]: [] for stream in self.streams}
        for packet in answer.get("packets", []):
            if int(packet["size"]):
                hidden = "D" in packet.get("flags", "")
                found = Packet(_number(packet.get("pts_time")), packet.get("data_hash", ""), hidden)
                self.packets.setdefault(packet["stream_index"], []).append(found)
        self.chapters = [
            (float(c["start_time"]), float(c["end_time"]), c.get("tags", {}).get("title", ""))
            for c in answer.get("chapters", [])
        ]
        self.format = answer.get("format", {}).get("format_name", "")
        self.tags = tags_of(answer.get("format", {}))
        moving = [stream for stream in self.streams if stream["codec_type"] == "video" and not is_cover(stream)]
        if not moving:
            raise Unreadable(self._said or "no video stream")
        self.video = max(moving, key=lambda stream: (len(self.packets[stream["index"]]), stream.get("width", 0)))

    @cached_property
    def _frames(self) -> list[dict[str, Any]]:
        answer = self._ask("-show_frames", "-select_streams", str(self.video["index"]))
        return [frame for frame in answer.get("frames", []) if frame.get("media_type") == "video"]

    @property
    def frames(self) -> int:
        """How many can be decoded."""
        return len(self._frames)

    @property
    def times(self) -> list[float | None]:
        """When each frame is shown, in seconds, where ffprobe knows it of the frame or of all packets."""
        times = [_number(frame.get("best_effort_timestamp_time")) for frame in self._frames]
        shown = [packet for packet in self.packets[self.video["index"]] if not packet.hidden]
        packets = sorted(packet.time for packet in shown if packet.time is not None)
        return list(packets) if None in times and len(packets) == len(times) else times

    @property
    def tick(self) -> float:
        """Seconds per tick of the video's clock."""
        numerator, denominator = self.video["time_base"].split("/")
        return int(numerator) / int(denominator)

    @property
    def side_data(self) -> dict[str, dict[str, Any]]:
        """Of the stream and of its first frame, by ffprobe's names."""
        first = self._frames[0].get("side_data_list", []) if self._frames else []
        found = [*self.video.get("side_data_list", []), *first]
        named = {data["side_data_type"]: data for data in found if "side_data_type" in data}
        return self._in_bitstream | named

    @cached_property
    def _in_bitstream(self) -> dict[str, dict[str, Any]]:
        """The HDR numbers in H.264, which older versions of ffprobe do not tell."""
        if self.video.get("codec_name") != "h264" or self.of_first_frame("color_transfer") != "smpte2084":
            return {}
        command = ["ffmpeg", "-nostdin", "-v", "trace", "-i", f"file:{self.path}", "-map", f"0:{self.video['index']}"]
        command += ["-c", "copy", "-frames:v", "1", "-bsf:v", "trace_headers", "-f", "null", "-"]
        said = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False).stderr
        numbers = dict(re.findall(r"(\w+(?:luminance|light_level))\s+[01]+ = (\d+)", said))
        found: dict[str, dict[str, Any]] = {}
        if "max_display_mastering_luminance" in numbers:
            bounds = {
                f"{end}_luminance": f"{numbers[f'{end}_display_mastering_luminance']}/10000" for end in ("min", "max")
            }
            found["Mastering display metadata"] = bounds
        if "max_content_light_level" in numbers:
            light = {"max_content": "max_content_light_level", "max_average": "max_pic_average_light_level"}
            found["Content light level metadata"] = {name: int(numbers[key]) for name, key in light.items()}
        return found

    def of_first_frame(self, name: str) -> str | None:
        """A property of the first frame, or else of the stream; None if neither tells."""
        holders = [*self._frames[:1], self.video]
        values = (holder.get(name) for holder in holders)
        return next((value for value in values if value not in (None, "unknown", "unspecified", "N/A")), None)

    @cached_property
    def pictures(self) -> NDArray[np.int16]:
        """(frames, 12, 16, 3) RGB of every frame, averaged down; a rotation is not applied."""
        width, height = SMALL
        full = "scale=flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp,format=gbrp"
        filters = f"{full},scale={width}:{height}:flags=area,format=rgb24"
        command = ["ffmpeg", "-nostdin", "-v", "error", "-noautorotate", "-i", f"file:{self.path}"]
        command += ["-map", f"0:{self.video['index']}", "-vf", filters, "-fps_mode", "passthrough"]
        raw = subprocess.run([*command, "-f", "rawvideo", "-"], capture_output=True, check=False).stdout
        whole = len(raw) // (width * height * 3)
        pixels = np.frombuffer(raw, np.uint8, whole * width * height * 3)
        return pixels.reshape(whole, height, width, 3).astype(np.int16)

    def sound_hash(self, stream: int) -> str:
        """Of the decoded samples of a sound stream."""
        command = ["ffmpeg", "-nostdin", "-v", "error", "-i", f"file:{self.path}", "-map", f"0:{stream}"]
        return subprocess.run([*command, "-f", "md5", "-"], capture_output=True, text=True, check=False).stdout.strip()

    def _ask(self, *what: str) -> dict[str, Any]:
        found, self._said = _ffprobe(self.path, *what)
        return found


def decodable(path: Path) -> int:
    """How many frames of the longest video can be decoded; what `Probed.frames` says, for one run of ffprobe.

    Raises:
        Unreadable: no video in it.
    """
    found, said = _ffprobe(path, "-count_frames", "-select_streams", "v", "-show_streams")
    moving = [stream for stream in found.get("streams", []) if not is_cover(stream)]
    if not moving:
        raise Unreadable(said or "no video stream")
    return max(int(stream.get("nb_read_frames", 0)) for stream in moving)


def _ffprobe(path: Path, *what: str) -> tuple[dict[str, Any], str]:
    """(its answer, the first line of its complaints)"""
    command = ["ffprobe", "-v", "error", *what, "-of", "json", f"file:{path}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, timeout=PATIENCE)
        found: dict[str, Any] = json.loads(done.stdout or "{}")
    except (subprocess.TimeoutExpired, json.JSONDecodeError) as error:
        raise Unreadable(f"ffprobe did not come to an end: {error}") from error
    return found, (done.stderr.strip().splitlines() or [""])[0]


def tags_of(holder: dict[str, Any]) -> dict[str, str]:
    """Tags of ffprobe's format or stream, their names in lower case."""
    return {name.lower(): value for name, value in holder.get("tags", {}).items()}


def is_cover(stream: dict[str, Any]) -> bool:
    """True for a still picture that players show for the file."""
    return bool(stream.get("disposition", {}).get("attached_pic"))


def _number(text: str | None) -> float | None:
    return None if text in (None, "N/A") else float(text)
