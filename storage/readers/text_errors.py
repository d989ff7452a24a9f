"""Driver: where in a table of text something is wrong, found again once it is known that it is."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from clustergrid.storage.errors import ClustergridError, DataValueError
from clustergrid.storage.readers.location import Location
from clustergrid.storage.readers.records import RecordError, first_record, records, split

__all__ = ["NotUtf8Error", "TextFaults", "not_utf8"]

_SHOWN = 80
_DECIMAL_COMMA = re.compile(r"[+-]?\d{1,3}(,\d+)+")


@dataclass(frozen=True)
class NotUtf8Error(Exception):
    """A record that is not UTF-8; row 0 is the header."""

    row: int
    error: UnicodeDecodeError


@dataclass(frozen=True)
class TextFaults:
    """Makes errors that say where in a table of text the fault is."""

    location: Location
    delimiter: str
    column_labels: Sequence[str]

    def explain(self, message: str, block_bytes: int) -> ClustergridError:
        """Turn pyarrow's error into one that says where the cell is."""
        if "UTF8" in message:
            return not_utf8(self.location, self._first_undecodable())
        if "straddling" in message:
            return self._too_long(block_bytes)
        ragged = re.search(r"Row #(\d+): Expected \d+ columns, got (\d+): (.*)", message, re.DOTALL)
        if ragged:
            return self.ragged(int(ragged[1]), ragged[3], int(ragged[2]))
        cell = re.search(r"CSV column #(\d+).*invalid value '(.*)'", message, re.DOTALL)
        if cell:
            column, value = int(cell[1]), cell[2]
            return self._no_number(column, value, self._row_of(column, value))
        return DataValueError(f"{self.location.url} is not a table: {_short(message, 300)}")

    def of_row(self, row: int, problem: str) -> DataValueError:
        """Say what is wrong with a row."""
        return DataValueError(f"{self.location.url}: row {row} below the header {problem}")

    def ragged(self, row: int, begins: str, found: int) -> DataValueError:
        """Say that a row has more or fewer fields than it should."""
        n = len(self.column_labels)
        return DataValueError(
            f"{self.location.url}: row {row} below the header, {_short(begins)!r}, has {found:,} "
            f"fields instead of {n + 1:,}: a label, and a number for each of {n:,} columns. Is a "
            f"delimiter ({self.delimiter!r}), a quote or the end of the file missing?"
        )

    def first_bad_cell(self, row: int, label: str, cells: Any) -> DataValueError:
        """Find the cell of a row that is not a number."""
        import pyarrow

        for column, cell in enumerate(cells, start=1):
            try:
                cell.cast(pyarrow.float64())
            except pyarrow.ArrowInvalid:
                return self._no_number(column, cell.as_py(), (row, label))
        return self.of_row(row, "has a cell that is not a number")

    def _no_number(self, column: int, value: str, row: tuple[int, str] | None) -> DataValueError:
        where = f" row {_short(row[1])!r} (row {row[0]} below the header)" if row else ""
        if _DECIMAL_COMMA.fullmatch(value.strip()):
            hint = "If this is a decimal comma, write points; leave commas between thousands out."
        else:
            hint = (
                "Empty cells, NA and NaN are read as missing; the first column is taken as the "
                "labels of the rows."
            )
        column_label = _short(self.column_labels[column - 1])
        return DataValueError(
            f"{self.location.url}: {_short(value)!r} in column {column_label!r}"
            f"{',' if where else ''}{where} is not a number. {hint}"
        )

    def _row_of(self, column: int, value: str) -> tuple[int, str] | None:
        """Find the row of a cell: its number below the header and its label."""
        for number, record in enumerate(self._rows(), start=1):
            if value.encode(errors="replace") not in record.replace(b'""', b'"'):
                continue
            try:
                fields = split(record.decode(errors="replace"), self.delimiter)
            except RecordError:
                # The csv module does not split it, but the value stands in it.
                label = record.split(self.delimiter.encode(), 1)[0]
                return number, label.decode(errors="replace")
            if len(fields) > column and fields[column].strip() == value.strip():
                return number, fields[0]
        return None

    def _first_undecodable(self) -> NotUtf8Error | None:
        for number, record in enumerate(self._rows(), start=1):
            try:
                record.decode()
            except UnicodeDecodeError as error:
                return NotUtf8Error(number, error)
        return None

    def _too_long(self, block_bytes: int) -> DataValueError:
        """Find the row that did not fit into a block."""
        number = 0
        try:
            with self.location.open(decompress=True) as file:
                first_record(file)
                for number, _ in enumerate(records(file, block_bytes // 2), start=1):  # noqa: B007
                    pass
        except RecordError as error:
            return self.of_row(number + 1, str(error))
        return DataValueError(
            f"{self.location.url} has a row that is longer than {block_bytes:,} bytes"
        )

    def _rows(self) -> Iterator[bytes]:
        """Yield the records below the header, as far as they can be read."""
        try:
            with self.location.open(decompress=True) as file:
                first_record(file)
                yield from records(file)
        except (RecordError, EOFError, zlib.error, OSError):
            return


def not_utf8(location: Location, where: NotUtf8Error | None = None) -> DataValueError:
    """Say what to do with a file in another encoding."""
    place = ""
    if where is not None:
        byte = where.error.object[where.error.start]
        row = f"row {where.row} below the header" if where.row else "the header"
        place = f": byte 0x{byte:02x} in {row}"
    return DataValueError(
        f"{location.url} is not UTF-8 text{place}. If it is in another encoding, convert it, for "
        f"instance with: iconv -f windows-1252 -t utf-8"
    )


def _short(text: str, longest: int = _SHOWN) -> str:
    """Cut a text that somebody else wrote."""
    return text if len(text) <= longest else text[:longest] + "..."
