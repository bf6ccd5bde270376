"""Train SMSR. `scripts/train.py --help` lists the options; docs/training.md has the recipe.

Run it again with the same --out to go on where it stopped. Several processes: torchrun --nproc-per-node 2
-- scripts/train.py --distributed ...
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import os
import sys
import types
import typing

import torch
import torch.distributed as dist
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from vs_smsr.errors import SmsrError
from vs_smsr.training.loop import Trainer
from vs_smsr.training.options import TrainOptions


def parser() -> argparse.ArgumentParser:
    """One --option for each field of TrainOptions, and --distributed."""
    result = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter, allow_abbrev=False
    )
    hints = typing.get_type_hints(TrainOptions)
    for field in dataclasses.fields(TrainOptions):
        kind = hints[field.name]
        names = [f"--{field.name.replace('_', '-')}"]
        if "_" in field.name:
            names.append(f"--{field.name}")
        if typing.get_origin(kind) is types.UnionType:
            kind = next(part for part in typing.get_args(kind) if part is not types.NoneType)
        choices = typing.get_args(kind) if typing.get_origin(kind) is typing.Literal else None
        several = "*" if typing.get_origin(kind) is tuple else None
        kind = typing.get_args(kind)[0] if several else kind
        if kind is bool:
            result.add_argument(*names, action="store_true", help=" ")
            continue
        required = field.default is dataclasses.MISSING
        default = None if required else field.default
        result.add_argument(
            *names, type=str if choices else kind, choices=choices, nargs=several, required=required, default=default,
            help=" ",
        )  # fmt: skip
    result.add_argument("--distributed", action="store_true", help="under torchrun: share each step's crops")
    return result


def main() -> int:
    arguments = vars(parser().parse_args())
    if arguments.pop("distributed"):
        _join(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    try:
        values = {name: tuple(value) if isinstance(value, list) else value for name, value in arguments.items()}
        trainer = Trainer(TrainOptions(**values))
        reason = _run(trainer)
        if dist.is_initialized():
            dist.barrier()  # one that leaves while another still saves takes that one's connections down
        if not trainer.rank:
            ending = "finished" if reason == "done" else f"stopped by {reason}"
            print(f"{ending}, step {trainer.step_index}, {trainer.options.out}")
    except SmsrError as error:
        print(f"train: {error}", file=sys.stderr)
        return 1
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
    return 0


def _join(arguments: dict[str, object]) -> None:
    """Enter the process group that torchrun describes; each process takes its own GPU."""
    on_gpu = str(arguments["device"]).startswith("cuda")
    if on_gpu:
        arguments["device"] = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if on_gpu else "gloo")


def _run(trainer: Trainer) -> str:
    """Train with a progress bar on a terminal, with log lines elsewhere."""
    if trainer.rank or not sys.stderr.isatty():
        return trainer.run()
    columns = (TextColumn("{task.fields[loss]}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=trainer.options.steps, completed=trainer.step_index, loss="")
        return trainer.run(lambda step, v: progress.update(task, completed=step, loss=f"loss {v['loss']:.3f}"))


if __name__ == "__main__":
    sys.exit(main())
