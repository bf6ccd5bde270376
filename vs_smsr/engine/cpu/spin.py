"""Counters on which threads wait awake for a short while, since being woken takes as long as a small kernel."""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import os
import platform
from functools import cached_property
from typing import Any

import numpy as np
from llvmlite import ir

from vs_smsr.engine.compiled import brief, cgutils, compiled, inlined, intrinsic, types

AWAKE = 8192  # looks at a cell before a wait ends in vain: about a tenth of a millisecond, by the processor
STEP = 200  # looks that take about as long as Python's way out of a call, or into one
PATIENT = 256  # looks at a counter before others are let on the CPU
YIELD = "SwitchToThread" if os.name == "nt" else "sched_yield"


class Cell:
    """A counter at 0 that is changed by `add` and `tell` only.

    Attributes:
        address: of its int64, for compiled code; it lives as long as the cell.
    """

    def __init__(self) -> None:
        self._value = np.zeros(1, np.int64)

    @cached_property
    def address(self) -> int:
        return self._value.ctypes.data

    def add(self, amount: int) -> int:
        """Returns the value before. Who sees the sum sees all that this thread wrote before it."""
        return _add(self._value, amount)

    def tell(self, amount: int) -> None:
        """Add, where others wait that go on in Python: the GIL is free when they see it, and a moment longer."""
        _tell(self._value, amount)

    def reaches(self, value: int, looks: int = AWAKE) -> bool:
        """Wait until it is `value` or more; False if it is not after so many looks at it.

        Returns a moment after it sees that: who added has done with the GIL by then. Waiting for the GIL would take
        ten times as long, since it is the system that wakes who waits for that.
        """
        return _reaches(self._value, value, looks) != 0


@intrinsic
def address_of(typingctx: Any, array: Any) -> Any:
    """Of the first element, an int64."""
    signature = types.int64(array)

    def codegen(context: Any, b: ir.IRBuilder, sig: Any, args: Any) -> Any:
        return b.ptrtoint(context.make_array(sig.args[0])(context, b, args[0]).data, ir.IntType(64))

    return signature, codegen


@intrinsic
def add_at(typingctx: Any, address: Any, amount: Any) -> Any:
    """Atomically add to the int64 there; returns the value before."""
    signature = types.int64(types.int64, types.int64)

    def codegen(context: Any, b: ir.IRBuilder, sig: Any, args: Any) -> Any:
        place = b.inttoptr(args[0], ir.IntType(64).as_pointer())
        return b.atomic_rmw("add", place, args[1], "seq_cst")

    return signature, codegen


@intrinsic
def _look(typingctx: Any, address: Any) -> Any:
    """The int64 there; x86 processors pause first, which leaves the core to its other thread."""
    signature = types.int64(types.int64)
    pauses = platform.machine().lower() in ("x86_64", "amd64")

    def codegen(context: Any, b: ir.IRBuilder, sig: Any, args: Any) -> Any:
        if pauses:
            kind = ir.FunctionType(ir.VoidType(), [])
            b.call(cgutils.get_or_insert_function(b.module, kind, "llvm.x86.sse2.pause"), [])
        return b.load_atomic(b.inttoptr(args[0], ir.IntType(64).as_pointer()), "seq_cst", 8)

    return signature, codegen


@intrinsic
def _give_way(typingctx: Any) -> Any:
    """Let another thread on this CPU, if there is one that can go on."""
    signature = types.int32()

    def codegen(context: Any, b: ir.IRBuilder, sig: Any, args: Any) -> Any:
        kind = ir.FunctionType(ir.IntType(32), [])
        return b.call(cgutils.get_or_insert_function(b.module, kind, YIELD), [])

    return signature, codegen


@inlined
def wait_for(address, least):
    """The int64 there, as soon as it is `least` or more. Others work on that: with fewer CPUs they come first."""
    looks, found = 0, _look(address)
    while found < least:
        looks += 1
        if looks > PATIENT:
            _give_way()
        found = _look(address)
    return found


@brief
def _add(cell, amount):
    return add_at(address_of(cell), amount)


@compiled
def _tell(cell, amount):
    add_at(address_of(cell), amount)
    for _ in range(STEP):
        _look(address_of(cell))


@compiled
def _reaches(cell, value, looks):
    done = 0
    while _look(address_of(cell)) < value and done < looks:
        done += 1
    for _ in range(STEP):
        _look(address_of(cell))
    return done < looks
