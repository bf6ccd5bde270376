"""Score weights that are not packaged yet: a training checkpoint (.pt) or a .safetensors file.

For shipped weights `vs-smsr evaluate` does the same.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

from vs_smsr import engine as engines
from vs_smsr import weights
from vs_smsr.errors import SmsrError
from vs_smsr.evaluation import ImageScore, evaluate
from vs_smsr.options import EngineOptions


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("weights", type=Path, help=".pt or .safetensors")
    parser.add_argument("hr", type=Path, help="folder of HR images")
    parser.add_argument("--lr", type=Path, help="folder of LR images; made by MATLAB-equal bicubic if left out")
    parser.add_argument("--engine", default="auto", help="auto, cpu, cuda, reference")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N")
    parser.add_argument("--precision", default="auto", help="auto, fp32, bf16, fp16")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0 = all")
    parser.add_argument("--json", type=Path, help="write the figures here")
    arguments = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory() as folder:
            engine = engines.create(_options(arguments, Path(folder)))
        result = evaluate(engine, arguments.hr, arguments.lr, _print)
        if arguments.json:
            arguments.json.write_text(result.to_json() + "\n")
    except (SmsrError, OSError) as error:
        print(f"evaluate: {error}", file=sys.stderr)
        return 1
    _print(ImageScore(f"mean of {len(result.images)}", result.psnr, result.ssim, result.module_sparsity))
    print(f"sparsity {result.sparsity:.3f}, {result.gflops_720p:.1f} G multiply-adds for 1280x720")
    return 0


def _options(arguments: argparse.Namespace, folder: Path) -> EngineOptions:
    path = arguments.weights
    if path.suffix == ".pt":
        from vs_smsr.network.checkpoint import read_checkpoint

        path = folder / "weights.safetensors"
        weights.store(read_checkpoint(arguments.weights), path, np.float32)
    return EngineOptions(
        scale=weights.load(path).scale,
        weights=path,
        engine=arguments.engine,
        device=arguments.device,
        precision=arguments.precision,
        threads=arguments.threads,
    )


def _print(score: ImageScore) -> None:
    shares = " ".join(f"{share:.2f}" for share in score.sparsity)
    print(f"{score.name:20} {score.psnr:7.3f} dB  SSIM {score.ssim:.5f}  sparsity {shares}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
