"""Long videos in chunks: what is joined is what was encoded, and a job goes on after anything."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from vs_smsr.errors import JobError, MediaError, OptionError
from vs_smsr.jobs.folder import JobFolder
from vs_smsr.jobs.long import in_chunks, upscale_in_chunks
from vs_smsr.jobs.video import upscale_video
from vs_smsr.media.chunk_writer import decoding_times
from vs_smsr.media.reader import Reader
from vs_smsr.options import EngineOptions, JobOptions, Range, TilingOptions, VideoOptions
from vs_smsr.tiling import Tiler

JOB = JobOptions(chunk_frames=10)
UNEVEN = [0, 1000, 3000, 3500, *range(6000, 77500, 2500)]  # 33 frames in ticks of 1/30000: jumps inside and at joins
QUICK = {
    "libx264": {"preset": "veryfast"},
    "libx265": {"preset": "ultrafast"},
    "libsvtav1": {"preset": "11"},
    "libvpx-vp9": {"cpu-used": "8", "deadline": "realtime"},
    "ffv1": {},
    "prores_ks": {},
}
DEEP = {"libx265": "yuv420p10le", "prores_ks": "yuv422p10le"}
PLACES = {
    "mkv": tuple(QUICK),
    "mp4": ("libx264", "libx265", "libsvtav1", "libvpx-vp9"),
    "mov": ("libx264", "libx265", "prores_ks"),
    "webm": ("libsvtav1", "libvpx-vp9"),
}
Make = Callable[..., Any]


@pytest.fixture
def chunked(stand_in) -> Make:
    """chunked(source, target, job=JOB, **video options) -> Report, by the stand-in engine in small temporal tiles."""

    def run(source: Path, target: Path, job: JobOptions = JOB, tiler: Tiler | None = None, **options: Any) -> Any:
        tiler = tiler or Tiler(stand_in(2), TilingOptions(temporal_tile=5))
        video = VideoOptions(**options)
        assert in_chunks(source, target, video, job)
        return upscale_in_chunks(source, target, tiler, EngineOptions(), video, job)

    return run


@pytest.fixture
def source(clip, tmp_path: Path) -> Path:
    """33 frames of variable rate, with sound, subtitles, an attachment and chapters."""
    return clip(
        pts=UNEVEN, time_base=Fraction(1, 30000), last=1200, audio=[("aac", {"language": "eng"}, 1)], subtitles=True,
        font=True, chapters=[(0, 900, "one"), (900, 2600, "two")], metadata={"title": "A film"}, codec="ffv1",
    ).make(tmp_path / "source.mkv")  # fmt: skip


def decoded(path: Path) -> tuple[list[Fraction], list[np.ndarray]]:
    with av.open(str(path)) as file:
        frames = list(file.decode(video=0))
        return [f.pts * Fraction(f.time_base.numerator, f.time_base.denominator) for f in frames], [
            f.to_ndarray() for f in frames
        ]


@pytest.mark.parametrize(
    ("container", "codec"), [(place, codec) for place, codecs in PLACES.items() for codec in codecs]
)
def test_joins(source: Path, chunked: Make, ffprobe: Make, tmp_path: Path, container: str, codec: str) -> None:
    """Every frame of every chunk, as it decodes by itself, at its time; decoding times rise; the last chunk has three.

    The chunks are looked at before they go, by another job folder with the same chunks.
    """
    options = {"codec": codec, "preset": None, "encoder_options": dict(QUICK[codec]), "pix_fmt": DEEP.get(codec)}
    target, kept = tmp_path / f"large.{container}", tmp_path / "kept"

    def keep(folder: JobFolder) -> None:
        shutil.copytree(folder.path, kept)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JobFolder, "remove", keep)
        report = chunked(source, target, JobOptions(chunk_frames=10, folder=tmp_path / "job"), **options)
    assert report.frames == 33
    parts = [decoded(path) for path in sorted(kept.glob("chunk-*.packets"))]
    assert [len(times) for times, _ in parts] == [10, 10, 10, 3]
    times, pixels = decoded(target)
    tick = Fraction(1, 1000) if container in ("mkv", "webm") else Fraction(1, 30000)
    expected = decoded(source)[0]
    assert len(times) == 33
    assert all(abs(a - b) <= tick / 2 for a, b in zip(times, expected, strict=True))
    for got, part in zip(pixels, [frame for _, frames in parts for frame in frames], strict=True):
        np.testing.assert_array_equal(got, part)
    found = ffprobe(
        target,
        "-select_streams",
        "v:0",
        "-show_entries",
        "packet=pts,dts,flags",
        "-show_entries",
        "stream=nb_read_frames",
        "-count_frames",
    )
    stamps = [(int(packet["pts"]), int(packet["dts"])) for packet in found["packets"] if "dts" in packet]
    assert all(later[1] > earlier[1] for earlier, later in itertools.pairwise(stamps))
    assert all(dts <= pts for pts, dts in stamps)
    assert found["streams"][0]["nb_read_frames"] == "33"


@pytest.mark.parametrize("container", ["mkv", "mp4"])
def test_the_direct_way_makes_the_same(
    source: Path, chunked: Make, stand_in: Make, facts_of: Make, tmp_path: Path, container: str
) -> None:
    """Lossless, so pixels too; and everything else of the source is there."""
    whole, joined = tmp_path / f"whole.{container}", tmp_path / f"joined.{container}"
    options = {"codec": "libx264", "crf": 0.0, "preset": "veryfast", "pix_fmt": "yuv444p"}
    first = upscale_video(source, whole, Tiler(stand_in(2), TilingOptions(temporal_tile=5)), VideoOptions(**options))
    second = chunked(source, joined, **options)
    before, after = facts_of(whole), facts_of(joined)
    assert after == before
    for a, b in zip(decoded(whole)[1], decoded(joined)[1], strict=True):
        np.testing.assert_array_equal(a, b)
    assert (first.frames, first.notes, first.held) == (second.frames, second.notes, second.held)
    assert first.skipped == pytest.approx(second.skipped)
    assert not JobFolder.of(joined).exists()


@pytest.mark.parametrize("part", [Range(first=5, last=28), Range(start=Fraction(3, 10), end=2.25), Range(first=14)])
def test_a_range_is_that_of_the_direct_way(
    source: Path, chunked: Make, stand_in: Make, facts_of: Make, tmp_path: Path, part: Range
) -> None:
    """Frames, times, sound, subtitles and chapters; after an interrupt too."""
    whole, joined = tmp_path / "whole.mkv", tmp_path / "joined.mkv"
    options = {"codec": "libx264", "crf": 0.0, "preset": "veryfast", "pix_fmt": "yuv444p", "range": part}
    first = upscale_video(source, whole, Tiler(stand_in(2), TilingOptions(temporal_tile=5)), VideoOptions(**options))
    with pytest.raises(KeyboardInterrupt):
        chunked(source, joined, tiler=stop_after(stand_in, 13), **options)
    second = chunked(source, joined, **options)
    assert facts_of(joined) == facts_of(whole)
    for a, b in zip(decoded(whole)[1], decoded(joined)[1], strict=True):
        np.testing.assert_array_equal(a, b)
    assert (first.frames, first.notes) == (second.frames, second.notes)
    assert first.frames > 10


def stop_after(stand_in: Make, count: int) -> Tiler:
    """An engine that fails after so many frames."""

    class Failing(stand_in):
        def upscale(self, frame: Any, overrides: Any = None) -> Any:
            if len(self.frames) >= count:
                raise KeyboardInterrupt
            return super().upscale(frame, overrides)

    return Tiler(Failing(2), TilingOptions(temporal_tile=5))


@pytest.mark.parametrize("frames", [0, 4, 10, 25, 32])
def test_an_interrupted_job_goes_on(source: Path, chunked: Make, stand_in: Make, tmp_path: Path, frames: int) -> None:
    """Byte for byte what an uninterrupted run makes; chunks that were done are not made again."""
    whole, target = tmp_path / "whole.mkv", tmp_path / "target.mkv"
    chunked(source, whole)
    with pytest.raises(KeyboardInterrupt):
        chunked(source, target, tiler=stop_after(stand_in, frames))
    assert not target.exists()
    folder = JobFolder(JobFolder.of(target))
    done = len(folder.chunks())
    assert folder.path.exists() == bool(done)
    assert not done or folder.why() == "stopped by KeyboardInterrupt"
    assert done >= frames // 10 - 1  # one may still have been with the encoder
    tiler = Tiler(stand_in(2), TilingOptions(temporal_tile=5))
    chunked(source, target, tiler=tiler)
    assert len(tiler.engine.frames) <= 33 - 10 * done
    assert target.read_bytes() == whole.read_bytes()
    assert not folder.path.exists()
    assert [path.name for path in tmp_path.iterdir() if ".part" in path.name] == []


def test_any_file_of_a_job_may_be_damaged(source: Path, chunked: Make, stand_in: Make, tmp_path: Path) -> None:
    """Cut off, one bit flipped or gone, each in turn: made again, or one error; never another film."""
    whole, target, saved = tmp_path / "whole.mkv", tmp_path / "target.mkv", tmp_path / "saved"
    chunked(source, whole)
    with pytest.raises(KeyboardInterrupt):
        chunked(source, target, tiler=stop_after(stand_in, 32))
    folder = JobFolder.of(target)
    shutil.copytree(folder, saved)
    names = sorted(path.name for path in saved.iterdir() if path.name != "lock")
    assert "manifest.json" in names
    assert len(names) >= 6
    for name in names:
        for damage in ("cut", "flip", "gone"):
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(saved, folder)
            path = folder / name
            data = path.read_bytes()
            if damage == "gone":
                path.unlink()
            elif damage == "cut":
                path.write_bytes(data[: len(data) // 2])
            else:
                path.write_bytes(
                    data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :]
                )
            if name == "manifest.json" and damage != "gone":
                with pytest.raises(JobError, match="--restart"):
                    chunked(source, target)
                assert not target.exists()
                continue
            chunked(source, target)
            assert target.read_bytes() == whole.read_bytes(), (name, damage)
            target.unlink()


def test_after_the_last_rename_there_is_nothing_left_to_do(
    source: Path, chunked: Make, stand_in: Make, tmp_path: Path
) -> None:
    """Killed between giving the result its name and removing the job: the next run only clears up."""
    target = tmp_path / "target.mkv"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JobFolder, "remove", lambda folder: None)
        first = chunked(source, target)
    data = target.read_bytes()
    tiler = Tiler(stand_in(2), TilingOptions(temporal_tile=5))
    again = chunked(source, target, tiler=tiler)
    assert tiler.engine.frames == []
    assert target.read_bytes() == data
    assert (again.frames, again.notes) == (first.frames, first.notes)
    assert not JobFolder.of(target).exists()


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"codec": "libx265"}, "--codec"),
        ({"crf": 20.0}, "--crf"),
        ({"copy_audio": False}, "--copy-audio"),
        ({"job": JobOptions(chunk_frames=15)}, "--chunk-frames"),
        ({"tiling": TilingOptions(temporal_tile=5, reuse="off")}, "--reuse"),
        ({"source": True}, "the source"),
        ({"weights": True}, "the weights"),
        ({"version": True}, "version av"),
        ({"range": Range(first=1)}, "the range"),
    ],
)
def test_another_job_is_named(
    source: Path, chunked: Make, stand_in: Make, tmp_path: Path, changed: dict[str, Any], name: str
) -> None:
    target = tmp_path / "target.mkv"
    with pytest.raises(KeyboardInterrupt):
        chunked(source, target, tiler=stop_after(stand_in, 25))
    changed = dict(changed)
    tiling = changed.pop("tiling", TilingOptions(temporal_tile=5))
    engine = stand_in(2)
    if changed.pop("weights", False):
        tensors = dict(engine.weights.tensors)
        name_of_first = next(iter(tensors))
        tensors[name_of_first] = tensors[name_of_first] + 1
        engine.weights = type(engine.weights)(engine.weights.spec, tensors)
    if changed.pop("source", False):
        source.write_bytes(source.read_bytes()[:-1] + b"\0")
    if changed.pop("version", False):
        folder = JobFolder(JobFolder.of(target))
        fields = json.loads((folder.path / "manifest.json").read_text())["fields"]
        fields["settings"]["version av"] = "1.0"
        folder._store("manifest.json", fields)
    with pytest.raises(JobError, match=f"begun with {name} .*--restart"):
        chunked(source, target, tiler=Tiler(engine, tiling), **changed)
    assert not target.exists()


def test_restart_begins_anew(source: Path, chunked: Make, stand_in: Make, tmp_path: Path) -> None:
    target = tmp_path / "target.mkv"
    with pytest.raises(KeyboardInterrupt):
        chunked(source, target, tiler=stop_after(stand_in, 12))
    report = chunked(source, target, JobOptions(chunk_frames=15, restart=True), crf=30.0)
    assert report.frames == 33


def test_two_at_once_are_kept_apart(source: Path, chunked: Make, tmp_path: Path) -> None:
    target = tmp_path / "target.mkv"
    with JobFolder(JobFolder.of(target)) as folder:
        assert folder.busy
        with pytest.raises(JobError, match="another process"):
            chunked(source, target)


@pytest.mark.parametrize("option", ["b", "maxrate", "pass"])
def test_options_of_the_whole_video_are_refused(source: Path, tmp_path: Path, option: str) -> None:
    with pytest.raises(OptionError, match=f"{option} must be left out"):
        in_chunks(source, tmp_path / "a.mkv", VideoOptions(encoder_options={option: "1"}), JOB)


def test_short_videos_and_other_containers_go_the_direct_way(source: Path, tmp_path: Path) -> None:
    for target, video, job in (
        ("a.mkv", {}, JobOptions(chunk_frames=200)),
        ("a.mkv", {}, JobOptions(chunk_frames=0)),
        ("a.avi", {}, JOB),
        ("a.mkv", {"codec": "mpeg4"}, JOB),
        ("a.mkv", {"range": Range(first=5, last=14)}, JOB),
        ("-", {}, JOB),
    ):
        assert not in_chunks(source, Path(target), VideoOptions(**video), job), target


def test_a_damaged_source_is_refused_in_every_run(clip, chunked: Make, tmp_path: Path) -> None:
    source = clip(pts=tuple(range(40))).make(tmp_path / "a.mkv")
    data = source.read_bytes()
    source.write_bytes(data[: len(data) * 3 // 4])
    for _ in range(2):
        with pytest.raises(MediaError):
            in_chunks(source, tmp_path / "b.mkv", VideoOptions(), JOB)


def test_decoding_times() -> None:
    """Random orders with a delay of up to three: rising, never after showing; without reordering they are the times."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        frames = np.cumsum(rng.integers(1, 50, 30)).tolist()
        order = sorted(range(30), key=lambda n: n + rng.integers(0, 4))
        shown = [frames[n] for n in order]
        times = decoding_times(shown, frames)
        assert len(times) == 30
        assert all(b > a for a, b in itertools.pairwise(times))
        assert all(dts <= pts for dts, pts in zip(times, shown, strict=True))
    assert decoding_times([3, 5, 9], [3, 5, 9]) == [3, 5, 9]
    assert decoding_times([3], [3]) == [3]


