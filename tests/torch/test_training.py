"""Training: masks that learn, runs that survive being stopped, several processes."""

from __future__ import annotations

import csv
import itertools
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from vs_smsr import weights
from vs_smsr.errors import OptionError, WeightsError
from vs_smsr.network import to_network, to_weights
from vs_smsr.training import schedule, state
from vs_smsr.training.balance import balance
from vs_smsr.training.loop import Trainer
from vs_smsr.training.options import TrainOptions
from vs_smsr.training.plot import read_log

from .conftest import texture

REPOSITORY = Path(__file__).parents[2]


def options(training_set: Path, out: Path, **changes: Any) -> TrainOptions:
    """Options of a run whose steps take a fraction of a second."""
    small: dict[str, Any] = {
        "patch": 16,
        "first_patch": 16,
        "batch": 2,
        "steps": 6,
        "precision": "fp32",
        "warmup": 1,
        "threads": 1,
    }
    return TrainOptions(data=training_set, out=out, **(small | {"log_every": 2, "tau_steps": 4} | changes))


def tensors(trainer: Trainer) -> dict[str, torch.Tensor]:
    """Everything that must be equal for two runs to be the same from here on."""
    moments = {f"adam.{k}.{n}": v for k, s in trainer.optimizer.state_dict()["state"].items() for n, v in s.items()}
    average = {f"ema.{name}": value for name, value in trainer.average.family.state_dict().items()}
    return {**trainer.family.state_dict(), **average, **moments}


@pytest.mark.parametrize("also", [(), (4, 3)])
def test_a_run_stopped_and_resumed_equals_one_that_ran_through(
    training_set: Path, tmp_path: Path, also: tuple[int, ...]
) -> None:
    """Bit for bit, across the start of the masks and the freezing of the channels, in bf16."""
    changes = {"dense_steps": 2, "freeze_channels": 5, "steps": 7, "precision": "bf16", "also": also}
    through = Trainer(options(training_set, tmp_path / "through", **changes))
    assert through.run() == "done"
    for stop in (1, 4, 6):
        part = Trainer(options(training_set, tmp_path / "parts", **changes))
        assert (
            part.run(lambda step, _, stop=stop: os.kill(os.getpid(), signal.SIGTERM) if step == stop else None)
            == "SIGTERM"
        )
        assert part.step_index == stop
    last = Trainer(options(training_set, tmp_path / "parts", **changes))
    assert last.run() == "done"
    ours, theirs = tensors(last), tensors(through)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # of dynamo about its own tensors
def test_a_compiled_run_learns_the_same(training_set: Path, tmp_path: Path) -> None:
    """By the backend that traces and differentiates as the others do but generates no code; dense and guided steps."""
    changes: dict[str, Any] = {"steps": 2, "dense_steps": 1, "mask_shares": (0.5,) * 5, "mask_steps": 0}
    runs = [
        Trainer(options(training_set, tmp_path / f"run{name}", compile=name, **changes)) for name in ("", "aot_eager")
    ]
    for run in runs:
        assert run.run() == "done"
    for name, value in tensors(runs[0]).items():
        assert torch.allclose(value.float(), tensors(runs[1])[name].float(), rtol=1e-3, atol=1e-5), name
    with pytest.raises(OptionError, match="compile must be for dense steps and guided masks"):
        options(training_set, tmp_path, compile="inductor")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_any_signal_stops_after_the_step_and_saves(training_set: Path, tmp_path: Path, number: signal.Signals) -> None:
    before = signal.getsignal(number)
    trainer = Trainer(options(training_set, tmp_path))
    reason = trainer.run(lambda step, _: os.kill(os.getpid(), number) if step == 2 else None)
    assert reason == number.name
    saved = state.load_checkpoint(tmp_path, [2])
    assert saved is not None
    assert saved["step"] == 2
    assert signal.getsignal(number) == before
    assert {path.name for path in tmp_path.iterdir() if path.suffix == ".part"} == set()


def test_time_limit_stops_the_run(training_set: Path, tmp_path: Path) -> None:
    trainer = Trainer(options(training_set, tmp_path, minutes=1e-6))
    assert trainer.run() == "time"
    assert trainer.step_index == 1


