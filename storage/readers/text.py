"""Driver: tables of text, one row a line, the first column the labels, the header the others'.

Numbers are parsed to the nearest double (pyarrow's parser rounds correctly). They are float64
even if all are integers: a stream cannot know before its end.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
import pandas as pd

from clustergrid.storage.errors import ClustergridError, DataValueError
from clustergrid.storage.readers.base import RowBlock, Stream
from clustergrid.storage.readers.location import Location
from clustergrid.storage.readers.records import (
    RecordError,
    first_record,
    records,
    split,
)
from clustergrid.storage.readers.signatures import SAMPLE_BYTES, foreign_format
from clustergrid.storage.readers.text_errors import NotUtf8Error, TextFaults, not_utf8

__all__ = ["open_text"]

MISSING = ["", "NA", "N/A", "#N/A", "NaN", "nan", "null", "NULL", "None", "n/a", "<NA>"]
_BLOCK_BYTES = 8 * 2**20  # of text; its numbers take up to four times as much
_LARGE_BLOCK_BYTES = 64 * 2**20
_MOST_COLUMNS = 5_000_000
_WIDE = 10_000
"""Columns from which rows are parsed one by one: pyarrow takes 7 kB of memory for every column."""


@dataclass(frozen=True)
class _Table:
    """A text file whose header was read."""

    location: Location
    delimiter: str
    corner: str | None
    column_labels: list[str]
    block_bytes: int

    def blocks(self) -> Iterator[RowBlock]:
        """Parse the file from its first row to its last."""
        import pyarrow

        done = 0
        try:
            for labels, values in self._parse(quotes_span_lines=False):
                done += len(values)
                yield labels, values
        except pyarrow.ArrowInvalid as error:
            if "out of sync" not in str(error):
                raise self._faults.explain(str(error), self.block_bytes) from error
            # A block ended inside of a quoted field. Only now pay for looking at every quote.
            yield from self._remaining_blocks(done)
            return
        if not done:
            raise DataValueError(f"{self.location.url} has a header and no rows: nothing to read")

    def _remaining_blocks(self, done: int) -> Iterator[RowBlock]:
        """Parse again, and leave out the rows that were given out before."""
        import pyarrow

        try:
            for labels, values in self._parse(quotes_span_lines=True):
                left_out = min(done, len(values))
                done -= left_out
                if left_out < len(values):
                    yield labels[left_out:], values[left_out:]
        except pyarrow.ArrowInvalid as error:
            raise self._faults.explain(str(error), self.block_bytes) from error

    def _parse(self, *, quotes_span_lines: bool) -> Iterator[tuple[pd.Index, np.ndarray]]:
        with _readable(self.location), self.location.open(decompress=True) as file:
            first_record(file)  # the header
            if len(self.column_labels) >= _WIDE:
                yield from self._wide_blocks(file)
            else:
                yield from self._narrow_blocks(file, quotes_span_lines)

    @property
    def _faults(self) -> TextFaults:
        return TextFaults(self.location, self.delimiter, self.column_labels)

    def _narrow_blocks(
        self, file: IO[bytes], quotes_span_lines: bool
    ) -> Iterator[tuple[pd.Index, np.ndarray]]:
        """Parse many rows at once."""
        from pyarrow import csv as pyarrow_csv
        from pyarrow import float64, string

        names = [str(i) for i in range(len(self.column_labels) + 1)]
        try:
            first = first_record(file)
        except RecordError as error:
            raise self._faults.of_row(1, str(error)) from error
        if not first:  # pyarrow refuses a file that has nothing else
            return
        types = {names[0]: string(), **dict.fromkeys(names[1:], float64())}
        batches = pyarrow_csv.open_csv(
            _Chained(io.BytesIO(first), file),
            read_options=pyarrow_csv.ReadOptions(
                block_size=self.block_bytes, column_names=names, use_threads=False
            ),
            parse_options=pyarrow_csv.ParseOptions(
                delimiter=self.delimiter, newlines_in_values=quotes_span_lines
            ),
            convert_options=pyarrow_csv.ConvertOptions(
                column_types=types, null_values=MISSING, strings_can_be_null=False
            ),
        )
        for batch in batches:
            if batch.num_rows:
                yield _to_block(batch)

    def _wide_blocks(self, file: IO[bytes]) -> Iterator[tuple[pd.Index, np.ndarray]]:
        """Parse one row after another, with the same parser of numbers."""
        import pyarrow
        from pyarrow import compute

        missing = pyarrow.array(MISSING)
        row = 0
        try:
            for row, record in enumerate(records(file), start=1):
                label, *cells = split(_decode(record, self.location, row), self.delimiter)
                if len(cells) != len(self.column_labels):
                    raise self._faults.ragged(row, label, len(cells) + 1)
                texts = compute.utf8_trim_whitespace(pyarrow.array(cells, pyarrow.string()))
                known = compute.if_else(compute.is_in(texts, missing), None, texts)
                try:
                    values = known.cast(pyarrow.float64())
                except pyarrow.ArrowInvalid:
                    raise self._faults.first_bad_cell(row, label, known) from None
                yield (
                    pd.Index([label], dtype=object),
                    values.to_numpy(zero_copy_only=False)[np.newaxis],
                )
        except RecordError as error:
            raise self._faults.of_row(row + 1, str(error)) from error


class _Chained(io.RawIOBase):
    """Some bytes that were read before, then the rest of a file."""

    def __init__(self, first: io.BytesIO, rest: IO[bytes]) -> None:
        self._first, self._rest = first, rest

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes."""
        return self._first.read(size) or self._rest.read(size)


