"""scripts/benchmark.py: everybody computes what PyTorch computes, wrong outputs get no ratio, what the JSON holds."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import av
import cv2
import numpy as np
import psutil
import pytest
import torch

from vs_smsr.engine.cpu.isa import choose
from vs_smsr.families import smsr
from vs_smsr.families.smsr import MODULES
from vs_smsr.network import SMSR, to_network, to_weights
from vs_smsr.weights import Weights

SCRIPTS = Path(__file__).parents[2] / "scripts"
Module = Callable[[str], ModuleType]
PRECISIONS = ["fp32", "bf16"] if choose().bf16 else ["fp32"]  # of this CPU


@pytest.fixture(scope="module")
def part() -> Iterator[Module]:
    """Imports a part of the benchmark by its name."""
    sys.path.insert(0, str(SCRIPTS))
    yield importlib.import_module
    sys.path.remove(str(SCRIPTS))


@pytest.fixture(scope="module")
def weights() -> Weights:
    """Random weights with some dense channels in each layer but one, and masks that are partly active."""
    torch.manual_seed(3)
    network = SMSR(2)
    with torch.no_grad():
        for index, module in enumerate(network.body):
            shares = torch.linspace(0.7, 0.2, 4) if index else torch.tensor([0.4, 0.0, 0.3, 1.0])
            logits = torch.rand(64, 4)
            module.body.ch_mask[0, ..., 0] = shares
            module.body.ch_mask[0, ..., 1] = logits
    return to_weights(network, 2)


@pytest.fixture(scope="module")
def frame() -> Any:
    """(24, 40, 3) float32 0..255 with flat and busy parts."""
    rng = np.random.default_rng(1)
    pixels = cv2.resize(rng.uniform(0, 255, (6, 10, 3)).astype(np.float32), (40, 24), interpolation=cv2.INTER_CUBIC)
    pixels[4:16, 6:20] += rng.normal(0, 40, (12, 14, 3))
    return np.clip(pixels, 0, 255).astype(np.float32)


def contenders(part: Module, weights: Weights, precision: str) -> list[Any]:
    return part("bench.contenders").make(
        weights, to_network(weights), [precision], list(part("bench.contenders").AGAINST), 2
    )


def test_the_dense_form_is_the_network_with_masks_of_ones(part: Module, weights: Weights, frame: Any) -> None:
    network, dense = to_network(weights), part("bench.dense").Dense
    x = torch.from_numpy(frame).permute(2, 0, 1)[None]
    with torch.inference_mode():
        expected = network.hard_forward(x, [torch.ones(1, 1, *frame.shape[:2])] * MODULES).out.clamp(0, 255)
        planar = dense(network, planar=True)(x / 255)
        torch.testing.assert_close(planar * 255, expected, rtol=0, atol=0.01)
        torch.testing.assert_close(dense(network)(torch.from_numpy(frame)), planar[0].permute(1, 2, 0) * 255)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_everybody_computes_its_form_of_the_network(part: Module, weights: Weights, frame: Any, precision: str) -> None:
    reference = part("bench.check").Reference(to_network(weights), frame)
    found = contenders(part, weights, precision)
    assert {one.name for one in found} >= {"ours", "ours, 1 thread", "openvino", "torch"}
    for one in found:
        one.prepare(*frame.shape[:2])
        output = one.run(frame)
        error = reference.error(output)
        assert output.frame.dtype == np.float32
        assert output.frame.shape == (48, 80, 3)
        assert output.frame.flags.c_contiguous
        assert error.reason(precision) == "", one.name
        assert error.worst <= (0.01 if precision == "fp32" else 3), one.name
        if output.masks is not None:
            assert 0 < np.mean(output.masks) < 1, "masks that say nothing test nothing"


def test_gather_with_no_active_pixel_and_with_all(part: Module, weights: Weights, frame: Any) -> None:
    for bias in (-100.0, 100.0):
        tensors = dict(weights.tensors)
        for module in range(MODULES):
            tensors[f"body.{module}.spa_mask.5.bias"] = np.array([0, bias], np.float32)
        network = to_network(Weights(smsr.spec(2), tensors))
        reference = part("bench.check").Reference(network, frame)
        for name in ("gather", "gather-rows"):
            output = part("bench.contenders").GatherTorch(network, name).run(frame)
            assert np.mean(output.masks) == (bias > 0)
            assert reference.error(output).worst <= 0.01


def test_a_wrong_output_is_refused(part: Module, weights: Weights, frame: Any) -> None:
    check, output = part("bench.check"), part("bench.contenders").Output
    reference = check.Reference(to_network(weights), frame)
    one = contenders(part, weights, "fp32")[0]
    right = one.run(frame)
    shifted = right.frame.copy()
    shifted[10, 10] += 1
    assert "dB" in reference.error(output(shifted, right.masks)).reason("fp32")
    assert "dB" in reference.error(output(np.full_like(right.frame, np.nan), right.masks)).reason("fp32")
    none = tuple(np.zeros_like(mask) for mask in right.masks)
    with torch.inference_mode():
        x = torch.from_numpy(frame).permute(2, 0, 1)[None]
        lazy = to_network(weights).hard_forward(x, [torch.from_numpy(mask)[None, None].float() for mask in none])
    skipped = lazy.out[0].permute(1, 2, 0).clamp(0, 255).numpy()
    assert "mask pixels" in reference.error(output(skipped, none)).reason("fp32")


def test_no_ratio_for_a_wrong_output(part: Module) -> None:
    race, error = part("bench.race"), part("bench.check").Error
    right, wrong = error(120.0, 0.0, 0.0, 120.0), error(30.0, 9.0, 0.0, 30.0)

    def lap(seconds: float, found: Any) -> Any:
        return race.Lap(seconds, [seconds], 1.0, 1.0, found, found.reason("fp32"))

    def heat(theirs: Any) -> Any:
        laps = {("ours", "fp32"): lap(1.0, right), ("openvino", "fp32"): lap(2.0, theirs)}
        return race.Heat("a", 2, 2, laps=laps)

    assert heat(right).ratio("openvino", "fp32") == 2
    assert heat(wrong).ratio("openvino", "fp32") is None
    assert race.summary([heat(right), heat(right)])["ratios"] == {"openvino": {"fp32": pytest.approx(2)}}
    assert race.summary([heat(right), heat(wrong)])["ratios"] == {"openvino": {"fp32": None}}


def test_work_agrees_with_the_network_at_both_ends(part: Module, weights: Weights) -> None:
    work = part("bench.work")
    size = 10 * 20
    branch = sum(work.branch_macs(weights.spec, block) for block in range(MODULES)) * size
    full = (np.ones((10, 20), np.uint8),) * MODULES
    assert work.used_macs(weights, full) == pytest.approx(work.dense_macs(smsr.spec(2)) * size + branch)
    assert work.dense_macs(smsr.spec(2)) == 922_048  # 38.6K head, 5 x 163.8K, 57.3K collect, 6.9K tail
    tensors = {name: value.copy() for name, value in weights.tensors.items()}
    for module in range(MODULES):
        tensors[f"body.{module}.body.ch_mask"][..., 0] = -1  # every channel sparse
    nothing = tuple(np.zeros_like(mask) for mask in full)
    body = MODULES * 4 * 64 * 64 * 10
    assert work.used_macs(Weights(smsr.spec(2), tensors), nothing) == pytest.approx(
        (work.dense_macs(smsr.spec(2)) - body) * size + branch
    )


@pytest.mark.parametrize("kind", ["blobs", "random"])
def test_masks_have_the_share_that_was_asked_for(part: Module, kind: str) -> None:
    for share in (0.1, 0.6):
        assert part("bench.convolution").mask(kind, share, 60, 80).mean() == pytest.approx(share, abs=0.001)


def test_profile_counts_the_whole_frame(part: Module, weights: Weights, frame: Any) -> None:
    profile = part("bench.profile")
    recorded = contenders(part, weights, "fp32")[0].profiled(frame, 2)
    by_precision = {(kernel, module) for kernel in profile.SPARSE for module in range(MODULES)}
    assert len(recorded.seconds.keys() & by_precision) == MODULES
    assert sum(profile.shares(recorded).values()) == pytest.approx(1)
    assert 0 < profile.outside_convolutions(recorded) < 1
    assert 0 < profile.seconds(recorded, profile.SPARSE) < recorded.seconds["frame", None]
    recorded.add("new_kernel", None, 1.0)
    with pytest.raises(RuntimeError, match="new_kernel"):
        profile.shares(recorded)


def test_json_and_plot(part: Module, tmp_path: Path, weights: Weights, frame: Any) -> None:
    from vs_smsr.weights import store

    folder = tmp_path / "frames"
    folder.mkdir()
    cv2.imwrite(str(folder / "a.png"), np.rint(frame).astype(np.uint8))
    store(weights, tmp_path / "w.safetensors", np.float32)
    command = ["--frames", str(folder), "--weights", str(tmp_path / "w.safetensors"), "--rounds", "1"]
    command += ["--against", "openvino,gather", "--parts", "race", "--threads", "2"]
    command += ["--json", str(tmp_path / "a.json"), "--plot", str(tmp_path / "a.png")]
    assert part("benchmark").main(command) == 0
    found = json.loads((tmp_path / "a.json").read_text())
    assert found["ratios"].keys() == {"openvino", "gather"}
    assert found["ratios"]["openvino"]["fp32"] > 0
    assert found["worst"]["openvino"]["fp32"] <= found["ratios"]["openvino"]["fp32"] * 1.0001
    (only,) = found["frames"]
    assert (only["name"], only["height"], only["width"], len(only["active"])) == ("a", 24, 40, MODULES)
    assert only["ratios"]["gather"]["fp32"] == pytest.approx(found["ratios"]["gather"]["fp32"])
    run = only["runs"]["ours"]["fp32"]
    assert run["all_seconds"] == [run["seconds"]]
    assert 0 < run["gflops"] < run["gflops_dense"] * 1.1
    assert sum(found["time_shares"]["fp32"].values()) == pytest.approx(1)
    assert found["machine"]["quiet"] == (found["machine"]["others_cpus"] <= 0.1)
    assert found["refused"] == []
    assert found["thread_scaling"]["fp32"] > 0
    assert cv2.imread(str(tmp_path / "a.png")) is not None


@pytest.mark.parametrize("command", [["--against", "tensorrt"], ["--precision", "fp8"], ["--parts", ""]])
def test_unknown_names_are_refused(part: Module, command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        part("benchmark").main(command)
    assert "must be some of" in capsys.readouterr().err


def test_a_folder_without_images_is_one_line(
    part: Module, tmp_path: Path, weights: Weights, capsys: pytest.CaptureFixture[str]
) -> None:
    from vs_smsr.weights import store

    store(weights, tmp_path / "w.safetensors")
    assert part("benchmark").main(["--frames", str(tmp_path), "--weights", str(tmp_path / "w.safetensors")]) == 1
    assert capsys.readouterr().err.splitlines() == [f"benchmark: {tmp_path}: there are no images."]


def stopped(process: psutil.Process) -> bool:
    return bool(process.status() == psutil.STATUS_STOPPED)


def wait_for(condition: Callable[[], bool]) -> bool:
    for _ in range(200):
        if condition():
            return True
        time.sleep(0.05)
    return False


def test_a_paused_process_goes_on_afterwards(part: Module) -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as child:
        process = psutil.Process(child.pid)
        with part("bench.machine").paused([child.pid]):
            assert wait_for(lambda: stopped(process))
        assert wait_for(lambda: not stopped(process))
        child.kill()


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="needs POSIX signals")
def test_a_paused_process_goes_on_when_the_benchmark_is_killed(part: Module) -> None:
    code = "import sys, time\nfrom bench.machine import paused\n"
    code += "with paused([int(sys.argv[1])]):\n    time.sleep(60)\n"
    environment = {**os.environ, "PYTHONPATH": str(SCRIPTS)}
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as child:
        process = psutil.Process(child.pid)
        with subprocess.Popen([sys.executable, "-c", code, str(child.pid)], env=environment) as benchmark:
            assert wait_for(lambda: stopped(process))
            benchmark.kill()
        assert wait_for(lambda: not stopped(process))
        child.kill()


def test_a_process_tells_its_peak(part: Module, weights: Weights, frame: Any) -> None:
    processes = part("bench.processes")
    large = processes.filled(frame, 64, 96)
    assert large.shape == (64, 96, 3)
    np.testing.assert_array_equal(large[24:48, 40:80], frame[::-1, ::-1])
    found = processes.measure(weights, frame, large, "fp32", 1, 1, cold=False)
    assert 50e6 < found["peak_bytes"] < 2e9
    assert found["first_frame_warm_seconds"] > 0


@pytest.fixture
def clip(frame: Any, tmp_path: Path) -> Path:
    """Two frames of the picture, lossless."""
    path = tmp_path / "clip.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.height, stream.width = frame.shape[:2]
        stream.pix_fmt = "yuv420p"
        picture = av.VideoFrame.from_ndarray(np.rint(frame).astype(np.uint8), "rgb24")
        for packet in [*stream.encode(picture), *stream.encode(picture), *stream.encode(None)]:
            container.mux(packet)
    return path


def test_filters_agree_with_pytorch(part: Module, weights: Weights, clip: Path) -> None:
    found = part("bench.filters").measure(weights, to_network(weights), clip, "fp32", 2, 1, 1)
    assert found["refused"] == []
    assert found["ratio"] > 0


def test_whole_jobs(part: Module, weights: Weights, clip: Path) -> None:
    """Everybody makes every frame; the second one repeats the first, which only our defaults see."""
    end_to_end = part("bench.end_to_end")
    found = end_to_end.measure(weights, to_network(weights), clip, "fp32", 1, 2, 1)
    assert found["clip"] == "clip.mkv 40x24, 2 frames"
    assert found["frames_per_second"].keys() == end_to_end.SIDES.keys()
    assert found["command_seconds"] == pytest.approx(sum(found["command_spent"].values()))
    assert 0 < found["command_spent"]["network"] < found["command_seconds"]


def test_openvino_in_our_pipeline(part: Module, weights: Weights, frame: Any, tmp_path: Path) -> None:
    """What the rival's side of a whole job computes is the dense network."""
    onnx = part("bench.dense").export(to_network(weights), *frame.shape[:2], tmp_path / "dense.onnx")
    engine = part("bench.pipeline").OpenVinoEngine(weights, onnx, "fp32", 1)
    error = part("bench.check").Reference(to_network(weights), frame)
    output = part("bench.contenders").Output
    assert error.error(output(engine.upscale(frame).frame)).psnr > 100
    cut = np.ascontiguousarray(frame[:16, :24])  # another size
    error = part("bench.check").Reference(to_network(weights), cut)
    assert error.error(output(engine.upscale(cut).frame)).psnr > 100


def test_random_weights_are_complete(weights: Weights) -> None:
    assert weights.tensors.keys() == smsr.spec(2).shapes.keys()
