"""The commands and their options. Only what `--help` needs is imported here: it must come at once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vs_smsr.cli import interrupts, looking
from vs_smsr.cli import parameters as p
from vs_smsr.cli.given import FAILED, engine_options, exit_codes, pairs, tiling_options
from vs_smsr.cli.program import Program
from vs_smsr.cli.report import prepare_output, watching
from vs_smsr.options import (
    IN_ORDER,
    IN_ORDER_REUSE,
    EngineOptions,
    JobOptions,
    TilingOptions,
    VideoOptions,
    parse_bytes,
    parse_range,
    require,
)

app = typer.Typer(
    name="vs-smsr",
    cls=Program,
    help="Upscale video and images with SMSR, a network that skips the pixels that need no work.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={
        "help_option_names": ["-h", "--help"],
        "token_normalize_func": lambda name: name.replace("_", "-"),  # --pix_fmt is --pix-fmt
    },
)


def main() -> None:
    """The `vs-smsr` program."""
    prepare_output()
    interrupts.listen()
    app(prog_name="vs-smsr")


def _print_version(wanted: bool) -> None:
    if wanted:
        from vs_smsr import __version__
        from vs_smsr.cli.report import say
        from vs_smsr.version import commit

        known = commit()
        say(f"vs-smsr {__version__} ({known})" if known else f"vs-smsr {__version__}")
        raise typer.Exit


@app.callback()
def _program(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


@app.command(no_args_is_help=True)
def upscale(
    inputs: p.Inputs = None,
    more_inputs: p.MoreInputs = None,
    output: p.Output = None,
    mode: p.Mode = p.BALANCED,
    scale: p.Scale = None,
    model: p.Model = EngineOptions.model,
    weights: p.Weights = None,
    device: p.Device = EngineOptions.device,
    engine: p.EngineChoice = EngineOptions.engine,
    precision: p.PrecisionChoice = EngineOptions.precision,
    threads: p.Threads = EngineOptions.threads,
    codec: p.Codec = VideoOptions.codec,
    crf: p.Crf = None,
    preset: p.Preset = None,
    pix_fmt: p.PixFmt = None,
    encoder_options: p.EncoderOptions = None,
    width: p.Width = None,
    height: p.Height = None,
    no_copy_audio_streams: p.NoAudio = False,
    no_copy_subtitle_streams: p.NoSubtitles = False,
    deinterlace: p.Deinterlace = False,
    damaged: p.Damaged = VideoOptions.damaged,
    start: p.Start = None,
    end: p.End = None,
    duration: p.Duration = None,
    frames: p.Frames = None,
    memory: p.Memory = None,
    tile: p.Tile = TilingOptions.tile,
    attention: p.Attention = IN_ORDER,
    reuse: p.Reuse = IN_ORDER_REUSE,
    temporal_tile: p.TemporalTile = TilingOptions.temporal_tile,
    chunk_frames: p.ChunkFrames = JobOptions.chunk_frames,
    job: p.JobDir = None,
    restart: p.Restart = False,
    workers: p.Workers = 1,
    prepare_job: p.PrepareJob = False,
    cluster: p.Cluster = None,
    cluster_wait: p.ClusterWait = JobOptions.cluster_wait,
    insecure: p.Insecure = False,
    overwrite: p.Overwrite = False,
    recursive: p.Recursive = False,
    no_progress: p.NoProgress = False,
    preview: p.Preview = False,
    preview_terminal: p.PreviewTerminal = False,
    profile: p.Profiled = False,
    json: p.Json = None,
    dry_run: p.DryRun = False,
    log_level: p.LogLevel = "warning",
    list_devices: p.ListDevices = False,
) -> None:
    """Upscale videos and images.

    Exit codes: 0 all done, 1 a file failed (the others are done), 2 wrong usage, 130 interrupted.
    """
    with exit_codes(log_level), watching(preview, preview_terminal, not no_progress) as watch:
        from vs_smsr.cli.upscale import upscale_all

        devices = device.split(",")
        chosen = engine_options(scale, model, weights, devices[0], engine, precision, threads, profile)
        several = len(devices) * workers > 1
        job_options = JobOptions(
            chunk_frames=chunk_frames,
            folder=job,
            restart=restart,
            prepare=prepare_job,
            devices=tuple(devices * workers) if several else (),
            cluster=cluster or JobOptions.cluster,
            cluster_wait=cluster_wait,
            insecure=insecure,
        )
        video_options = VideoOptions(
            codec=codec,
            crf=crf,
            preset=preset,
            pix_fmt=pix_fmt,
            encoder_options=pairs(encoder_options or []),
            width=width,
            height=height,
            copy_audio=not no_copy_audio_streams,
            copy_subtitles=not no_copy_subtitle_streams,
            overwrite=overwrite,
            damaged=damaged,  # type: ignore[arg-type]  # checked by VideoOptions
            deinterlace=deinterlace,
            range=parse_range(start, end, duration, frames),
        )
        named = [*(inputs or []), *(more_inputs or [])]
        require(bool(named), "vs-smsr upscale", "INPUT", "a file, folder or glob", "nothing")
        failed = upscale_all(
            named,
            output,
            chosen,
            video_options,
            tiling_options(memory, tile, attention, reuse, temporal_tile),
            scale_given=scale is not None,
            recursive=recursive,
            progress=not no_progress,
            watch=watch,
            debug=log_level == "debug",
            dry_run=dry_run,
            report=json,
            job_options=job_options,
        )
        if failed:
            raise typer.Exit(FAILED)


@app.command(no_args_is_help=True)
def evaluate(
    hr: Annotated[Path, typer.Option("--hr", metavar="DIR", help="High-resolution images.", show_default=False)],
    lr: Annotated[
        Path | None,
        typer.Option("--lr", metavar="DIR", help="The same small. Default: made by MATLAB's bicubic."),
    ] = None,
    json: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the figures here too.")] = None,
    scale: p.Scale = None,
    model: p.Model = EngineOptions.model,
    weights: p.Weights = None,
    device: p.Device = EngineOptions.device,
    engine: p.EngineChoice = EngineOptions.engine,
    precision: p.PrecisionChoice = EngineOptions.precision,
    threads: p.Threads = EngineOptions.threads,
    log_level: p.LogLevel = "warning",
) -> None:
    """Measure PSNR, SSIM and sparsity on a benchmark set, as the literature defines them."""
    with exit_codes(log_level):
        from vs_smsr.cli.evaluate import run

        run(engine_options(scale, model, weights, device, engine, precision, threads), hr, lr, json)


@app.command(no_args_is_help=True)
def plan(
    inputs: Annotated[list[str], typer.Argument(metavar="INPUT...", help="Videos, images, folders or quoted globs.")],
    mode: p.Mode = p.BALANCED,
    scale: p.Scale = None,
    model: p.Model = EngineOptions.model,
    weights: p.Weights = None,
    device: p.Device = EngineOptions.device,
    engine: p.EngineChoice = EngineOptions.engine,
    precision: p.PrecisionChoice = EngineOptions.precision,
    threads: p.Threads = EngineOptions.threads,
    deinterlace: p.Deinterlace = False,
    damaged: p.Damaged = VideoOptions.damaged,
    memory: p.Memory = None,
    tile: p.Tile = TilingOptions.tile,
    attention: p.Attention = IN_ORDER,
    reuse: p.Reuse = IN_ORDER_REUSE,
    temporal_tile: p.TemporalTile = TilingOptions.temporal_tile,
    log_level: p.LogLevel = "warning",
) -> None:
    """Print how files would be upscaled: tiles, memory, streams and time. The same as upscale --dry-run."""
    with exit_codes(log_level):
        from vs_smsr.cli.upscale import upscale_all

        failed = upscale_all(
            inputs,
            None,
            engine_options(scale, model, weights, device, engine, precision, threads),
            VideoOptions(damaged=damaged, deinterlace=deinterlace),  # type: ignore[arg-type]
            tiling_options(memory, tile, attention, reuse, temporal_tile),
            scale_given=scale is not None,
            debug=log_level == "debug",
            dry_run=True,
        )
        if failed:
            raise typer.Exit(FAILED)


@app.command(no_args_is_help=True)
def masks(
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="A video or an image.", show_default=False)],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Where the pictures go.", show_default=False)
    ],
    frames: Annotated[int, typer.Option("--frames", min=1, metavar="N", help="How many frames to look at.")] = 48,
    scale: p.Scale = None,
    model: p.Model = EngineOptions.model,
    weights: p.Weights = None,
    device: p.Device = EngineOptions.device,
    engine: p.EngineChoice = EngineOptions.engine,
    precision: p.PrecisionChoice = EngineOptions.precision,
    threads: p.Threads = EngineOptions.threads,
    memory: p.Memory = None,
    tile: p.Tile = TilingOptions.tile,
    attention: p.Attention = "held",
    reuse: p.Reuse = TilingOptions.reuse,
    temporal_tile: p.TemporalTile = TilingOptions.temporal_tile,
    log_level: p.LogLevel = "warning",
) -> None:
    """Draw where the network works: each SMM's mask, reused regions, sparsity over time, channel masks."""
    with exit_codes(log_level):
        from vs_smsr.cli.masks import draw

        draw(
            source,
            output,
            frames,
            engine_options(scale, model, weights, device, engine, precision, threads),
            tiling_options(memory, tile, attention, reuse, temporal_tile),
        )


