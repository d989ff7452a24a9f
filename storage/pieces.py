"""Driver: pieces of blocks of a matrix in files, on the way from one order into another.

A file holds the pieces of one block, one after another, and then the CRC-32C of each. It appears
under its name only when it is whole, so what is there after a kill need not be made again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from clustergrid.storage.errors import IntegrityError, StorageError
from clustergrid.storage.object_path import ObjectPath
from clustergrid.storage.places import StorePath, written_whole

__all__ = ["PieceFile"]

_CHECKSUM = np.dtype("<u4")


@dataclass(frozen=True, slots=True, kw_only=True)
class PieceFile:
    """The pieces of one block.

    Attributes
    ----------
    path
        The file.
    lengths
        ``(m,)`` int: values of every piece, in their order.
    dtype
        Of the values.
    """

    path: StorePath
    lengths: np.ndarray
    dtype: np.dtype[Any]

    @property
    def _bytes_of_values(self) -> int:
        return int(self.lengths.sum()) * self.dtype.itemsize

    @property
    def is_whole(self) -> bool:
        """Whether the file is there with its length; `read` finds whether its bytes are right."""
        try:
            size = self.path.stat().st_size
        except OSError:
            return False
        return size == self._bytes_of_values + len(self.lengths) * _CHECKSUM.itemsize

    def write(self, pieces: Iterable[np.ndarray]) -> None:
        """Write all pieces, in their order.

        Raises
        ------
        StorageError
            The file cannot be written, for instance because the disk is full.
        """
        import google_crc32c

        # Two tasks may write the same block, if one of them was taken for lost.
        with (
            written_whole(self.path, synced=False) as temporary,
            temporary.open("wb") as file,
        ):
            checksums = []
            for piece in pieces:
                content = np.ascontiguousarray(piece, self.dtype).tobytes()
                checksums.append(google_crc32c.value(content))
                file.write(content)
            file.write(np.array(checksums, _CHECKSUM).tobytes())

    def read(self, number: int) -> np.ndarray:
        """Read a piece.

        Raises
        ------
        IntegrityError
            It is not what was written; the file is removed, so that it is made again.
        StorageError
            The file cannot be read.
        """
        import google_crc32c

        size = int(self.lengths[number]) * self.dtype.itemsize
        start = int(self.lengths[:number].sum()) * self.dtype.itemsize
        try:
            content = self._bytes(start, size)
            place = self._bytes_of_values + number * _CHECKSUM.itemsize
            noted = np.frombuffer(self._bytes(place, _CHECKSUM.itemsize), _CHECKSUM)
        except FileNotFoundError:
            raise StorageError(
                f"{self.path} is missing: the same command again makes it anew"
            ) from None
        except OSError as error:
            raise StorageError(f"cannot read {self.path}: {error}") from error
        if len(content) != size or noted.tolist() != [google_crc32c.value(content)]:
            self.path.unlink(missing_ok=True)
            raise IntegrityError(
                f"{self.path} was damaged after it was written, and is removed: the same command "
                "again makes it anew"
            )
        return np.frombuffer(content, self.dtype)

    def _bytes(self, start: int, size: int) -> bytes:
        if isinstance(self.path, ObjectPath):
            return self.path.read_range(start, size)
        with self.path.open("rb") as file:
            file.seek(start)
            return file.read(size)
