"""Fit the mask branches of trained weights again, so that they find the pixels for which the SMMs do the most.

For weights that have learnt with hard masks: scripts/refit_masks.py ema_x3.safetensors out.safetensors
--data runs/data --shares 0.6 0.3 0.14 0.26 0.3. Only the masks change; train on from the result with --mask-lr 0.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vs_smsr.errors import SmsrError
from vs_smsr.network import to_network, to_weights
from vs_smsr.options import require
from vs_smsr.training.data import TrainingSet
from vs_smsr.training.refitting import refit_masks
from vs_smsr.training.validate import Validator
from vs_smsr.weights import MODULES, check_target, load, store

SCORES = ("validated", "psnr_set5", "sparsity_set5")  # metadata that no longer hold


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help=".safetensors")
    parser.add_argument("target", type=Path, help=".safetensors to write")
    parser.add_argument("--data", type=Path, required=True, help="folder made by scripts/prepare_data.py")
    parser.add_argument(
        "--shares", type=float, nargs=MODULES, required=True, help="of a crop's pixels for each SMM, 0..1"
    )
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch", type=int, default=8, help="crops a step")
    parser.add_argument("--patch", type=int, default=32, help="side of an LR crop, even")
    parser.add_argument("--overwrite", action="store_true")
    parser.add_argument("--validate", type=Path, help="folder of HR images: print PSNR and sparsity before and after")
    try:
        refit(parser.parse_args())
    except SmsrError as error:
        print(f"refit_masks: {error}", file=sys.stderr)
        return 1
    return 0


def refit(arguments: argparse.Namespace) -> None:
    """Read, fit, write.

    Raises:
        SmsrError: no weights, no training set, a target that cannot be written, a value outside its range.
    """
    check_target(arguments.target, arguments.overwrite)
    for share in arguments.shares:
        require(0 < share < 1, "options", "--shares", "above 0 and below 1", share)
    for name, least in (("steps", 1), ("batch", 1), ("patch", 16)):
        require(
            getattr(arguments, name) >= least, "options", f"--{name}", f"at least {least}", getattr(arguments, name)
        )
    require(arguments.patch % 2 == 0, "options", "--patch", "even", arguments.patch)
    weights = load(arguments.source)
    network = to_network(weights)
    data = TrainingSet(arguments.data, weights.scale)
    validator = Validator(arguments.validate, weights.scale) if arguments.validate else None

    def batches(number: int) -> tuple[Tensor, Tensor]:
        crops = data.crops(np.random.default_rng((77, number)), arguments.batch, arguments.patch)
        lr, hr = (torch.from_numpy(part).permute(0, 3, 1, 2).float() for part in crops)
        return lr, hr

    def report(when: str) -> None:
        if validator:
            score = validator.score(network, masked=True)
            active = " ".join(f"{share:.2f}" for share in score.active)
            print(f"{when}: {score.psnr:.3f} dB at sparsity {score.skipped:.3f}, active {active}")

    report("before")
    refit_masks(network, batches, arguments.shares, arguments.steps, lambda: torch.autocast("cpu", torch.bfloat16))
    report("after")
    metadata = {name: value for name, value in weights.metadata.items() if name not in SCORES}
    shares = " ".join(map(str, arguments.shares))
    metadata["refitted"] = f"masks, {arguments.steps} steps, shares {shares}"
    store(to_weights(network, weights.scale, metadata, arguments.target.name), arguments.target)
    print(f"wrote {arguments.target}")


if __name__ == "__main__":
    sys.exit(main())
