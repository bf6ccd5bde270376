"""scripts/gpu_train.sh with a tiny budget on the CPU: slices go on, and what cannot be trained is told first."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from vs_smsr.training.plot import LOG
from vs_smsr.weights import load

SCRIPT = Path(__file__).parents[2] / "scripts/gpu_train.sh"


def run(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    settings = {**os.environ, "PYTHON": sys.executable, "DEVICE": "cpu", "COMPILE": "", **environment}
    return subprocess.run([SCRIPT, *arguments], capture_output=True, text=True, timeout=300, env=settings)


def test_slices_go_on_to_the_end(training_set: Path, tmp_path: Path) -> None:
    state = tmp_path / "new" / "state"
    small = ["--batch", "2", "--patch", "16", "--steps", "3", "--log-every", "1", "--threads", "1"]
    first = run(training_set, state, *small, MINUTES="0.00001")
    assert (first.returncode, first.stderr.count("Traceback")) == (0, 0), first.stderr
    assert "stopped by time, step 1" in first.stdout
    second = run(training_set, state, *small, MINUTES="5")
    assert "finished, step 3" in second.stdout, second.stderr
    steps = [line.split(",")[0] for line in (state / LOG.format(2)).read_text().splitlines()[1:]]
    assert steps == ["1", "2", "3"]
    assert load(state / "ema_x2.safetensors").metadata["steps"] == "3"


def test_torch_compile_is_timed_once_and_the_choice_stays(training_set: Path, tmp_path: Path) -> None:
    """Here by a backend that has no compiler to wait for; one that does not exist is not taken."""
    small = [
        "--batch",
        "2",
        "--patch",
        "16",
        "--steps",
        "2",
        "--log-every",
        "1",
        "--threads",
        "1",
        "--dense-steps",
        "9",
    ]
    first = run(training_set, tmp_path / "a", *small, COMPILE="aot_eager", TRIAL="2")
    assert "finished, step 2" in first.stdout, first.stderr
    (told,) = (line for line in first.stderr.splitlines() if line.startswith("gpu_train: "))
    assert re.fullmatch(r"gpu_train: 2 steps take [\d.]+ s, by torch.compile [\d.]+ s", told)
    assert (tmp_path / "a/compile").read_text().strip() in ("", "aot_eager")
    second = run(training_set, tmp_path / "b", *small, COMPILE="no_such", TRIAL="2")
    assert "finished, step 2" in second.stdout, second.stderr
    assert "by torch.compile ? s" in second.stderr
    assert (tmp_path / "b/compile").read_text().strip() == ""
    (tmp_path / "b/compile").write_text("aot_eager\n")
    third = run(training_set, tmp_path / "b", *small, "--steps", "3", COMPILE="no_such")
    assert "finished, step 3" in third.stdout, third.stderr
    assert "torch.compile" not in third.stderr


def test_what_cannot_be_trained(training_set: Path, tmp_path: Path) -> None:
    for arguments, settings, message in (
        ([], {}, "must get DATA and STATE, got 0 arguments"),
        ([tmp_path, tmp_path / "state"], {}, f"must be a set made by scripts/prepare_data.py, got {tmp_path}"),
        ([training_set, tmp_path / "state"], {"MOST_MB": "0"}, "must be at most 0 MB, got"),
    ):
        ended = run(*arguments, **settings)
        assert ended.returncode == 2
        assert message in ended.stderr
    assert not (tmp_path / "state").exists()
