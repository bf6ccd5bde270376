"""How kernels are compiled: once per machine, without the GIL, cached on disk where that is possible."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from numba import njit

log = logging.getLogger(__name__)


def compiled(function: Callable[..., Any]) -> Any:
    """A compiled, cached function; a closure may hold integers only, or the cache would miss.

    Numba keeps compiled code beside the source or in the user's cache folder (or NUMBA_CACHE_DIR), by the CPU's name
    and features, and replaces files atomically. Where nothing can be written, each process compiles for itself.
    """
    dispatcher = njit(nogil=True, error_model="numpy", no_cfunc_wrapper=True)(function)
    try:
        dispatcher.enable_caching()
    except RuntimeError as error:
        log.info("cpu: compiled kernels are not kept: %s", error)
    return dispatcher


def inlined(function: Callable[..., Any]) -> Any:
    """A function for compiled ones to call: LLVM puts it into them, which compiles faster than when Numba does.

    Not for one that takes literals (`indirect_gemm`'s): that needs `njit(inline="always")`.
    """
    return njit(forceinline=True, error_model="numpy", no_cfunc_wrapper=True)(function)