def open_text(location: Location) -> Stream:
    """Read the header of a text table.

    Raises
    ------
    DataValueError
        There is no header, it is not UTF-8 text, or the bytes are damaged.
    """
    table = _read_header(location)
    return Stream(
        blocks=table.blocks,
        n_columns=len(table.column_labels),
        dtype=np.dtype(np.float64),
        column_labels=pd.Index(table.column_labels, dtype=object),
        row_name=table.corner,
    )


@contextmanager
def _readable(location: Location) -> Iterator[None]:
    """Turn what damaged bytes raise into an error that names the file."""
    try:
        yield
    except ClustergridError:
        raise
    except (EOFError, zlib.error, OSError) as error:
        if "Not a gzipped file" in str(error):
            with location.open() as file:
                is_gzip = file.read(2) == b"\x1f\x8b"
            if not is_gzip:
                raise DataValueError(
                    f"{location.url} is not compressed by gzip: let its name not end in .gz"
                ) from error
        raise DataValueError(f"{location.url} is damaged or cut short: {error}") from error


def _read_header(location: Location) -> _Table:
    """Find the delimiter and the labels of the columns."""
    with _readable(location), location.open(decompress=True) as file:
        what = foreign_format(file.read(SAMPLE_BYTES))
        if what is not None:
            raise DataValueError(f"{location.url} is {what}")
        file.seek(0)
        header = _decode(_checked(location, "the header", lambda: first_record(file)), location, 0)
        record = _checked(location, "row 1 below the header", lambda: first_record(file))
    if not header.strip():
        raise DataValueError(f"{location.url} is empty: it needs a header and rows")
    if "\r" in header.rstrip("\r\n") and not record:
        raise DataValueError(
            f"{location.url} ends its lines with CR alone: convert it with tr '\\r' '\\n'"
        )
    delimiter = _delimiter(location, header)
    n_fields = header.count(delimiter) + 1
    if n_fields > _MOST_COLUMNS:
        raise DataValueError(
            f"{location.url} has a header of {n_fields:,} fields; of text, up to {_MOST_COLUMNS:,} "
            "columns are read. Transpose it, or save it as .npy, Parquet or Zarr."
        )
    first = _decode(record, location, 1)
    fields = _checked(location, "the header", lambda: split(header, delimiter))
    n_first = len(_checked(location, "row 1 below the header", lambda: split(first, delimiter)))
    has_corner = n_first != len(fields) + 1  # R's write.table leaves the corner out
    labels = fields[1:] if has_corner else fields
    if not labels:
        raise DataValueError(
            f"{location.url} has no column of numbers: its header is {header.strip()[:80]!r}. The "
            f"first column holds labels; columns are separated by {delimiter!r}."
        )
    return _Table(
        location=location,
        delimiter=delimiter,
        corner=fields[0] if has_corner else None,
        column_labels=labels,
        # A block holds some rows, at least one even if it is longer than the first.
        block_bytes=max(_BLOCK_BYTES, min(16 * len(record), _LARGE_BLOCK_BYTES), 2 * len(record)),
    )


def _checked(location: Location, what: str, read: Callable[[], Any]) -> Any:
    """Read something, and name it if it cannot be read."""
    try:
        return read()
    except RecordError as error:
        raise DataValueError(f"{location.url}: {what} {error}") from error


def _decode(record: bytes, location: Location, row: int) -> str:
    """Decode a record; row 0 is the header."""
    try:
        return record.decode("utf-8-sig" if row == 0 else "utf-8")
    except UnicodeDecodeError as error:
        raise not_utf8(location, NotUtf8Error(row, error)) from error


def _delimiter(location: Location, header: str) -> str:
    """Choose the delimiter: what the suffix says, unless only another one is there."""
    usual = "," if location.suffix == ".csv" else "\t"
    if usual in header:
        return usual
    return next((other for other in "\t,;" if other in header), usual)


def _to_block(batch: Any) -> tuple[pd.Index, np.ndarray]:
    """Turn a record batch into labels and a matrix."""
    labels = pd.Index(batch.column(0).to_pylist(), dtype=object)
    values = np.empty((batch.num_rows, batch.num_columns - 1), np.float64)
    for j in range(values.shape[1]):
        values[:, j] = batch.column(j + 1).to_numpy(zero_copy_only=False)
    return labels, values
