"""Kernel helper: a digest of all that the machine code of a kernel is made from.

Numba's cache on disk knows the file that a function is in, and the types of its arguments. What the
function takes from other files is compiled into it too: the kernels that it calls, constants, and
the places of the fields of named tuples. The digest is of these as they are in memory, not of
files, which may have changed since they were imported.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Iterator
from types import CodeType, FunctionType
from typing import Any

import numpy as np

__all__ = ["digest_of"]

_PLAIN = (bool, int, float, complex, str, bytes, type(None), np.generic, np.dtype)


def digest_of(kernel: Any) -> str:
    """Return a digest of the code of a kernel, and of all that its code and annotations name.

    Parameters
    ----------
    kernel
        A `clustergrid.pipeline._jit.Kernel`, what Numba made of one, or a function.

    Returns
    -------
    str
        32 hexadecimal digits: the same in every process that has imported the same sources.

    Examples
    --------
    >>> def area(radius: float) -> float:
    ...     return PI * radius * radius
    >>> PI = 3.0
    >>> rough = digest_of(area)
    >>> PI = 3.14
    >>> digest_of(area) == rough
    False
    """
    digest = hashlib.blake2b(digest_size=16)
    waiting: list[tuple[str, Any]] = [("", kernel)]
    seen: set[int] = set()
    while waiting:
        name, value = waiting.pop()
        function = _function_of(value)
        digest.update(f"{name}: {_described(value, function)}\n".encode())
        if isinstance(value, tuple):
            waiting += (("", each) for each in value)
            continue
        # Functions and types are held by their modules, so no two have the same id.
        followed = value if function is None else function
        if id(followed) not in seen:
            seen.add(id(followed))
            waiting += _named_by(followed)
    return digest.hexdigest()


def _function_of(value: Any) -> FunctionType | None:
    """Return the function of a kernel, or of what Numba made of it."""
    function = getattr(value, "py_func", None) or getattr(value, "python", value)
    return function if isinstance(function, FunctionType) else None


def _described(value: Any, function: FunctionType | None) -> str:
    """Describe what is compiled of a value, but for what it names."""
    if function is not None:
        codes = " ".join(map(_code, _codes(function.__code__)))
        defaults = f"{function.__defaults__} {function.__kwdefaults__}"
        return f"{function.__qualname__} {defaults} {_options(value)} {codes}"
    if isinstance(value, type):
        return f"{value.__module__} {value.__qualname__} {getattr(value, '_fields', '')}"
    if isinstance(value, _PLAIN):
        return repr(value)
    if isinstance(value, np.ndarray):
        return f"{value.dtype.str} {value.shape} {hashlib.blake2b(value.tobytes()).hexdigest()}"
    # Not its repr, which may hold an address: that is another one in every process.
    return f"{type(value).__module__} {type(value).__qualname__} {getattr(value, '__name__', '')}"


def _options(value: Any) -> tuple[bool, bool]:
    """Whether callers compile a kernel into themselves, and whether it counts no references."""
    given = getattr(value, "targetoptions", {})
    is_inline = given.get("forceinline") or getattr(value, "is_inline", False)
    is_borrowing = not given.get("_nrt", not getattr(value, "is_borrowing", False))
    return bool(is_inline), is_borrowing


def _code(code: CodeType) -> str:
    """Byte code, with the names and constants that it has numbers for."""
    constants = [
        # A set is in another order in every process.
        sorted(map(repr, each)) if isinstance(each, frozenset) else repr(each)
        for each in code.co_consts
        if not isinstance(each, CodeType)
    ]
    digest = hashlib.blake2b(code.co_code).hexdigest()
    return f"{digest} {code.co_names} {code.co_varnames} {constants}"


def _codes(code: CodeType) -> Iterator[CodeType]:
    """Yield the code of a function and of those in it."""
    waiting = [code]
    while waiting:
        yield (now := waiting.pop())
        waiting += (each for each in now.co_consts if isinstance(each, CodeType))


def _named_by(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield names and values of what a function, or a named tuple, takes from its module."""
    names: set[str] = set()
    if isinstance(value, FunctionType):
        known = value.__globals__
        names.update(*(code.co_names for code in _codes(value.__code__)))
        cells = zip(value.__code__.co_freevars, value.__closure__ or (), strict=True)
        yield from ((name, cell.cell_contents) for name, cell in cells)
    elif isinstance(value, type) and hasattr(value, "_fields"):
        known = vars(sys.modules[value.__module__])
    else:
        return
    names.update(*(re.findall(r"\w+", str(each)) for each in value.__annotations__.values()))
    for name in sorted(names & known.keys()):
        yield name, known[name]
