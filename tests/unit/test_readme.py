"""README.md and docs/ say what is true: options are the parser's, examples run, links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import typer

from vs_smsr.cli.app import app
from vs_smsr.media.image_files import write_image
from vs_smsr.media.images import Image
from vs_smsr.options import SCALES

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def parameters(command: str) -> dict[str, object]:
    """Every spelling of every option of a command -> its default."""
    found = typer.main.get_command(app).commands[command].params
    return {name: parameter.default for parameter in found for name in parameter.opts}


def table() -> dict[str, str]:
    """Option -> the default that the table in docs/options.md names."""
    text = (ROOT / "docs/options.md").read_text()
    rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("| `")]
    return {name: row[2].strip() for row in rows for name in re.findall(r"`(--?[\w-]+)`", row[0])}


def test_the_table_has_every_option_and_no_other():
    options = {name for name in parameters("upscale") if name.startswith("-")} - {"-h", "--help"}
    assert set(table()) == options


def test_the_defaults_in_the_table():
    """Where the table prints a value, it is the parser's."""
    default = parameters("upscale")
    for name, said in table().items():
        value = re.fullmatch(r"`(\w+)`|(\d+)", said)
        if value and name != "--crf":  # left to the encoder's own range, 16 if it has crf
            assert str(default[name]) == (value[1] or value[2]), name
        if not said:
            assert default[name] in (None, False), name


def test_options_in_the_text_exist():
    program = typer.main.get_command(app)
    known = {name for command in (program, *program.commands.values()) for one in command.params for name in one.opts}
    known |= {"--install-completion", "--help"}
    for page in PAGES:
        commands = re.findall(r"^    (vs-smsr .*)$|`(vs-smsr [^`]*)`", page.read_text(), re.MULTILINE)
        text = "\n".join("".join(pair).partition(" #")[0] for pair in commands)
        used = set(re.findall(r"(?<=\s)--?[a-z][\w-]*", text))
        assert used <= known, page


def test_links_and_pictures_exist():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
            name, _, heading = target.partition("#")
            if not target.startswith("https://"):
                found = (page.parent / name).resolve() if name else page
                assert found.is_file(), (page, target)
                assert not heading or heading in headings(found), (page, target)
    for target in re.findall(r"^    make (\w+)", README, re.MULTILINE):
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def headings(page: Path) -> set[str]:
    """As they are linked to."""
    lines = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", line.lower()).replace(" ", "-") for line in lines}


def test_the_python_example(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (18, 24, 3), np.uint8)
    write_image(Path("photo.png"), Image(pixels))
    (block,) = (block for block in BLOCKS if "Upscaler" in block)
    names: dict[str, object] = {}
    exec(block, names)
    assert np.shape(names["large"]) == (36, 48, 3)
    assert re.search(r"\d+% of the masked work was skipped", capsys.readouterr().out)


def test_the_vapoursynth_example(tmp_path, monkeypatch):
    vs = pytest.importorskip("vapoursynth")
    if not hasattr(vs.core, "bs"):
        pytest.skip("needs the bestsource plugin (in the dev extra)")
    import av

    monkeypatch.chdir(tmp_path)
    with av.open("film.mkv", "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 24, "yuv420p"
        for level in (50, 100, 150):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((24, 32, 3), level, np.uint8), "rgb24")))
        container.mux(stream.encode())
    (block,) = (block for block in BLOCKS if "smsr(" in block)
    try:
        exec(block, {})
        clip = vs.get_output().clip
        assert (clip.width, clip.height, clip.num_frames, clip.format.name) == (64, 48, 3, "YUV420P8")
        assert 0 <= clip.get_frame(1).props["SMSRSparsity"] <= 1
    finally:
        vs.clear_outputs()


@pytest.mark.parametrize("scale", SCALES)
def test_the_figures_are_those_of_the_shipped_weights(shared, scale):
    """The PSNR and the sparsity that README names, measured again."""
    from vs_smsr import EngineOptions, engine
    from vs_smsr.evaluation import evaluate

    data = shared / "data/set5"
    options = EngineOptions(device="cpu", scale=scale, precision="fp32")
    result = evaluate(engine.create(options), data / "HR", data / f"LR_bicubic/X{scale}")
    row = next(line for line in README.splitlines() if line.startswith(f"| x{scale} |"))
    assert f"| {result.psnr:.2f} dB | {100 * result.sparsity:.0f} % |" in row
