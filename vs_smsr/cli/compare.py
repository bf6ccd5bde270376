"""`vs-smsr compare`: figures of results against their reference, as a table, as JSON and as a page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from vs_smsr.cli.preview import clock
from vs_smsr.cli.report import one_line, say, warn
from vs_smsr.errors import MediaError, OptionError
from vs_smsr.jobs.image import resized
from vs_smsr.jobs.sizing import Size
from vs_smsr.media.colour import to_rgb
from vs_smsr.media.libvmaf import METRICS
from vs_smsr.preview.comparing import Compared, compare, opened, pairs
from vs_smsr.preview.page import Page, Picture, Scene, write_page
from vs_smsr.preview.plots import plot
from vs_smsr.preview.trial import to_bytes

WORST = 6  # pictures on the page


def compare_all(
    reference: Path, results: Sequence[Path], *, page: Path | None, report: Path | None, resize: bool, overwrite: bool
) -> None:
    """Measure, print the table on stdout, and write what is asked for.

    Raises:
        OptionError: the sizes differ, or a target exists. MediaError: a file cannot be read or written.
    """
    for target in (page, report):
        if target is not None and target.exists() and not overwrite:
            raise OptionError(f"{target}: exists already. Allow to replace it with --overwrite.")
    found = [compare(reference, result, resize=resize) for result in results]
    for one in found:
        _tell(reference, one)
    table = Table(title=f"against {reference.name}: mean (least)", title_justify="left")
    for heading in ("result", *METRICS):
        table.add_column(heading, justify="left" if heading == "result" else "right")
    for one in found:
        table.add_row(one.result.name, *_row(one))
    Console(highlight=False).print(table)
    if report is not None:
        try:
            text = json.dumps({"reference": str(reference), "results": [one.to_json() for one in found]}, indent=1)
            report.write_text(f"{text}\n", encoding="utf-8")
        except OSError as error:
            raise MediaError(f"{report}: cannot write: {error.strerror or error}.") from error
    if page is not None:
        write_page(_page(reference, found), page, overwrite)
        say(one_line(str(page)))


def _row(one: Compared) -> list[str]:
    pooled = one.pooled()
    digits = {"SSIM": 4}
    return [
        f"{pooled[name]['mean']:.{digits.get(name, 2)}f} ({pooled[name]['min']:.{digits.get(name, 2)}f})"
        for name in METRICS
    ]


def _tell(reference: Path, one: Compared) -> None:
    for path, lost in zip((reference, one.result), one.unpaired, strict=True):
        if lost:
            warn(one_line(f"note: {path}: {lost} frames have no partner at their time and are not measured"))
    if one.resized:
        warn(one_line(f"note: {one.result}: was resized to the reference's size, which is measured too"))


def _page(reference: Path, found: Sequence[Compared]) -> Page:
    names = [one.result.name for one in found]
    each = -(-WORST // len(found))
    least: dict[float, float] = {}  # by time
    for one in found:
        for n in one.worst(each):
            least[one.times[n]] = min(least.get(one.times[n], 100.0), one.figures["VMAF"][n])
    times = sorted(least, key=least.__getitem__)
    pictures = [_pictures(reference, one, set(times)) for one in found]
    scenes = []
    for time in times:
        if not all(time in some for some in pictures):  # one of the results has no frame there
            continue
        vmaf = ", ".join(f"{one.result.name} {one.figures['VMAF'][one.times.index(time)]:.1f}" for one in found)
        layers = [pictures[0][time][0], *(some[time][1] for some in pictures)]
        scenes.append(Scene(clock(time), f"At {clock(time)}; VMAF: {vmaf}", layers))
    if not scenes:
        raise MediaError(f"{reference}: has no frame that all results have too. Compare them one by one.")
    lines = {name: [(one.times, one.figures[name]) for one in found] for name in METRICS}
    return Page(
        title=f"{', '.join(names)} against {reference.name}",
        subtitle=f"{len(found[0].times)} pairs of frames. The worst frames by VMAF first.",
        layers=[f"Reference ({reference.name})", *names],
        left=0,
        right=1,
        scenes=scenes,
        table=[["Mean (least)", *METRICS], *([one.result.name, *_row(one)] for one in found)],
        notes=(
            "Frames are paired by their time. PSNR and SSIM are those of luma; VMAF is model v0.6.1, VMAF-NEG its "
            "variant that does not reward sharpening. Measured in 4:2:0 by libvmaf.",
            "Pictures on this page are JPEG of quality 95 without chroma subsampling.",
        ),
        chart="".join(plot(name, names if len(names) > 1 else [], some) for name, some in lines.items()),
    )


def _pictures(reference: Path, one: Compared, times: set[float]) -> dict[float, tuple[Picture, Picture]]:
    """Reference and result at those times, in the reference's size."""
    made = {}
    last = max(times)
    with opened(reference) as ours, opened(one.result) as theirs:
        for left, right in pairs(ours, theirs, [0, 0]):
            if left.time in times:
                size = Size(left.frame.width, left.frame.height)
                made[left.time] = to_bytes(to_rgb(left.frame)), to_bytes(resized(to_rgb(right.frame), size))
            if left.time >= last:
                break
    return made
