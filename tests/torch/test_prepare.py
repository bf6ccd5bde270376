"""The training set: what gets in, what stays out, what the crops are."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from vs_smsr.errors import OptionError
from vs_smsr.evaluation.bicubic import imresize
from vs_smsr.training import cleaning
from vs_smsr.training.data import Builder, TrainingSet
from vs_smsr.training.prepare import Cleaner, images_in, prepare
from vs_smsr.upscaler import Upscaler

from .conftest import texture

REPOSITORY = Path(__file__).parents[2]
SHARED = REPOSITORY.parent / "shared"
needs_set5 = pytest.mark.skipif(not (SHARED / "data" / "set5").is_dir(), reason="needs ../shared: Set5")
needs_crops = pytest.mark.skipif(not (SHARED / "data" / "train").is_dir(), reason="needs ../shared: training crops")
Image = NDArray[np.uint8]


def write(path: Path, image: NDArray[np.generic], quality: int = 95) -> Path:
    """Store RGB or grey pixels."""
    pixels = image if image.ndim == 2 else np.ascontiguousarray(image[..., ::-1])
    assert cv2.imwrite(str(path), pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return path


def read(path: Path) -> Image:
    image: Image = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
    return image


def damaged(image: Image) -> dict[str, Image]:
    """What a copy of an image looks like in other collections."""
    half = imresize(image, 0.5)
    _, jpeg = cv2.imencode(".jpg", half[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 40])
    brighter = np.clip(image.astype(np.float64) * 0.9 + 20, 0, 255).astype(np.uint8)
    copy = {"half": half, "jpeg": read_bytes(jpeg), "mirror": np.ascontiguousarray(image[:, ::-1])}
    return copy | {"brighter": brighter, "double": imresize(image, 2)}


def read_bytes(data: NDArray[np.uint8]) -> Image:
    image: Image = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB)
    return image


def test_hash_survives_damage_and_tells_images_apart() -> None:
    images = [texture(256, seed) for seed in range(6)]
    hashes = [cleaning.perceptual_hash(image) for image in images]
    for image, value in zip(images, hashes, strict=True):
        for name, copy in damaged(image).items():
            assert cleaning.nearest(value, cleaning.variants(copy)) <= cleaning.DUPLICATE_DISTANCE, name
    others = [cleaning.distance(a, b) for i, a in enumerate(hashes) for b in hashes[:i]]
    assert min(others) > cleaning.BENCHMARK_DISTANCE


@needs_set5
@pytest.mark.parametrize("name", ["baby", "bird", "butterfly", "head", "woman"])
def test_no_copy_of_a_set5_image_gets_in(tmp_path: Path, name: str) -> None:
    original = read(SHARED / "data" / "set5" / "HR" / f"{name}.png")
    for kind, copy in {"itself": original, **damaged(original)}.items():
        path = write(tmp_path / f"holiday_{kind}.png", copy)
        assert Cleaner().clean(path, keep_size=True) == "like a benchmark's image", kind


@needs_crops
def test_no_crop_of_the_shared_training_data_looks_like_set5() -> None:
    paths = list(images_in([SHARED / "data" / "train"]))
    assert len(paths) > 500
    for path in paths:
        small = cv2.imread(str(path), cv2.IMREAD_REDUCED_COLOR_4)[..., ::-1]
        near = min(
            cleaning.nearest(value, cleaning.SET5_HASHES) for value in cleaning.variants(np.ascontiguousarray(small))
        )
        assert near > cleaning.BENCHMARK_DISTANCE, path.name


def test_what_is_of_no_use_stays_out_and_is_counted(tmp_path: Path) -> None:
    source, target = tmp_path / "in", tmp_path / "set"
    source.mkdir()
    good = texture(420, 1)
    write(source / "a_good.png", good)
    write(source / "b_copy.jpg", good, 60)
    write(source / "c_mirror.png", np.ascontiguousarray(good[:, ::-1]))
    write(source / "d_blurred.png", cv2.GaussianBlur(texture(420, 2), (0, 0), 12))
    write(source / "e_tiny.png", texture(100, 3))
    alpha = np.dstack((texture(420, 4), np.full((420, 420), 200, np.uint8)))
    cv2.imwrite(str(source / "f_alpha.png"), alpha)
    (source / "g_broken.png").write_bytes(b"no image")
    write(source / "Lenna.png", texture(420, 5))
    write(source / "h_deep.png", texture(420, 6)[..., 0].astype(np.uint16) * 257)
    report = prepare([source], target, Cleaner())
    names = [entry.name for entry in TrainingSet(target, 2).entries]
    assert names == ["a_good.png", "h_deep.png"]
    reasons = {"seen before": 2, "blurred, upscaled or too small": 2, "with alpha": 1, "unreadable": 1}
    assert report.dropped == reasons | {"with a benchmark's name": 1}
    assert np.array_equal(TrainingSet(target, 2).pair(1)[1][..., 0], texture(420, 6)[..., 0])  # 16 bit to 8 and back


def test_clean_folders_keep_their_size(tmp_path: Path) -> None:
    (tmp_path / "given").mkdir()
    (tmp_path / "clean").mkdir()
    write(tmp_path / "given" / "one.jpg", texture(480, 13))
    write(tmp_path / "clean" / "two.jpg", texture(480, 14))
    prepare([tmp_path / "given"], tmp_path / "set", Cleaner(), clean=[tmp_path / "clean"])
    sides = {entry.name: entry.height for entry in TrainingSet(tmp_path / "set", 2).entries}
    assert sides == {"two.jpg": 480, "one.jpg": 240}


def test_upscaled_images_go_back_to_the_size_they_are_sharp_at() -> None:
    photo = texture(512, 7)
    assert cleaning.detail(photo) > cleaning.LEAST_DETAIL
    doubled = imresize(photo, 2)
    soft = cv2.GaussianBlur(doubled, (0, 0), 1.5)
    sized = cleaning.sharp_size(soft, lossy=False)
    assert sized is not None
    assert sized.shape[0] < 1024
    lossy = cleaning.sharp_size(photo, lossy=True)
    assert lossy is not None
    assert lossy.shape[0] == 256


def test_user_benchmarks_are_excluded(tmp_path: Path) -> None:
    image = texture(300, 8)
    path = write(tmp_path / "x.png", imresize(image, 0.8))
    assert isinstance(Cleaner().clean(path, keep_size=True), np.ndarray)
    assert Cleaner([cleaning.perceptual_hash(image)]).clean(path, keep_size=True) == "like a benchmark's image"


def test_low_resolution_equals_imresize_for_every_scale(training_set: Path) -> None:
    for scale in (2, 3, 4):
        prepared = TrainingSet(training_set, scale)
        for index, entry in enumerate(prepared.entries):
            lr, hr = prepared.pair(index)
            assert np.array_equal(hr, texture(120, index)[: entry.height])
            assert np.array_equal(lr, imresize(np.ascontiguousarray(hr), 1 / scale))


def undo(image: Image, kind: int) -> Image:
    """One of the eight ways in which a square can be turned and mirrored."""
    turned = np.rot90(image, kind % 4)
    return np.ascontiguousarray(turned[:, ::-1] if kind >= 4 else turned)


@pytest.mark.parametrize("scale", [2, 3])
def test_crops_are_aligned_turned_alike_and_repeatable(training_set: Path, scale: int) -> None:
    prepared = TrainingSet(training_set, scale)
    lr, hr = prepared.crops(np.random.default_rng(5), 12, 24)
    assert lr.shape == (12, 24, 24, 3)
    assert hr.shape == (12, 24 * scale, 24 * scale, 3)
    inner = slice(3, -3)  # imresize of a crop differs at its edge, and in what it does first: rows or columns
    for small, large in zip(lr, hr, strict=True):
        undone = [(undo(small, k), undo(large, k)) for k in range(8)]
        pairs = [(imresize(big, 1 / scale)[inner, inner], little[inner, inner]) for little, big in undone]
        assert any(np.array_equal(expected, found) for expected, found in pairs)
    again = prepared.crops(np.random.default_rng(5), 12, 24)
    assert np.array_equal(again[0], lr)
    assert np.array_equal(again[1], hr)
    assert not np.array_equal(prepared.crops(np.random.default_rng(6), 12, 24)[0], lr)


def discs(side: int, seed: int) -> Image:
    """(side, side, 3) overlapping discs of one colour each, with smooth edges."""
    rng = np.random.default_rng(seed)
    image = np.zeros((side, side, 3), np.uint8)
    for _ in range(60):
        (x, y), colour = rng.integers(0, side, 2), rng.integers(0, 256, 3)
        cv2.circle(image, (int(x), int(y)), int(rng.integers(8, 40)), colour.tolist(), -1, cv2.LINE_AA)
    return image


def test_errors_are_those_of_bicubic_and_of_the_shipped_network(training_set: Path) -> None:
    prepared = TrainingSet(training_set, 2)
    for index in (0, 3):
        lr, hr = prepared.pair(index)
        errors = prepared.errors(index)
        assert errors.shape == (hr.shape[0] // 12, hr.shape[1] // 12, 2)
        for kind, guess in enumerate((imresize(lr, 2), Upscaler(scale=2, engine="reference").upscale(lr.copy()))):
            row, column = 12 * (hr.shape[0] // 24), 12
            square = (slice(row, row + 12), slice(column, column + 12))
            expected = np.mean((guess[square].astype(np.float64) - hr[square]) ** 2)
            assert errors[row // 12, 1, kind] == pytest.approx(expected, rel=0.03)  # the engine may have used bf16


def test_crops_are_where_the_network_gains_most(tmp_path: Path) -> None:
    """Sharp edges rather than noise, though noise has the more contrast and the larger error."""
    noise = np.random.default_rng(9).integers(0, 256, (240, 240, 3), np.uint8)
    with Builder(tmp_path) as builder:
        builder.add("noise", noise)
        builder.add("edges", discs(240, 10))
    prepared = TrainingSet(tmp_path, 3)
    _, crops = prepared.crops(np.random.default_rng(11), 60, 24)
    edges = sum(bool((np.diff(crop.astype(int), axis=1) == 0).mean() > 0.5) for crop in crops)
    assert edges > 42  # 30 without a choice; noise remains where all candidates are noise: one in eight


def test_the_gain_of_a_crop_counts_in_db(tmp_path: Path) -> None:
    """Halving an error of 8 is worth more than taking 10 off one of 40, though the difference is smaller."""
    image = np.zeros((48, 48, 3), np.uint8)
    with Builder(tmp_path) as builder:
        builder.add("small error", image)
        builder.add("large error", image + 200)
    errors = np.fromfile(tmp_path / "errors.f32", np.float32).reshape(2, -1, 2)
    errors[0], errors[1] = (8.0**2, 4.0**2), (40.0**2, 30.0**2)
    errors.tofile(tmp_path / "errors.f32")
    _, crops = TrainingSet(tmp_path, 2).crops(np.random.default_rng(12), 60, 24)
    assert (crops[:, 0, 0, 0] < 100).mean() > 0.65  # half without a choice, and a few crops have no choice


def test_sets_that_are_not_there_are_named(tmp_path: Path, training_set: Path) -> None:
    with pytest.raises(OptionError, match=r"no index\.json. Make a training set with scripts/prepare_data\.py"):
        TrainingSet(tmp_path, 2)
    with pytest.raises(OptionError, match=r"prepared for scales \[2, 3, 4\], not for 8"):
        TrainingSet(training_set, 8)
    with pytest.raises(OptionError, match="is not a folder"):
        prepare([tmp_path / "none"], tmp_path / "set", Cleaner())
    with pytest.raises(OptionError, match=r"no image is left\. kept 0 images"):
        prepare([tmp_path / "set"], tmp_path / "empty", Cleaner())


def test_script_keeps_provenance(
    load_script: Callable[[str], ModuleType],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = tmp_path / "pictures"
    source.mkdir()
    write(source / "one.png", texture(240, 11))
    write(source / "two.png", texture(240, 12))
    (source / "SOURCES.tsv").write_text('file\tsource\tlicence\none.png\tmy camera "x"\tCC0-1.0\n')
    monkeypatch.setattr("sys.argv", ["prepare_data", str(source), "--out", str(tmp_path / "set")])
    assert load_script("prepare_data").main() == 0
    assert "kept 2 images" in capsys.readouterr().out
    found = [(entry.source, entry.licence) for entry in TrainingSet(tmp_path / "set", 4).entries]
    assert found == [('my camera "x"', "CC0-1.0"), ("pictures/two.png", "")]


def test_channels_are_exchanged_and_colours_enhanced_and_lr_follows(tmp_path: Path) -> None:
    image = np.clip(texture(48, 3) * 0.2 + np.array((70, 100, 130)), 0, 255).astype(np.uint8)
    image[:4], image[-4:] = 0, (254, 255, 255)  # which leave no room, and need none
    with Builder(tmp_path) as builder:
        builder.add("pale", image)
    lr, hr = TrainingSet(tmp_path, 2).crops(np.random.default_rng(13), 80, 24)  # each crop is the whole image

    def colour(picture: Image) -> float:
        return float((picture - picture.mean(-1, keepdims=True)).std())

    enhanced = np.array([colour(large) / colour(image) for large in hr])
    assert (abs(enhanced - 1) < 1e-3).mean() == pytest.approx(0.5, abs=0.15)
    assert 1.7 < enhanced.max() < 2.05
    assert enhanced.min() > 0.999
    assert {tuple(np.argsort(large.mean((0, 1)))) for large in hr} == set(itertools.permutations(range(3)))
    for small, large in zip(lr, hr, strict=True):
        difference = imresize(np.ascontiguousarray(large), 0.5).astype(int) - small
        assert abs(difference).max() <= 2  # LR was rounded before its colours were
