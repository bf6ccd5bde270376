"""Counters on which threads wait awake for a short while, since being woken takes as long as a small kernel."""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import platform
from typing import Any

import numpy as np
from llvmlite import ir

from vs_smsr.engine.compiled import brief, cgutils, compiled, intrinsic, types

AWAKE = 8192  # looks at a cell before a wait ends in vain: about a tenth of a millisecond, by the processor


class Cell:
    """A counter at 0 that is changed by `add` only."""

    def __init__(self) -> None:
        self._value = np.zeros(1, np.int64)

    def add(self, amount: int) -> int:
        """Returns the value before. Who sees the sum sees all that this thread wrote before it."""
        return _add(self._value, amount)

    def reaches(self, value: int, looks: int = AWAKE) -> bool:
        """Wait until it is `value` or more; False if it is not after so many looks at it."""
        return _reaches(self._value, value, looks) != 0


@intrinsic
def _add_to(typingctx: Any, cell: Any, amount: Any) -> Any:
    signature = types.int64(cell, types.int64)

    def codegen(context: Any, b: ir.IRBuilder, sig: Any, args: Any) -> Any:
        return b.atomic_rmw("add", context.make_array(sig.args[0])(context, b, args[0]).data, args[1], "seq_cst")

    return signature, codegen


@intrinsic
def _look(typingctx: Any, cell: Any) -> Any:
    """The value; x86 processors pause first, which leaves the core to its other thread."""
    signature = types.int64(cell)
    pauses = platform.machine().lower() in ("x86_64", "amd64")

    def codegen(context: Any, b: ir.IRBuilder, sig: Any, args: Any) -> Any:
        if pauses:
            kind = ir.FunctionType(ir.VoidType(), [])
            b.call(cgutils.get_or_insert_function(b.module, kind, "llvm.x86.sse2.pause"), [])
        return b.load_atomic(context.make_array(sig.args[0])(context, b, args[0]).data, "seq_cst", 8)

    return signature, codegen


@brief
def _add(cell, amount):
    return _add_to(cell, amount)


@compiled
def _reaches(cell, value, looks):
    done = 0
    while _look(cell) < value and done < looks:
        done += 1
    return done < looks
