"""The paper's tables and figures, its numbers and ours side by side.

flops counts parameters and multiply-adds; train trains the rows of both tables on a small budget, table1 and table2
measure them, figures draws. Tables and figures take the weights in --weights, which `train` leaves in its --out.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from paper.counts import EXPLAINED, table
from paper.rows import ROWS, train_row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    counting = commands.add_parser("flops", help="parameters and multiply-adds of all rows")
    counting.add_argument("--json", type=Path, help="write them here too")
    training = commands.add_parser("train", help="train rows, one after the other; may be stopped and called again")
    training.add_argument("--data", type=Path, required=True, help="folder of images")
    training.add_argument("--out", type=Path, default=Path("runs/paper"))
    training.add_argument("--rows", nargs="*", choices=list(ROWS), default=list(ROWS))
    training.add_argument("--images", type=int, default=150, help="how many are held in memory")
    training.add_argument("--threads", type=int, default=2)
    training.add_argument("--seconds", type=float, default=float("inf"), help="for each row, in this call")
    options = parser.parse_args()
    if options.command == "flops":
        flops(options.json)
    if options.command == "train":
        options.out.mkdir(parents=True, exist_ok=True)
        for name in options.rows:
            done = train_row(name, options.data, options.out, options.images, options.seconds, options.threads)
            print(f"{name}: {'done' if done else 'to be continued'}", flush=True)
            if not done:
                break


def flops(target: Path | None) -> None:
    """Print the table, and write it as JSON."""
    rows = table()
    print(f"{'row':24} {'params':>9} {'paper':>9} {'G':>8} {'paper':>8}  skipped")
    for name, row in rows.items():
        skipped = f"{row['sparsity']:.1%}" if "sparsity" in row else ""
        params, printed = row["params"] / 1e3, row["paper_params"] / 1e3
        print(
            f"{name:24} {params:8.1f}K {printed:8.0f}K {row['gflops_720p']:8.2f} {row['paper_gflops']:8.2f}  {skipped}"
        )
    for name, reason in EXPLAINED.items():
        print(f"{name}: {reason}.")
    if target:
        target.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
