"""Pictures of runs from their CSV logs: PSNR and sparsity over hours, and PSNR against sparsity."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

LOG = "log_x{}.csv"
Row = dict[str, float]


def read_log(path: Path) -> list[Row]:
    """The rows of a log that have a PSNR, in order; steps repeated after a resume replace the older rows."""
    rows: dict[int, Row] = {}
    with path.open(newline="") as file:
        for record in csv.DictReader(file):
            step = int(record["step"])
            for later in [known for known in rows if known >= step]:
                del rows[later]
            if record["psnr"]:
                rows[step] = {name: float(record[name]) for name in ("step", "hours", "busy", "psnr", "sparsity")}
    return [rows[step] for step in sorted(rows)]


def plot_curves(runs: Mapping[str, Sequence[Row]], target: Path) -> None:
    """PSNR over hours of computing, sparsity below it; one line for each run (its label -> rows)."""
    figure, (upper, lower) = _figure(2)
    for label, rows in runs.items():
        hours = [row["busy"] for row in rows]
        upper.plot(hours, [row["psnr"] for row in rows], marker=".", label=label)
        lower.plot(hours, [row["sparsity"] for row in rows], marker=".")
    upper.set(ylabel="PSNR on Y (dB)")
    upper.legend(fontsize=8)
    lower.set(ylabel="sparsity", xlabel="hours of computing (processor time over threads)", ylim=(0, 1))
    _save(figure, target)


def plot_trade(runs: Mapping[str, Sequence[Row]], points: Mapping[str, tuple[float, float]], target: Path) -> None:
    """PSNR against sparsity: the way of each run (its label -> rows), and single points (label -> sparsity, PSNR)."""
    figure, (axes,) = _figure(1)
    for label, rows in runs.items():
        axes.plot([row["sparsity"] for row in rows], [row["psnr"] for row in rows], marker=".", label=label)
    for label, (sparsity, psnr) in points.items():
        axes.plot(sparsity, psnr, "*", markersize=12, label=label)
    axes.set(xlabel="sparsity on Set5, as the paper counts it", ylabel="PSNR on Y, Set5 (dB)")
    axes.legend(fontsize=8, loc="lower left")
    _save(figure, target)


def _figure(panels: int) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.2 * panels), layout="constrained")
    axes = figure.subplots(panels, 1, squeeze=False)[:, 0]
    for axis in axes:
        axis.grid(alpha=0.3)
    return figure, axes


def _save(figure: Any, target: Path) -> None:
    """A viewer that reloads while the run goes on never sees half a picture."""
    temporary = target.with_name(target.name + ".part")
    figure.savefig(temporary, dpi=110, format="png")
    temporary.replace(target)
