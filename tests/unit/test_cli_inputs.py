"""Which file becomes which: files, folders, globs, names of results, and what is refused before any work."""

from __future__ import annotations

from pathlib import Path

import PIL.Image
import pytest

from vs_smsr.cli.inputs import plan
from vs_smsr.errors import OptionError
from vs_smsr.options import VideoOptions


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    names = [
        "a.png",
        "B.JPG",
        "notes.txt",
        ".hidden.png",
        "clip.MP4",
        "old.avi",
        "sub/c.tif",
        "sub/deep/d.mkv",
        "none/x.txt",
    ]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def pairs(
    *inputs: str, out: str | None = None, recursive: bool = False, label: str = "x2", **options: str
) -> dict[str, str]:
    jobs = plan(inputs, out, recursive, label, VideoOptions(**options))
    return {job.source.as_posix(): job.target.as_posix() for job in jobs}


def test_beside_the_input(tree):
    assert pairs("a.png", "clip.MP4", "sub/c.tif") == {
        "a.png": "a_x2.png",
        "clip.MP4": "clip_x2.MP4",
        "sub/c.tif": "sub/c_x2.tif",
    }


def test_a_container_that_cannot_hold_all_becomes_mkv(tree):
    assert pairs("old.avi") == {"old.avi": "old_x2.mkv"}
    assert pairs("web.webm") == {"web.webm": "web_x2.mkv"}
    assert pairs("web.webm", codec="libvpx-vp9") == {"web.webm": "web_x2.webm"}


def test_out_is_a_file_or_a_folder(tree):
    assert pairs("a.png", out="new/b.jpg") == {"a.png": "new/b.jpg"}
    assert pairs("a.png", out="new") == {"a.png": "new/a_x2.png"}
    assert pairs("a.png", out="sub") == {"a.png": "sub/a_x2.png"}
    (tree / "with.dot").mkdir()
    assert pairs("a.png", out="with.dot") == {"a.png": "with.dot/a_x2.png"}
    assert pairs("a.png", "clip.MP4", out="new") == {"a.png": "new/a_x2.png", "clip.MP4": "new/clip_x2.MP4"}


def test_a_folder_is_searched_by_suffix_in_either_case(tree):
    assert list(pairs(".")) == ["B.JPG", "a.png", "clip.MP4", "old.avi"]
    assert list(pairs("sub")) == ["sub/c.tif"]
    assert pairs("sub", out="new", recursive=True) == {
        "sub/c.tif": "new/c_x2.tif",
        "sub/deep/d.mkv": "new/deep/d_x2.mkv",
    }


def test_globs(tree):
    assert list(pairs("*.png")) == ["a.png"]
    assert list(pairs("**/*")) == ["B.JPG", "a.png", "clip.MP4", "old.avi", "sub/c.tif", "sub/deep/d.mkv"]
    assert list(pairs(str(tree / "*.png"))) == [str(tree / "a.png")]
    assert list(pairs("*.png", "a.png", "a.png")) == ["a.png"]


def test_a_file_whose_name_looks_like_a_glob(tree):
    (tree / "x[1].png").touch()
    assert pairs("x[1].png") == {"x[1].png": "x[1]_x2.png"}


def test_results_of_an_earlier_run_are_no_inputs(tree):
    for name in ("a_x2.png", "lonely_x2.png", "a_x3.png"):
        (tree / name).touch()
    found = list(pairs("*.png"))
    assert found == ["a.png", "a_x3.png", "lonely_x2.png"]
    assert list(pairs("a.png", "a_x2.png", "a_x3.png")) == ["a.png", "a_x3.png"], "as a shell expands *.png"
    assert list(pairs("a_x2.png")) == ["a_x2.png"], "without its original it is an input"


def test_a_file_that_is_not_there_is_left_to_its_turn(tree):
    assert pairs("no.mp4", "a.png") == {"no.mp4": "no_x2.mp4", "a.png": "a_x2.png"}