@app.command()
def models() -> None:
    """List the shipped weights: names for --model, scales, PSNR and sparsity on Set5, licence, what they are for."""
    with exit_codes("warning"):
        from vs_smsr.cli.models import list_models

        list_models()


@app.command()
def doctor() -> None:
    """Report which engines work here and what the others lack."""
    with exit_codes("warning"):
        from vs_smsr.cli.doctor import examine

        if not examine():
            raise typer.Exit(FAILED)


@app.command()
def jobs(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to look, below it too.")] = Path(),
) -> None:
    """List unfinished jobs of long videos: how far they are, and why they stopped."""
    with exit_codes("warning"):
        from vs_smsr.cli.long import list_jobs

        list_jobs(folder)


@app.command(no_args_is_help=True)
def chunk(
    job: p.Job,
    number: Annotated[int, typer.Argument(metavar="N", min=0, help="Which chunk, from 0.", show_default=False)],
    device: p.Device = EngineOptions.device,
    threads: p.Threads = EngineOptions.threads,
    memory: p.Memory = None,
    log_level: p.LogLevel = "warning",
) -> None:
    """Make one chunk of a job, on any machine that sees its folder and the source."""
    with exit_codes(log_level):
        from vs_smsr.cli.long import make_chunk

        make_chunk(job, number, device, threads, None if memory is None else parse_bytes(memory))


@app.command(no_args_is_help=True)
def join(job: p.Job, log_level: p.LogLevel = "warning") -> None:
    """Join the chunks of a job into its result, if all are there."""
    with exit_codes(log_level):
        from vs_smsr.cli.long import join_job

        join_job(job)


app.add_typer(looking.commands)
