"""What SMSR is, in PyTorch: the network, its masks, and PyTorch checkpoints."""

from __future__ import annotations

from vs_smsr.network.checkpoint import read_checkpoint, to_network, to_weights
from vs_smsr.network.smsr import SMSR, HardResult

__all__ = ["SMSR", "HardResult", "read_checkpoint", "to_network", "to_weights"]
