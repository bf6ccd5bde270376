"""The figures as tables and as a plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, geometric_mean
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.contenders import AGAINST
from bench.end_to_end import SIDES
from bench.race import Heat

COLOURS = {"fp32": "#1f6fb4", "bf16": "#d9662b"}


def show(result: Mapping[str, Any], heats: Sequence[Heat], console: Console) -> None:
    """Print the tables."""
    if heats:
        console.print(_contenders(result, heats))
        console.print(_frames(result, heats))
        for precision, shares in result["time_shares"].items():
            console.print(_shares(precision, shares))
    console.print(_figures(result))
    if result["rivals"]:
        console.print(_rivals(result["rivals"]))
    for line in result["refused"]:
        console.print(f"no ratio: {line}", style="red")
    if not result["machine"]["quiet"]:
        others = result["machine"]["others_cpus"]
        console.print(f"Others used {others:.2f} CPUs: these figures are not those of a quiet machine.", style="red")


def _contenders(result: Mapping[str, Any], heats: Sequence[Heat]) -> Table:
    table = Table(title="Geometric means over the frames; speed-up = their time / ours, the same precision")
    for heading in ("runs", "precision", "ms a frame", "GFLOP/s", "as dense", "worst dB", "speed-up", "worst frame"):
        table.add_column(heading, justify="left" if heading == "runs" else "right")
    for name, precision in heats[0].laps:
        laps = [heat.laps[name, precision] for heat in heats]
        row = [f"{1000 * geometric_mean(lap.seconds for lap in laps):.0f}"]
        row += [f"{geometric_mean(getattr(lap, rate) for lap in laps):.0f}" for rate in ("gflops", "gflops_dense")]
        row.append(f"{min(lap.error.psnr for lap in laps):.0f}")
        row += [_number(result[which].get(name, {}).get(precision), "x") for which in ("ratios", "worst")]
        table.add_row(name, precision, *row)
    return table


def _frames(result: Mapping[str, Any], heats: Sequence[Heat]) -> Table:
    keys = [(name, precision) for name, precision in heats[0].laps if name in AGAINST]
    table = Table(title="Speed-up by frame; active = share of active pixels in each SMM")
    table.add_column("frame")
    table.add_column("active", justify="right")
    for name, precision in keys:
        table.add_column(f"{name} {precision}", justify="right")
    for heat in sorted(heats, key=lambda heat: sum(heat.active)):
        active = " ".join(f"{share:.2f}" for share in heat.active)
        name = f"{heat.name} {heat.width}x{heat.height}"
        table.add_row(name, active, *(_number(heat.ratio(*key), "x") for key in keys))
    return table


def _shares(precision: str, shares: Mapping[str, float]) -> Table:
    table = Table("kernel", title=f"Share of our time, {precision}")
    blocks = sorted({int(name.partition("/")[2]) for name in shares if "/" in name})
    columns = ("", *(f"/{block}" for block in blocks))
    for heading in ("no SMM", *(f"SMM {block}" for block in blocks), "all"):
        table.add_column(heading, justify="right")
    rows = {}
    for kernel in {name.partition("/")[0] for name in shares}:
        cells = [shares.get(kernel + column, 0.0) for column in columns]
        rows[kernel] = [*cells, sum(cells)]
    for kernel, cells in sorted(rows.items(), key=lambda row: -row[1][-1]):
        table.add_row(kernel, *(f"{cell:.1%}" if cell else "" for cell in cells))
    return table


def _figures(result: Mapping[str, Any]) -> Table:
    table = Table("figure", "precision", "value", title="More figures")
    for precision, found in result["sparse_convolution"].items():
        table.add_row("matrix product 2048^3", precision, f"{found['gemm_gflops']:.0f} GFLOP/s")
        for rate in found["rates"]:
            value = f"{rate['gflops']:.0f} GFLOP/s, {rate['of_gemm']:.0%} of the matrix product"
            table.add_row(f"masked 3x3, {rate['active']:.0%} active, {rate['pattern']}", precision, value)
    for precision, share in result["outside_convolutions"].items():
        table.add_row("time outside convolutions", precision, f"{share:.1%}")
    for precision, factor in result["thread_scaling"].items():
        table.add_row(f"1 -> {result['machine']['threads']} threads", precision, f"{factor:.2f}x")
    for precision, found in result["processes"].items():
        cold, warm = found["first_frame_cold_seconds"], found["first_frame_warm_seconds"]
        table.add_row("process with one frame, nothing compiled", precision, _number(cold, " s"))
        table.add_row("process with one frame, compiled before", precision, _number(warm, " s"))
        peak = f"{found['peak_bytes'] / 1e9:.2f} GB"
        table.add_row(f"peak resident memory, {found['peak_frame']}", precision, peak)
    if result["help_seconds"] is not None:
        table.add_row("vs-smsr --help", "", _number(result["help_seconds"], " s"))
    for precision, found in result["filters"].items():
        for name, rate in found["frames_per_second"].items():
            table.add_row(f"VapourSynth filter on {found['clip']}: {name}", precision, f"{rate:.2f} frames/s")
        table.add_row("VapourSynth filter: speed-up over openvino's best", precision, _number(found["ratio"], "x"))
    for precision, found in result["end_to_end"].items():
        rates = found["frames_per_second"]
        for side, rate in rates.items():
            value = f"{rate:.2f} frames/s, {rate / rates['openvino']:.2f}x"
            table.add_row(f"whole job on {found['clip']}: {SIDES[side]}", precision, value)
        value = f"{found['command_seconds']:.2f} s, {found['command_frames_per_second']:.2f} frames/s"
        table.add_row("the whole command in a process of its own, compiled before", precision, value)
        value = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in found["command_spent"].items())
        table.add_row("where the command's time goes", precision, value)
    return table


def _rivals(found: Mapping[str, Mapping[str, float]]) -> Table:
    table = Table(
        title="Beside others; Y of frames that were reduced and enlarged again, speed on the frames themselves"
    )
    for heading in ("runs", "ms a frame", "time over ours", "PSNR dB", "SSIM"):
        table.add_column(heading, justify="left" if heading == "runs" else "right")
    for name, row in found.items():
        cells = (
            f"{1000 * row['seconds']:.0f}",
            f"{row['over_ours']:.2f}x",
            f"{row['psnr_y']:.2f}",
            f"{row['ssim_y']:.4f}",
        )
        table.add_row(name, *cells)
    return table


def _number(value: float | None, unit: str) -> str:
    return "-" if value is None else f"{value:.2f}{unit}"


def plot(heats: Sequence[Heat], path: Path) -> None:
    """Left: time a frame of everybody. Right: speed-up over OpenVINO against the share of active pixels."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    shown = [key for key in heats[0].laps if key[0] == "ours" or key[0] in AGAINST]
    times = {key: 1000 * geometric_mean(heat.laps[key].seconds for heat in heats) for key in shown}
    order = sorted(times, key=lambda key: -times[key])
    bars = left.barh(
        [f"{name} {precision}" for name, precision in order],
        [times[key] for key in order],
        color=[COLOURS[precision] for _, precision in order],
        alpha=0.9,
    )
    for bar, (name, _) in zip(bars, order, strict=True):
        bar.set_alpha(1.0 if name == "ours" else 0.45)
    left.bar_label(bars, fmt="%.0f", padding=3)
    left.set(xlabel="ms a frame (geometric mean, less is better)", title=f"{len(heats)} video frames")
    left.margins(x=0.12)
    for precision in dict.fromkeys(precision for _, precision in shown):
        points = [(fmean(heat.active), heat.ratio("openvino", precision), heat.name) for heat in heats]
        points = [(active, ratio, name) for active, ratio, name in points if ratio is not None]
        if points:
            x, y, names = zip(*points, strict=True)
            right.scatter(x, y, color=COLOURS[precision], label=precision, zorder=3)
            if precision == "fp32":
                for place in zip(x, y, names, strict=True):
                    right.annotate(place[2], place[:2], xytext=(5, 4), textcoords="offset points", fontsize=8)
    right.axhline(1, color="grey", linewidth=1)
    right.set(xlabel="active pixels (mean of the SMMs)", ylabel="times as fast as OpenVINO", ylim=0)
    right.set_xlim(0, 1.15 * max(fmean(heat.active) for heat in heats))
    right.grid(alpha=0.25)
    right.set_title("Speed-up by frame")
    if right.collections:
        right.legend()
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