@pytest.mark.parametrize(
    ("inputs", "out", "said"),
    [
        (["none"], None, "no image or video found here. Search its folders too with --recursive"),
        (["*.bmp"], None, r"\*.bmp: no image or video found"),
        (["-"], None, "--output: must be given for the input -"),
        (["a.png"], "-", "is an image, which cannot be written as video to a pipe"),
        (["a.png", "B.JPG"], "one.png", "must be a folder for several inputs"),
        (["sub"], "one.tif", "must be a folder for several inputs"),
        (["a.png"], "a.png", "would replace the input a.png"),
        (["a.png", "clip.MP4"], ".", None),
        (["clip.MP4"], "b.jpg", r"is a video, which cannot be written as .jpg"),
        (["clip.MP4"], "b.png", r"is a video, which cannot be written as .png"),
        (["a.png"], "b.mp4", "is an image, which cannot be written as .mp4"),
    ],
)
def test_what_does_not_fit_is_refused(tree, inputs, out, said):
    if said is None:
        pairs(*inputs, out=out)
        return
    with pytest.raises(OptionError, match=said) as caught:
        pairs(*inputs, out=out)
    assert "\n" not in str(caught.value)


def test_a_link_to_an_input_is_not_replaced(tree):
    Path("link.png").symlink_to("a.png")
    with pytest.raises(OptionError, match=r"would replace the input a\.png"):
        pairs("a.png", out="link.png")


def test_results_that_would_have_one_name_are_named_apart(tree):
    for name in ("a.avi", "a.mkv", "a.ts", "sub/a.mkv"):
        (tree / name).touch()
    assert pairs("a.avi", "a.mkv", "a.ts") == {"a.avi": "a.avi_x2.mkv", "a.mkv": "a_x2.mkv", "a.ts": "a.ts_x2.mkv"}
    assert pairs("a.mkv", "sub/a.mkv", out="new") == {"a.mkv": "new/a_x2.mkv", "sub/a.mkv": "new/a.mkv_x2.mkv"}
    for name in ("a.avi_x2.mkv", "a_x2.mkv"):
        (tree / name).touch()
    assert list(pairs("a.avi", "a.mkv", "a.avi_x2.mkv", "a_x2.mkv")) == ["a.avi", "a.mkv"], "results of an earlier run"


def test_a_slash_at_the_end_makes_a_folder(tree):
    assert pairs("a.png", out="Season.01/") == {"a.png": "Season.01/a_x2.png"}
    assert pairs("a.png", "B.JPG", out="Season.01/")["B.JPG"] == "Season.01/B_x2.JPG"


def test_standard_input_is_no_file_of_that_name(tree):
    assert pairs("-", out="b.mkv") == {"-": "b.mkv"}
    assert pairs("-", out="sub") == {"-": "sub/stdin_x2.mkv"}
    assert pairs("clip.MP4", out="-") == {"clip.MP4": "-"}
    assert pairs("./-", out="b.mkv") == {str(tree / "-"): "b.mkv"}
    assert pairs("clip.MP4", out="./-.mkv") == {"clip.MP4": "-.mkv"}


def test_what_a_file_is_counts_not_its_ending(tree):
    gif = PIL.Image.new("P", (8, 6))
    gif.putpixel((1, 1), 3)
    moving = {"save_all": True, "append_images": [PIL.Image.new("P", (8, 6), 2)]}
    gif.save("moving.png", "GIF", **moving)
    gif.save("moving.jpg", "GIF", **moving)
    gif.save("still.mkv", "BMP")
    gif.convert("1").save("bits.pbm", "PPM")
    jobs = plan(["moving.png", "moving.jpg", "still.mkv", "bits.pbm"], None, False, "x2", VideoOptions())
    found = {job.source.name: (job.kind, job.target.name) for job in jobs}
    assert found == {
        "moving.png": ("animation", "moving_x2.png"),
        "moving.jpg": ("animation", "moving_x2.gif"),
        "still.mkv": ("image", "still_x2.bmp"),
        "bits.pbm": ("image", "bits_x2.pgm"),
    }


def test_an_animated_avif_becomes_no_video(tree):
    """FFmpeg would make two video streams of it, the first of one frame."""
    moving = {"save_all": True, "append_images": [PIL.Image.new("RGB", (8, 6), "red")]}
    PIL.Image.new("RGB", (8, 6)).save("a.avif", **moving)
    assert pairs("a.avif", out="b.webp") == {"a.avif": "b.webp"}
    with pytest.raises(OptionError, match=r"an animated AVIF cannot become a video"):
        pairs("a.avif", out="b.mkv")


def test_stills_that_are_not_read_are_named_in_a_folder(tree, caplog):
    for name in ("a.nef", "b.exr"):
        (tree / name).touch()
    assert "a.nef" not in pairs(".")
    assert ".: 2 stills of kinds that are not read are left out: a.nef, b.exr" in caplog.text
