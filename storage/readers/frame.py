"""Kernel: pandas tables and plain arrays as matrices of numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from clustergrid.storage.errors import DataTypeError

__all__ = ["check_number_dtype", "frame_values", "matrix_dtype"]

_SHOWN = 3


def matrix_dtype(frame: pd.DataFrame) -> np.dtype[Any]:
    """Return the one type that holds all columns of a table.

    Raises
    ------
    DataTypeError
        Some columns do not hold numbers; the message names them.

    Examples
    --------
    >>> matrix_dtype(pd.DataFrame({"a": [1], "b": [0.5]}))
    dtype('float64')
    >>> matrix_dtype(pd.DataFrame({"a": [True]}))
    dtype('bool')
    """
    plain: set[np.dtype[Any]] = set()
    others: list[str] = []
    for label, dtype, column in zip(
        frame.columns, frame.dtypes, range(frame.shape[1]), strict=True
    ):
        number = _plain_dtype(dtype, lambda column=column: frame.iloc[:, column])
        if number is None:
            others.append(f"{label!r} ({dtype})")
        else:
            plain.add(number)
    if others:
        more = f" and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
        raise DataTypeError(
            f"{len(others)} of {frame.shape[1]} columns do not hold real numbers: "
            f"{', '.join(others[:_SHOWN])}{more}. Drop them, make them the index, or convert them "
            "with pandas.to_numeric."
        )
    return np.result_type(*plain) if plain else np.dtype(np.float64)


def frame_values(frame: pd.DataFrame) -> np.ndarray:
    """Return the values of a table; a view where all columns have one type."""
    dtype = matrix_dtype(frame)
    if all(isinstance(column, np.dtype) for column in set(frame.dtypes)):
        return frame.to_numpy(dtype=dtype)
    # Missing values of pandas' own types are only kept by floats.
    return frame.to_numpy(dtype=dtype, na_value=np.nan if dtype.kind == "f" else False)


def check_number_dtype(dtype: Any, what: str) -> None:
    """Raise unless a type is one of real numbers.

    Raises
    ------
    DataTypeError
        It is of text, objects, dates, complex numbers or records.
    """
    dtype = np.dtype(dtype)
    if dtype.kind in "iub" or (dtype.kind == "f" and dtype.itemsize <= 8):
        return
    hint = {
        "c": "take its real part or its absolute value",
        "O": "convert it with .astype(float)",
        "f": "convert it with .astype('float64')",
    }.get(dtype.kind, "only integers, booleans and floats can be clustered")
    raise DataTypeError(f"{what} has values of type {dtype}, not real numbers: {hint}")


def _plain_dtype(dtype: Any, column: Any) -> np.dtype[Any] | None:
    """Return the NumPy type of a column, or None if it does not hold real numbers.

    pandas' nullable and Arrow types become floats, and booleans where none is missing.
    """
    if isinstance(dtype, pd.SparseDtype):
        dtype = dtype.subtype
    if isinstance(dtype, np.dtype):
        is_number = dtype.kind in "iub" or (dtype.kind == "f" and dtype.itemsize <= 8)
        return dtype if is_number else None
    if isinstance(dtype, pd.CategoricalDtype) or dtype.kind not in "iufb":
        return None
    if dtype.kind == "b" and not column().hasnans:
        return np.dtype(bool)
    narrow = dtype.kind == "f" and getattr(dtype, "itemsize", 8) <= 4
    return np.dtype(np.float32 if narrow else np.float64)
