"""Kernel helper: Numba's compiler under a typed name, with the options that every kernel has.

``nogil`` lets the tasks of one process run side by side; ``cache`` keeps the machine code beside
the module, so that only the first run on a machine compiles. Neither ``fastmath`` nor
``parallel``: the first would let results depend on the compiler, the second cannot be called from
several threads at once on every platform.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

import numba

__all__ = ["jit"]

P = ParamSpec("P")
R = TypeVar("R")


def jit(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function of NumPy arrays and scalars to machine code."""
    return cast("Callable[P, R]", numba.njit(cache=True, nogil=True)(function))
