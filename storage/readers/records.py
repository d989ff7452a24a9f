"""Driver: lines of a table of text, each of bounded length, with quotes that may span lines."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import IO

__all__ = ["LONGEST_RECORD_BYTES", "RecordError", "first_record", "read_record", "records", "split"]

LONGEST_RECORD_BYTES = 64 * 2**20
"""A row of three million numbers in full precision."""


class RecordError(ValueError):
    """A record cannot be read; the text says why, without saying which it is."""


def read_record(file: IO[bytes], longest_bytes: int = LONGEST_RECORD_BYTES) -> bytes:
    """Read a line, and more of them while a quoted field is open; empty at the end of the file.

    Raises
    ------
    RecordError
        It is longer than `longest_bytes`.
    """
    record = bytearray(file.readline(longest_bytes + 1))
    quotes = record.count(b'"')
    while quotes % 2 and len(record) <= longest_bytes:
        more = file.readline(longest_bytes + 1 - len(record))
        if not more:
            break
        quotes += more.count(b'"')
        record += more
    if len(record) > longest_bytes:
        if quotes % 2 and b"\n" in record:
            raise RecordError(
                f'opens a quote (") that is not closed within {longest_bytes:,} bytes: double it '
                "or remove it"
            )
        raise RecordError(
            f"is longer than {longest_bytes:,} bytes: is this a table, with an end of line after "
            "every row?"
        )
    return bytes(record)


def first_record(file: IO[bytes]) -> bytes:
    """Read the first record that is not blank; empty if there is none.

    Raises
    ------
    RecordError
        It is too long.
    """
    record = read_record(file)
    while record and not record.removeprefix(b"\xef\xbb\xbf").strip():
        record = read_record(file)
    return record


def records(file: IO[bytes], longest_bytes: int = LONGEST_RECORD_BYTES) -> Iterator[bytes]:
    """Yield the records that are not blank.

    Raises
    ------
    RecordError
        One is too long.
    """
    while record := read_record(file, longest_bytes):
        if record.strip(b"\r\n"):
            yield record


def split(record: str, delimiter: str) -> list[str]:
    r"""Split a record into its fields, unquoted.

    Raises
    ------
    RecordError
        A field is too long for the csv module.

    Examples
    --------
    >>> split('"a,b",1\r\n', ",")
    ['a,b', '1']
    """
    try:
        return next(csv.reader([record.rstrip("\r\n")], delimiter=delimiter), [])
    except csv.Error as error:
        raise RecordError(f"cannot be split into fields: {error}") from error
