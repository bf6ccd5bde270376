"""Figures against a reference: FFmpeg's own psnr filter and NumPy agree, frames pair by time, sizes must match."""

from __future__ import annotations

import json
import re
import subprocess
from fractions import Fraction

import av
import numpy as np
import pytest
from typer.testing import CliRunner

from vs_smsr.cli.app import app
from vs_smsr.media.image_files import write_image
from vs_smsr.media.images import Image
from vs_smsr.media.libvmaf import METRICS
from vs_smsr.preview.comparing import Timed, compare, pairs

FRAMES, RATE = 12, 12


def video(path, *, noise=0.0, size=(96, 64), bad=(), lacking=(), codec="ffv1"):
    """Moving waves; noise of that deviation, five times as much in the bad frames."""
    random = np.random.default_rng(3)
    width, height = size
    y, x = np.mgrid[:height, :width]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=RATE)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = Fraction(1, RATE)
        for number in range(FRAMES):
            wave = 128 + 80 * np.sin((x + 3 * number) / 5) * np.cos(y / 7)
            wave = wave + random.normal(0, noise * (5 if number in bad else 1) + 1e-9, wave.shape)
            if number in lacking:
                continue
            grey = np.clip(wave, 0, 255).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(np.dstack([grey] * 3), "rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    return video(folder / "reference.mkv"), video(folder / "result.mkv", noise=4, bad=(7,))


def test_the_figures_are_those_of_ffmpeg(clips, tmp_path):
    reference, result = clips
    found = compare(reference, result)
    stats = tmp_path / "psnr.log"
    graph = f"[0:v][1:v]psnr=stats_file={stats}"
    command = ["ffmpeg", "-v", "error", "-i", result, "-i", reference, "-lavfi", graph, "-f", "null", "-"]
    subprocess.run(command, check=True)
    expected = [float(value) for value in re.findall(r"psnr_y:([\d.]+)", stats.read_text())]
    assert np.allclose(found.figures["PSNR"], expected, atol=0.01)
    assert found.unpaired == (0, 0)
    assert len(found.times) == FRAMES
    assert found.worst(3, apart=0.2)[0] == 7
    assert found.pooled()["PSNR"]["mean"] == pytest.approx(np.mean(expected), abs=0.01)


def test_the_same_video_is_perfect(clips):
    found = compare(clips[0], clips[0])
    assert min(found.figures["SSIM"]) == 1
    assert min(found.figures["VMAF"]) > 95


def test_frames_pair_by_time(clips, tmp_path):
    """A result that lacks frames is measured by those it has, each against the right one."""
    partial = video(tmp_path / "partial.mkv", lacking=(0, 4, 5))
    found = compare(clips[0], video(tmp_path / "late.mkv", lacking=(4, 5)))
    assert found.unpaired == (2, 0)
    assert min(found.figures["SSIM"]) == 1
    assert compare(partial, partial).unpaired == (0, 0)


def test_pairs_of_other_rates():
    def at(*times):
        return iter([Timed(time, None) for time in times])

    lost = [0, 0]
    found = [(a.time, b.time) for a, b in pairs(at(0, 1, 2, 3), at(0, 0.5, 1.01, 1.5, 2, 2.5, 3), lost)]
    assert found == [(0, 0), (1, 1.01), (2, 2), (3, 3)]
    assert lost == [0, 3]
    assert list(pairs(at(0, 1), iter([]), lost)) == []


def test_a_page_and_json(clips, tmp_path):
    page, report = tmp_path / "page.html", tmp_path / "figures.json"
    arguments = ["compare", *map(str, clips), str(clips[0]), "-o", str(page), "--json", str(report)]
    run = CliRunner().invoke(app, arguments)
    assert run.exit_code == 0, run.output
    data = json.loads(report.read_text())
    noisy, same = data["results"]
    assert len(noisy["frames"]) == FRAMES
    assert set(noisy["pooled"]) == set(METRICS)
    assert noisy["pooled"]["VMAF"]["mean"] < same["pooled"]["VMAF"]["mean"]
    text = page.read_text()
    assert text.count("<svg") == len(METRICS)
    assert "VMAF: result.mkv" in text
    assert CliRunner().invoke(app, arguments).exit_code == 2  # they exist


def test_sizes_must_match(clips, tmp_path):
    small = video(tmp_path / "small.mkv", size=(48, 32))
    run = CliRunner().invoke(app, ["compare", str(clips[0]), str(small)])
    assert run.exit_code == 2
    assert "96x64, got 48x32" in run.stderr
    assert "--resize" in run.stderr
    assert compare(clips[0], small, resize=True).resized


def test_images(tmp_path):
    pixels = np.random.default_rng(2).integers(0, 256, (40, 56, 3), np.uint8)
    write_image(tmp_path / "a.png", Image(pixels))
    write_image(tmp_path / "b.png", Image(np.clip(pixels.astype(int) + 3, 0, 255).astype(np.uint8)))
    found = compare(tmp_path / "a.png", tmp_path / "b.png")
    assert len(found.times) == 1
    assert 30 < found.figures["PSNR"][0] < 50
