"""How kernels are compiled: for the types that they are called with, once per machine; called without the GIL.

Numba compiles them, and is imported only for that: what it made is kept on disk (`kernel_cache`), and a process that
finds all of its kernels there neither imports Numba nor waits for it. What is written with these decorators can also be
used by code that Numba compiles.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np

from vs_smsr.engine import kernel_cache, machine_code
from vs_smsr.engine.entry import SCALARS, Types
from vs_smsr.engine.machine_code import Function

NUMBERS = {"bool", *(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)), "float32", "float64"}
_compiling = threading.RLock()


class _Later:
    """A module that is imported when something of it is used."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(importlib.import_module(self._name), attribute)


types: Any = _Later("numba.core.types")
cgutils: Any = _Later("numba.core.cgutils")


class Inlined:
    """A function for compiled ones to call."""

    def __init__(self, function: Callable[..., Any], **options: Any) -> None:
        self.__module__, self.__qualname__, self.__doc__ = function.__module__, function.__qualname__, function.__doc__
        self.py_func = function
        self.targetoptions = options  # Numba looks here for `inline`

    @cached_property
    def dispatcher(self) -> Any:
        from numba import njit

        return njit(**self.targetoptions, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)(
            self.py_func
        )

    @property
    def _numba_type_(self) -> Any:
        return self.dispatcher._numba_type_


def inlined(function: Callable[..., Any]) -> Any:
    """A function for compiled ones to call: LLVM puts it into them, which compiles faster than when Numba does.

    Not for one that takes literals (`indirect_gemm`'s): see `expanded`.
    """
    return Inlined(function, forceinline=True)


def expanded(function: Callable[..., Any]) -> Any:
    """A function for compiled ones to call: Numba puts it into them, before it looks at types."""
    return Inlined(function, inline="always")


class Intrinsic:
    """See `intrinsic`."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.__module__, self.__qualname__, self.__doc__ = function.__module__, function.__qualname__, function.__doc__
        self._function = function

    @cached_property
    def _made(self) -> Any:
        from numba.extending import intrinsic

        return intrinsic(self._function)

    @property
    def _numba_type_(self) -> Any:
        from numba.core.registry import cpu_target

        context, made = cpu_target.typing_context, self._made
        context.refresh()
        return context.resolve_value_type(made)


def intrinsic(function: Callable[..., Any]) -> Any:
    """Numba's `intrinsic`: gives the signature and the generator of LLVM's code for types of arguments."""
    return Intrinsic(function)


class Kernel(Inlined):
    """A compiled function; a closure may hold integers only, which tell what it is compiled for.

    It is called with arrays, integers, booleans, floats, and tuples of these, and returns an integer (0 where the
    function returns nothing). Arrays are contiguous or not: each combination is compiled for itself. Nothing checks
    that indices are within them.
    """

    def __init__(self, function: Callable[..., Any], *, brief: bool = False) -> None:
        super().__init__(function, nogil=True)
        self._brief = brief
        self._versions: dict[Types, Function] = {}

    def __call__(self, *arguments: Any) -> int:
        """Compiles what nobody on this machine has compiled yet.

        Raises:
            TypeError: an argument is of a kind that kernels do not take.
            MemoryError: there is none left for what the function needs.
        """
        for version in self._versions.values():
            result: int = version(*arguments)
            if result is not NotImplemented:
                return result
        plain = tuple(map(_plain, arguments))
        result = self._version(tuple(_type(value, self.__qualname__) for value in plain))(*plain)
        assert result is not NotImplemented, self.__qualname__
        return result

    def _version(self, types: Types) -> Function:
        with _compiling:
            if types not in self._versions:
                code = kernel_cache.code(
                    kernel_cache.name(self, types),
                    lambda: machine_code.compiled(self.dispatcher, types, brief=self._brief),
                )
                self._versions = self._versions | {types: machine_code.loaded(code, types)}
            return self._versions[types]


def compiled(function: Callable[..., Any]) -> Kernel:
    """A kernel of that function."""
    return Kernel(function)


def brief(function: Callable[..., Any]) -> Kernel:
    """A kernel that is over so soon that it keeps the GIL."""
    return Kernel(function, brief=True)


def _plain(value: Any) -> Any:
    """The same value, of the class, and for arrays with the dtype object, that compiled code looks for."""
    if isinstance(value, np.ndarray):
        return np.asarray(value).view(np.dtype(value.dtype.name)) if _is_number(value.dtype) else value
    if isinstance(value, tuple):
        return tuple(map(_plain, value))
    return value.item() if isinstance(value, np.bool_ | np.int64 | np.float64) else value


def _is_number(dtype: np.dtype[Any]) -> bool:
    return dtype.isnative and dtype.name in NUMBERS


def _type(value: Any, name: str) -> str | Types:
    """See `entry.Types`."""
    if isinstance(value, tuple):
        return tuple(_type(part, name) for part in value)
    if isinstance(value, np.ndarray):
        if _is_number(value.dtype) and value.flags.aligned:
            return f"{value.dtype.name}[{value.ndim}{'C' if value.flags.c_contiguous else 'A'}]"
        raise TypeError(f"{name}: arrays must be aligned and of a native type, got {value.dtype!r}.")
    for text, (kind, _) in SCALARS.items():
        if type(value) is kind:
            return text
    raise TypeError(f"{name}: expected an array, an integer, a float or a float32, got {type(value).__name__}.")
