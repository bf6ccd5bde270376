"""How good a model is on real footage: clips are reduced, coded as footage is coded, upscaled, and compared with
themselves (see vs_smsr/evaluation/footage.py). Gains are over the better of bicubic and Lanczos.

    scripts/footage.py CLIP... --model smsr --scale 2 --frames 3            a table, within a minute or so
    scripts/footage.py CLIP... --weights net.safetensors --json gains.json --plot gains.png --pictures out

Clips must be better than what is made of them: as lossless and as sharp as can be. PSNR rewards blur and VMAF any
sharpening; judge by both, by VMAF-NEG and by eye.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from vs_smsr import Upscaler
from vs_smsr.errors import SmsrError
from vs_smsr.evaluation.footage import CONDITIONS, Condition, Enlarge, classical, judge, make_footage, read_clip
from vs_smsr.evaluation.metrics import Pixels
from vs_smsr.media.image_files import write_image
from vs_smsr.media.images import Image
from vs_smsr.options import SCALES
from vs_smsr.training.teacher import NAME as RIVAL
from vs_smsr.training.teacher import RealEsrgan

DETAIL, ZOOM, BAR = 96, 2, 26  # HR pixels a side that a picture shows, times as large; height of a caption
Row = dict[str, Any]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="+", type=Path, metavar="CLIP", help="videos in full resolution")
    parser.add_argument("-s", "--scale", type=int, choices=SCALES, default=2)
    parser.add_argument("-m", "--model", default="smsr", help="shipped weights (smsr)")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="a .safetensors file instead")
    parser.add_argument("--rival", action="store_true",
                        help=f"measure {RIVAL} too, see vs_smsr/training/teacher.py")  # fmt: skip
    parser.add_argument("-n", "--frames", type=int, default=10, help="of each clip (10)")
    parser.add_argument("--skip", type=int, default=0, metavar="N", help="frames before them (0)")
    parser.add_argument("--condition", action="append", metavar="TEXT", dest="wanted",
                        help="only those with this in their names, such as x264; repeatable")  # fmt: skip
    parser.add_argument("--no-vmaf", action="store_true", help="leave out what takes half of the time")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure here")
    parser.add_argument("--plot", type=Path, metavar="PNG", help="draw the gains")
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="a sheet of details for each clip")
    arguments = parser.parse_args()
    conditions = [one for one in CONDITIONS if any(text in one.name for text in arguments.wanted or [""])]
    if not conditions:
        parser.error(f"--condition: must be a part of {', '.join(one.name for one in CONDITIONS)}.")
    if arguments.frames < 1 or arguments.skip < 0:
        parser.error("--frames must be 1 or more, and --skip 0 or more.")
    try:
        named = {"weights": arguments.weights} if arguments.weights else {"model": arguments.model}
        upscaler = Upscaler(scale=arguments.scale, **named)
        others = dict(classical(arguments.scale))
        if arguments.rival:
            network = RealEsrgan(arguments.scale)
            others[RIVAL] = lambda frame: np.rint(network.upscale(frame.astype(np.float32))).astype(np.uint8)
        rows = []
        for clip in arguments.clips:
            frames = read_clip(clip, arguments.frames, arguments.scale, arguments.skip)
            sheet = Sheet()
            for condition in conditions:
                rows.append(measure(clip.name, frames, condition, upscaler, others, not arguments.no_vmaf, sheet))
                print(line(rows[-1]), file=sys.stderr, flush=True)
            if arguments.pictures:
                arguments.pictures.mkdir(parents=True, exist_ok=True)
                write_image(arguments.pictures / f"{clip.name}.png", Image(sheet.draw()), overwrite=True)
        title = f"{arguments.weights.name if arguments.weights else arguments.model} x{arguments.scale}"
        Console(highlight=False).print(table(rows, conditions, title, "gain"))
        if arguments.rival:
            Console(highlight=False).print(table(rows, conditions, title, "over_rival"))
        if arguments.json:
            about = {"model": title, "scale": arguments.scale, "frames": arguments.frames, "skip": arguments.skip}
            arguments.json.write_text(json.dumps(_finite({**about, "rows": rows}), indent=1) + "\n")
        if arguments.plot:
            plot(rows, conditions, title, arguments.plot)
    except (SmsrError, OSError) as error:
        print(f"footage: {error}", file=sys.stderr)
        return 1
    return 0


class Sheet:
    """One clip's middle frame, a row for each condition: what there was, Lanczos or the rival, ours, the truth."""

    def __init__(self) -> None:
        self._rows: list[tuple[tuple[str, str], Sequence[Pixels]]] = []

    def add(self, condition: str, beside: str, *frames: Pixels) -> None:
        """Frames of one size: the LR frame with its pixels repeated, `beside`'s, ours, the truth."""
        self._rows.append(((condition, beside), frames))

    def draw(self) -> Pixels:
        """The detail where ours and the one beside differ most, in the mean over the conditions."""
        apart = sum(np.abs(ours.astype(np.float32) - other).mean(2) for _, (_, other, ours, _) in self._rows)
        height, width = apart.shape
        side = min(DETAIL, height, width)
        around = cv2.boxFilter(apart, -1, (side, side), anchor=(0, 0), borderType=cv2.BORDER_REPLICATE)
        y, x = np.unravel_index(
            np.argmax(around[: height - side + 1, : width - side + 1]), (height - side + 1, width - side + 1)
        )
        return np.vstack(
            [self._row(names, [frame[y : y + side, x : x + side] for frame in frames]) for names, frames in self._rows]
        )

    def _row(self, names: tuple[str, str], details: Sequence[Pixels]) -> Pixels:
        pictures = []
        for caption, detail in zip((*names, "vs-smsr", "truth"), details, strict=True):
            bar = np.full((BAR, detail.shape[1] * ZOOM, 3), 255, np.uint8)
            cv2.putText(bar, caption, (3, BAR - 9), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (30, 30, 30), 1, cv2.LINE_AA)
            pictures.append(np.vstack([bar, detail.repeat(ZOOM, 0).repeat(ZOOM, 1)]))
        return np.hstack(pictures)


