"""Coded frames to learn from: how a clip is drawn to be coded, and what a viewer then gets of one of its frames.

Every encoder runs on one thread, so that the same clip is coded the same way twice. RGB becomes YUV and back as in the
product (`media/colour.py`).
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import av
import numpy as np
from av.video.frame import PictureType
from av.video.stream import VideoStream
from numpy.typing import NDArray

from vs_smsr.media.colour import BT709, SMPTE170M, Colour, from_rgb, to_rgb

Image = NDArray[np.uint8]  # (H, W, 3) RGB, 0..255

ENCODERS = {"libx264": 0.4, "libx265": 0.2, "libvpx-vp9": 0.15, "mpeg2video": 0.15, "mpeg4": 0.1}  # shares
X264_PRESETS = ("veryfast", "fast", "medium", "slow")
X265_PRESETS = ("ultrafast", "veryfast", "medium")
RATE = 25  # frames a second; rate control by quality hardly looks at it
ENOUGH = 50_000_000  # bit/s: what MPEG-2 and MPEG-4 may use, so that the quantiser alone decides


@dataclass(frozen=True)
class Coding:
    """How one clip is coded.

    Attributes:
        encoder: FFmpeg's name.
        options: the encoder's own.
        matrix: code point of the YUV matrix; the range is limited, chroma is 4:2:0 and on the left.
        intra: the frame that is taken is forced to be an I frame; else it is what the encoder makes of it.
    """

    encoder: str
    options: dict[str, str]
    matrix: int
    intra: bool = False

    def __str__(self) -> str:
        matrix = "BT.709" if self.matrix == BT709 else "BT.601"
        return " ".join([self.encoder, *(f"{key}={value}" for key, value in self.options.items()), matrix])


def draw_coding(rng: np.random.Generator, encoder: str | None = None) -> Coding:
    """A coding at random: from all but transparent to what streams of few bits look like.

    Args:
        rng: source of the choices.
        encoder: a key of `ENCODERS`; None = drawn by their shares.
    """
    encoder = encoder or str(rng.choice(list(ENCODERS), p=list(ENCODERS.values())))
    matrix = int(rng.choice([BT709, SMPTE170M]))
    b_frames = int(rng.choice([0, 2, 3]))
    if encoder == "libx264":
        options = {"crf": rng.integers(15, 33), "preset": rng.choice(X264_PRESETS), "bf": b_frames}
    elif encoder == "libx265":
        options = {"crf": rng.integers(17, 35), "preset": rng.choice(X265_PRESETS)}
        options["x265-params"] = f"pools=none:frame-threads=1:log-level=none:bframes={b_frames}"
    elif encoder == "libvpx-vp9":
        options = {"crf": rng.integers(18, 49), "b": 0, "deadline": "good", "cpu-used": rng.integers(3, 7)}
    else:
        quantiser = rng.integers(2, 11)
        options = {"qmin": quantiser, "qmax": quantiser, "bf": min(b_frames, 2), "g": rng.choice([12, 15, 250])}
    plain = {name: str(value) for name, value in options.items()}
    return Coding(encoder, plain, matrix, bool(rng.random() < 0.2))


def code(frames: Sequence[Image], coding: Coding, index: int) -> tuple[Image, str]:
    """Code a clip, decode it, and take one frame.

    Args:
        frames: of one size, even sides.
        coding: how.
        index: of the frame that is taken.

    Returns:
        The decoded frame in RGB, and its type: "I", "P" or "B".
    """
    height, width = frames[0].shape[:2]
    colour = Colour(coding.matrix, full=False)
    store = io.BytesIO()
    with av.open(store, "w", format="matroska") as container:
        stream = container.add_stream(coding.encoder, rate=RATE, options=coding.options)
        assert isinstance(stream, VideoStream), coding
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.thread_count = 1
        if coding.encoder.startswith("mpeg"):
            stream.bit_rate = ENOUGH
        for number, picture in enumerate(frames):
            frame = from_rgb(picture.astype(np.float32), "yuv420p", colour)
            frame.pts = number
            frame.pict_type = PictureType.I if coding.intra and number == index else PictureType.NONE
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    store.seek(0)
    with av.open(store, "r") as source:
        source.streams.video[0].thread_count = 1
        decoded = list(source.decode(video=0))
    assert len(decoded) == len(frames), f"{coding}: {len(decoded)} of {len(frames)} frames came back"
    taken = decoded[index]
    taken.colorspace, taken.color_range, taken.chroma_location = colour.matrix, 1, colour.siting
    return np.rint(to_rgb(taken)).astype(np.uint8), PictureType(taken.pict_type).name
