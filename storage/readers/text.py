"""Driver: tables of text, one row a line, the first column the labels, the header the others'.

Numbers are parsed to the nearest double (pyarrow's parser rounds correctly). They are float64
even if all are integers: a stream cannot know before its end.
"""

from __future__ import annotations

import csv
import io
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
import pandas as pd

from clustergrid.storage.errors import DataValueError, StorageError
from clustergrid.storage.readers.base import RowBlock, Stream
from clustergrid.storage.readers.location import Location

__all__ = ["open_text"]

MISSING = ["", "NA", "N/A", "#N/A", "NaN", "nan", "null", "NULL", "None", "n/a", "<NA>"]
_BLOCK_BYTES = 8 * 2**20  # of text; its numbers take up to four times as much


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

        try:
            with self.location.open(decompress=True) as file:
                _read_record(file)  # the header
                for batch in self._batches(file):
                    yield _to_block(batch)
        except UnicodeDecodeError as error:
            raise _not_utf8(self.location) from error
        except pyarrow.ArrowInvalid as error:
            raise self._explain(str(error)) from error
        except (EOFError, zlib.error, StorageError, OSError) as error:
            if isinstance(error, FileNotFoundError):
                raise
            raise DataValueError(f"{self.location.url} is damaged or cut short: {error}") from error

    def _batches(self, file: IO[bytes]) -> Iterator[Any]:
        """Yield record batches: a column of labels, then the numbers."""
        from pyarrow import csv as pyarrow_csv
        from pyarrow import float64, string

        names = [str(i) for i in range(len(self.column_labels) + 1)]
        first = _first_bytes(file)
        if not first.getbuffer().nbytes:
            return
        types = {names[0]: string(), **dict.fromkeys(names[1:], float64())}
        yield from pyarrow_csv.open_csv(
            _Chained(first, file),
            read_options=pyarrow_csv.ReadOptions(
                block_size=self.block_bytes, column_names=names, use_threads=False
            ),
            parse_options=pyarrow_csv.ParseOptions(delimiter=self.delimiter),
            convert_options=pyarrow_csv.ConvertOptions(
                column_types=types, null_values=MISSING, strings_can_be_null=False
            ),
        )

    def _explain(self, message: str) -> DataValueError:
        """Turn pyarrow's error into one that says where the cell is."""
        url = self.location.url
        if "UTF8" in message:
            return _not_utf8(self.location)
        found = re.search(r"CSV column #(\d+).*invalid value '(.*)'", message, re.DOTALL)
        if not found:
            return DataValueError(f"{url} is not a table: {message[:300]}")
        column, value = int(found[1]), found[2]
        return DataValueError(
            f"{url}: {value!r} in column {self.column_labels[column - 1]!r}"
            f"{self._row_of(column, value)} is not a number. Empty cells, NA and NaN are read as "
            "missing; the first column is taken as the labels of the rows."
        )

    def _row_of(self, column: int, value: str) -> str:
        """Find the row of a cell, only after it made an error."""
        with self.location.open(decompress=True) as file:
            lines = io.TextIOWrapper(file, encoding="utf-8", errors="replace", newline="")
            for number, row in enumerate(csv.reader(lines, delimiter=self.delimiter)):
                if number and len(row) > column and row[column].strip() == value.strip():
                    lines.detach()
                    return f", row {row[0]!r} (row {number} below the header)"
            lines.detach()
        return ""


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


def _read_header(location: Location) -> _Table:
    """Find the delimiter and the labels of the columns."""
    try:
        with location.open(decompress=True) as file:
            header, record = _read_record(file), _read_record(file)
    except UnicodeDecodeError as error:
        raise _not_utf8(location) from error
    except (EOFError, zlib.error, OSError) as error:
        if isinstance(error, StorageError):
            raise
        raise DataValueError(f"{location.url} is damaged or cut short: {error}") from error
    if not header.strip():
        raise DataValueError(f"{location.url} is empty: it needs a header and rows")
    delimiter = _delimiter(location, header)
    fields, first = (_split(text, delimiter) for text in (header, record))
    has_corner = len(first) != len(fields) + 1  # R's write.table leaves the corner out
    labels = fields[1:] if has_corner else fields
    if not labels:
        raise DataValueError(
            f"{location.url} has no column of numbers: its header is {header[:80]!r}. The first "
            f"column holds labels; columns are separated by {delimiter!r}."
        )
    return _Table(
        location=location,
        delimiter=delimiter,
        corner=fields[0] if has_corner else None,
        column_labels=labels,
        block_bytes=max(_BLOCK_BYTES, 16 * len(record)),  # a block holds at least one row
    )


def _delimiter(location: Location, header: str) -> str:
    """Choose the delimiter: what the suffix says, unless only another one is there."""
    usual = "," if location.suffix == ".csv" else "\t"
    if usual in header:
        return usual
    return next((other for other in "\t,;" if other in header), usual)


def _split(record: str, delimiter: str) -> list[str]:
    """Split one record into its fields, unquoted."""
    return next(csv.reader([record.rstrip("\r\n")], delimiter=delimiter), [])


def _read_record(file: IO[bytes]) -> str:
    """Read a line, and more of them while a quoted field is open."""
    line = file.readline()
    while line.count(b'"') % 2 and (more := file.readline()):
        line += more
    return line.decode("utf-8-sig")


def _first_bytes(file: IO[bytes]) -> io.BytesIO:
    """Read past empty lines, since pyarrow refuses a file that has nothing else."""
    line = file.readline()
    while line and not line.strip():
        line = file.readline()
    return io.BytesIO(line)


def _to_block(batch: Any) -> RowBlock:
    """Turn a record batch into labels and a matrix."""
    labels = pd.Index(batch.column(0).to_pylist(), dtype=object)
    values = np.empty((batch.num_rows, batch.num_columns - 1), np.float64)
    for j in range(values.shape[1]):
        values[:, j] = batch.column(j + 1).to_numpy(zero_copy_only=False)
    return labels, values


def _not_utf8(location: Location) -> DataValueError:
    """Say what to do with a file in another encoding."""
    return DataValueError(
        f"{location.url} is not UTF-8 text. If it is in another encoding, convert it, for "
        f"instance with: iconv -f windows-1252 -t utf-8"
    )
