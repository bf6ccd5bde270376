"""How much memory decoding, encoding and what waits between them take, in bytes.

The figures of libx264 are measured (FFmpeg 8, 1920x1080 and 3840x2160): 15 MiB and so many frames. Its look-ahead is
what costs; `ENCODER_LEVELS` is the ladder of settings by which it can be made to take less.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import av

from vs_smsr.media.colour import BAND, depth
from vs_smsr.media.encoding import UNCOMPRESSED, encoder_threads
from vs_smsr.media.reader import VideoInfo
from vs_smsr.options import VideoOptions

FLOATS = 12  # bytes of an RGB pixel between reader and engine
DECODED = 20  # frames: what H.264 and HEVC may hold to decode from, and those on their way
ENCODER_BASE = 15 << 20


@dataclass(frozen=True)
class Level:
    """One way to run the encoder side.

    Attributes:
        room: frames that may wait on either side of the engine; 0: encoded before the next frame is begun.
        frames: that the encoder holds.
        options: of the encoder.
        note: what is told to the user; "" if nothing is out of the ordinary.
    """

    room: int
    frames: int
    options: dict[str, str] = field(default_factory=dict)
    note: str = ""


FRUGAL = {"tune": "zerolatency", "refs": "1", "threads": "1"}
FRAMES_A_THREAD = 2  # that x264 holds for each thread, all of which encode frames of their own
PIPE_LEVELS = (Level(2, 1), Level(1, 1), Level(0, 1))
OTHER_LEVELS = (Level(2, 118), Level(1, 118), Level(0, 118))


def levels(options: VideoOptions) -> tuple[Level, ...]:
    """From what is best to what takes least."""
    known = {"libx264": _x264_levels(encoder_threads()), UNCOMPRESSED: PIPE_LEVELS}
    return known.get(options.codec, OTHER_LEVELS)


def _x264_levels(threads: int) -> tuple[Level, ...]:
    many, more = {"threads": str(threads)}, FRAMES_A_THREAD * threads
    return (
        Level(2, 118 + more, many),
        Level(1, 118 + more, many),
        Level(0, 55 + more, many | {"rc-lookahead": "10"}, "libx264 looks ahead 10 frames, not 40"),
        Level(0, 12, FRUGAL, "libx264 runs with tune=zerolatency, refs=1 and one thread: the file gets larger"),
    )


def pipeline_bytes(info: VideoInfo, size: tuple[int, int], deep: bool, level: Level, ahead: int = 0) -> int:
    """Everything but the engine and the one frame that is in it.

    Args:
        size: (width, height) of the result.
        deep: the result has more than 8 bits.
        ahead: decoded frames that wait beside those of the pipeline.
    """
    source = av.VideoFormat(info.pix_fmt, info.width, info.height)
    small, large = info.width * info.height, size[0] * size[1]
    decoded = sum(component.width * component.height for component in source.components) * (1 + (depth(source) > 8))
    encoded = large * 3 // 2 * (1 + deep)
    waiting = (level.room + 1) * (FLOATS * small + decoded + encoded)
    converting = 6 * large + encoded + FLOATS * BAND * size[0]  # 16-bit 4:4:4 on the way, made by bands
    return waiting + converting + (DECODED + ahead) * decoded + ENCODER_BASE + level.frames * encoded
