"""The commands and their options. Only what `--help` needs is imported here: it must come at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, get_args

import typer

from vs_smsr.cli import interrupts
from vs_smsr.cli.report import LEVELS, error_line, prepare_output, set_up_logging, warn
from vs_smsr.errors import OptionError
from vs_smsr.options import Attention as AttentionMode
from vs_smsr.options import Damaged as DamagedMode
from vs_smsr.options import EngineName, EngineOptions, Precision, TilingOptions, VideoOptions, parse_bytes, require

FAILED, USAGE, INTERRUPTED = 1, 2, 130

app = typer.Typer(
    name="vs-smsr",
    help="Upscale video and images with SMSR, a network that skips the pixels that need no work.",
    add_completion=False,
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


@contextmanager
def _exit_codes(log_level: str) -> Iterator[None]:
    """Turn errors into one line on stderr and an exit code."""
    try:
        require(log_level in LEVELS, "vs-smsr", "--log-level", f"one of {', '.join(LEVELS)}", log_level)
        set_up_logging(log_level)
        yield
        interrupts.check()
    except KeyboardInterrupt:
        warn("interrupted; nothing unfinished is left")
        raise typer.Exit(INTERRUPTED) from None
    except typer.Exit:
        raise
    except Exception as error:
        warn(error_line(error))
        if log_level == "debug":
            raise
        raise typer.Exit(USAGE if isinstance(error, OptionError) else FAILED) from None


def _print_version(wanted: bool) -> None:
    if wanted:
        from vs_smsr import __version__
        from vs_smsr.cli.report import say

        say(f"vs-smsr {__version__}")
        raise typer.Exit


def _print_devices(wanted: bool) -> None:
    if wanted:
        from vs_smsr.cli.doctor import list_devices

        list_devices()
        raise typer.Exit


@app.callback()
def _program(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


# Options that several commands share. Groups are headings of --help.
NETWORK, SOURCE, VIDEO, FRAMES, RUN = "Network and device", "Source video", "Result", "Memory and reuse", "Run"
Model = Annotated[
    str, typer.Option("--model", "-m", metavar="NAME", help="Shipped weights to use.", rich_help_panel=NETWORK)
]
Weights = Annotated[
    Path | None,
    typer.Option("--weights", metavar="FILE", help="A .safetensors file instead.", rich_help_panel=NETWORK),
]
Scale = Annotated[
    int | None,
    typer.Option(
        "--scale",
        "-s",
        min=2,
        max=4,
        metavar="N",
        help="2, 3 or 4. Default: that of --weights; what --width and --height need; else 2.",
        rich_help_panel=NETWORK,
    ),
]
Device = Annotated[
    str, typer.Option("--device", "-d", metavar="auto|cpu|cuda|cuda:N", help="Where to run.", rich_help_panel=NETWORK)
]
EngineChoice = Annotated[
    str,
    typer.Option("--engine", metavar="|".join(get_args(EngineName)), help="What runs it.", rich_help_panel=NETWORK),
]
PrecisionChoice = Annotated[
    str,
    typer.Option(
        "--precision",
        metavar="|".join(get_args(Precision)),
        help="Number format of convolutions; auto takes the fastest that the device has.",
        rich_help_panel=NETWORK,
    ),
]
Threads = Annotated[
    int, typer.Option("--threads", min=0, metavar="N", help="CPU threads; 0 = all.", rich_help_panel=NETWORK)
]
Deinterlace = Annotated[
    bool,
    typer.Option(
        "--deinterlace",
        help="Make one whole frame of each that is marked as interlaced, before upscaling.",
        rich_help_panel=SOURCE,
    ),
]
Damaged = Annotated[
    str,
    typer.Option(
        "--damaged",
        metavar="|".join(get_args(DamagedMode)),
        help="auto refuses videos that are cut off or lack frames, keep upscales what can be decoded, "
        "stop refuses any damage.",
        rich_help_panel=SOURCE,
    ),
]
Memory = Annotated[
    str | None,
    typer.Option(
        "--memory",
        metavar="SIZE",
        help="Most memory to use, such as 1.5G. Default: 60% of what is free.",
        rich_help_panel=FRAMES,
    ),
]
Tile = Annotated[
    int,
    typer.Option(
        "--tile", min=0, metavar="N", help="Side of a tile; 0 = what the memory allows.", rich_help_panel=FRAMES
    ),
]
Attention = Annotated[
    str,
    typer.Option(
        "--attention",
        metavar="|".join(get_args(AttentionMode)),
        help="Of videos: each frame's own, that of a scene's first frame, or that where it makes no difference.",
        rich_help_panel=FRAMES,
    ),
]
Reuse = Annotated[
    str,
    typer.Option(
        "--reuse",
        metavar="exact|near:N|off",
        help="Copy what did not change; near:2 takes changes up to 2 of 255 for none.",
        rich_help_panel=FRAMES,
    ),
]
TemporalTile = Annotated[
    int,
    typer.Option("--temporal-tile", min=2, metavar="N", help="Most frames with one attention.", rich_help_panel=FRAMES),
]
LogLevel = Annotated[
    str, typer.Option("--log-level", metavar="|".join(LEVELS), help="What to tell on stderr.", rich_help_panel=RUN)
]
ListDevices = Annotated[
    bool,
    typer.Option(
        "--list-devices", callback=_print_devices, is_eager=True, help="List devices and exit.", rich_help_panel=RUN
    ),
]


@app.command(no_args_is_help=True)
def upscale(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(metavar="INPUT...", help="Videos, images, folders or quoted globs.", show_default=False),
    ] = None,
    more_inputs: Annotated[
        list[str] | None, typer.Option("--input", "-i", metavar="INPUT", help="The same as INPUT.")
    ] = None,
    output: Annotated[  # not a Path, which takes "Season.01/" for a file and "./-" for "-"
        str | None,
        typer.Option("--output", "-o", metavar="OUT", help="File or folder. Default: name_x2.ext beside the input."),
    ] = None,
    scale: Scale = None,
    model: Model = "smsr",
    weights: Weights = None,
    device: Device = "auto",
    engine: EngineChoice = "auto",
    precision: PrecisionChoice = "auto",
    threads: Threads = 0,
    codec: Annotated[
        str, typer.Option("--codec", "-c", metavar="NAME", help="Any encoder of FFmpeg.", rich_help_panel=VIDEO)
    ] = "libx264",
    crf: Annotated[
        float | None,
        typer.Option("--crf", min=0, metavar="N", help="Quality, lower is better. Default: 16.", rich_help_panel=VIDEO),
    ] = None,
    preset: Annotated[
        str | None, typer.Option("--preset", metavar="NAME", help="The encoder's preset.", rich_help_panel=VIDEO)
    ] = None,
    pix_fmt: Annotated[
        str | None,
        typer.Option(
            "--pix-fmt", metavar="NAME", help="Default: yuv420p, or 10 bit for such a source.", rich_help_panel=VIDEO
        ),
    ] = None,
    encoder_options: Annotated[
        list[str] | None,
        typer.Option("--extra-encoder-option", "-e", metavar="KEY=VALUE", help="Repeatable.", rich_help_panel=VIDEO),
    ] = None,
    width: Annotated[
        int | None,
        typer.Option(
            "--width", min=1, metavar="N", help="Final size; one alone keeps the shape.", rich_help_panel=VIDEO
        ),
    ] = None,
    height: Annotated[
        int | None, typer.Option("--height", min=1, metavar="N", help="Such as 2160 for 4K.", rich_help_panel=VIDEO)
    ] = None,
    no_copy_audio_streams: Annotated[
        bool, typer.Option("--no-copy-audio-streams", help="Leave sound out.", rich_help_panel=VIDEO)
    ] = False,
    no_copy_subtitle_streams: Annotated[
        bool, typer.Option("--no-copy-subtitle-streams", help="Leave subtitles out.", rich_help_panel=VIDEO)
    ] = False,
    deinterlace: Deinterlace = False,
    damaged: Damaged = "auto",
    memory: Memory = None,
    tile: Tile = 0,
    attention: Attention = "auto",
    reuse: Reuse = "exact",
    temporal_tile: TemporalTile = 48,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files that exist.", rich_help_panel=RUN)
    ] = False,
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Search folders in folders too.", rich_help_panel=RUN)
    ] = False,
    no_progress: Annotated[
        bool, typer.Option("--no-progress", help="Show no progress bar.", rich_help_panel=RUN)
    ] = False,
    profile: Annotated[
        bool, typer.Option("--profile", help="Print the time per op and SMM (cpu).", rich_help_panel=RUN)
    ] = False,
    json: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Write what became of each file as JSON too.", rich_help_panel=RUN),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan and write nothing.", rich_help_panel=RUN)
    ] = False,
    log_level: LogLevel = "warning",
    list_devices: ListDevices = False,
) -> None:
    """Upscale videos and images.

    Exit codes: 0 all done, 1 a file failed (the others are done), 2 wrong usage, 130 interrupted.
    """
    with _exit_codes(log_level):
        from vs_smsr.cli.upscale import upscale_all

        engine_options = _engine_options(scale, model, weights, device, engine, precision, threads, profile)
        video_options = VideoOptions(
            codec=codec,
            crf=crf,
            preset=preset,
            pix_fmt=pix_fmt,
            encoder_options=_pairs(encoder_options or []),
            width=width,
            height=height,
            copy_audio=not no_copy_audio_streams,
            copy_subtitles=not no_copy_subtitle_streams,
            overwrite=overwrite,
            damaged=damaged,  # type: ignore[arg-type]  # checked by VideoOptions
            deinterlace=deinterlace,
        )
        named = [*(inputs or []), *(more_inputs or [])]
        require(bool(named), "vs-smsr upscale", "INPUT", "a file, folder or glob", "nothing")
        failed = upscale_all(
            named,
            output,
            engine_options,
            video_options,
            _tiling_options(memory, tile, attention, reuse, temporal_tile),
            scale_given=scale is not None,
            recursive=recursive,
            progress=not no_progress,
            debug=log_level == "debug",
            dry_run=dry_run,
            report=json,
        )
        if failed:
            raise typer.Exit(FAILED)


def _engine_options(
    scale: int | None,
    model: str,
    weights: Path | None,
    device: str,
    engine: str,
    precision: str,
    threads: int,
    profile: bool = False,
) -> EngineOptions:
    """Options as the user gave them; without a scale that of the weights file counts, else 2."""
    if scale is None and weights is not None:
        from vs_smsr.weights import load

        scale = load(weights).scale
    return EngineOptions(
        scale=scale or 2,
        model=model,
        weights=weights,
        device=device,
        engine=engine,  # type: ignore[arg-type]  # checked by EngineOptions
        precision=precision,  # type: ignore[arg-type]
        threads=threads,
        profile=profile,
    )


def _tiling_options(memory: str | None, tile: int, attention: str, reuse: str, temporal_tile: int) -> TilingOptions:
    return TilingOptions(
        memory=None if memory is None else parse_bytes(memory),
        tile=tile,
        attention=attention,  # type: ignore[arg-type]  # checked by TilingOptions
        reuse=reuse,
        temporal_tile=temporal_tile,
    )


def _pairs(texts: list[str]) -> dict[str, str]:
    pairs = {}
    for text in texts:
        key, equals, value = text.partition("=")
        require(bool(key and equals), "vs-smsr", "--extra-encoder-option", "KEY=VALUE", text)
        pairs[key] = value
    return pairs


@app.command(no_args_is_help=True)
def evaluate(
    hr: Annotated[Path, typer.Option("--hr", metavar="DIR", help="High-resolution images.", show_default=False)],
    lr: Annotated[
        Path | None,
        typer.Option("--lr", metavar="DIR", help="The same small. Default: made by MATLAB's bicubic."),
    ] = None,
    json: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the figures here too.")] = None,
    scale: Scale = None,
    model: Model = "smsr",
    weights: Weights = None,
    device: Device = "auto",
    engine: EngineChoice = "auto",
    precision: PrecisionChoice = "auto",
    threads: Threads = 0,
    log_level: LogLevel = "warning",
) -> None:
    """Measure PSNR, SSIM and sparsity on a benchmark set, as the literature defines them."""
    with _exit_codes(log_level):
        from vs_smsr.cli.evaluate import run

        run(_engine_options(scale, model, weights, device, engine, precision, threads), hr, lr, json)


@app.command(no_args_is_help=True)
def plan(
    inputs: Annotated[list[str], typer.Argument(metavar="INPUT...", help="Videos, images, folders or quoted globs.")],
    scale: Scale = None,
    model: Model = "smsr",
    weights: Weights = None,
    device: Device = "auto",
    engine: EngineChoice = "auto",
    precision: PrecisionChoice = "auto",
    threads: Threads = 0,
    deinterlace: Deinterlace = False,
    damaged: Damaged = "auto",
    memory: Memory = None,
    tile: Tile = 0,
    attention: Attention = "auto",
    reuse: Reuse = "exact",
    temporal_tile: TemporalTile = 48,
    log_level: LogLevel = "warning",
) -> None:
    """Print how files would be upscaled: tiles, memory, streams and time. The same as upscale --dry-run."""
    with _exit_codes(log_level):
        from vs_smsr.cli.upscale import upscale_all

        failed = upscale_all(
            inputs,
            None,
            _engine_options(scale, model, weights, device, engine, precision, threads),
            VideoOptions(damaged=damaged, deinterlace=deinterlace),  # type: ignore[arg-type]
            _tiling_options(memory, tile, attention, reuse, temporal_tile),
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
    scale: Scale = None,
    model: Model = "smsr",
    weights: Weights = None,
    device: Device = "auto",
    engine: EngineChoice = "auto",
    precision: PrecisionChoice = "auto",
    threads: Threads = 0,
    memory: Memory = None,
    tile: Tile = 0,
    attention: Attention = "held",
    reuse: Reuse = "exact",
    temporal_tile: TemporalTile = 48,
    log_level: LogLevel = "warning",
) -> None:
    """Draw where the network works: masks of each SMM, reused regions, sparsity over time, channel masks."""
    with _exit_codes(log_level):
        from vs_smsr.cli.masks import draw

        draw(
            source,
            output,
            frames,
            _engine_options(scale, model, weights, device, engine, precision, threads),
            _tiling_options(memory, tile, attention, reuse, temporal_tile),
        )


@app.command()
def doctor() -> None:
    """Tell which engines work here and what the others lack."""
    with _exit_codes("warning"):
        from vs_smsr.cli.doctor import examine

        if not examine():
            raise typer.Exit(FAILED)
