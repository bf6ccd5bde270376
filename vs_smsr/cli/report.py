"""What the user sees: a progress bar on a terminal, one line for each finished file, one line for each error."""

from __future__ import annotations

import io
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from vs_smsr.cli import interrupts
from vs_smsr.media.paths import STANDARD, is_pipe
from vs_smsr.options import require

if TYPE_CHECKING:
    from vs_smsr.engine import Engine
    from vs_smsr.jobs.report import Progress, Report
    from vs_smsr.preview.watching import Watch

LEVELS = ("debug", "info", "warning", "error")
console = Console(stderr=True, highlight=False)  # results go to stdout, all else to stderr


def set_up_logging(level: str) -> None:
    """Log records of this level and above go to stderr, above the progress bar."""
    from rich.logging import RichHandler

    handler = RichHandler(console=console, show_path=False, rich_tracebacks=False)
    logging.basicConfig(level=level.upper(), format="%(name)s: %(message)s", datefmt="%X", handlers=[handler])
    if level != "debug":  # what FFmpeg says is in our notes and errors; the rest of it helps nobody
        logging.getLogger("libav").setLevel(logging.CRITICAL)


def prepare_output() -> None:
    """Take care that a line that cannot be printed stops nothing: a name that the terminal's encoding lacks is escaped,
    and a closed stdin, stdout or stderr becomes the null device, as the next file opened would get its number."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def say(text: str) -> None:
    """One line on stdout; nothing where nobody reads it any more, as it is not what the user asked for."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    except OSError:
        null = os.open(os.devnull, os.O_WRONLY)
        with suppress(OSError, ValueError):  # else Python tries again at its end, and complains
            os.dup2(null, sys.stdout.fileno())


def is_stdout(path: Path) -> bool:
    """Does what is written there go to stdout: "-", /dev/stdout, a FIFO that it is?"""
    if path == STANDARD:
        return True
    try:
        return is_pipe(path) and os.path.samestat(path.stat(), os.fstat(1))
    except OSError:
        return False


def warn(text: str) -> None:
    """One line on stderr, however wide the terminal is."""
    with suppress(OSError):  # nobody reads it
        console.print(text, markup=False, soft_wrap=True)


def one_line(text: str) -> str:
    """The text with what would break or colour the line escaped: a name may hold that."""
    return "".join(
        letter if letter.isprintable() or "\udc80" <= letter <= "\udcff" else repr(letter)[1:-1] for letter in text
    )


def error_line(error: BaseException, source: Path | None = None) -> str:
    """The message as one line, with the file that it is about.

    An error that nobody foresaw gets its type and the way to its traceback.
    """
    from vs_smsr.errors import SmsrError, plain

    message = plain(error)
    if isinstance(error, OSError) and error.strerror and not isinstance(error, SmsrError):
        message = f"{error.filename or source}: {error.strerror}."
    elif not isinstance(error, SmsrError):
        message = f"{type(error).__name__}: {message or 'no message'} (--log-level debug shows where)"
    named = source is None or source.name in message or source.stem in message
    return one_line(f"error: {message}" if named else f"error: {source}: {message}")


def summary(report: Report, network: str) -> str:
    """The line for a finished file, made by the weights of that name."""
    if report.frames == 1:
        work = f"{report.seconds:.1f} s"
    else:
        work = f"{report.frames} frames in {report.seconds:.1f} s, {report.frames / max(report.seconds, 1e-9):.1f} fps"
    line = f"{report.output}: {work}, model {network}, {report.skipped:.0%} of the masked work skipped"
    if report.reused >= 0.005:
        line += f", {report.reused:.0%} of the pixels reused"
    if report.alike is not None:
        line += f" (forward, {report.alike:.1f} dB alike at least)"
    if report.held:
        line += f", attention held in {report.held} frames"
    if report.deinterlaced:
        line += f", {report.deinterlaced} frames deinterlaced"
    if report.damage and report.damage.lost:
        line += f", {report.damage.lost} damaged frames lost"
    return one_line(line)


@contextmanager
def progress_bar(name: str, shown: bool, watch: Watch | None = None) -> Iterator[Callable[[Progress], None]]:
    """Yield a callback for the pipelines: it shows the bar, if one is to be seen, and ends an interrupted run."""

    def note(progress: Progress) -> None:
        interrupts.check()
        if watch:
            watch.see(name, progress)

    if not (shown and console.is_terminal):
        yield note
        return
    from rich.console import RenderableType
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars
    from rich.table import Column

    from vs_smsr.preview.terminal import TerminalPicture

    class Bar(Bars):
        def get_renderables(self) -> Iterator[RenderableType]:
            if isinstance(watch, TerminalPicture):
                yield watch
            yield from super().get_renderables()

    name_column = TextColumn("{task.fields[name]}", markup=False, table_column=Column(no_wrap=True, ratio=1))
    bar_column = BarColumn(bar_width=None, table_column=Column(ratio=1))
    columns = (name_column, bar_column, TextColumn("{task.fields[state]}"), TimeRemainingColumn())
    with Bar(*columns, console=console, transient=True, expand=True, refresh_per_second=4) as bar:
        task = bar.add_task("", total=None, name=name, state="")

        def show(progress: Progress) -> None:
            note(progress)
            count = f"{progress.frames}/{progress.total}" if progress.total else str(progress.frames)
            state = f"{count}  {progress.fps:.1f} fps"
            state += f"  {progress.skipped:.0%} skipped" if progress.frames else ""
            state += f"  {progress.reused:.0%} reused" if progress.reused >= 0.005 else ""
            state += f"  {progress.workers} worker{'s' * (progress.workers > 1)}" if progress.workers else ""
            bar.update(task, completed=progress.frames, total=progress.total or None, state=f"{state}  ETA")

        yield show


@contextmanager
def watching(page: bool, picture: bool, bar: bool) -> Iterator[Watch | None]:
    """While the block runs, somebody may look on.

    Args:
        page: serve a page that shows the latest frame; its address is said on stderr.
        picture: draw it in the terminal instead, above the progress bar, if there is to be a `bar`.

    Raises:
        OptionError: both are wanted, or there is no bar to draw above.
    """
    require(not (page and picture), "vs-smsr upscale", "--preview-terminal", "left out beside --preview", "both")
    if picture:
        from vs_smsr.preview.terminal import TerminalPicture

        there = "no terminal" if not console.is_terminal else "--no-progress" if not bar else ""
        require(not there, "vs-smsr upscale", "--preview-terminal", "used where a progress bar is shown", there)
        yield TerminalPicture(console)
    elif page:
        from vs_smsr.preview.watching import WatchPage

        with WatchPage() as watch:
            warn(f"preview: {watch.url}")
            yield watch
    else:
        yield None


def print_profile(engine: Engine, frames: int) -> None:
    """Time per kernel and block on stderr, the costliest first; `frames` is how many were upscaled."""
    profile, blocks = engine.profile, len(engine.weights.spec.blocks)
    if profile is None:
        warn(f"note: the {engine.name} engine has no profile")
        return
    from rich.table import Table

    table = Table(title=f"{engine.name} {engine.precision} x{engine.weights.scale}: ms per frame, {frames} frames")
    for heading in ("kernel", *(f"SMM {block + 1}" for block in range(blocks)), "outside", "share"):
        table.add_column(heading, justify="left" if heading == "kernel" else "right")
    for name, times, share in profile.table(frames, blocks):
        table.add_row(name, *(f"{ms:.2f}" if ms else "" for ms in times), f"{share:.1%}")
    console.print(table)