def measure(
    name: str,
    clip: Sequence[Pixels],
    condition: Condition,
    upscaler: Upscaler,
    others: Mapping[str, Enlarge],
    with_vmaf: bool,
    sheet: Sheet,
) -> Row:
    """One clip in one condition: the scores of all, ours over the better of bicubic and Lanczos (`gain`) and over the
    rival if it is among the others, and the work that masks skipped."""
    scale = upscaler.scale
    low = make_footage(clip, scale, condition)
    results = [upscaler.upscale_with_info(frame) for frame in low]
    made = {who: [enlarge(frame) for frame in low] for who, enlarge in others.items()}
    made["ours"] = [result.pixels for result in results]
    middle = len(clip) // 2
    small = low[middle].repeat(scale, 0).repeat(scale, 1)
    beside = RIVAL if RIVAL in made else "lanczos"
    sheet.add(condition.name, beside, small, made[beside][middle], made["ours"][middle], clip[middle])
    scores = {who: judge(clip, frames, with_vmaf) for who, frames in made.items()}
    ours = scores["ours"]
    scores["gain"] = ours.over([scores[who] for who in classical(scale)])
    if RIVAL in made:
        scores["over_rival"] = ours.over([scores[RIVAL]])
    plain = {who: dataclasses.asdict(score) for who, score in scores.items()}
    skipped = float(np.mean([result.skipped for result in results]))
    return {
        "clip": name,
        "condition": condition.name,
        "coded": condition.encoder is not None,
        **plain,
        "skipped": skipped,
    }


def line(row: Row) -> str:
    gain = row["gain"]
    name = f"{row['clip']}, {row['condition']}"
    return f"{name}: {gain['psnr']:+.2f} dB, NEG {gain['neg']:+.1f}, {row['skipped']:.0%} skipped"


def groups(rows: Sequence[Row], conditions: Sequence[Condition]) -> Iterator[tuple[str, list[Row]]]:
    """The rows of each condition, and those of all coded."""
    for condition in conditions:
        yield condition.name, [row for row in rows if row["condition"] == condition.name]
    if coded := [row for row in rows if row["coded"]]:
        yield "all coded", coded


def table(rows: Sequence[Row], conditions: Sequence[Condition], title: str, over: str) -> Table:
    """Mean and worst of a row's differences: "gain" or "over_rival"."""
    made = Table(
        title=f"{title}: gain over {RIVAL if over == 'over_rival' else 'the better of bicubic and Lanczos'}",
        title_justify="left",
        box=SIMPLE,
        padding=(0, 1, 0, 0),
    )
    made.add_column("condition")
    for heading in ("PSNR dB", "worst", "SSIM", "VMAF", "NEG", "worst", "skipped"):
        made.add_column(heading, justify="right")
    for name, part in groups(rows, conditions):
        if name == "all coded":
            made.add_section()
        mean = {key: np.mean([row[over][key] for row in part]) for key in ("psnr", "ssim", "vmaf", "neg")}
        worst = {key: min(row[over][key] for row in part) for key in ("psnr", "neg")}
        figures = f"{mean['psnr']:+.2f}", f"{worst['psnr']:+.2f}", f"{mean['ssim']:+.4f}", f"{mean['vmaf']:+.1f}"
        skipped = np.mean([row["skipped"] for row in part])
        made.add_row(name, *figures, f"{mean['neg']:+.1f}", f"{worst['neg']:+.1f}", f"{skipped:.0%}")
    return made


def plot(rows: Sequence[Row], conditions: Sequence[Condition], title: str, target: Path) -> None:
    """Mean gains as bars, each clip's as a point."""
    from matplotlib.figure import Figure

    measures = {"psnr": "PSNR of Y (dB)", "neg": "VMAF-NEG"}
    shown = {key: text for key, text in measures.items() if not any(math.isnan(row["gain"][key]) for row in rows)}
    parts = list(groups(rows, conditions))
    figure = Figure(figsize=(5 * len(shown), 0.55 * len(parts) + 1.4), layout="constrained")
    for axes, (key, text) in zip(
        figure.subplots(1, len(shown), squeeze=False, sharey=True)[0], shown.items(), strict=True
    ):
        for place, (_, part) in enumerate(parts):
            gains = [row["gain"][key] for row in part]
            axes.barh(place, np.mean(gains), color="#9db8d9")
            axes.plot(gains, [place] * len(gains), "o", color="#1f3d66", markersize=4)
        axes.set(xlabel=f"gain, {text}", yticks=range(len(parts)), yticklabels=[name for name, _ in parts])
        axes.axvline(0, color="black", linewidth=0.8)
        axes.grid(axis="x", alpha=0.3)
        axes.set_ylim(len(parts) - 0.4, -0.6)  # the first on top
    figure.suptitle(f"{title}, over the better of bicubic and Lanczos; a point for each clip", fontsize=10)
    figure.savefig(target, dpi=110, format="png")


def _finite(value: Any) -> Any:
    """NaN as null: JSON has none."""
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and math.isnan(value) else value


if __name__ == "__main__":
    sys.exit(main())
