"""Errors of the pipeline, besides those of `clustergrid.storage.errors`."""

from clustergrid.storage.errors import ClustergridError

__all__ = ["DiskSpaceError", "MemoryLimitError"]


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
