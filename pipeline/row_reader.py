"""Driver: rows of a matrix as somebody compares them, in memory or at rest.

::

    matrix ──RowPass──▶ strips of prepared rows ──┬──▶ an array ──▶ RowsInMemory ─┐
                        (all features, some rows)  │                              ├──▶ RowReader
                                                   └──▶ a Zarr array ▶ RowsAtRest ┘
                                                        (`put_at_rest`)

What compares rows asks a `RowReader` for ranges (`block`) and for single ones (`take`), and gets
the same values wherever they are. At rest, rows lie in chunks of some `CHUNK_VALUES` values, raw,
with a checksum each; readers hold nothing of them, and are sent to other processes as a location.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline.execution import end_if_stopped
from clustergrid.pipeline.leftovers import owned
from clustergrid.storage.arrays import create_array, remove_array, write_block
from clustergrid.storage.errors import IntegrityError
from clustergrid.storage.grid import pass_block, slabs
from clustergrid.storage.source import MatrixSource, ZarrSource

if TYPE_CHECKING:
    import zarr

__all__ = [
    "CHUNK_VALUES",
    "RowPass",
    "RowReader",
    "RowStrip",
    "RowsAtRest",
    "RowsInMemory",
    "in_units",
    "put_at_rest",
    "reordered",
]

CHUNK_VALUES = 2**16
"""Values of a chunk at rest: of fewer, zarr takes as long; of single rows, more is read."""

_TOGETHER = 64
"""Rows of products: chunks are multiples of so many, or parts of them."""


class RowReader(Protocol):
    """Rows ``(n, k)`` that are read by ranges, or gathered.

    What it returns has the same bits wherever the rows are, and belongs to the reader: nobody may
    write into it. Readers may be used by several threads at once, and be pickled.
    """

    @property
    def shape(self) -> tuple[int, int]:
        """How many rows and features there are."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        ...

    @property
    def in_memory(self) -> bool:
        """Whether reading costs nothing: `block` is a view, and `take` a copy in memory."""
        ...

    @property
    def rows_together(self) -> int:
        """Rows from a multiple of this number on that cost as much to read as one of them."""
        ...

    def block(self, start: int, stop: int) -> NDArray[Any]:
        """Return rows `start` to `stop`, ``(stop - start, k)``, C-contiguous where rows are."""
        ...

    def take(self, places: NDArray[np.int64]) -> NDArray[Any]:
        """Return some rows, in any order and perhaps repeated, ``(len(places), k)``, as a copy.

        At rest every chunk that holds some of them is read once a call, one after another: ask
        for as many together as there is memory for, and for rows that lie near one another.
        """
        ...


@dataclass(frozen=True, slots=True, eq=False)
class RowsInMemory:
    """Rows of an array, which is pickled as it is; see `RowReader`.

    Examples
    --------
    >>> RowsInMemory(np.eye(3)).take(np.array([2, 0]))[:, 0].tolist()
    [0.0, 1.0]
    """

    array: NDArray[Any]
    in_memory = True
    rows_together = 1

    @property
    def shape(self) -> tuple[int, int]:
        """How many rows and features there are."""
        return self.array.shape[0], self.array.shape[1]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        return self.array.dtype

    def block(self, start: int, stop: int) -> NDArray[Any]:
        """Return a view of a range of rows."""
        return self.array[start:stop]

    def take(self, places: NDArray[np.int64]) -> NDArray[Any]:
        """Return some rows, in any order."""
        return self.array[places]


