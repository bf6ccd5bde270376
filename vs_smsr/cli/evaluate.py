"""`vs-smsr evaluate`: the figures of a benchmark set as a table and as JSON."""

from __future__ import annotations

from pathlib import Path

import cv2
from rich.console import Console
from rich.table import Table

from vs_smsr import engine
from vs_smsr.cli.report import say
from vs_smsr.errors import MediaError
from vs_smsr.evaluation import ImageScore, evaluate
from vs_smsr.options import EngineOptions


def run(options: EngineOptions, hr: Path, lr: Path | None, json: Path | None) -> None:
    """Evaluate, print the table on stdout, and write the JSON file if one is asked for.

    Raises:
        SmsrError: the engine, an image or the JSON file does not work.
    """
    # What OpenCV says about a damaged image, our own error says in one line.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    result = evaluate(engine.create(options), hr, lr)
    table = Table(title=f"x{result.scale} on {hr.name}: PSNR and SSIM on Y, sparsity", title_justify="left")
    table.add_column("image")
    blocks = (f"SMM {number}" for number, _ in enumerate(result.module_sparsity, 1))
    for heading in ("PSNR dB", "SSIM", *blocks, "mean"):
        table.add_column(heading, justify="right")
    for score in result.images:
        table.add_row(*_row(score))
    table.add_section()
    table.add_row(*_row(ImageScore("mean", result.psnr, result.ssim, result.module_sparsity)))
    Console(highlight=False).print(table)
    say(f"{result.gflops_720p:.1f} GFLOPs (multiply-adds) for a frame of 1280x720 at this sparsity")
    if json is not None:
        try:
            json.write_text(result.to_json() + "\n", encoding="utf-8")
        except OSError as error:
            raise MediaError(f"{json}: cannot write: {error.strerror or error}.") from error


def _row(score: ImageScore) -> tuple[str, ...]:
    shares = (*score.sparsity, sum(score.sparsity) / len(score.sparsity))
    return score.name, f"{score.psnr:.3f}", f"{score.ssim:.5f}", *(f"{share:.3f}" for share in shares)
