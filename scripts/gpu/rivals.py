"""The same network without masks in other runtimes on the GPU, in fp16: PyTorch, PyTorch compiled, TensorRT.

Their best case: no mask branch, every convolution everywhere. Host to host, as the cuda engine is timed. What is not
installed, or fails, says so in its row.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from gpu.checks import picture
from gpu.timing import median_seconds
from vs_smsr.weights import Weights

type Run = Callable[[], object]


def rivals(weights: Weights, size: tuple[int, int], repeats: int, ordinal: int) -> Iterator[dict[str, Any]]:
    """A row for each runtime: "runtime", "input", and "milliseconds" or "skipped"."""
    for name, make in (("PyTorch", _eager), ("PyTorch, compiled", _compiled), ("TensorRT", _tensorrt)):
        row: dict[str, Any] = {"runtime": name, "input": f"{size[1]}x{size[0]}"}
        try:
            import torch

            if not torch.cuda.is_available():
                raise RuntimeError("this PyTorch has no CUDA")
            with torch.inference_mode():
                row["milliseconds"] = median_seconds(make(weights, size, ordinal), repeats) * 1e3
        except Exception as error:  # a rival that does not run must not cost the report
            row["skipped"] = (str(error).splitlines() or [type(error).__name__])[0]
        yield row


def _network(weights: Weights, ordinal: int) -> Any:
    import torch
    from bench.dense import Dense

    from vs_smsr.network.checkpoint import to_network

    network = Dense(to_network(weights), planar=True).eval().half()
    return network.to(torch.device("cuda", ordinal), memory_format=torch.channels_last)


def _eager(weights: Weights, size: tuple[int, int], ordinal: int, compiled: bool = False) -> Run:
    import torch

    network = _network(weights, ordinal)
    forward = torch.compile(network) if compiled else network
    host = torch.from_numpy(picture(*size)).pin_memory()

    def run() -> object:
        frame = host.to(torch.device("cuda", ordinal), non_blocking=True).permute(2, 0, 1)[None].half() / 255
        return forward(frame).float().cpu()

    return run


def _compiled(weights: Weights, size: tuple[int, int], ordinal: int) -> Run:
    return _eager(weights, size, ordinal, compiled=True)


def _tensorrt(weights: Weights, size: tuple[int, int], ordinal: int) -> Run:
    import tensorrt as trt
    import torch
    from bench.dense import export

    from vs_smsr.network.checkpoint import to_network

    log = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(log)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, log)
    with tempfile.TemporaryDirectory() as folder:
        path = export(to_network(weights).cpu(), *size, Path(folder) / "dense.onnx", planar=True)
        if not parser.parse(path.read_bytes()):
            raise RuntimeError(f"TensorRT does not read the network: {parser.get_error(0)}")
    config = builder.create_builder_config()
    config.set_flag(trt.BuilderFlag.FP16)
    engine = trt.Runtime(log).deserialize_cuda_engine(builder.build_serialized_network(network, config))
    context = engine.create_execution_context()
    device = torch.device("cuda", ordinal)
    host = (torch.from_numpy(picture(*size)).permute(2, 0, 1)[None] / 255).contiguous().pin_memory()
    frame = torch.empty(host.shape, device=device)
    result = torch.empty((1, 3, size[0] * weights.scale, size[1] * weights.scale), device=device)
    context.set_tensor_address("frame", frame.data_ptr())
    context.set_tensor_address("result", result.data_ptr())

    def run() -> object:
        frame.copy_(host, non_blocking=True)
        context.execute_async_v3(torch.cuda.current_stream(device).cuda_stream)
        return result.cpu()

    return run
