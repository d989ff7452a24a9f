"""Errors of the pipeline, besides those of `clustergrid.storage.errors`."""

from clustergrid.storage.errors import ClustergridError

__all__ = ["DiskSpaceError", "MemoryLimitError", "is_lasting", "mark_lasting"]

_LASTING = "_clustergrid_is_lasting"


def mark_lasting(error: Exception) -> None:
    """Note that an error is of the user's function, which would only raise it again.

    Examples
    --------
    >>> error = ZeroDivisionError("division by zero")
    >>> mark_lasting(error)
    >>> is_lasting(error), is_lasting(ZeroDivisionError("another"))
    (True, False)
    """
    # An exception may refuse to have its attributes set.
    error.__dict__[_LASTING] = True


def is_lasting(error: Exception) -> bool:
    """Whether it is no use to try again: the input is refused, or the user's function fails.

    Files and networks may be better the next time, so errors of theirs are not.

    Examples
    --------
    >>> from clustergrid.storage.errors import DataValueError, IntegrityError
    >>> is_lasting(DataValueError("not finite")), is_lasting(IntegrityError("damaged"))
    (True, False)
    """
    refuses = isinstance(error, ClustergridError) and not isinstance(error, OSError)
    return refuses or _LASTING in error.__dict__


class MemoryLimitError(ClustergridError, RuntimeError):
    """A plan cannot be kept within the memory it was given.

    Attributes
    ----------
    needed_bytes, limit_bytes
        The least that would do, and what was given.
    """

    def __init__(self, message: str, *, needed_bytes: int, limit_bytes: int) -> None:
        super().__init__(message)
        self.needed_bytes = needed_bytes
        self.limit_bytes = limit_bytes


class DiskSpaceError(ClustergridError, OSError):
    """A plan cannot be kept on a file system that has too little room.

    Attributes
    ----------
    needed_bytes, free_bytes, path
        The least that would do, what is free, and a directory of the file system.
    """

    def __init__(self, message: str, *, needed_bytes: int, free_bytes: int, path: str) -> None:
        super().__init__(message)
        self.needed_bytes = needed_bytes
        self.free_bytes = free_bytes
        self.path = path
