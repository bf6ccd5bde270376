"""`vs-smsr models`: the weights that come with the package."""

from __future__ import annotations

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from vs_smsr.weights.catalogue import models


def list_models() -> None:
    """Print a line for each on stdout, with "-" for what a file does not tell."""
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0))
    for heading in ("model", "scale", "size", "Set5", "skipped", "licence", "for"):
        table.add_column(heading, justify="left" if heading in ("model", "licence", "for") else "right")
    for model in models():
        psnr = "-" if model.psnr is None else f"{model.psnr:.2f} dB"
        skipped = "-" if model.sparsity is None else f"{model.sparsity:.0%}"
        size = f"{model.size / 1e6:.1f} MB"
        table.add_row(model.name, f"x{model.scale}", size, psnr, skipped, model.licence, model.purpose or "-")
    Console(highlight=False).print(table)
