"""The program around the commands: options of ffmpeg are understood, wrong usage is one line and exit code 2."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

from vs_smsr.cli.report import one_line, warn

UsageError: Any = typer.BadParameter.__mro__[1]  # its own module has moved
NEAR = 0.7  # likeness, 0..1, from which an option is suggested
FFMPEG = {  # options of ffmpeg -> ours
    "-an": "--no-copy-audio-streams",
    "-c:v": "--codec",
    "-codec:v": "--codec",
    "-crf": "--crf",
    "-loglevel": "--log-level",
    "-pix_fmt": "--pix-fmt",
    "-preset": "--preset",
    "-sn": "--no-copy-subtitle-streams",
    "-threads": "--threads",
    "-vcodec": "--codec",
    "-version": "--version",
    "-y": "--overwrite",
}
TILES = "Tiles have no seams and the right overlap by themselves: leave it out, or use --tile or --memory."
GPU = "Use --device cuda:N."
PEERS = {  # options of other upscalers -> what to do here
    "--backend": "Use --engine and --device.",
    "--denoise-strength": "There is no denoising.",
    "--face-enhance": "There is no model for faces.",
    "--fp16": "Use --precision fp16.",
    "--fp32": "Use --precision fp32.",
    "--gpu-id": GPU,
    "--half": "Use --precision fp16.",
    "--hwaccel": "Decoding is done by the CPU, beside the network.",
    "--model-name": "Use --model.",
    "--model-path": "Use --weights.",
    "--outscale": "Use --scale, or --width or --height for a final size.",
    "--output-scale": "Use --scale, or --width or --height for a final size.",
    "--overlap": TILES,
    "--quality": "Use --crf.",
    "--tile-pad": TILES,
    "--tilesize": "Use --tile.",
    "--upscale-factor": "Use --scale.",
}


class Program(TyperGroup):
    """The group of all commands; typer's own prints a box for wrong usage."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        given = _ours(list(sys.argv[1:] if args is None else args))
        try:
            code = super().main(given, prog_name, complete_var, False, windows_expand_args, **extra)
        except UsageError as error:
            if not standalone_mode:
                raise
            if type(error).__name__ == "NoArgsIsHelpError":
                error.show()
            else:
                warn(one_line(f"error: {_explained(error, given)}"))
            sys.exit(error.exit_code)
        if not standalone_mode:
            return code
        sys.exit(code if isinstance(code, int) else 0)


def _ours(arguments: list[str]) -> list[str]:
    """The arguments with ffmpeg's options by our names; what comes after "--" stays."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    return [FFMPEG.get(argument, argument) for argument in arguments[:end]] + arguments[end:]


def _explained(error: Any, arguments: list[str]) -> str:
    """What is wrong, what was meant, and where to read more."""
    command = error.ctx.command_path if error.ctx else "vs-smsr"
    more = f"See {command} --help."
    option = getattr(error, "option_name", None)
    if option and hasattr(error, "possibilities"):
        name = option.replace("_", "-")
        near = get_close_matches(name, error.possibilities or [], 1, NEAR)
        advice = PEERS.get(name) or "".join(f"Did you mean {one}?" for one in near)
        return " ".join(f"{command}: there is no option {name}. {advice} {more}".split())
    message = " ".join(error.format_message().split())
    first = next(iter(arguments), "")
    if message.startswith("No such command") and Path(first).exists():
        message = f"there is no command {first!r}. Did you mean vs-smsr upscale {first}?"
    stop = "" if message.endswith((".", "?")) else "."
    return f"{command}: {message}{stop} {more}"