def test_a_stop_while_saving_keeps_the_previous_checkpoint(
    training_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(options(training_set, tmp_path, steps=1))
    trainer.run()

    def half_written(_state: object, file: Any) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", half_written)
    with pytest.raises(OSError, match="No space left"):
        trainer.save()
    saved = state.load_checkpoint(tmp_path, [2])
    assert saved is not None
    assert saved["step"] == 1


def test_a_damaged_checkpoint_and_another_scale_are_named(training_set: Path, tmp_path: Path) -> None:
    Trainer(options(training_set, tmp_path, steps=1)).run()
    with pytest.raises(OptionError, match=r"is for x2, but the run is for x3 x2\. Use"):
        Trainer(options(training_set, tmp_path, scale=3, also=(2,)))
    (tmp_path / state.CHECKPOINT).write_bytes(b"not a checkpoint")
    with pytest.raises(WeightsError, match=r"checkpoint\.pt cannot be read"):
        Trainer(options(training_set, tmp_path))


def test_weights_alone_are_enough_to_go_on(training_set: Path, tmp_path: Path) -> None:
    """The compact state: two files of half precision, at most 2.2 MB each, from which a run goes on where it was."""
    first = Trainer(options(training_set, tmp_path / "first", steps=3))
    first.run()
    compact = tmp_path / "first" / state.AVERAGED.format(2)
    assert compact.stat().st_size < 2.2e6
    assert weights.load(compact).metadata["steps"] == "3"
    second = Trainer(options(training_set, tmp_path / "second", start=(compact,), steps=1))
    x = torch.rand(1, 3, 16, 16) * 255
    with torch.inference_mode():
        difference = (second.family[2](x)[0] - first.average.family[2](x)[0]).abs().max()
    assert difference < 0.2  # of 255: half precision
    assert second.run() == "done"


@pytest.mark.parametrize("scale", [3, 4])
def test_other_scales_start_from_the_x2_trunk(training_set: Path, tmp_path: Path, scale: int) -> None:
    trunk = Trainer(options(training_set, tmp_path / "x2", steps=1))
    weights.store(to_weights(trunk.family[2], 2), tmp_path / "x2.safetensors", np.float32)
    trainer = Trainer(
        options(training_set, tmp_path / "other", scale=scale, start=(tmp_path / "x2.safetensors",), steps=1)
    )
    balance(trunk.family[2])
    ours, theirs = trainer.family[scale].state_dict(), trunk.family[2].state_dict()
    near = {"rtol": 1e-6, "atol": 0}  # balancing divides by means, whose last bit depends on how memory is aligned
    assert all(torch.allclose(ours[name], theirs[name], **near) for name in ours if not name.startswith("tail."))
    filters = ours["tail.0.weight"].reshape(3, scale, scale, -1), theirs["tail.0.weight"].reshape(3, 2, 2, -1)
    assert torch.allclose(filters[0][:, 0, 0], filters[1][:, 0, 0], **near)  # the corners of an enlarged pixel
    assert torch.equal(filters[0][:, -1, 0], filters[1][:, -1, 0])
    torch.testing.assert_close(filters[0].mean((1, 2)), filters[1].mean((1, 2)))
    assert trainer.run() == "done"
    assert weights.load(tmp_path / "other" / state.AVERAGED.format(scale)).scale == scale


def test_scales_that_learn_together_share_all_but_the_tail(training_set: Path, tmp_path: Path) -> None:
    """They take turns: a step of one scale moves its tail and the trunk of all, and no other scale's tail."""
    trainer = Trainer(options(training_set, tmp_path / "all", scale=3, also=(2, 4), steps=3, dense_steps=3))
    tails: list[dict[int, torch.Tensor]] = []

    def note() -> None:
        tails.append({scale: trainer.family[scale].tail[0].weight.detach().clone() for scale in (2, 3, 4)})

    note()
    trunk = trainer.family[2].head[0].weight.detach().clone()
    trainer.run(lambda *_: note())
    moved = [{s for s in (2, 3, 4) if not torch.equal(a[s], b[s])} for a, b in itertools.pairwise(tails)]
    assert moved == [{3}, {2}, {4}]
    saved = [weights.load(tmp_path / "all" / state.AVERAGED.format(scale)) for scale in (2, 3, 4)]
    for name, value in saved[0].tensors.items():
        assert name.startswith("tail.") or all(np.array_equal(value, other.tensors[name]) for other in saved)
    assert not torch.equal(trunk, trainer.family[4].head[0].weight)

    paths = tuple(tmp_path / "all" / state.AVERAGED.format(scale) for scale in (2, 4))
    again = Trainer(options(training_set, tmp_path / "again", scale=4, also=(2, 3), start=paths))
    x = torch.rand(1, 3, 16, 16) * 255
    for scale in (2, 4):
        with torch.inference_mode():
            difference = (again.family[scale](x)[0] - trainer.average.family[scale](x)[0]).abs().max()
        assert difference < 0.2  # of 255: half precision


def test_rates_follow_the_options_of_now(training_set: Path, tmp_path: Path) -> None:
    """A resumed run takes the masks' rate from its own options, not from the checkpoint."""
    Trainer(options(training_set, tmp_path, steps=1, mask_lr=6.0)).run()
    trainer = Trainer(options(training_set, tmp_path, steps=2, mask_lr=0.0))
    before = {n: p.detach().clone() for n, p in trainer.family.named_parameters()}
    trainer.run()
    stood = {n for n, p in trainer.family.named_parameters() if torch.equal(p, before[n])}
    assert {n for n in before if "mask" in n} <= stood
    assert len(stood) < len(before) / 2


def test_a_resumed_run_names_the_options_that_changed(
    training_set: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Also one that the run before did not know."""
    Trainer(options(training_set, tmp_path, steps=1)).run()
    saved = state.load_checkpoint(tmp_path, [2])
    assert saved is not None
    del saved["options"]["mask_shares"]
    state.save_checkpoint(tmp_path, saved)
    Trainer(options(training_set, tmp_path, steps=1))
    assert caplog.messages == []
    Trainer(options(training_set, tmp_path, steps=2, mask_shares=(0.2,) * 5))
    assert caplog.messages == ["resumed at step 1 with other options than before: steps, mask_shares"]


def test_schedules() -> None:
    def at(step: int, **changes: Any) -> TrainOptions:
        return TrainOptions(data=Path(), out=Path(), **({"steps": 1000, "warmup": 10, "lr": 1.0} | changes))

    trapezoid = at(0, cooldown=0.25)
    rates = [schedule.learning_rate(step, trapezoid) for step in (0, 9, 400, 750, 875, 1000)]
    assert rates == pytest.approx([0.1, 1, 1, 1, 0.5, 0])
    assert schedule.learning_rate(500, at(0, schedule="cosine")) == pytest.approx(0.5)
    assert [schedule.learning_rate(s, at(0, schedule="step")) for s in (199, 200, 999)] == [1, 0.5, 1 / 16]
    masks = at(0, dense_steps=200, tau_steps=400, sparsity_weight=0.8, sparsity_ramp=100)
    taus = [schedule.temperature(step, masks) for step in (199, 200, 400, 600, 999)]
    assert taus[0] is None
    assert taus[1:] == pytest.approx([1.0, 0.7, 0.4, 0.4])
    assert [schedule.sparsity_weight(s, masks) for s in (0, 200, 250, 300, 999)] == pytest.approx([0, 0, 0.4, 0.8, 0.8])
    patches = at(0, first_patch=24, patch=48, patch_growth=0.5, batch=4)
    assert [schedule.patch_and_batch(s, patches) for s in (0, 250, 500)] == [(24, 16), (36, 7), (48, 4)]
    assert schedule.patch_and_batch(0, at(0)) == (48, 16)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"patch": 17}, "patch must be even"),
        ({"scale": 5}, "scale must be 2, 3 or 4"),
        ({"also": (5,)}, "scale must be 2, 3 or 4"),
        ({"also": (3, 2)}, "also must be other scales"),
        ({"tau_end": 0}, "tau_end must be"),
        ({"mask_shares": (0.5, 0.5)}, "mask_shares must be 5 shares"),
        ({"mask_shares": (0.5,) * 5, "also": (3,)}, "mask_shares must be for one scale"),
        ({"mask_shares": (0.5, 0.5, 0.0, 0.5, 0.5)}, "mask_shares must be above 0 and below 1"),
    ],
)
def test_options_out_of_range_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        options(tmp_path, tmp_path, **changes)


def test_a_paused_run_does_not_count_its_pause() -> None:
    clock = state.Clock(threads=2)
    for passed in (1.0, 1.0, 4.0, 3600.0, 1.0):
        clock.add(passed, 2.0)
    assert clock.seconds == pytest.approx(1 + 1 + 4 + 1.3 + 1)
    assert clock.busy == pytest.approx(5)


def test_log_has_psnr_and_sparsity_and_forgets_repeated_steps(training_set: Path, tmp_path: Path) -> None:
    faces = tmp_path / "hr"
    faces.mkdir()
    cv2.imwrite(str(faces / "odd.png"), texture(70, 9))  # LR of 35 x 35: odd
    changes = {"validate": faces, "validate_every": 2, "dense_steps": 2, "steps": 4}
    Trainer(options(training_set, tmp_path / "out", **changes)).run()
    log = tmp_path / "out" / "log_x2.csv"
    rows = read_log(log)
    assert [row["step"] for row in rows] == [2, 4]
    assert rows[0]["sparsity"] == 0
    assert all(5 < row["psnr"] < 60 for row in rows)
    assert (tmp_path / "out" / "curve.png").stat().st_size > 5000
    columns = log.read_text().splitlines()[0].split(",")
    with log.open("a", newline="") as file:
        repeated = {"step": 3, "hours": 1, "busy": 1, "psnr": 20, "sparsity": 0.5}
        csv.DictWriter(file, columns).writerow(repeated)
    assert [row["step"] for row in read_log(log)] == [2, 3]


def script(*arguments: str | Path, processes: int = 1) -> list[str]:
    """A command line that runs scripts/train.py."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    program = [str(REPOSITORY / "scripts" / "train.py"), *map(str, arguments)]
    return [
        sys.executable,
        *(launcher if processes > 1 else []),
        *program,
        *(["--distributed"] if processes > 1 else []),
    ]


def small_run(training_set: Path, out: Path, steps: int) -> list[str | Path]:
    run: list[str | Path] = ["--data", training_set, "--out", out, "--steps", str(steps), "--precision", "fp32"]
    return [*run, "--patch", "16", "--first_patch", "16", "--batch", "3", "--dense-steps", "2", "--threads", "1"]


@pytest.mark.parametrize(("loss", "also"), [("l1", ()), ("psnr", (3,))])
def test_two_processes_train_like_one(training_set: Path, tmp_path: Path, loss: str, also: tuple[int, ...]) -> None:
    """The same crops, shared out 1 to 2: in the dense warm-up (nothing sampled) the weights agree up to rounding."""
    out = tmp_path / "two"
    command = script(*small_run(training_set, out, 2), "--loss", loss, "--also", *map(str, also), processes=2)
    subprocess.run(command, check=True, timeout=200, capture_output=True)
    changes = {"batch": 3, "dense_steps": 2, "warmup": 100, "loss": loss, "also": also}
    one = Trainer(options(training_set, tmp_path / "one", steps=2, **changes))
    one.run()
    saved = state.load_checkpoint(out, (2, *also))
    assert saved is not None
    assert saved["step"] == 2
    step = schedule.learning_rate(0, one.options) + schedule.learning_rate(1, one.options)
    difference = torch.cat([(p - saved["family"][n]).abs().flatten() for n, p in one.family.named_parameters()])
    assert (difference > 0.01 * step).float().mean() < 5e-3  # Adam turns a tiny gradient's sign into a whole step
    assert difference.max() <= 2.1 * step


def test_the_script_stops_at_a_signal_and_goes_on(training_set: Path, tmp_path: Path) -> None:
    command = script(*small_run(training_set, tmp_path, 100_000), "--log-every", "1")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        process.stderr.readline()  # the first step's line
        process.send_signal(signal.SIGTERM)
        out, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert out.startswith("stopped by SIGTERM, step ")
    saved = state.load_checkpoint(tmp_path, [2])
    assert saved is not None
    again = subprocess.run(
        script(*small_run(training_set, tmp_path, saved["step"] + 1)), check=True, timeout=200, capture_output=True
    )
    assert again.stdout.decode().startswith(f"finished, step {saved['step'] + 1}")
    assert to_network(weights.load(tmp_path / state.AVERAGED.format(2))).scale == 2
