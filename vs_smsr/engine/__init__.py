"""How the network runs fast: `create` turns options into an engine; see `contract` for what an engine is."""

from __future__ import annotations

import logging
from importlib import import_module, util

from vs_smsr.engine.contract import Capabilities, Engine, Overrides, Upscaled
from vs_smsr.errors import EngineError
from vs_smsr.options import EngineOptions
from vs_smsr.weights import load, shipped

__all__ = ["Capabilities", "Engine", "Overrides", "Upscaled", "create", "status"]

log = logging.getLogger(__name__)
ENGINES = ("cuda", "cpu", "reference")  # the order in which "auto" looks


def status(name: str) -> tuple[bool, str]:
    """Can this engine run here? Returns (ok, reason): the device's name, or which part is missing and what mends it."""
    if util.find_spec(f"vs_smsr.engine.{name}") is None:
        return False, "not part of this version"
    ok, reason = import_module(f"vs_smsr.engine.{name}").status()
    return bool(ok), str(reason)


def create(options: EngineOptions) -> Engine:
    """Make the engine that the options ask for, with its weights loaded.

    Raises:
        WeightsError: the weights cannot be read or have another scale.
        EngineError: the engine or device does not work here; the message says which part is missing.
    """
    weights = load(options.weights or shipped(options.scale, options.model))
    if weights.scale != options.scale:
        raise EngineError(
            f"engine: weights {weights.source} are for x{weights.scale}, but scale is {options.scale}. "
            f"Set scale to {weights.scale} or give other weights."
        )
    name = _choose(options)
    engine: Engine = import_module(f"vs_smsr.engine.{name}").create(weights, options)
    return engine


def _choose(options: EngineOptions) -> str:
    wanted = options.engine
    on_gpu = options.device.startswith("cuda")
    if wanted == "auto" and not on_gpu:
        if options.device == "cpu":
            return "cpu"
        ok, reason = status("cuda")
        log.info("engine: %s", f"cuda ({reason})" if ok else "cpu")
        log.debug("cuda: %s", reason)
        return "cuda" if ok else "cpu"
    name = "cuda" if wanted == "auto" else wanted
    if on_gpu and name == "cpu":
        raise EngineError(
            f"engine: the cpu engine cannot run on device {options.device!r}. Use engine='cuda' or device='cpu'."
        )
    if name == "cuda" and options.device == "cpu":
        raise EngineError("engine: the cuda engine cannot run on device 'cpu'. Use engine='cpu' or device='cuda'.")
    ok, reason = status(name)
    if not ok:
        raise EngineError(f"engine: {name} does not work here: {reason}")
    return name
