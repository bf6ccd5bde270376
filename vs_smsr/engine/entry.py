"""How Python calls compiled code: the entry, in LLVM's text, looks at arguments and passes them on without the GIL.

It reads objects as CPython and NumPy lay them out, which `check_layouts` makes sure of, and calls the function as
Numba does: a place for the result, one for an error, and each array as seven or more arguments.

Source: CPython's and NumPy's headers (object.h, ndarraytypes.h), and the calling convention in numba.core.callconv.
"""

from __future__ import annotations

import ctypes
import itertools
import platform
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np

from vs_smsr.errors import EngineError

type Types = tuple[str | Types, ...]  # float32, int64 ...; float32[2C], a contiguous array, or float32[2A], another

NAME = "vs_smsr_entry"
FIXED = (np.ndarray, tuple, NotImplemented)  # at the start of the table of what is expected
SCALARS: dict[str, tuple[type, str]] = {
    "bool": (bool, "i8"),
    "int64": (int, "i64"),
    "float64": (float, "double"),
    "float32": (np.float32, "float"),
}  # the class that is given for them, and LLVM's type
HEADER = object.__basicsize__
CLASS = HEADER - 8  # offsets in bytes: of what every object begins with
SIZE, ITEMS, BYTES = HEADER, HEADER + 8, HEADER + 16  # of a tuple, and of where a bytes object's own begin
DATA, DIMENSIONS, SHAPE, STRIDES, DTYPE, FLAGS = (HEADER + offset for offset in (0, 8, 16, 24, 40, 48))  # of an array
CONTIGUOUS, ALIGNED = 0x1, 0x100  # flags of an array
ARRAY = re.compile(r"(\w+)\[(\d)([CA])\]")

DECLARED = """
declare i64 @PyLong_AsLongLong(ptr)
declare ptr @PyLong_FromLongLong(i64)
declare ptr @PyEval_SaveThread()
declare void @PyEval_RestoreThread(ptr)
declare ptr @PyErr_Occurred()
declare ptr @PyErr_NoMemory()
declare void @Py_IncRef(ptr)
declare i32 @"{name}"({kinds})
"""
DEFINED = """
define ptr @{entry}(ptr %table, ptr %arguments, i64 %count) {{
  %result = alloca i64
  %error = alloca ptr
  store i64 0, ptr %result
  {looking}
  %wrong = call ptr @PyErr_Occurred()
  %right = icmp eq ptr %wrong, null
  br i1 %right, label %run, label %raise
run:
  {released}
  %status = call i32 @"{name}"({given})
  {acquired}
  %good = icmp eq i32 %status, 0
  br i1 %good, label %return, label %fail
return:
  %value = load i64, ptr %result
  %returned = call ptr @PyLong_FromLongLong(i64 %value)
  ret ptr %returned
fail:
  %none = call ptr @PyErr_NoMemory()
  br label %raise
raise:
  ret ptr null
others:
  %other.at = getelementptr i8, ptr %table, i64 {other}
  %other = load ptr, ptr %other.at
  call void @Py_IncRef(ptr %other)
  ret ptr %other
}}
"""


def leaves(types: Types) -> Iterator[str]:
    """What tuples, and tuples in them, hold."""
    for one in types:
        if isinstance(one, tuple):
            yield from leaves(one)
        else:
            yield one


def passed(text: str) -> list[str]:
    """LLVM's types of the arguments that one argument becomes."""
    array = ARRAY.fullmatch(text)
    return ["ptr", "ptr", "i64", "i64", "ptr", *["i64"] * (2 * int(array[2]))] if array else [SCALARS[text][1]]


def table(types: Types) -> bytes:
    """What the entry is given to compare with, as addresses: `FIXED`, then dtypes of arrays and classes of scalars."""
    arrays = {text: ARRAY.fullmatch(text) for text in leaves(types)}
    expected = [np.dtype(array[1]) if (array := arrays[text]) else SCALARS[text][0] for text in leaves(types)]
    return np.array([*map(id, (*FIXED, *expected))], np.uintp).tobytes()


def entry(name: str, types: Types, *, brief: bool) -> str:
    """LLVM's text of the entry of a function of that name for these types, a PyCFunction with METH_FASTCALL.

    Its `self` is a bytes object, the table. It gives an integer, or NotImplemented if the arguments are others.

    Args:
        brief: the function is over so soon that the GIL is kept.
    """
    code = _Code()
    code.require("i64", "%count", len(types))
    for i, text in enumerate(types):
        code.take(code.load("ptr", "%arguments", 8 * i), text)
    given = ["ptr %result", "ptr %error", *code.given]
    declared = DECLARED.format(name=name, kinds=", ".join(argument.split()[0] for argument in given))
    return declared + DEFINED.format(
        entry=NAME,
        looking="\n  ".join(code.lines + code.converting),
        name=name,
        given=", ".join(given),
        released="" if brief else "%thread = call ptr @PyEval_SaveThread()",
        acquired="" if brief else "call void @PyEval_RestoreThread(ptr %thread)",
        other=BYTES + 8 * FIXED.index(NotImplemented),
    )


