"""Draw training runs from their logs: PSNR over hours, and PSNR against sparsity (the trade that lambda buys).

scripts/plot_runs.py runs/x2/log_x2.csv "lambda 0.8=runs/strong/log_x2.csv" --curve curve.png --trade trade.png
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from vs_smsr.training.plot import plot_curves, plot_trade, read_log


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("logs", nargs="+", metavar="[LABEL=]LOG.CSV")
    parser.add_argument("--point", action="append", default=[], metavar="LABEL=SPARSITY,PSNR",
                        help="a single point in the trade; repeatable")  # fmt: skip
    parser.add_argument("--curve", type=Path)
    parser.add_argument("--trade", type=Path)
    arguments = parser.parse_args()
    runs = {}
    for entry in arguments.logs:
        label, _, path = entry.rpartition("=")
        if not Path(path).is_file():
            print(f"plot_runs: {path} does not exist.", file=sys.stderr)
            return 1
        runs[label or Path(path).parent.name] = read_log(Path(path))
    points = {}
    for entry in arguments.point:
        label, _, values = entry.rpartition("=")
        sparsity, psnr = map(float, values.split(","))
        points[label] = (sparsity, psnr)
    if arguments.curve:
        plot_curves(runs, arguments.curve)
    if arguments.trade:
        plot_trade(runs, points, arguments.trade)
    return 0


if __name__ == "__main__":
    sys.exit(main())
