"""The paper's tables and figures, its numbers and ours side by side.

flops counts parameters and multiply-adds; train trains the rows of both tables on a small budget, table1 and table2
measure them, figures draws. Tables and figures take the weights in --weights, which `train` leaves in its --out.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import geometric_mean

from paper.counts import EXPLAINED, SPECS, table
from paper.figures import draw
from paper.rows import ROWS, train_row, weights_file
from paper.tables import speed, table_1, table_2, untrained

from vs_smsr.engine.cpu.pool import available_cpus
from vs_smsr.families import imdn, srresnet
from vs_smsr.weights import load

WEIGHTS = Path(__file__).parents[1] / "reproduction"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    counting = commands.add_parser("flops", help="parameters and multiply-adds of all rows")
    counting.add_argument("--json", type=Path, help="write them here too")
    for name, text in (("table1", "kinds of channel masks"), ("table2", "SRResNet and IMDN"), ("speed", "of masks")):
        measuring = commands.add_parser(name, help=text)
        measuring.add_argument("--weights", type=Path, default=WEIGHTS, help="folder of the rows' weights")
        measuring.add_argument("--json", type=Path)
        if name == "speed":
            measuring.add_argument("--frames", type=Path, required=True, help="folder of small pictures")
            measuring.add_argument("--rows", nargs="*", default=["imdn_x4_masked_42", "srresnet_x4_masked_52"])
            measuring.add_argument("--rounds", type=int, default=2)
            measuring.add_argument("--given", action="store_true", help="masks by gradient at the printed sparsity")
        else:
            measuring.add_argument("--sets", type=Path, nargs="+", required=True, help="folders of HR pictures")
    drawing = commands.add_parser("figures", help="counterparts of the paper's figures")
    drawing.add_argument("--weights", type=Path, default=WEIGHTS)
    drawing.add_argument("--clip", type=Path, default=WEIGHTS.parent / "tests/data/demo.mp4")
    drawing.add_argument("--sets", type=Path, nargs=1, required=True, help="folder of HR pictures to take means over")
    drawing.add_argument("--out", type=Path, default=WEIGHTS.parent / "docs/images/reproduction")
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
    if options.command in ("table1", "table2"):
        rows = (table_1 if options.command == "table1" else table_2)(options.weights, options.sets)
        show(rows, options.json)
    if options.command == "figures":
        for path in draw(options.clip, options.weights, options.sets, options.out):
            print(path)
    if options.command == "speed":
        show(
            {name: race(options.weights, name, options.frames, options.rounds, options.given) for name in options.rows},
            options.json,
        )
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


def show(rows: dict[str, dict[str, float]], target: Path | None) -> None:
    """Print rows of named numbers, and write them as JSON."""
    for name, row in rows.items():
        print(name, *(f"{key} {value:.3f}" for key, value in row.items()), sep="  ")
    if target:
        target.write_text(json.dumps(rows, indent=1) + "\n")


def race(folder: Path, name: str, frames: Path, rounds: int, given: bool) -> dict[str, float]:
    """A masked row against its dense network in OpenVINO, and the geometric mean.

    With `given` masks are not the row's own: at its sparsity, where the gradient is steepest.
    """
    dense = {"imdn": imdn, "srresnet": srresnet}[name.partition("_")[0]].spec(4, masked=False)
    if given:
        spec, share = SPECS[name][0], 1 - table()[name]["sparsity"]
        factors = speed(untrained(spec), dense, frames, rounds, available_cpus(), share)
    else:
        factors = speed(load(weights_file(folder, name)), dense, frames, rounds, available_cpus())
    return {**factors, "mean": geometric_mean(factors.values())}


if __name__ == "__main__":
    main()
