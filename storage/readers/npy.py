"""Driver: NumPy's own files, through a memory map or by ranges of bytes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import IO, Any

import numpy as np

from clustergrid.storage.errors import DataValueError, IntegrityError, StorageError
from clustergrid.storage.readers.base import RandomAccess
from clustergrid.storage.readers.frame import check_number_dtype
from clustergrid.storage.readers.location import Location

__all__ = ["open_npy"]

_VERSIONS = ((1, 0), (2, 0), (3, 0))
_LONGEST_HEADER_BYTES = 2**20


@dataclass(frozen=True)
class _NpyFile:
    """The part of a ``.npy`` file that holds a matrix."""

    location: Location
    offset: int
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    is_fortran: bool

    def read(self, rows: slice, columns: slice) -> np.ndarray:
        """Return the values of a block."""
        if not self.location.is_local:
            return self._read_range(rows, columns)
        try:
            mapped: np.ndarray = np.memmap(
                self.location.url,
                dtype=self.dtype,
                mode="r",
                offset=self.offset,
                shape=self.shape,
                order="F" if self.is_fortran else "C",
            )
        except FileNotFoundError as error:
            raise self.location.missing() from error
        except (OSError, ValueError) as error:
            raise IntegrityError(
                f"{self.location.url} is not what it was when it was opened: {error}"
            ) from error
        # A copy: the map, and with it the file, is closed here.
        return np.array(mapped[rows, columns])

    def _read_range(self, rows: slice, columns: slice) -> np.ndarray:
        """Read whole rows (whole columns of a Fortran file) from a URL."""
        shape = self.shape[::-1] if self.is_fortran else self.shape
        outer, inner = (columns, rows) if self.is_fortran else (rows, columns)
        start, stop, _ = outer.indices(shape[0])
        line = shape[1] * self.dtype.itemsize
        with self.location.open() as file:
            file.seek(self.offset + start * line)
            content = file.read((stop - start) * line)
        if len(content) < (stop - start) * line:
            raise IntegrityError(f"{self.location.url} is cut short since it was opened")
        block = np.frombuffer(content, self.dtype).reshape(stop - start, shape[1])[:, inner]
        return block.T if self.is_fortran else block


def open_npy(location: Location) -> RandomAccess:
    """Read the header of a ``.npy`` file.

    Raises
    ------
    DataTypeError, DataValueError
        It does not hold a matrix of real numbers.
    IntegrityError
        It is shorter than its header says.
    """
    with location.open() as file:
        shape, is_fortran, dtype = _read_header(location, file)
        offset, size = file.tell(), file.seek(0, 2)
    check_number_dtype(dtype, location.url)
    if len(shape) != 2:
        raise DataValueError(f"{location.url} has shape {shape}: a matrix has two dimensions")
    if min(shape) < 0:
        raise DataValueError(f"{location.url} is not a .npy file: its header says shape {shape}")
    needed = offset + shape[0] * shape[1] * dtype.itemsize
    if size < needed:
        raise IntegrityError(
            f"{location.url} is cut short: {size:,} bytes, of {needed:,} that its header promises"
        )
    return RandomAccess(
        reader=_NpyFile(location, offset, (shape[0], shape[1]), dtype, is_fortran),
        stored_chunks=(1, shape[1]),
    )


def _read_header(location: Location, file: IO[bytes]) -> tuple[tuple[int, ...], bool, Any]:
    """Parse the header, and leave the file at the first value."""
    try:
        version = np.lib.format.read_magic(file)
        if version not in _VERSIONS:
            raise ValueError(f"version {version[0]}.{version[1]} of the format is unknown")
        n_bytes = 2 if version == (1, 0) else 4
        length = int.from_bytes(file.read(n_bytes), "little")
        if length > _LONGEST_HEADER_BYTES:
            raise ValueError(f"its header claims {length:,} bytes")
        file.seek(-n_bytes, os.SEEK_CUR)
        if version == (1, 0):
            return np.lib.format.read_array_header_1_0(file)
        return np.lib.format.read_array_header_2_0(file)
    except StorageError:
        raise
    # NumPy evaluates the header as Python's literals, with whatever that raises.
    except Exception as error:
        raise DataValueError(
            f"{location.url} is not a .npy file: {str(error)[:200] or type(error).__name__}"
        ) from error
