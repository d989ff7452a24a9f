"""Kernel: tables in memory - pivoting, normalizing, masking and naming them as seaborn does.

Everything here is pandas to pandas. Matrices that may not fit in memory never come this way.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from clustergrid.pipeline.escapes import drawable
from clustergrid.storage.errors import DataValueError

__all__ = [
    "format_table",
    "index_label",
    "index_tick_labels",
    "is_table",
    "mask_values",
    "refuse_constant",
    "standard_scale",
    "z_score",
]

MAX_NAMED = 5
"""How many rows or columns an error names."""
_MOST_LABEL_CHARACTERS = 200


def is_table(data: object) -> bool:
    """Whether data is something pandas holds: a frame, an array in memory, lists of numbers."""
    if isinstance(data, pd.DataFrame | pd.Series | np.ndarray | Mapping):
        return True
    return isinstance(data, Sequence) and not isinstance(data, str | bytes)


def z_score(data2d: pd.DataFrame, axis: int = 1) -> pd.DataFrame:
    """Subtract the mean and divide by the sample standard deviation (ddof=1).

    Parameters
    ----------
    data2d
        The table.
    axis
        0: every row on its own; 1: every column.
    """
    _check_axis(axis, "z_score")
    table = data2d if axis == 1 else data2d.T
    # The mean of equal values may be off by a rounding, which would be all that their deviation is.
    deviation = table.std().mask(table.min() == table.max(), 0.0)
    table = (table - table.mean()) / deviation
    return table if axis == 1 else table.T


def standard_scale(data2d: pd.DataFrame, axis: int = 1) -> pd.DataFrame:
    """Subtract the minimum and divide by the range, so that values go from 0 to 1.

    Parameters
    ----------
    data2d
        The table.
    axis
        0: every row on its own; 1: every column.
    """
    _check_axis(axis, "standard_scale")
    table = data2d if axis == 1 else data2d.T
    minimum = table.min()
    table = (table - minimum) / (table.max() - minimum)
    return table if axis == 1 else table.T


def _check_axis(axis: int, name: str) -> None:
    if axis not in (0, 1):
        raise DataValueError(f"{name} must be 0 (rows), 1 (columns) or None, got {axis!r}")


def format_table(
    data: pd.DataFrame,
    pivot_kws: Mapping[str, Any] | None,
    z_score_axis: int | None,
    standard_scale_axis: int | None,
) -> pd.DataFrame:
    """Pivot a tidy table if asked, and normalize it if asked.

    Raises
    ------
    DataValueError
        When both normalizations are asked for, or along an axis that does not exist.
    """
    if z_score_axis is not None and standard_scale_axis is not None:
        raise DataValueError("Cannot perform both z-scoring and standard-scaling on data")
    data2d = data if pivot_kws is None else data.pivot(**pivot_kws)
    if z_score_axis is not None:
        return z_score(data2d, z_score_axis)
    if standard_scale_axis is not None:
        return standard_scale(data2d, standard_scale_axis)
    return data2d


def refuse_constant(normalized: pd.DataFrame, axis: int, name: str) -> None:
    """Refuse to cluster rows or columns that normalizing has made not finite.

    Parameters
    ----------
    normalized
        The table after `name` along `axis`.
    axis
        0: rows were normalized, 1: columns.
    name
        ``"z_score"`` or ``"standard_scale"``.
    """
    table = normalized if axis == 0 else normalized.T
    is_bad = ~np.isfinite(table.to_numpy(dtype=np.float64)).all(axis=1)
    n_bad = int(is_bad.sum())
    if not n_bad:
        return
    what, clustered = ("row", "rows") if axis == 0 else ("column", "columns")
    named = ", ".join(repr(label) for label in index_tick_labels(table.index[is_bad][:MAX_NAMED]))
    more = ", ..." if n_bad > MAX_NAMED else ""
    raise DataValueError(
        "The condensed distance matrix must contain only finite values. "
        f"After {name}={axis}, {n_bad} of {len(table)} {clustered} are not finite, because they "
        f"are constant or hold NaN: {named}{more}. Leave each such {what} out, or don't cluster."
    )


def mask_values(mask: object, shape: tuple[int, int], labels: Sequence[pd.Index]) -> np.ndarray:
    """Check a mask against the matrix and return it as a bool array in the matrix's order.

    Parameters
    ----------
    mask
        A DataFrame, which must carry the matrix's labels, or anything array-like.
    shape
        Rows and columns of the matrix.
    labels
        Labels of its rows and of its columns.

    Raises
    ------
    DataValueError
        When the mask has another shape, or other labels.
    """
    if isinstance(mask, pd.DataFrame):
        if not (mask.index.equals(labels[0]) and mask.columns.equals(labels[1])):
            raise DataValueError(
                "Mask must have the same index and columns as data. Bring it in shape with "
                "mask.reindex(index=data.index, columns=data.columns), or pass mask.to_numpy()."
            )
        return mask.to_numpy(dtype=bool)
    values = np.asarray(mask, dtype=bool)
    if values.shape != shape:
        raise DataValueError(
            f"Mask must have the same shape as data. The mask is {values.shape}, data {shape}."
        )
    return values


def index_label(index: pd.Index) -> Hashable:
    """Name of an index as the label of an axis; empty where it has none."""
    if isinstance(index, pd.MultiIndex):
        return drawable("-".join(_text(name) for name in index.names))
    name: Hashable = "" if index.name is None else index.name
    return drawable(name) if isinstance(name, str) else name


def index_tick_labels(index: pd.Index) -> Sequence[Any]:
    """Labels of an index as tick labels; the levels of a MultiIndex are joined by hyphens.

    A label of more than 200 characters is shortened: a figure would be as wide as the longest.
    """
    if isinstance(index, pd.MultiIndex):
        return [_shown("-".join(_text(level) for level in entry)) for entry in index]
    labels = index.to_numpy()
    text = [label for label in labels if isinstance(label, str)]
    longest = max(map(len, text), default=0)
    # One look at all of them: there may be millions, and next to none is odd.
    if longest <= _MOST_LABEL_CHARACTERS and drawable(together := "".join(text)) == together:
        return labels  # type: ignore[return-value]
    return [_shown(label) if isinstance(label, str) else label for label in labels]


def _shown(label: str) -> str:
    if len(label) > _MOST_LABEL_CHARACTERS:
        label = f"{label[: _MOST_LABEL_CHARACTERS - 1]}\N{HORIZONTAL ELLIPSIS}"
    return drawable(label)


def _text(value: object) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)
