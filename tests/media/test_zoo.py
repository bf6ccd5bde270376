"""scripts/make_zoo.py, zoo.py and fuzz.py in miniature; and that they find what is planted."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(
    not (shutil.which("ffmpeg") and shutil.which("ffprobe")), reason="needs the programs ffmpeg and ffprobe"
)
FEW = ("h264_aac.mp4", "vfr.mkv", "tags.mkv")
# Each breaks the program, silently, in the processes that the scripts fork.
PLANTS = {
    "frame": """
from vs_smsr.media.writer import Writer
write = Writer.write
seen = []
def dropping(self, frame):
    seen.append(frame)
    if len(seen) != 4:
        write(self, frame)
Writer.write = dropping
""",
    "tag": """
from vs_smsr.media import streams
tags = streams.tags
streams.tags = lambda *args, **more: {k: v for k, v in tags(*args, **more).items() if k.lower() != "imdb"}
""",
    "late sound": """
from vs_smsr.media.writer import Writer
copy = Writer.copy
def late(self, packet):
    if packet.stream.type == "audio":
        delay = round(0.2 / packet.time_base)
        packet.pts, packet.dts = packet.pts + delay, packet.dts + delay
    copy(self, packet)
Writer.copy = late
""",
    "picture": """
from vs_smsr.jobs import pipeline
pipeline.picture_of = lambda frame: None  # all through RGB
to_rgb = pipeline.to_rgb
pipeline.to_rgb = lambda frame: to_rgb(frame)[::-1].copy()
""",
    "crash": """
import os, signal
from vs_smsr.jobs import pipeline
pipeline.picture_of = lambda frame: None  # all through RGB
pipeline.to_rgb = lambda frame: os.kill(os.getpid(), signal.SIGSEGV)
""",
    "unforeseen": """
from vs_smsr.jobs import pipeline
pipeline.picture_of = lambda frame: None  # all through RGB
def raising(frame):
    raise KeyError("planted")
pipeline.to_rgb = raising
""",
    "leftover": """
import tempfile
from vs_smsr.jobs import pipeline
pipeline.picture_of = lambda frame: None  # all through RGB
to_rgb = pipeline.to_rgb
def leaving(frame):
    tempfile.mkstemp()
    return to_rgb(frame)
pipeline.to_rgb = leaving
""",
    "hang": """
import time
from vs_smsr.jobs import pipeline
pipeline.picture_of = lambda frame: None  # all through RGB
pipeline.to_rgb = lambda frame: time.sleep(100)
""",
    "noise": """
import os
from vs_smsr.jobs import pipeline
pipeline.picture_of = lambda frame: None  # all through RGB
to_rgb = pipeline.to_rgb
def printing(frame):
    os.write(2, b"said by a library\\n")
    return to_rgb(frame)
