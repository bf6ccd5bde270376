"""Results of the filter and of the CLI, bit for bit: hashes of what an earlier version made; see test_golden.

`filter rgbs` and `cli gbrp16le` hold what the network made, `yuv420p` holds our conversions as well.
"""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
import vapoursynth as vs
from typer.testing import CliRunner

from vs_smsr import smsr
from vs_smsr.cli.app import app
from vs_smsr.media.colour import plane

from .test_golden import GOLDEN, PRECISIONS, clip, digest


def planes(number: int, pix_fmt: str) -> list[np.ndarray]:
    """Of a frame of the clip: RGB as it is (16 bits: times 257, planes in the order G, B, R), or Y of green, quarters
    of blue and red."""
    red, green, blue = np.moveaxis(clip()[number], -1, 0)
    if pix_fmt == "rgbs":
        return [np.float32(part / 255) for part in (red, green, blue)]
    if pix_fmt == "gbrp16le":
        return [(part * 257).astype(np.uint16) for part in (green, blue, red)]
    return [part.astype(np.uint8) for part in (green, blue[::2, ::2], red[::2, ::2])]


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(("scale", "pix_fmt"), [(2, "rgbs"), (2, "yuv420p"), (3, "yuv420p"), (4, "rgbs")])
def test_the_filter(scale: int, precision: str, pix_fmt: str) -> None:
    form = vs.RGBS if pix_fmt == "rgbs" else vs.YUV420P8
    blank = vs.core.std.BlankClip(None, 102, 66, form, len(clip()))

    def put(n: int, f: vs.VideoFrame) -> vs.VideoFrame:
        copy = f.copy()
        for index, part in enumerate(planes(n, pix_fmt)):
            np.copyto(np.asarray(copy[index]), part)
        return copy

    result = smsr(blank.std.ModifyFrame(blank, put), scale=scale, device="cpu", precision=precision)
    made = [np.asarray(part) for frame in result.frames() for part in frame]
    way = f"x{scale} {precision} filter {pix_fmt}"
    assert digest(*made) == GOLDEN[way], way


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(("scale", "pix_fmt"), [(2, "gbrp16le"), (2, "yuv420p"), (3, "yuv420p"), (4, "gbrp16le")])
def test_the_cli(tmp_path: Path, scale: int, precision: str, pix_fmt: str) -> None:
    """FFV1 in and out: nothing is lost on the way."""
    source, target = tmp_path / "a.mkv", tmp_path / "b.mkv"
    with av.open(str(source), "w") as container:
        stream = container.add_stream("ffv1", rate=24)
        stream.width, stream.height, stream.pix_fmt = 102, 66, pix_fmt
        for n in range(len(clip())):
            frame = av.VideoFrame(102, 66, pix_fmt)
            frame.pts = n
            for index, part in enumerate(planes(n, pix_fmt)):
                plane(frame, index)[:] = part
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    options = ["-s", str(scale), "-d", "cpu", "--precision", precision, "--codec", "ffv1", "--reuse", "exact"]
    run = CliRunner().invoke(app, ["upscale", str(source), "-o", str(target), *options])
    assert run.exit_code == 0, run.output
    with av.open(str(target)) as result:
        made = [plane(frame, n) for frame in result.decode(video=0) for n in range(len(frame.planes))]
    way = f"x{scale} {precision} cli {pix_fmt}"
    assert digest(*made) == GOLDEN[way], way
