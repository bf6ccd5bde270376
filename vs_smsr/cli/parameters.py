"""The options of the commands, as typer takes them. Groups are headings of --help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, get_args

import typer

from vs_smsr.cli.report import LEVELS
from vs_smsr.options import IN_ORDER, IN_ORDER_REUSE, EngineName, EngineOptions, Precision
from vs_smsr.options import Attention as AttentionMode
from vs_smsr.options import Damaged as DamagedMode


def _print_devices(wanted: bool) -> None:
    if wanted:
        from vs_smsr.cli.doctor import list_devices

        list_devices()
        raise typer.Exit


BALANCED = "balanced"
MODES = {  # what each stands for; options that are given beside it count more
    "fast": {"precision": "auto", "attention": "held", "reuse": "near:2"},
    BALANCED: {"precision": EngineOptions.precision, "attention": IN_ORDER, "reuse": IN_ORDER_REUSE},
    "best": {"precision": "fp32", "attention": "frame", "reuse": "exact"},
}


def _set_mode(context: typer.Context, mode: str) -> str:
    """Make what the mode stands for the defaults of the other options."""
    if mode not in MODES:
        raise typer.BadParameter(f"--mode must be one of {', '.join(MODES)}, got {mode!r}.")
    context.default_map = {**(context.default_map or {}), **MODES[mode]}
    return mode


# Options that several commands share.
NETWORK, SOURCE, VIDEO, FRAMES, RUN = "Network and device", "Source video", "Result", "Memory and reuse", "Run"
LONG = "Long videos"
Mode = Annotated[
    str,
    typer.Option(
        "--mode",
        metavar="|".join(MODES),
        callback=_set_mode,
        is_eager=True,
        help="fast: --attention held --reuse near:2; best: --attention frame --precision fp32.",
        rich_help_panel="Options",
    ),
]
Model = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        metavar="NAME",
        help="Name of shipped weights; auto: video for lossy video, smsr else.",
        rich_help_panel=NETWORK,
    ),
]
Weights = Annotated[
    Path | None,
    typer.Option("--weights", metavar="FILE", help="A .safetensors file instead of --model.", rich_help_panel=NETWORK),
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
        help="Number format of convolutions; auto takes the fastest the device has.",
        rich_help_panel=NETWORK,
    ),
]
Threads = Annotated[
    int, typer.Option("--threads", min=0, metavar="N", help="CPU threads; 0 = all.", rich_help_panel=NETWORK)
]
Deinterlace = Annotated[
    bool,
    typer.Option(
        "--deinterlace", help="Deinterlace frames that are marked as interlaced, one for one.", rich_help_panel=SOURCE
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
Start = Annotated[
    str | None,
    typer.Option(
        "--start", metavar="TIME", help="Upscale from here on: 1:02:03.5, 2:03 or 123.5.", rich_help_panel=SOURCE
    ),
]
End = Annotated[
    str | None,
    typer.Option("--end", metavar="TIME", help="Up to here; a frame at this time is left out.", rich_help_panel=SOURCE),
]
Duration = Annotated[
    str | None, typer.Option("--duration", metavar="TIME", help="Instead of --end.", rich_help_panel=SOURCE)
]
Frames = Annotated[
    str | None,
    typer.Option(
        "--frames",
        metavar="A-B",
        help="Instead of times: frames A to B, counted from 0; A- goes to the end.",
        rich_help_panel=SOURCE,
    ),
]
Memory = Annotated[
    str | None,
    typer.Option(
        "--memory",
        metavar="SIZE",
        help="Memory limit, such as 1.5G. Default: 60% of what is free.",
        rich_help_panel=FRAMES,
    ),
]
Tile = Annotated[
    int,
    typer.Option(
        "--tile", min=0, metavar="N", help="Side of a tile; 0 = as large as memory allows.", rich_help_panel=FRAMES
    ),
]
Attention = Annotated[
    str,
    typer.Option(
        "--attention",
        metavar="|".join(get_args(AttentionMode)),
        help="Of videos: each frame's own, a scene's first frame's, or that where it makes no visible difference.",
        rich_help_panel=FRAMES,
    ),
]
Reuse = Annotated[
    str,
    typer.Option(
        "--reuse",
        metavar="auto|forward|exact|near:N|off",
        help="Copy what did not change; forward ignores coding noise, auto where that costs less than 50 dB.",
        rich_help_panel=FRAMES,
    ),
]
TemporalTile = Annotated[
    int,
    typer.Option(
        "--temporal-tile", min=2, metavar="N", help="Most frames that share one attention.", rich_help_panel=FRAMES
    ),
]
LogLevel = Annotated[
    str,
    typer.Option(
        "--log-level", metavar="LEVEL", help=f"What is logged to stderr: {', '.join(LEVELS)}.", rich_help_panel=RUN
    ),
]
ListDevices = Annotated[
    bool,
    typer.Option(
        "--list-devices", callback=_print_devices, is_eager=True, help="List devices and exit.", rich_help_panel=RUN
    ),
]

# Options of `upscale` alone.
Inputs = Annotated[
    list[str] | None,
    typer.Argument(metavar="INPUT...", help="Videos, images, folders or quoted globs.", show_default=False),
]
MoreInputs = Annotated[list[str] | None, typer.Option("--input", "-i", metavar="INPUT", help="The same as INPUT.")]
Output = Annotated[  # not a Path, which takes "Season.01/" for a file and "./-" for "-"
    str | None,
    typer.Option("--output", "-o", metavar="OUT", help="File or folder. Default: name_x2.ext beside the input."),
]
Codec = Annotated[str, typer.Option("--codec", "-c", metavar="NAME", help="Any FFmpeg encoder.", rich_help_panel=VIDEO)]
Crf = Annotated[
    float | None,
    typer.Option("--crf", min=0, metavar="N", help="Quality; lower is better. Default: 16.", rich_help_panel=VIDEO),
]
Preset = Annotated[
    str | None, typer.Option("--preset", metavar="NAME", help="The encoder's preset.", rich_help_panel=VIDEO)
]
PixFmt = Annotated[
    str | None,
    typer.Option(
        "--pix-fmt", metavar="NAME", help="Default: yuv420p, or 10 bit for a 10-bit source.", rich_help_panel=VIDEO
    ),
]
EncoderOptions = Annotated[
    list[str] | None,
    typer.Option("--extra-encoder-option", "-e", metavar="KEY=VALUE", help="Repeatable.", rich_help_panel=VIDEO),
]
Width = Annotated[
    int | None,
    typer.Option(
        "--width", min=1, metavar="N", help="Final size; one side preserves the aspect ratio.", rich_help_panel=VIDEO
    ),
]
Height = Annotated[
    int | None, typer.Option("--height", min=1, metavar="N", help="Such as 2160 for 4K.", rich_help_panel=VIDEO)
]
NoAudio = Annotated[bool, typer.Option("--no-copy-audio-streams", help="Drop audio.", rich_help_panel=VIDEO)]
NoSubtitles = Annotated[bool, typer.Option("--no-copy-subtitle-streams", help="Drop subtitles.", rich_help_panel=VIDEO)]
ChunkFrames = Annotated[
    int,
    typer.Option(
        "--chunk-frames",
        min=0,
        metavar="N",
        help="Frames of a long video that are encoded together; 0 = all, and nothing can be resumed.",
        rich_help_panel=LONG,
    ),
]
JobDir = Annotated[
    Path | None,
    typer.Option("--job", metavar="DIR", help="Where chunks wait. Default: beside the result.", rich_help_panel=LONG),
]
Restart = Annotated[bool, typer.Option("--restart", help="Begin anew instead of resuming.", rich_help_panel=LONG)]
PrepareJob = Annotated[
    bool,
    typer.Option("--prepare-job", help="Only write the job; vs-smsr chunk and join do it.", rich_help_panel=LONG),
]
Workers = Annotated[
    int,
    typer.Option(
        "--workers",
        min=1,
        metavar="N",
        help="Processes on each device, which share threads and memory.",
        rich_help_panel=LONG,
    ),
]
Cluster = Annotated[
    str | None,
    typer.Option(
        "--cluster",
        metavar="ADDRESS",
        help="Workers of a dask cluster make the parts: tcp://host:8786, tls://host:8786, or local:N.",
        rich_help_panel=LONG,
    ),
]
ClusterWait = Annotated[
    float,
    typer.Option(
        "--cluster-wait", metavar="SECONDS", help="Fail after so long without a worker that fits.", rich_help_panel=LONG
    ),
]
Insecure = Annotated[
    bool, typer.Option("--insecure", help="Allow tcp:// to another machine, without TLS.", rich_help_panel=LONG)
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing files.", rich_help_panel=RUN)]
Recursive = Annotated[bool, typer.Option("--recursive", "-r", help="Search folders recursively.", rich_help_panel=RUN)]
NoProgress = Annotated[bool, typer.Option("--no-progress", help="Show no progress bar.", rich_help_panel=RUN)]
Preview = Annotated[
    bool,
    typer.Option("--preview", help="Serve a page on this machine that shows the latest frame.", rich_help_panel=RUN),
]
PreviewTerminal = Annotated[
    bool,
    typer.Option("--preview-terminal", help="Draw it above the progress bar instead.", rich_help_panel=RUN),
]
Profiled = Annotated[bool, typer.Option("--profile", help="Print time per kernel and SMM (cpu).", rich_help_panel=RUN)]
Json = Annotated[
    Path | None,
    typer.Option("--json", metavar="FILE", help="Also write the result for each file as JSON.", rich_help_panel=RUN),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan and write nothing.", rich_help_panel=RUN)]
Job = Annotated[Path, typer.Argument(metavar="JOB", help="The job's folder (.vs-smsr).", show_default=False)]
