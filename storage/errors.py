"""Errors of the whole package; each is also a built-in error, so callers need not know ours."""

from clustergrid.storage.credentials import hide_credentials

__all__ = [
    "ClustergridError",
    "DataTypeError",
    "DataValueError",
    "IntegrityError",
    "MissingExtraError",
    "MissingFileError",
    "ObjectStoreError",
    "RunDirectoryError",
    "StorageError",
    "TileError",
]


class ClustergridError(Exception):
    """Base of every error that clustergrid raises on purpose.

    The command prints its text as one line, without a traceback. Passwords in URLs are not in it:
    messages go to logs, and from workers to dashboards.
    """

    def __init__(self, *args: object) -> None:
        super().__init__(*(hide_credentials(a) if isinstance(a, str) else a for a in args))


class DataValueError(ClustergridError, ValueError):
    """The input has the right type but values, labels or a shape that cannot be used."""


class DataTypeError(ClustergridError, TypeError):
    """The input, or one of its columns, has a type that cannot be used."""


class MissingExtraError(ClustergridError, ImportError):
    """A format or back end needs an optional dependency that is not installed."""


class StorageError(ClustergridError, OSError):
    """Bytes could not be read or written where they should be."""


class MissingFileError(StorageError, FileNotFoundError):
    """There is no such file or directory."""


class ObjectStoreError(ClustergridError, RuntimeError):
    """An object store cannot be reached, or refuses.

    It is no OSError on purpose: one of those says that a file is not there or not readable, and
    then it is made again. A store that does not answer says nothing of its objects.
    """


class IntegrityError(StorageError):
    """Stored bytes are not what was written: truncated, missing or altered."""


class TileError(IntegrityError, ValueError):
    """A stored tile of distances is missing, or is not what was written."""


class RunDirectoryError(ClustergridError, RuntimeError):
    """A run directory is in use, belongs to another run, or is not one of ours."""
