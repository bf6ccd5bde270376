"""The encoder alone."""

from __future__ import annotations

import hashlib
from io import BytesIO
from pathlib import Path

import av
import numpy as np
import pytest

from vs_smsr.media import encoding
from vs_smsr.media.reader import Reader
from vs_smsr.options import VideoOptions

SIZE = (96, 64)


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_the_same_frames_make_the_same_bytes(clip, tmp_path: Path, codec: str) -> None:
    """Blocks of noise, for which x264's code for AVX-512 makes other bytes in one of four runs."""
    with Reader(clip(size=SIZE).make(tmp_path / "a.mkv")) as reader:
        info = reader.info
    random, options = np.random.default_rng(0), VideoOptions(codec=codec)
    blocks = [random.integers(60, 190, (SIZE[1] // 8, SIZE[0] // 8, 3), np.uint8) for _ in range(20)]
    frames = [av.VideoFrame.from_ndarray(block.repeat(8, 0).repeat(8, 1), "rgb24") for block in blocks[6:]]

    def made() -> str:
        found = hashlib.sha256()
        with av.open(BytesIO(), "w", format="nut") as out:
            stream = encoding.add_video(out, encoding.find_encoder(options), info, SIZE, "yuv420p", options)
            for number, frame in enumerate(frames):
                planes = frame.reformat(format="yuv420p")
                planes.pts, planes.pict_type = number, 0
                for packet in encoding.encoded(stream, planes):
                    found.update(bytes(packet))
            for packet in encoding.encoded(stream, None):
                found.update(bytes(packet))
        return found.hexdigest()

    assert len({made() for _ in range(60)}) == 1
