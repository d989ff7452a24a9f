"""Driver: the shape of an input, without reading all of it."""

from __future__ import annotations

import gzip
import os
import zlib
from math import prod
from pathlib import Path
from typing import IO, Any, cast

from clustergrid.pipeline.intake import needs_copy
from clustergrid.pipeline.run_plan import PlannedMatrix, planned_matrix
from clustergrid.storage.matrix import open_matrix
from clustergrid.storage.readers.base import Stream
from clustergrid.storage.readers.chunking import SMALL_SPARSE_BYTES
from clustergrid.storage.readers.location import Location
from clustergrid.storage.readers.table import TEXT, open_location

__all__ = ["survey_input", "survey_stream"]

_SAMPLE_BYTES = 16_000_000
_MOST_SAMPLED_BYTES = 8 * _SAMPLE_BYTES
_PART_BYTES = 2**16
_LEAST_ROWS = 10
"""So many rows are read whatever they take, to know how long one is."""


def survey_input(path: str | os.PathLike[str], layer: str | None = None) -> PlannedMatrix:
    """Say what a plan has to know of an input.

    Formats whose blocks can be read at any place say their shape, and so do Parquet and columns of
    an AnnData. How many rows a long text has is estimated from its beginning; a short one is read.

    Parameters
    ----------
    path, layer
        As in `open_matrix`.

    Raises
    ------
    ClustergridError
        What `open_matrix` raises of an input that cannot be read, as far as it was looked at.
    """
    stream = survey_stream(path, layer)
    if stream is not None:
        return stream
    matrix = open_matrix(path, layer=layer)
    copied, is_text = needs_copy(matrix), Location.parse(path).suffix in TEXT
    return planned_matrix(matrix, "text" if copied and is_text else copied, is_stream=is_text)


def survey_stream(path: str | os.PathLike[str], layer: str | None = None) -> PlannedMatrix | None:
    """Say what is known of an input that can only be read from its beginning to its end.

    Parameters
    ----------
    path, layer
        As in `open_matrix`.

    Returns
    -------
    PlannedMatrix or None
        None of other formats, and of a text so short that it is better read.
    """
    location = Location.parse(path)
    found = open_location(location, layer)
    if not isinstance(found, Stream):
        return None
    if found.n_rows is not None:
        shape = (found.n_rows, found.n_columns)
        compressed = found.compressed
        is_kept = prod(shape) * found.dtype.itemsize > SMALL_SPARSE_BYTES
        return PlannedMatrix(
            shape=shape,
            dtype=found.dtype,
            ingest=True,
            n_stored=compressed.n_stored if compressed is not None and is_kept else None,
            is_stream=True,
        )
    rows = _rows_of_text(location) if location.suffix in TEXT else None
    if rows is None:
        return None
    return PlannedMatrix(
        shape=(rows, found.n_columns),
        dtype=found.dtype,
        ingest="text",
        is_stream=True,
        note=f"the number of rows is estimated from the beginning of {Path(location.url).name}",
    )


def _rows_of_text(location: Location) -> int | None:
    """Estimate the rows below the header of a text; None where it is short enough to be read."""
    with location.open() as raw:
        text: IO[bytes] = raw
        if location.is_compressed:
            text = cast("IO[bytes]", gzip.GzipFile(fileobj=cast("Any", raw)))
        try:
            header = len(text.readline(_MOST_SAMPLED_BYTES))
            rows, whole, seen = _whole_rows(text)
        except (EOFError, OSError, zlib.error):
            return None  # it is damaged; whoever reads it says where
        if header + seen < _SAMPLE_BYTES:
            return None
        used = raw.tell()
        size = raw.seek(0, os.SEEK_END)
    if rows < _LEAST_ROWS and seen >= _MOST_SAMPLED_BYTES:
        return None  # these may be no rows at all; whoever reads them says so
    length = (header + seen) * size / used
    return max(1, round((length - header) / (whole / rows))) if rows else 1


def _whole_rows(text: IO[bytes]) -> tuple[int, int, int]:
    """Read some rows: how many are whole, their bytes, and all bytes that were read."""
    rows, whole, seen = 0, 0, 0
    while seen < _SAMPLE_BYTES or (rows < _LEAST_ROWS and seen < _MOST_SAMPLED_BYTES):
        part = text.read(_PART_BYTES)
        if not part:
            break
        rows += part.count(b"\n")
        if b"\n" in part:
            whole = seen + part.rindex(b"\n") + 1
        seen += len(part)
    return rows, whole, seen