pipeline.to_rgb = printing
""",
}


def script(name: str, *arguments: object, plant: str = "") -> subprocess.CompletedProcess[str]:
    """Run one of the scripts, in a process in which a fault was planted."""
    code = f"import sys\nsys.path[:0] = [{str(ROOT)!r}, {str(ROOT / 'scripts')!r}]\n{plant}\nimport {name}\n"
    code += f"sys.exit({name}.main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a few files."""
    folder = tmp_path_factory.mktemp("zoo")
    for name in FEW:
        done = script("make_zoo", folder, "--only", name)
        assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def tagged(zoo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of one file."""
    folder = tmp_path_factory.mktemp("tagged")
    shutil.copy(zoo / "tags.mkv", folder)
    return folder


def test_the_zoo_is_large_and_the_same_each_time(zoo, tmp_path):
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        from media_zoo.recipes import JOINED, RECIPES, TRAILED
    finally:
        sys.path.remove(str(ROOT / "scripts"))
    assert len(RECIPES | JOINED | TRAILED) >= 100
    assert sorted(path.name for path in zoo.iterdir()) == sorted(FEW)
    for name in FEW:
        script("make_zoo", tmp_path, "--only", name)
        assert (tmp_path / name).read_bytes() == (zoo / name).read_bytes()


def test_what_ffmpeg_cannot_make_is_named(tmp_path):
    plant = "from media_zoo import recipes\nrecipes.RECIPES = {'x.mkv': '{video} -c:v nothing'}\n"
    done = script("make_zoo", tmp_path, plant=plant + "recipes.JOINED = recipes.TRAILED = {}")
    assert done.returncode == 1
    assert done.stderr.startswith("x.mkv: not made: Unknown encoder 'nothing'")
    assert list(tmp_path.iterdir()) == []


def test_whole_files_pass(zoo, tmp_path):
    done = script("zoo", zoo, "--json", tmp_path / "verdicts.json", "--keep", tmp_path / "kept")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "3 files, 30 frames, 0 files with faults"
    verdicts = json.loads((tmp_path / "verdicts.json").read_text())
    assert [verdict["name"] for verdict in verdicts] == sorted(FEW)
    assert [path.name for path in sorted((tmp_path / "kept").iterdir())] == [
        "h264_aac_x2.mp4",
        "tags_x2.mkv",
        "vfr_x2.mkv",
    ]


@pytest.mark.parametrize(
    ("plant", "fault"),
    [
        ("frame", "frames: 10 became 9"),
        ("tag", "file: tag imdb=tt0000001 is gone"),
        ("late sound", "s off beside the picture"),
        ("picture", "pictures: 10 look different"),
        ("crash", "signal 11"),
        ("unforeseen", "KeyError"),
        ("leftover", "left behind: tmp"),
        ("noise", "printed: said by a library"),
    ],
)
def test_the_zoo_finds(tagged, plant, fault):
    done = script("zoo", tagged, plant=PLANTS[plant])
    assert done.returncode == 1
    line = done.stdout.splitlines()[0]
    assert line.startswith("FAULT tags.mkv: ")
    assert fault in line


def test_a_refused_file_is_a_fault_of_the_zoo(tmp_path):
    (tmp_path / "broken.mkv").write_bytes(b"not a film")
    done = script("zoo", tmp_path)
    assert done.returncode == 1
    assert done.stdout.startswith("FAULT broken.mkv: exit code 1, signal None: error: ")


def test_damaged_files_end_well(zoo):
    done = script("fuzz", zoo, "--count", 8, "--seed", 7)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("seed 7: 8 files: ")


@pytest.mark.parametrize(
    ("plant", "fault"),
    [
        ("frame", "10 frames can be decoded, the result has 9, and no note says so"),
        ("crash", "ended by SIGSEGV"),
        ("unforeseen", "unforeseen: error: "),
        ("leftover", "left behind: tmp"),
        ("hang", "ended by more than 2 s"),
        ("noise", "printed: said by a library"),
    ],
)
def test_the_fuzzer_finds(tagged, tmp_path, plant, fault):
    """In files that are whole, so that every one gets as far as the fault."""
    whole = "from media_zoo import mutation\nmutation.mutate = lambda data, *_: (data, 'nothing')\n"
    options = ["--count", 2, "--seconds", 2 if plant == "hang" else 60, "--save", tmp_path / "saved"]
    done = script("fuzz", tagged, *options, plant=whole + PLANTS[plant])
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert len(lines) == 4
    for number in range(2):
        (line,) = [line for line in lines if line.startswith(f"FAULT --seed 0 --only {number} (")]
        assert fault in line
    assert len(list((tmp_path / "saved").iterdir())) == 2


def test_a_fault_can_be_run_again(tagged):
    """The number and the seed name the same bytes, whatever else is run."""
    plant = PLANTS["unforeseen"] + "from media_zoo import mutation\nmutation.KINDS = mutation.KINDS[:1]\n"
    all_of_them = script("fuzz", tagged, "--count", 6, "--seed", 3, plant=plant).stdout.splitlines()
    again = script("fuzz", tagged, "--only", 4, "--seed", 3, plant=plant).stdout.splitlines()
    fault = [line for line in all_of_them if "--only 4 " in line]
    assert [line.rsplit("error:")[0] for line in fault] == [line.rsplit("error:")[0] for line in again[:-2]]
    assert again[-2].startswith("seed 3: 1 files: 1 refused")
