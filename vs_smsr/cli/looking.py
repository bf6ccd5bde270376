"""The commands that show and measure results: `preview` and `compare`. They become commands of `cli.app`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from vs_smsr.cli import parameters as p
from vs_smsr.cli.given import engine_options, exit_codes, pairs, tiling_options
from vs_smsr.options import IN_ORDER, IN_ORDER_REUSE, EngineOptions, TilingOptions, VideoOptions, require

commands = typer.Typer()
Page = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", metavar="PAGE", help="An .html file. Default: name_preview.html beside the first input."
    ),
]
SAMPLES = "Samples of videos"


@commands.command(no_args_is_help=True)
def preview(
    inputs: Annotated[list[str], typer.Argument(metavar="INPUT...", help="Videos, images, folders or quoted globs.")],
    output: Page = None,
    samples: Annotated[
        int, typer.Option("--samples", min=1, metavar="N", help="How many.", rich_help_panel=SAMPLES)
    ] = 5,
    sample_seconds: Annotated[
        float, typer.Option("--sample-seconds", metavar="SECONDS", help="Of each.", rich_help_panel=SAMPLES)
    ] = 2.0,
    start: Annotated[
        float, typer.Option("--start", metavar="SECONDS", help="Sample from here on.", rich_help_panel=SAMPLES)
    ] = 0.0,
    duration: Annotated[
        float | None,
        typer.Option("--duration", metavar="SECONDS", help="Sample so much. Default: all.", rich_help_panel=SAMPLES),
    ] = None,
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
    deinterlace: p.Deinterlace = False,
    damaged: p.Damaged = VideoOptions.damaged,
    memory: p.Memory = None,
    tile: p.Tile = TilingOptions.tile,
    attention: p.Attention = IN_ORDER,
    reuse: p.Reuse = IN_ORDER_REUSE,
    temporal_tile: p.TemporalTile = TilingOptions.temporal_tile,
    overwrite: p.Overwrite = False,
    no_progress: p.NoProgress = False,
    log_level: p.LogLevel = "warning",
) -> None:
    """Upscale samples and show them on a page that opens offline, with the whole job's time, size and memory.

    --model, --precision, --attention and --reuse take several values with commas between: all are compared.
    """
    with exit_codes(log_level):
        from vs_smsr.cli.preview import Variant, preview_all, variants
        from vs_smsr.preview.samples import Wanted

        lists = {"model": model, "precision": precision, "attention": attention, "reuse": reuse}
        named = {name: [(_name(name, value), value) for value in text.split(",")] for name, text in lists.items()}
        if weights is not None:
            named["model"] = [(weights.stem, model)]
        video_options = VideoOptions(
            codec=codec,
            crf=crf,
            preset=preset,
            pix_fmt=pix_fmt,
            encoder_options=pairs(encoder_options or []),
            width=width,
            height=height,
            damaged=damaged,  # type: ignore[arg-type]  # checked by VideoOptions
            deinterlace=deinterlace,
        )

        def variant(name: str, chosen: dict[str, Any]) -> Variant:
            options = engine_options(scale, chosen["model"], weights, device, engine, chosen["precision"], threads)
            return Variant(
                name, options, tiling_options(memory, tile, chosen["attention"], chosen["reuse"], temporal_tile)
            )

        preview_all(
            inputs,
            output,
            [variant(name, chosen) for name, chosen in variants(named)],
            video_options,
            Wanted(samples=samples, seconds=sample_seconds, start=start, duration=duration),
            overwrite=overwrite,
            progress=not no_progress,
        )


def _name(setting: str, value: str) -> str:
    """Of a variant: models by their name alone."""
    require(bool(value), "vs-smsr preview", f"--{setting}", "values with commas between", "an empty one")
    return value if setting == "model" else f"{setting} {value}"


@commands.command(no_args_is_help=True)
def compare(
    reference: Annotated[Path, typer.Argument(metavar="REFERENCE", help="The original, a video or an image.")],
    results: Annotated[list[Path], typer.Argument(metavar="RESULT...", help="What is measured against it.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="PAGE", help="Also write a page, an .html file.")
    ] = None,
    json: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Also write the figures of every frame as JSON.")
    ] = None,
    resize: Annotated[
        bool, typer.Option("--resize", help="Bring results of another size to the reference's, by bicubic.")
    ] = False,
    overwrite: p.Overwrite = False,
    log_level: p.LogLevel = "warning",
) -> None:
    """Measure PSNR, SSIM, VMAF and VMAF-NEG of results, frame by frame; the page shows the worst frames first."""
    with exit_codes(log_level):
        from vs_smsr.cli.compare import compare_all

        compare_all(reference, results, page=output, report=json, resize=resize, overwrite=overwrite)
