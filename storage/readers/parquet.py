"""Driver: Parquet tables, read a batch of rows at a time."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from clustergrid.storage.errors import (
    ClustergridError,
    DataTypeError,
    DataValueError,
    IntegrityError,
)
from clustergrid.storage.readers.base import RowBlock, Stream
from clustergrid.storage.readers.chunking import BLOCK_BYTES
from clustergrid.storage.readers.frame import matrix_dtype
from clustergrid.storage.readers.labels import plain_labels
from clustergrid.storage.readers.location import Location

__all__ = ["open_parquet"]

_SHOWN = 3


@dataclass(frozen=True)
class _Table:
    """A Parquet file whose schema was read."""

    location: Location
    index_fields: tuple[str, ...]
    value_fields: tuple[str, ...]
    index_range: range | None
    dtype: np.dtype[Any]
    n_rows: int

    def blocks(self) -> Iterator[RowBlock]:
        """Read the file from its first row to its last."""
        from pyarrow import parquet

        rows = max(1, BLOCK_BYTES // (self.dtype.itemsize * len(self.value_fields)))
        start = 0
        try:
            # A buffer for every column keeps a large row group out of memory.
            with (
                self.location.open() as raw,
                parquet.ParquetFile(raw, buffer_size=2**16, pre_buffer=False) as file,
            ):
                fields = [*self.index_fields, *self.value_fields]
                for batch in file.iter_batches(rows, columns=fields, use_threads=False):
                    labels, values = self._labels(batch, start), self._values(batch, start)
                    start += batch.num_rows
                    if batch.num_rows:
                        yield labels, values
        except Exception as error:
            raise _damaged(self.location, error, f" from row {start}") from error
        if start != self.n_rows:
            raise IntegrityError(
                f"{self.location.url} has {start:,} rows, of {self.n_rows:,} that its metadata "
                "promises"
            )

    def _labels(self, batch: Any, start: int) -> pd.Index | None:
        """Labels of the rows of a batch."""
        if self.index_range is not None:
            return pd.Index(self.index_range[start : start + batch.num_rows], dtype=np.int64)
        if not self.index_fields:
            return None
        columns = [batch.column(name).to_pandas() for name in self.index_fields]
        if len(columns) == 1:
            return plain_labels(pd.Index(columns[0]))
        return plain_labels(pd.MultiIndex.from_arrays(columns))

    def _values(self, batch: Any, start: int) -> np.ndarray:
        """Return the numbers of a batch as a matrix."""
        values = np.empty((batch.num_rows, len(self.value_fields)), self.dtype)
        for j, name in enumerate(self.value_fields):
            column = batch.column(name)
            if column.null_count and self.dtype.kind != "f":  # the statistics said there is none
                row = start + column.is_null().index(True).as_py()
                raise IntegrityError(
                    f"{self.location.url}: row {row} of column {name!r} is missing, and the "
                    "statistics of the file say that none is: write it again"
                )
            if column.null_count and str(column.type) == "bool":
                column = column.cast("uint8")  # a boolean with nulls would come as objects
            values[:, j] = column.to_numpy(zero_copy_only=False)
        return values


def open_parquet(location: Location) -> Stream:
    """Read the schema of a Parquet file.

    The labels of the rows are the index that pandas stored; without one, the first column that
    does not hold numbers.

    Raises
    ------
    DataTypeError
        A column does not hold numbers.
    DataValueError
        The file is damaged, or is not Parquet.
    """
    from pyarrow import parquet

    try:
        with location.open() as raw, parquet.ParquetFile(raw) as file:
            schema, n_rows = file.schema_arrow, file.metadata.num_rows
            nulls = _columns_with_nulls(file)
            _check_fields(location, schema)
            empty = schema.empty_table().to_pandas()
            index = _find_index(schema, empty, n_rows)
    # Whatever the footer holds, also what pandas noted in it, in JSON.
    except Exception as error:
        raise _damaged(location, error) from error
    values = empty.drop(columns=index.column) if index.column is not None else empty
    value_fields = tuple(name for name in schema.names if name not in index.fields)
    if n_rows <= 0 or not value_fields:
        raise DataValueError(
            f"{location.url} has {n_rows} rows and {len(value_fields)} columns of numbers: there "
            "is nothing to read"
        )
    try:
        dtype = matrix_dtype(values)
    except DataTypeError as error:
        raise DataTypeError(f"{location.url}: {error}") from error
    if dtype.kind != "f" and nulls.intersection(value_fields):
        dtype = np.dtype(np.float64)
    return Stream(
        blocks=_Table(location, index.fields, value_fields, index.numbers, dtype, n_rows).blocks,
        n_columns=len(value_fields),
        dtype=dtype,
        n_rows=n_rows,
        row_name=index.name,
        column_labels=plain_labels(values.columns),
    )


@dataclass(frozen=True, kw_only=True)
class _Index:
    """Where the labels of the rows are: in fields, in a range of numbers, or nowhere."""

    fields: tuple[str, ...] = ()
    numbers: range | None = None
    name: Hashable = None
    column: Hashable = None  # a label of the table that pandas does not know as its index


def _find_index(schema: Any, empty: pd.DataFrame, n_rows: int) -> _Index:
    """Choose what labels the rows."""
    described = (schema.pandas_metadata or {}).get("index_columns", [])
    fields = tuple(name for name in described if isinstance(name, str))
    if fields:
        return _Index(fields=fields, name=plain_labels(empty.index).name)
    for i, field in enumerate(schema):
        if _is_label(field.type):
            label = empty.columns[i]
            return _Index(fields=(schema.names[i],), name=label, column=label)
    if described:
        numbers = range(described[0]["start"], described[0]["stop"], described[0]["step"])
        if len(numbers) == n_rows:
            return _Index(numbers=numbers, name=described[0]["name"])
    return _Index()


def _is_label(kind: Any) -> bool:
    """Whether a column of this type labels rows: text, categories, dates."""
    from pyarrow import types

    if types.is_dictionary(kind):
        kind = kind.value_type
        return _is_text(kind) or types.is_integer(kind)
    return _is_text(kind) or types.is_temporal(kind)


def _is_text(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def _check_fields(location: Location, schema: Any) -> None:
    """Refuse what cannot be a column of numbers, nor of labels.

    Raises
    ------
    DataTypeError, DataValueError
        There is a column of such a type; two have one name.
    """
    from pyarrow import types

    bad = [
        f"{field.name!r} ({field.type})"
        for field in schema
        if not (
            types.is_integer(field.type)
            or types.is_floating(field.type)
            or types.is_boolean(field.type)
            or _is_label(field.type)
        )
    ]
    if bad:
        more = f" and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
        raise DataTypeError(
            f"{location.url}: {len(bad)} of {len(schema)} columns hold neither real numbers nor "
            f"labels: {', '.join(bad[:_SHOWN])}{more}. Drop them, or cast them to float64."
        )
    if len(set(schema.names)) < len(schema):
        name = next(name for name in schema.names if schema.names.count(name) > 1)
        raise DataValueError(
            f"{location.url} has the column {name!r} more than once: give each a name of its own"
        )


def _columns_with_nulls(file: Any) -> set[str]:
    """Columns that may hold missing values, as far as the statistics tell."""
    found: set[str] = set()
    for group in range(file.metadata.num_row_groups):
        for i in range(file.metadata.num_columns):
            column = file.metadata.row_group(group).column(i)
            if column.statistics is None or column.statistics.null_count != 0:
                found.add(column.path_in_schema)
    return found


def _damaged(location: Location, error: Exception, where: str = "") -> Exception:
    """Say that a file cannot be read as Parquet."""
    if isinstance(error, ClustergridError):
        return error
    return DataValueError(
        f"{location.url} is not a readable Parquet file{where}: {str(error)[:300]}"
    )
