"""Driver: files of lines that grow, locally by appending to them, in a bucket by putting them anew.

Objects do not grow. What is appended to one stays in memory, and whoever holds the run directory
puts the whole of it every few seconds, less often the larger it is, and at the end
(`RunDirectory.locked`). A kill loses the lines of the last seconds: of a log nobody needs them, and
in a manifest what has no note counts as not done. Nothing that was taken back is ever put again.
"""

from __future__ import annotations

import math
import time
from pathlib import Path
from threading import Lock
from typing import Protocol

from clustergrid.storage.errors import ClustergridError, StorageError
from clustergrid.storage.object_path import ObjectPath
from clustergrid.storage.places import UNFINISHED, StorePath

__all__ = ["MOST_BYTES_PER_SECOND", "Lines", "LocalLines", "ObjectLines", "open_lines"]

MOST_BYTES_PER_SECOND = 2**20
"""That are put again and again of one object while it grows."""


class Lines(Protocol):
    """A file of lines that grows."""

    @property
    def path(self) -> StorePath:
        """Where it is."""
        ...

    def read(self) -> bytes:
        """Return what it holds; nothing where it is not there."""
        ...

    def append(self, text: str) -> None:
        """Add some lines."""
        ...

    def replace(self, text: str) -> None:
        """Write it anew: the old or the new is there, whole."""
        ...

    def remove(self) -> None:
        """Remove it, if it is there."""
        ...

    def flush(self) -> None:
        """Put at rest what was appended."""
        ...

    def flush_if_due(self) -> None:
        """Put at rest what was appended, unless that was done lately."""
        ...


def open_lines(path: StorePath) -> Lines:
    """Open a file of lines; of an object there must be only one in a process."""
    return ObjectLines(path) if isinstance(path, ObjectPath) else LocalLines(path)


class LocalLines:
    """A file of lines in a file system."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> bytes:
        """Return what it holds; nothing where it cannot be read."""
        try:
            return self.path.read_bytes()
        except OSError:
            return b""

    def append(self, text: str) -> None:
        """Add some lines; whoever moves or removes the file meanwhile is not surprised.

        Raises
        ------
        StorageError
            They cannot be written, for instance because the disk is full.
        """
        try:
            # Opened each time: it takes a tenth of a millisecond.
            with self.path.open("a", encoding="utf-8") as stream:
                stream.write(text)
        except OSError as error:
            raise StorageError(f"cannot write {len(text)} bytes to {self.path}: {error}") from error

    def replace(self, text: str) -> None:
        """Write it anew.

        Raises
        ------
        StorageError
            It cannot be written.
        """
        temporary = self.path.with_name(f"{UNFINISHED}{self.path.name}")
        try:
            self.path.parent.mkdir(exist_ok=True)
            temporary.write_text(text, encoding="utf-8")
            temporary.replace(self.path)
        except OSError as error:
            raise StorageError(f"cannot write {self.path}: {error}") from error

    def remove(self) -> None:
        """Remove it, if it is there."""
        self.path.unlink(missing_ok=True)

    def flush(self) -> None:
        """Do nothing: what was appended is there."""

    def flush_if_due(self) -> None:
        """Do nothing, too."""


class ObjectLines:
    """An object of lines, held in memory, and put as a whole."""

    def __init__(self, path: ObjectPath) -> None:
        self.path = path
        self._lock = Lock()
        self._content: bytearray | None = None
        self._is_put = True
        self._put_at = -math.inf
        self._failure: ClustergridError | None = None

    def _held(self) -> bytearray:
        if self._content is None:
            try:
                self._content = bytearray(self.path.read_bytes())
            except FileNotFoundError:
                self._content = bytearray()
        return self._content

    def read(self) -> bytes:
        """Return what it holds, at rest or not yet."""
        with self._lock:
            return bytes(self._held())

    def append(self, text: str) -> None:
        """Add some lines, which are put at rest with the next `flush`.

        Raises
        ------
        ObjectStoreError
            Lines that were appended before could not be put.
        """
        with self._lock:
            if self._failure is not None:
                raise self._failure
            self._held().extend(text.encode())
            self._is_put = False

    def replace(self, text: str) -> None:
        """Write it anew, at once.

        Raises
        ------
        ObjectStoreError
            It cannot be written.
        """
        with self._lock:
            self.path.write_bytes(text.encode())
            self._content, self._is_put = bytearray(text.encode()), True

    def remove(self) -> None:
        """Remove it, if it is there, with what was appended."""
        with self._lock:
            self.path.unlink(missing_ok=True)
            self._content, self._is_put = bytearray(), True

    def flush(self) -> None:
        """Put at rest what was appended; where that fails, the next `append` fails too.

        Raises
        ------
        ObjectStoreError
            It cannot be written.
        """
        with self._lock:
            if self._is_put:
                return
            try:
                self.path.write_bytes(bytes(self._held()))
            except ClustergridError as error:
                self._failure = error
                raise
            self._is_put, self._failure = True, None
            self._put_at = time.monotonic()

    def flush_if_due(self) -> None:
        """Put at rest what was appended, every few seconds: of a long log less often."""
        due = self._put_at + len(self._content or b"") / MOST_BYTES_PER_SECOND
        if time.monotonic() >= due:
            self.flush()
