"""Errors of the pipeline, besides those of `clustergrid.storage.errors`."""

from clustergrid.storage.errors import ClustergridError

__all__ = ["MemoryLimitError"]


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