def test_times_below_zero(clip, chunked: Make, tmp_path: Path) -> None:
    """A damaged clock may leave frames before 0; chunks keep them, as the direct way does."""
    source = clip(pts=tuple(range(25))).make(tmp_path / "a.mp4")
    target = tmp_path / "b.mkv"
    real = Reader._in_time

    def early(reader: Reader) -> Any:
        for item in real(reader):
            if isinstance(item, av.VideoFrame):
                item.pts -= 7 * 512
            yield item

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Reader, "_in_time", early)
        report = chunked(source, target)
    assert report.frames == 25
    times = decoded(target)[0]
    assert [later - earlier for earlier, later in itertools.pairwise(times)] == [Fraction(1, 25)] * 24


def test_a_job_that_cannot_begin_leaves_nothing(clip, chunked: Make, stand_in: Make, tmp_path: Path) -> None:
    source, target = clip(pts=tuple(range(40))).make(tmp_path / "a.mkv"), tmp_path / "b.mkv"
    with pytest.raises(KeyboardInterrupt):
        chunked(source, target, tiler=stop_after(stand_in, 3))
    assert [path.name for path in tmp_path.iterdir()] == [source.name]


def film(path: Path, frames: int, grain: float) -> Path:
    """Texture that moves a pixel every fourth frame: what an encoder learns of coming frames pays."""
    rng = np.random.default_rng(1)
    texture = rng.normal(0, 18, (96, 400, 3))
    ramp = np.linspace(60, 190, 128)[None, :, None]
    with av.open(str(path), "w") as out:
        stream = out.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        for number in range(frames):
            picture = ramp + texture[:, number // 4 : number // 4 + 128] + grain * rng.normal(0, 1, (96, 128, 1))
            rgb = av.VideoFrame.from_ndarray(picture.clip(0, 255).astype(np.uint8), "rgb24")
            out.mux(stream.encode(rgb.reformat(format="yuv420p")))
        out.mux(stream.encode())
    return path


@pytest.mark.parametrize(("codec", "grain", "least"), [("libx264", 0, 0.5)])
def test_quality_does_not_sag_before_a_join(
    chunked: Make, tmp_path: Path, codec: str, grain: float, least: float
) -> None:
    """The ten frames before the first join against one encoder with a key frame there; without a tail twice the bar is
    lost. Later joins are not compared: one encoder's quality rises over a quiet film, with or without joins."""
    source = film(tmp_path / "film.mkv", 100, grain)
    truth, made, one = (tmp_path / f"{name}.mkv" for name in ("truth", "made", "one"))
    job = JobOptions(chunk_frames=50)
    chunked(source, truth, job, codec="ffv1")
    chunked(source, made, job, codec=codec, crf=23.0)
    exact = decoded(truth)[1]
    with av.open(str(one), "w") as out:
        stream = out.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 256, 192, "yuv420p"
        quiet = {"x265-params": "log-level=error"} if codec == "libx265" else {}
        stream.codec_context.options = {"crf": "23", "forced-idr": "1", **quiet}
        for number, pixels in enumerate(exact):
            frame = av.VideoFrame.from_ndarray(pixels, "yuv420p")
            frame.pict_type = 1 if number == 50 else 0
            out.mux(stream.encode(frame))
        out.mux(stream.encode())

    def quality(path: Path) -> float:
        pairs = zip(decoded(path)[1][40:50], exact[40:50], strict=True)
        return float(10 * np.log10(255**2 / np.mean([np.mean((a.astype(float) - b) ** 2) for a, b in pairs])))

    assert quality(made) > quality(one) - least