@dataclass(frozen=True)
class RowsAtRest:
    """Rows of a Zarr array that `put_at_rest` wrote; see `RowReader`.

    Parameters
    ----------
    store, path
        Directory or URL of the Zarr group, which all processes see; the array in it.
    """

    store: str
    path: str
    in_memory = False

    @cached_property
    def _source(self) -> ZarrSource:
        return ZarrSource(self.store, self.path)

    def __getstate__(self) -> dict[str, Any]:
        """Send the location, not the open array."""
        return {"store": self.store, "path": self.path}

    @property
    def shape(self) -> tuple[int, int]:
        """How many rows and features there are."""
        return self._source.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        return self._source.dtype

    @property
    def rows_together(self) -> int:
        """Rows of a chunk."""
        return self._source.chunks[0]

    def block(self, start: int, stop: int) -> NDArray[Any]:
        """Read a range of rows.

        Raises
        ------
        IntegrityError
            A chunk fails its checksum, or is not there any more.
        """
        rows = self._source.read(slice(start, stop), slice(0, self.shape[1]))
        self._refuse_lost(start, rows)
        return rows

    def _refuse_lost(self, start: int, rows: NDArray[Any]) -> None:
        """Refuse a chunk that is not there, of which zarr makes fill values without a word.

        The first row of each chunk tells. Where it has nothing but fill values, as rows of
        booleans may, and rows of a matrix with missing values, the store is asked.
        """
        unit = self.rows_together
        firsts = np.arange(start // unit * unit, start + len(rows), unit)
        firsts[:1] = start
        seen = rows[firsts[firsts < start + len(rows)] - start]
        is_filled = np.isnan(seen) if self.dtype.kind == "f" else seen == 0
        for first in firsts[np.flatnonzero(is_filled.all(axis=1))].tolist():
            if not self._source.holds(first, 0):
                last = min(self.shape[0], (first // unit + 1) * unit)
                raise IntegrityError(
                    f"chunk {first // unit} of the array {self.path!r} in {self.store}, of rows "
                    f"{first // unit * unit} to {last}, is not there any more: something removed "
                    "it while a tree was made of these rows. Make the tree again, where nothing "
                    "else removes files"
                )

    def take(self, places: NDArray[np.int64]) -> NDArray[Any]:
        """Read some rows, chunk by chunk.

        Raises
        ------
        IntegrityError
            A chunk fails its checksum, or is not there any more.
        """
        rows = np.empty((len(places), self.shape[1]), self.dtype)
        order = np.argsort(places, kind="stable")
        chunks = places[order] // self.rows_together
        firsts = np.flatnonzero(np.diff(chunks, prepend=-1)).tolist()
        for first, last in pairwise([*firsts, len(places)]):
            end_if_stopped()
            wanted = places[order[first:last]]
            start = int(wanted[0])
            rows[order[first:last]] = self.block(start, int(wanted[-1]) + 1)[wanted - start]
        return rows

    def remove(self) -> None:
        """Remove the rows, if they are there."""
        remove_array(self.store, self.path)


class RowStrip(NamedTuple):
    """Some rows of a matrix, with all features.

    Attributes
    ----------
    of_matrix
        Which rows of the matrix were read.
    to
        Where those that are kept are among all that are.
    values
        ``(rows that are kept, k)``.
    """

    of_matrix: slice
    to: slice
    values: NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RowPass:
    """One pass over a matrix, rows by rows, in blocks that suit its chunks.

    Parameters
    ----------
    source
        The matrix, ``(n, k)``.
    read
        Called with ranges of rows and features; returns the values of the block as somebody
        compares them. By default those of the source.
    dtype
        What they are put into.
    kept
        ``(m,)`` increasing: the rows that are wanted; None: all.

    Examples
    --------
    >>> from clustergrid.storage.source import ArraySource
    >>> source = ArraySource(np.arange(8.0).reshape(4, 2))
    >>> RowPass(source=source, dtype=source.dtype, kept=np.array([1, 3])).to_array().tolist()
    [[2.0, 3.0], [6.0, 7.0]]
    """

    source: MatrixSource
    dtype: np.dtype[Any]
    read: Callable[[slice, slice], NDArray[Any]] | None = None
    kept: NDArray[np.int64] | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """How many rows are wanted, of how many features."""
        n, k = self.source.shape
        return (n if self.kept is None else len(self.kept)), k

    def strips(self, out: NDArray[Any] | None = None) -> Iterator[RowStrip]:
        """Read all rows, some at a time.

        Parameters
        ----------
        out
            ``(m, k)``: where to put them, so that the strips are views of it; None: each strip is
            an array of its own, which nobody else has.
        """
        n, k = self.source.shape
        read = self.read or self.source.read
        rows_at_once, features_at_once = pass_block((n, k), self.source.chunks)
        for rows in slabs(n, rows_at_once):
            to, some = self._kept_of(rows)
            values = np.empty((to.stop - to.start, k), self.dtype) if out is None else out[to]
            for features in slabs(k, features_at_once):
                end_if_stopped()
                block = read(rows, features)
                values[:, features] = block if some is None else block[some]
            yield RowStrip(of_matrix=rows, to=to, values=values)

    def to_array(self) -> NDArray[Any]:
        """Read all rows into memory."""
        rows = np.empty(self.shape, self.dtype)
        for _ in self.strips(rows):
            pass
        return rows

    def _kept_of(self, rows: slice) -> tuple[slice, NDArray[np.int64] | None]:
        """Return where the rows of a range that are wanted go, and which they are; None: all."""
        if self.kept is None:
            return rows, None
        first, last = np.searchsorted(self.kept, (rows.start, rows.stop)).tolist()
        return slice(first, last), self.kept[first:last] - rows.start


def put_at_rest(
    parts: Iterable[NDArray[Any]],
    *,
    shape: tuple[int, int],
    dtype: np.dtype[Any],
    store: str,
    path: str,
) -> RowsAtRest:
    """Write rows as they come, in place of an array that is there.

    Parameters
    ----------
    parts
        Some rows each, ``(any number, k)``, one after another; all together there are `shape`.
    shape, dtype
        Of all of them.
    store, path
        Directory or URL of the Zarr group, and the name of the array.

    Raises
    ------
    StorageError
        The store refused the bytes, for instance because the disk is full.
    """
    unit = _chunk_rows(*shape)
    array = create_array(
        store,
        path,
        shape=shape,
        dtype=dtype,
        chunks=(unit, shape[1]),
        compressed=False,
        attributes=owned(),
        overwrite=True,
        # Which rows hardly are, so that one that was lost is seen.
        fill_value=np.nan if dtype.kind == "f" else 0,
    )
    done = 0
    for whole in in_units(parts, unit):
        _write(array, done, whole)
        done += len(whole)
    if done != shape[0]:
        raise ValueError(f"expected {shape[0]} rows to put at rest, got {done}")
    return RowsAtRest(store, path)


def reordered(
    rows: RowReader,
    order: NDArray[np.int64],
    *,
    store: str,
    path: str,
    rows_at_once: int,
    exponent: int = 0,
) -> RowsAtRest:
    """Put rows at rest in another order.

    Parameters
    ----------
    rows
        Which; if they are at rest they are read some ``n / rows_at_once`` times, at most.
    order
        ``(n,)``: which of them comes first, second, ...
    store, path
        As of `put_at_rest`; not where they are now.
    rows_at_once
        How many are held in memory.
    exponent
        Of the power of two that all values are multiplied by.
    """
    parts = (rows.take(order[some]) for some in slabs(len(order), max(1, rows_at_once)))
    if exponent:
        parts = (np.ldexp(part, exponent, out=part) for part in parts)
    shape = (len(order), rows.shape[1])
    return put_at_rest(parts, shape=shape, dtype=rows.dtype, store=store, path=path)


def _chunk_rows(n: int, k: int) -> int:
    """Rows of a chunk: few enough to be read for one, and whole products' worth of them."""
    fair = max(1, CHUNK_VALUES // max(1, k))
    fair = fair // _TOGETHER * _TOGETHER or 1 << (fair.bit_length() - 1)
    return min(max(1, n), fair)


def in_units(parts: Iterable[NDArray[Any]], unit: int) -> Iterator[NDArray[Any]]:
    """Put rows together so that all but the last parts are of multiples of a unit."""
    waiting: list[NDArray[Any]] = []
    n_waiting = 0
    for part in parts:
        waiting.append(part)
        n_waiting += len(part)
        if n_waiting < unit:
            continue
        rows = waiting[0] if len(waiting) == 1 else np.concatenate(waiting)
        whole = len(rows) // unit * unit
        yield rows[:whole]
        waiting = [rows[whole:].copy()]
        n_waiting -= whole
    if n_waiting:
        yield np.concatenate(waiting)


def _write(array: zarr.Array[Any], start: int, rows: NDArray[Any]) -> None:
    """Write whole chunks, one at a time: zarr holds what it encodes twice."""
    for part in slabs(len(rows), array.chunks[0]):
        end_if_stopped()
        write_block(array, (start + part.start, 0), rows[part])
