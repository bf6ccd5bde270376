"""The same frames become the same bytes, whatever the memory held before: chunks are made again and must not differ."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
from av.video.frame import PictureType

from vs_smsr.media import encoding
from vs_smsr.media.reader import Reader
from vs_smsr.options import VideoOptions


def film(path: Path, frames: int = 20) -> Path:
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for _ in range(frames):
            pixels = rng.integers(60, 190, (4, 6, 3), np.uint8).repeat(16, 0).repeat(16, 1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24").reformat(format="yuv420p")))
        container.mux(stream.encode())
    return path


def test_x264_gives_equal_bytes_for_equal_frames(tmp_path: Path) -> None:
    """With AVX-512 it did not: about every second of these runs gave others."""
    with Reader(film(tmp_path / "a.mkv")) as reader:
        frames, info = list(reader), reader.info
    for frame in frames:
        frame.pict_type = PictureType.NONE  # not all of them key frames, as the source has them
    options = VideoOptions(encoder_options={"threads": "1"})
    results, rubbish = set(), []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        rubbish.append(rng.integers(0, 256, int(rng.integers(1000, 3_000_000)), np.uint8))
        if seed % 3 == 0:
            rubbish.clear()  # its memory is what the encoder gets
        with av.open(str(tmp_path / "b.nut"), "w") as container:
            codec = encoding.find_encoder(options)
            stream = encoding.add_video(container, codec, info, (96, 64), "yuv420p", options)
            packets = [packet for frame in frames for packet in stream.encode(frame)]
            results.add(b"".join(bytes(packet) for packet in (*packets, *stream.encode(None))))
    assert len(results) == 1
