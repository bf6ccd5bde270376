"""The paper's tables and figures, its numbers and ours side by side.

.venv/bin/python scripts/reproduce.py train --data ../shared/data/train --out runs/paper
"""

from __future__ import annotations

import argparse
from pathlib import Path

from paper.rows import ROWS, train_row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    training = commands.add_parser("train", help="train rows, one after the other; may be stopped and called again")
    training.add_argument("--data", type=Path, required=True, help="folder of images")
    training.add_argument("--out", type=Path, default=Path("runs/paper"))
    training.add_argument("--rows", nargs="*", choices=list(ROWS), default=list(ROWS))
    training.add_argument("--images", type=int, default=150, help="how many are held in memory")
    training.add_argument("--threads", type=int, default=2)
    training.add_argument("--seconds", type=float, default=float("inf"), help="for each row, in this call")
    options = parser.parse_args()
    if options.command == "train":
        options.out.mkdir(parents=True, exist_ok=True)
        for name in options.rows:
            done = train_row(name, options.data, options.out, options.images, options.seconds, options.threads)
            print(f"{name}: {'done' if done else 'to be continued'}", flush=True)
            if not done:
                break


if __name__ == "__main__":
    main()