class _Code:
    """LLVM's text that looks at arguments, line by line, and what is given to the function for them."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.converting: list[str] = []  # once all types are right: may raise
        self.given: list[str] = []
        self._leaf = itertools.count(len(FIXED))

    def value(self, text: str) -> str:
        name = f"%v{len(self.lines)}"
        self.lines.append(f"{name} = {text}")
        return name

    def load(self, kind: str, base: str, offset: int) -> str:
        return self.value(f"load {kind}, ptr {self.value(f'getelementptr i8, ptr {base}, i64 {offset}')}")

    def require(self, kind: str, value: str, wanted: str | int) -> None:
        """Else the arguments are others."""
        same, label = self.value(f"icmp eq {kind} {value}, {wanted}"), f"l{len(self.lines)}"
        self.lines += [f"br i1 {same}, label %{label}, label %others", f"{label}:"]

    def require_in(self, thing: str, offset: int, index: int) -> None:
        """At that offset the thing must have the address that is so far in the table."""
        self.require("ptr", self.load("ptr", thing, offset), self.load("ptr", "%table", BYTES + 8 * index))

    def take(self, thing: str, text: str | Types) -> None:
        if isinstance(text, tuple):
            self.require_in(thing, CLASS, FIXED.index(tuple))
            self.require("i64", self.load("i64", thing, SIZE), len(text))
            for i, part in enumerate(text):
                self.take(self.load("ptr", thing, ITEMS + 8 * i), part)
        elif array := ARRAY.fullmatch(text):
            self._array(thing, np.dtype(array[1]).itemsize, int(array[2]), contiguous=array[3] == "C")
        else:
            self._scalar(thing, text)

    def _scalar(self, thing: str, text: str) -> None:
        self.require_in(thing, CLASS, next(self._leaf))
        kind = SCALARS[text][1]
        if kind in ("double", "float"):
            self.given.append(f"{kind} {self.load(kind, thing, HEADER)}")
        else:
            value = f"%integer{len(self.converting)}"
            self.converting.append(f"{value} = call i64 @PyLong_AsLongLong(ptr {thing})")
            if kind != "i64":
                self.converting.append(f"{value}.{kind} = trunc i64 {value} to {kind}")
            self.given.append(f"{kind} {value if kind == 'i64' else f'{value}.{kind}'}")

    def _array(self, thing: str, item_bytes: int, dimensions: int, *, contiguous: bool) -> None:
        self.require_in(thing, CLASS, FIXED.index(np.ndarray))
        self.require_in(thing, DTYPE, next(self._leaf))
        self.require("i32", self.load("i32", thing, DIMENSIONS), dimensions)
        flags = self.value(f"and i32 {self.load('i32', thing, FLAGS)}, {ALIGNED | CONTIGUOUS}")
        self.require("i32", flags, ALIGNED | CONTIGUOUS if contiguous else ALIGNED)
        at = [self.load("ptr", thing, field) for field in (SHAPE, STRIDES)]
        shape, strides = ([self.load("i64", base, 8 * axis) for axis in range(dimensions)] for base in at)
        items = "1"
        for length in shape:
            items = self.value(f"mul i64 {items}, {length}")
        self.given += ["ptr null", "ptr null", f"i64 {items}", f"i64 {item_bytes}"]
        self.given += [f"ptr {self.load('ptr', thing, DATA)}", *(f"i64 {value}" for value in shape + strides)]


@cache
def check_layouts() -> None:
    """Objects lie in memory as the entry reads them.

    Raises:
        EngineError: they do not, in this version of Python or NumPy.
    """

    def read(kind: Any, thing: Any, offset: int) -> Any:
        return kind.from_address(id(thing) + offset).value

    word, integer, flags = ctypes.c_size_t, ctypes.c_int, ALIGNED | CONTIGUOUS
    array, pair = np.arange(6.0).reshape(2, 3)[:, 1:], (1, 2)
    pairs = [
        (read(word, array, CLASS), id(np.ndarray)),
        (read(word, array, DATA), array.ctypes.data),
        (read(integer, array, DIMENSIONS), 2),
        ((*(ctypes.c_ssize_t * 2).from_address(read(word, array, SHAPE)),), (2, 2)),
        ((*(ctypes.c_ssize_t * 2).from_address(read(word, array, STRIDES)),), (24, 8)),
        (read(word, array, DTYPE), id(np.dtype(np.float64))),
        (read(integer, array, FLAGS) & flags, ALIGNED),
        (read(integer, array.copy(), FLAGS) & flags, flags),
        (read(ctypes.c_double, 2.25, HEADER), 2.25),
        (read(ctypes.c_float, np.float32(1.5), HEADER), 1.5),
        (read(word, (array, pair), ITEMS + 8), id(pair)),
        (read(word, (1, 2, 3, 4, 5), SIZE), 5),
        (read(ctypes.c_char, b"x", BYTES), b"x"),
    ]
    if any(here != wanted for here, wanted in pairs):
        raise EngineError(
            f"cpu: Python {platform.python_version()} and NumPy {np.__version__} lay out objects in a way that "
            "vs-smsr does not know. Use other versions, or engine 'reference'."
        )
