"""Kernel helper: Numba's compiler under a typed name, with the options that every kernel has.

``nogil`` lets the tasks of one process run side by side; ``cache`` keeps the machine code beside
the module, so that only the first run on a machine compiles: what was kept of other sources,
helpers in other files and constants included, is compiled anew. Neither ``fastmath`` nor
``parallel``: the first would let results depend on the compiler, the second cannot be called from
several threads at once on every platform.

Numba and LLVM weigh a hundred megabytes and half a second. A kernel therefore asks for them when
it is first called, and small matrices, which NumPy and SciPy serve as fast, never do.
"""

from __future__ import annotations

import functools
import hashlib
import sys
import threading
from collections.abc import Callable
from types import FunctionType
from typing import Any, Generic, ParamSpec, TypeVar

from clustergrid.pipeline._ingredients import digest_of

__all__ = ["Kernel", "borrowing", "inline", "jit", "load_compiler", "specialized"]

P = ParamSpec("P")
R = TypeVar("R")

_COMPILING = threading.RLock()

_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy"}


class Kernel(Generic[P, R]):
    """A function that is compiled when it is first called.

    Attributes
    ----------
    python
        The function as it was written, for inputs so small that compiled code is not worth
        loading. Kernels that it calls are compiled all the same.
    is_inline
        Whether it is compiled into the kernels that call it.
    is_borrowing
        Whether it counts no references to arrays.
    """

    def __init__(
        self, function: Callable[P, R], *, inline: bool = False, borrowing: bool = False
    ) -> None:
        functools.update_wrapper(self, function)
        self.python = function
        self.is_inline = inline
        self.is_borrowing = borrowing
        self._compiled: Callable[P, R] | None = None

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the compiled function."""
        return self.compiled(*args, **kwargs)

    @property
    def compiled(self) -> Callable[P, R]:
        """Numba's dispatcher."""
        if self._compiled is None:
            with _COMPILING:
                if self._compiled is None:
                    self._compiled = self._compile()
        return self._compiled

    def _compile(self) -> Callable[P, R]:
        import numba

        digest = digest_of(self)
        # Numba resolves the globals that a function names, and knows its own dispatchers only.
        function: Any = self.python
        for name in function.__code__.co_names:
            other = function.__globals__.get(name)
            if isinstance(other, Kernel):
                function.__globals__[name] = other.compiled
        # Numba's types do not know the last: whether its runtime counts references.
        options = _OPTIONS | {"forceinline": self.is_inline, "_nrt": not self.is_borrowing}
        compiled: Callable[P, R] = numba.njit(cache=True, **options)(function)
        _keep_apart(compiled, f"{_OPTIONS} {digest}")
        return compiled


def _keep_apart(compiled: Any, sources: str) -> None:
    """Let Numba load what it kept only if that was made of the same sources.

    An index of its cache begins with a version. That of another is not read any further, and is
    replaced when something is kept again; what is behind it may name types that are gone. Files of
    machine code are told apart by their names: an index is written before the file that it names,
    where another process would find the code of other sources.
    """
    file = getattr(getattr(compiled, "_cache", None), "_cache_file", None)
    if file is not None:  # there is none where the compiler is switched off
        file._version = f"{file._version} {sources}"
        digest = hashlib.blake2b(sources.encode(), digest_size=6).hexdigest()
        file._data_name_pattern = file._data_name_pattern.replace(
            ".{number:d}.", f".{digest}.{{number:d}}."
        )


def jit(function: Callable[P, R]) -> Kernel[P, R]:
    """Compile a function of NumPy arrays and scalars to machine code, when it is first called.

    Examples
    --------
    >>> @jit
    ... def double(x: float) -> float:
    ...     return 2.0 * x
    >>> double.python(2.0)
    4.0
    """
    return Kernel(function)


def inline(function: Callable[P, R]) -> Kernel[P, R]:
    """Compile a function into the kernels that call it, however long it is.

    LLVM vectorizes no loop that calls a function, and leaves a long one out of line by itself.

    Examples
    --------
    >>> @inline
    ... def square(x: float) -> float:
    ...     return x * x
    >>> square.python(3.0)
    9.0
    """
    return Kernel(function, inline=True)


def borrowing(function: Callable[P, R]) -> Kernel[P, R]:
    """Compile a function that makes no arrays, and counts no references to those it is given.

    Numba counts them wherever arrays are taken out of tuples or handed on. That is an atomic
    addition, for which two threads that share an array wait: in short loops most of their time.
    Slices of what is given are no new arrays, and may be made.

    Examples
    --------
    >>> @borrowing
    ... def last(values: "NDArray[np.float64]") -> float:
    ...     return values[-1]
    >>> last.python([1.0, 2.0])
    2.0
    """
    return Kernel(function, borrowing=True)


def specialized(template: Callable[P, R], **step: Callable[..., Any]) -> Kernel[P, R]:
    """Compile a copy of a function, to which one of the names it calls means a kernel.

    Handed over as an argument, that could not be kept in Numba's cache on disk; so it keeps one
    machine code for each name.

    Examples
    --------
    >>> def _change(x: float) -> float: ...
    >>> def _twice(x: float) -> float:
    ...     return _change(_change(x))
    >>> @inline
    ... def _double(x: float) -> float:
    ...     return 2 * x
    >>> specialized(_twice, _change=_double).__name__
    '_twice_double'
    """
    (kernel,) = step.values()
    name = f"{template.__name__}{getattr(kernel, '__name__', '')}"
    code: Any = template.__code__
    function = FunctionType(code, {**template.__globals__, **step}, name)
    function.__qualname__ = name
    return jit(function)


def load_compiler() -> None:
    """Begin to load Numba and LLVM in a thread, for kernels that are called in a moment.

    That takes most of a second, while the matrix is read and the figure is laid out.
    """
    if "numba" not in sys.modules:
        threading.Thread(target=_load, name="clustergrid-compiler").start()


def _load() -> None:
    # Numba sets its code generator up when something is compiled for the first time.
    from numba.core.registry import cpu_target

    _ = cpu_target.target_context
