"""What all commands share: options from what a user gave, errors to exit codes. Heavy imports are late here too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from vs_smsr.cli import interrupts
from vs_smsr.cli.report import LEVELS, error_line, set_up_logging, warn
from vs_smsr.errors import OptionError
from vs_smsr.options import EngineOptions, TilingOptions, parse_bytes, require

FAILED, USAGE, INTERRUPTED = 1, 2, 130


@contextmanager
def exit_codes(log_level: str) -> Iterator[None]:
    """Turn errors into one line on stderr and an exit code."""
    try:
        require(log_level in LEVELS, "vs-smsr", "--log-level", f"one of {', '.join(LEVELS)}", log_level)
        set_up_logging(log_level)
        yield
        interrupts.check()
    except KeyboardInterrupt as error:
        warn(str(error) or "interrupted; nothing unfinished is left")
        raise typer.Exit(INTERRUPTED) from None
    except typer.Exit:
        raise
    except Exception as error:
        warn(error_line(error))
        if log_level == "debug":
            raise
        raise typer.Exit(USAGE if isinstance(error, OptionError) else FAILED) from None


def engine_options(
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


def tiling_options(memory: str | None, tile: int, attention: str, reuse: str, temporal_tile: int) -> TilingOptions:
    """Options as the user gave them, the memory as text."""
    return TilingOptions(
        memory=None if memory is None else parse_bytes(memory),
        tile=tile,
        attention=attention,  # type: ignore[arg-type]  # checked by TilingOptions
        reuse=reuse,
        temporal_tile=temporal_tile,
    )


def pairs(texts: list[str]) -> dict[str, str]:
    """ "KEY=VALUE" ... -> {"KEY": "VALUE", ...}"""
    found = {}
    for text in texts:
        key, equals, value = text.partition("=")
        require(bool(key and equals), "vs-smsr", "--extra-encoder-option", "KEY=VALUE", text)
        found[key] = value
    return found
