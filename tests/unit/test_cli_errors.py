"""What goes wrong on the command line: one line that says what was expected, what came and what to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from vs_smsr.engine.contract import Capabilities

from .test_cli import image, names, video


def bad_inputs() -> dict[str, tuple[Callable[[], object], list[str], str]]:
    return {
        "not a video": (lambda: Path("a.mp4").write_bytes(b"text " * 300), ["a.mp4"], "a.mp4"),
        "not an image": (lambda: Path("a.png").write_bytes(b"text"), ["a.png"], "not an image"),
        "empty image": (lambda: Path("a.png").touch(), ["a.png"], "is empty"),
        "no such file": (lambda: None, ["a.png"], "no such file"),
        "existing target": (
            lambda: (image("a.png"), Path("b.png").touch()),
            ["a.png", "-o", "b.png"],
            "exists already",
        ),
        "existing video": (lambda: (video("a.mp4"), Path("b.mp4").touch()), ["a.mp4", "-o", "b.mp4"], "exists already"),
        "folder is a file": (lambda: (image("a.png"), Path("f").touch()), ["a.png", "-o", "f/b.png"], "cannot write"),
        "unknown codec": (lambda: video("a.mp4"), ["a.mp4", "-c", "lib265"], "lib265"),
        "no such weights": (lambda: image("a.png"), ["a.png", "--weights", "no.safetensors"], "does not exist"),
        "wrong weights": (
            lambda: (image("a.png"), Path("w.safetensors").write_bytes(b"x" * 99)),
            ["a.png", "--weights", "w.safetensors"],
            "not a safetensors file",
        ),
        "scale without weights": (
            lambda: image("a.png"),
            ["a.png", "-m", "other", "-s", "4"],
            "no shipped weights 'other_x4'",
        ),
        "model without weights": (lambda: image("a.png"), ["a.png", "-m", "other"], "no shipped weights 'other_x2'"),
        "no such device": (lambda: image("a.png"), ["a.png", "-d", "cuda:99"], "engine"),
        "alpha in a jpeg": (lambda: image("a.png", channels=4), ["a.png", "-o", "b.jpg"], "JPEG cannot hold"),
    }


@pytest.mark.parametrize("name", bad_inputs())
def test_bad_input(program, name):
    make, arguments, said = bad_inputs()[name]
    make()
    before = {path: path.read_bytes() for path in Path().iterdir()}
    ended = program("upscale", *arguments, *(() if "-d" in arguments else ("--engine", "reference")))
    assert (ended.code, ended.out) == (1, "")
    assert len(ended.errors) == 1, ended.err
    assert ended.err.startswith("error: ")
    assert said in ended.err
    assert {path: path.read_bytes() for path in Path().iterdir()} == before


def test_an_unwritable_folder(program):
    """/proc takes no files, not even from root."""
    if not Path("/proc/self").is_dir():
        pytest.skip("needs /proc (Linux)")
    image("a.png")
    ended = program("upscale", "a.png", "-o", "/proc/self/b.png", "--engine", "reference")
    assert ended.code == 1
    assert len(ended.errors) == 1
    assert "/proc/self/b.png: cannot write here" in ended.err


@pytest.mark.parametrize("make", [lambda: image("a.png", 200, 200), lambda: video("a.mp4", 60, 128, 128)])
def test_a_full_disk(quick, make):
    import resource

    source = make()
    target = f"b{source.suffix}"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (15_000, hard))
    try:
        ended = quick("upscale", source, "-o", target)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert ended.code == 1
    assert len(ended.errors) == 1, ended.err
    assert target in ended.err
    assert names() == [source.name]


def test_an_unforeseen_error_is_one_line_and_debug_shows_where(program, monkeypatch):
    class Broken:
        capabilities = Capabilities()

        def upscale(self, frame, state=None):
            raise RuntimeError("first line\nsecond line")

    broken = Broken()
    broken.weights = type("W", (), {"scale": 2})
    broken.capabilities = Capabilities(windows=False)
    monkeypatch.setattr("vs_smsr.engine.create", lambda options: broken)
    image("a.png")
    ended = program("upscale", "a.png")
    assert ended.code == 1
    assert ended.errors == ["error: a.png: RuntimeError: first line second line (--log-level debug shows where)"]
    ended = program("upscale", "a.png", "--log-level", "debug")
    assert ended.code == 1
    assert "Traceback" in ended.err
    assert "in upscale" in ended.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["upscale", "a.png", "--magic"], "there is no option --magic. See vs-smsr upscale --help."),
        (["upscale", "a.png", "--presets", "slow"], "there is no option --presets. Did you mean --preset? See"),
        (["upscale", "a.png", "--tile_pad", "10"], "there is no option --tile-pad. Tiles have no seams"),
        (["upscale", "a.png", "--fp16"], "there is no option --fp16. Use --precision fp16."),
        (["upscale", "a.png", "--mode", "quick"], "--mode must be one of fast, balanced, best, got 'quick'."),
        (["upscale", "a.png", "-s", "two"], "Invalid value for '--scale'"),
        (["upscal", "a.png"], "Did you mean 'upscale'?"),
        (["upscale", "a.png", "-s", "5"], "--scale"),
        (["upscale", "a.png", "--engine", "magic"], "engine must be one of"),
        (["upscale", "a.png", "--device", "gpu"], "device must be"),
        (["upscale", "a.png", "--precision", "int8"], "precision must be"),
        (["upscale", "a.png", "--log-level", "loud"], "--log-level must be one of debug, info, warning, error"),
        (["upscale", "a.png", "-e", "bf"], "--extra-encoder-option must be KEY=VALUE, got 'bf'"),
        (["upscale", "a.png", "b.png", "-o", "c.png"], "must be a folder"),
        (["upscale", "*.png"], "no image or video found"),
        (["upscale", "--overwrite"], "INPUT must be a file, folder or glob"),
        (["upscale", "a.png", "--height", "0"], "--height"),
        (["evaluate", "--scale", "2"], "--hr"),
        (["enlarge"], "enlarge"),
    ],
)
def test_wrong_usage(program, arguments, said):
    ended = program(*arguments)
    assert ended.code == 2
    assert said in ended.err
    assert len(ended.errors) == 1
    assert ended.errors[0].startswith("error: ")
    assert names() == []


def test_a_file_instead_of_a_command(program):
    image("a.png")
    ended = program("a.png")
    assert (ended.code, ended.out) == (2, "")
    assert "there is no command 'a.png'. Did you mean vs-smsr upscale a.png?" in ended.err
