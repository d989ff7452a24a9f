"""Driver: Parquet tables, read a batch of rows at a time."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from clustergrid.storage.errors import DataValueError, StorageError
from clustergrid.storage.readers.base import RowBlock, Stream
from clustergrid.storage.readers.chunking import BLOCK_BYTES
from clustergrid.storage.readers.frame import matrix_dtype
from clustergrid.storage.readers.labels import plain_labels
from clustergrid.storage.readers.location import Location

__all__ = ["open_parquet"]


@dataclass(frozen=True)
class _Table:
    """A Parquet file whose schema was read."""

    location: Location
    index_fields: tuple[str, ...]
    value_fields: tuple[str, ...]
    index_range: range | None
    dtype: np.dtype[Any]

    def blocks(self) -> Iterator[RowBlock]:
        """Read the file from its first row to its last."""
        import pyarrow
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
                    yield self._labels(batch, start), self._values(batch)
                    start += batch.num_rows
        except (pyarrow.ArrowException, OSError) as error:
            raise _damaged(self.location, error) from error

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

    def _values(self, batch: Any) -> np.ndarray:
        """Return the numbers of a batch as a matrix."""
        values = np.empty((batch.num_rows, len(self.value_fields)), self.dtype)
        for j, name in enumerate(self.value_fields):
            column = batch.column(name)
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
    import pyarrow
    from pyarrow import parquet

    try:
        with location.open() as raw, parquet.ParquetFile(raw) as file:
            schema, n_rows = file.schema_arrow, file.metadata.num_rows
            nulls = _columns_with_nulls(file)
    except (pyarrow.ArrowException, OSError) as error:
        if isinstance(error, StorageError):
            raise
        raise _damaged(location, error) from error
    empty = schema.empty_table().to_pandas()
    index = _find_index(schema, empty, n_rows)
    values = empty.drop(columns=index.column) if index.column is not None else empty
    value_fields = tuple(name for name in schema.names if name not in index.fields)
    if n_rows == 0 or not value_fields:
        raise DataValueError(
            f"{location.url} has {n_rows} rows and {len(value_fields)} columns of numbers: there "
            "is nothing to read"
        )
    dtype = matrix_dtype(values)
    if dtype.kind != "f" and nulls.intersection(value_fields):
        dtype = np.dtype(np.float64)
    return Stream(
        blocks=_Table(location, index.fields, value_fields, index.numbers, dtype).blocks,
        n_columns=len(value_fields),
        dtype=dtype,
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
    for i, dtype in enumerate(empty.dtypes):
        if not pd.api.types.is_numeric_dtype(dtype):
            label = empty.columns[i]
            return _Index(fields=(schema.names[i],), name=label, column=label)
    if described:
        numbers = range(described[0]["start"], described[0]["stop"], described[0]["step"])
        if len(numbers) == n_rows:
            return _Index(numbers=numbers, name=described[0]["name"])
    return _Index()


def _columns_with_nulls(file: Any) -> set[str]:
    """Columns that may hold missing values, as far as the statistics tell."""
    found: set[str] = set()
    for group in range(file.metadata.num_row_groups):
        for i in range(file.metadata.num_columns):
            column = file.metadata.row_group(group).column(i)
            if column.statistics is None or column.statistics.null_count != 0:
                found.add(column.path_in_schema)
    return found


def _damaged(location: Location, error: Exception) -> Exception:
    """Say that a file cannot be read as Parquet."""
    if isinstance(error, StorageError):
        return error
    return DataValueError(f"{location.url} is not a readable Parquet file: {error}")
