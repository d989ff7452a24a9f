"""Kernel: values that carry labels, as pandas holds them, to be matched with the data's labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from clustergrid.storage.errors import DataValueError

__all__ = ["as_labelled", "refuse_repeated_labels"]

MAX_NAMED = 5
"""How many labels an error names."""


def as_labelled(values: Any) -> Any:
    """Turn a mapping or an xarray.DataArray into pandas, so that labels count, not positions.

    Parameters
    ----------
    values
        Anything. A mapping of labels to values becomes a Series; a DataArray whose first dimension
        has labels a Series or a DataFrame, one without them an array; all else stays as it is.

    Examples
    --------
    >>> as_labelled({"b": 1, "a": 2}).index.tolist()
    ['b', 'a']
    """
    if isinstance(values, Mapping):
        return pd.Series(values)
    if not (hasattr(values, "dims") and hasattr(values, "to_pandas")):  # no DataArray
        return values
    is_labelled = values.ndim in (1, 2) and values.dims[0] in values.indexes
    return values.to_pandas() if is_labelled else values.to_numpy()


def refuse_repeated_labels(index: pd.Index, where: str) -> None:
    """Refuse labels of which nobody can tell which value is meant.

    Raises
    ------
    DataValueError
        Some label comes more than once.
    """
    if not index.is_unique:
        twice = index[index.duplicated()].unique()[:MAX_NAMED]
        raise DataValueError(f"{where} has labels more than once: {', '.join(map(repr, twice))}")
