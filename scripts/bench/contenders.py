"""Everybody who runs: one float32 RGB frame in, one out, on the same number of threads."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from bench.dense import Dense, export
from bench.gather import Gather, Indexed, Unfolded
from vs_smsr.engine import cpu
from vs_smsr.engine.contract import Frame, Mask, Overrides
from vs_smsr.engine.profile import Profile
from vs_smsr.network import SMSR
from vs_smsr.options import EngineOptions
from vs_smsr.weights import Weights

AGAINST = {  # name -> precisions
    "openvino": ("fp32", "bf16"),
    "onnxruntime": ("fp32",),
    "torch": ("fp32", "bf16"),
    "gather": ("fp32",),
    "gather-rows": ("fp32",),
}
ONE_THREAD = "ours, 1 thread"


@dataclass(frozen=True)
class Output:
    """A frame (sH, sW, 3) float32 0..255, and the masks it was made with; None: the network without masks."""

    frame: Frame
    masks: tuple[Mask, ...] | None = None


class Contender(Protocol):
    """A way to run SMSR; it may prepare itself for a frame size, once."""

    name: str
    precision: str

    def prepare(self, height: int, width: int) -> None: ...

    def run(self, frame: Frame) -> Output:
        """(H, W, 3) float32 RGB 0..255 to the enlarged frame."""
        ...


class Ours:
    """Our cpu engine."""

    def __init__(self, weights: Weights, precision: str, threads: int, name: str = "ours") -> None:
        self.name, self.precision = name, precision
        self._weights, self.spec = weights, weights.spec
        self._options = EngineOptions(scale=weights.scale, engine="cpu", precision=precision, threads=threads)
        self.engine = cpu.create(weights, self._options)

    def prepare(self, height: int, width: int) -> None:
        pass

    def run(self, frame: Frame) -> Output:
        result = self.engine.upscale(frame)
        return Output(result.frame, result.masks)

    def profiled(self, frame: Frame, rounds: int, overrides: Overrides | None = None) -> Profile:
        """Time by kernel and SMM of `rounds` frames, warm; good until the next call.

        They run on an engine of their own: the one that races takes no times.
        """
        engine = self._profiling
        engine.upscale(frame, overrides)
        assert engine.profile is not None, "it was asked for"
        engine.profile.seconds.clear()
        for _ in range(rounds):
            engine.upscale(frame, overrides)
        return engine.profile

    @cached_property
    def _profiling(self) -> cpu.CpuEngine:
        return cpu.create(self._weights, dataclasses.replace(self._options, profile=True))


class OpenVino:
    """OpenVINO's CPU plugin, tuned for latency."""

    name = "openvino"

    def __init__(self, network: SMSR, precision: str, threads: int) -> None:
        self.precision = precision
        self._network, self._threads = network, threads

    def prepare(self, height: int, width: int) -> None:
        import openvino

        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": self._threads,
            "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[self.precision],
        }
        with tempfile.TemporaryDirectory() as folder:
            path = export(self._network, height, width, Path(folder) / "dense.onnx")
            compiled = openvino.Core().compile_model(str(path), "CPU", settings)
        self._request = compiled.create_infer_request()

    def run(self, frame: Frame) -> Output:
        self._request.infer([frame], share_inputs=True)
        return Output(self._request.get_output_tensor().data.copy())


class OnnxRuntime:
    """ONNX Runtime's CPU provider."""

    name, precision = "onnxruntime", "fp32"

    def __init__(self, network: SMSR, threads: int) -> None:
        self._network, self._threads = network, threads

    def prepare(self, height: int, width: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.force_spinning_stop", "1")  # idle threads leave the CPU to the others
        with tempfile.TemporaryDirectory() as folder:
            path = export(self._network, height, width, Path(folder) / "dense.onnx")
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(self, frame: Frame) -> Output:
        return Output(self._session.run(None, {"frame": frame})[0])


class Torch:
    """PyTorch, channels last; bf16 by autocast."""

    name = "torch"

    def __init__(self, network: SMSR, precision: str) -> None:
        self.precision = precision
        self._dense = Dense(network).eval().to(memory_format=torch.channels_last)

    def prepare(self, height: int, width: int) -> None:
        pass

    def run(self, frame: Frame) -> Output:
        half: Any = contextlib.nullcontext()
        if self.precision == "bf16":
            half = torch.autocast("cpu", torch.bfloat16)
        with torch.inference_mode(), half:
            return Output(self._dense(torch.from_numpy(frame)).contiguous().numpy())


class GatherTorch:
    """The masks in plain PyTorch: see `bench.gather`."""

    precision = "fp32"

    def __init__(self, network: SMSR, name: str) -> None:
        self.name = name
        self._gather = Gather(network, {"gather": Unfolded, "gather-rows": Indexed}[name])

    def prepare(self, height: int, width: int) -> None:
        pass

    def run(self, frame: Frame) -> Output:
        with torch.inference_mode():
            out, masks = self._gather(torch.from_numpy(frame))
            return Output(out.contiguous().numpy(), tuple(mask.numpy().astype(np.uint8) for mask in masks))


def make(
    weights: Weights, network: SMSR, precisions: Sequence[str], against: Sequence[str], threads: int
) -> list[Contender]:
    """Ours and those it is measured against, and ours on one thread, at each precision that they have.

    Raises:
        EngineError: this CPU does not have the precision.
    """
    torch.set_num_threads(threads)
    contenders: list[Contender] = []
    for precision in precisions:
        contenders.append(Ours(weights, precision, threads))
        if threads > 1:
            contenders.append(Ours(weights, precision, 1, ONE_THREAD))
        for name in against:
            if precision in AGAINST[name]:
                contenders.append(_peer(name, network, precision, threads))
    return contenders


def _peer(name: str, network: SMSR, precision: str, threads: int) -> Contender:
    if name == "openvino":
        return OpenVino(network, precision, threads)
    if name == "onnxruntime":
        return OnnxRuntime(network, threads)
    return Torch(network, precision) if name == "torch" else GatherTorch(network, name)
