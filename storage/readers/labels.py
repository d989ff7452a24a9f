"""Kernel: labels of rows and columns, and the names of dimensions."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import pandas as pd

__all__ = ["dimension_names", "plain_labels"]

# Zarr nodes of these names would be something else, or could not exist.
_RESERVED_CHARACTERS = ("/", "\\", "\0")


def plain_labels(labels: pd.Index) -> pd.Index:
    """Return labels that are numbers or text, whatever they were, with the same name.

    Levels of a MultiIndex are joined with ``-``, as seaborn does. Dates, intervals, mixtures and
    missing labels become text, so that labels look the same wherever they are shown or stored.

    Examples
    --------
    >>> plain_labels(pd.MultiIndex.from_tuples([("a", 1), ("b", 2)], names=["x", "y"]))
    Index(['a-1', 'b-2'], dtype='object', name='x-y')
    >>> plain_labels(pd.Index([3, 1])).dtype
    dtype('int64')
    """
    if isinstance(labels, pd.MultiIndex):
        joined = ["-".join(map(str, label)) for label in labels]
        return pd.Index(joined, dtype=object, name=_joined_name(labels.names))
    dtype = labels.dtype
    if isinstance(dtype, np.dtype) and dtype.kind in "iufb":
        return labels
    if not isinstance(dtype, np.dtype) and dtype.kind in "iu" and not labels.hasnans:
        return pd.Index(labels.to_numpy(dtype=np.int64), name=labels.name)
    values = [label if isinstance(label, str) else str(label) for label in labels]
    return pd.Index(values, dtype=object, name=labels.name)


def dimension_names(
    row_name: Hashable, column_name: Hashable, default: tuple[str, str]
) -> tuple[str, str]:
    """Names for the dimensions: those of the labels where they are usable and distinct.

    Examples
    --------
    >>> dimension_names("gene", None, ("row", "column"))
    ('gene', 'column')
    >>> dimension_names("gene", "gene", ("row", "column"))
    ('row', 'column')
    """
    names = tuple(
        name if is_dimension_name(name) else fallback
        for name, fallback in zip((row_name, column_name), default, strict=True)
    )
    return default if names[0] == names[1] else (str(names[0]), str(names[1]))


def is_dimension_name(name: Any) -> bool:
    """Whether a name can be a dimension, and the Zarr array that holds its labels."""
    return (
        isinstance(name, str)
        and name.strip(". ") != ""
        and not name.startswith("__")
        and name != "matrix"
        and name != "zarr.json"
        and not any(character in name for character in _RESERVED_CHARACTERS)
    )


def _joined_name(names: Sequence[Hashable]) -> str | None:
    """Join the names of the levels that have one."""
    return "-".join(str(name) for name in names if name is not None) or None
