"""Turn a PyTorch checkpoint of SMSR (.pt) into a .safetensors file that vs-smsr loads.

Only tensors are read from the checkpoint (weights_only): no code in it can run. Also rewrites the metadata of a
.safetensors file, for shipping weights: scripts/convert_weights.py ema.safetensors out.safetensors --set psnr=37.60
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from vs_smsr.errors import SmsrError, WeightsError
from vs_smsr.network import read_checkpoint
from vs_smsr.weights import Weights, load, store


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help=".pt or .safetensors")
    parser.add_argument("target", type=Path, help=".safetensors to write")
    parser.add_argument("--full", action="store_true", help="keep float32 (4 MB); default: half precision (2 MB)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="metadata to store; repeatable")
    parser.add_argument("--open-masks", action="store_true",
                        help="every pixel active: the network as without masks, to measure it so")  # fmt: skip
    parser.add_argument("--overwrite", action="store_true")
    arguments = parser.parse_args()
    try:
        convert(arguments.source, arguments.target, arguments.set, arguments.full, arguments.overwrite,
                arguments.open_masks)  # fmt: skip
    except SmsrError as error:
        print(f"convert_weights: {error}", file=sys.stderr)
        return 1
    print(f"wrote {arguments.target}")
    return 0


def convert(
    source: Path,
    target: Path,
    entries: list[str],
    full: bool = False,
    overwrite: bool = False,
    open_masks: bool = False,
) -> None:
    """Read `source`, add metadata entries "key=value", open the masks if asked to, write `target`.

    Raises:
        WeightsError: the source is not SMSR, the target exists, is not .safetensors or has no folder, an
            entry has no "=".
    """
    for entry in entries:
        if "=" not in entry:
            raise WeightsError(f"--set must be KEY=VALUE, got {entry!r}.")
    if target.suffix != ".safetensors":
        raise WeightsError(f"the target must end in .safetensors, got {target}.")
    if not target.parent.is_dir():
        raise WeightsError(f"{target.parent} is not a folder. Make it first.")
    if target.exists() and not overwrite:
        raise WeightsError(f"{target} exists. Give --overwrite to replace it.")
    weights = load(source) if source.suffix == ".safetensors" else read_checkpoint(source)
    metadata = {**weights.metadata, **dict(entry.split("=", 1) for entry in entries)}
    tensors = dict(weights.tensors)
    for block in weights.spec.blocks if open_masks else ():
        if block.mask:
            last = block.mask.decide.name
            tensors[f"{last}.weight"] = np.zeros_like(tensors[f"{last}.weight"])
            tensors[f"{last}.bias"] = np.array([-1, 1], np.float32)  # active wins
    store(Weights(weights.spec, tensors, metadata, weights.source), target, np.float32 if full else np.float16)


if __name__ == "__main__":
    sys.exit(main())
