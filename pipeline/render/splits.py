"""Kernel: how an axis is split into slices - by categories, or where its tree is cut."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from clustergrid.pipeline.escapes import drawable
from clustergrid.pipeline.request import Cut
from clustergrid.storage.errors import DataTypeError, DataValueError

__all__ = ["Split", "read_split"]

MISSING = "missing"
"""Title of the slice of leaves whose category is missing."""
MAX_NAMED = 5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Split:
    """How an axis is split; by one of both.

    Attributes
    ----------
    cut
        Where its tree is cut.
    codes : (n,) int64
        Category of each row (or column), in the order of the data.
    titles
        Of the categories, in the order in which they stand unless slices are clustered.
    """

    cut: Cut | None = None
    codes: NDArray[np.int64] | None = None
    titles: Sequence[str] = ()

    @property
    def members(self) -> list[NDArray[np.int64]]:
        """Rows (or columns) of each category, in the order of the data."""
        assert self.codes is not None
        order = np.argsort(self.codes, kind="stable")
        ends = np.cumsum(np.bincount(self.codes, minlength=len(self.titles)))
        return np.split(order, ends[:-1])


def read_split(given: Any, labels: pd.Index | None, n: int, name: str) -> Split | None:
    """Read row_split or col_split.

    Parameters
    ----------
    given
        None; into how many slices the tree is cut; ``{"height": h}`` or ``{"k": k}``; or
        categories, one for each row (column). A Series is matched by its index. Categories stand
        in the order in which they first come up, those of a pandas Categorical in its own; what
        is missing is the last slice.
    labels
        Labels of the axis, to match a Series with; None when data has none.
    n
        Rows (columns) of the data.
    name
        ``"row_split"`` or ``"col_split"``, for messages.

    Raises
    ------
    DataTypeError
        A TypeError: it is nothing of these, or a Series and data without an index.
    DataValueError
        A ValueError: categories are not one for each row, or a Series does not name all rows; or
        there are not as many clusters.

    Examples
    --------
    >>> split = read_split(["b", "a", None, "b"], None, 4, "row_split")
    >>> split.titles, split.codes.tolist()
    (('b', 'a', 'missing'), [0, 1, 2, 0])
    >>> read_split(3, None, 4, "row_split").cut
    Cut(k=3, height=None)
    """
    if given is None:
        return None
    if isinstance(given, Integral | Mapping | Cut) and not isinstance(given, bool | np.bool_):
        return Split(cut=_read_cut(given, n, name))
    if isinstance(given, pd.Series):
        given = _matched(given, labels, n, name)
    if not _is_list(given):
        raise DataTypeError(
            f"{name} must be a number of slices, {{'height': h}}, or one category for each "
            f"{_word(name)}, as a list or Series, got {type(given).__name__}"
        )
    if len(given) != n:
        raise DataValueError(f"{name} has {len(given)} categories for {n} {_word(name)}s")
    values = pd.Series(given, dtype=object) if isinstance(given, list | tuple) else pd.Series(given)
    if isinstance(values.dtype, pd.CategoricalDtype):
        categorical = values.cat.remove_unused_categories().cat
        codes, categories = categorical.codes.to_numpy(), categorical.categories
    else:
        codes, categories = pd.factorize(values)
    titles = [drawable(str(category)) for category in categories]
    if (codes < 0).any():
        codes = np.where(codes < 0, len(titles), codes)
        titles.append(MISSING)
    return Split(codes=np.asarray(codes, dtype=np.int64), titles=tuple(titles))


def _is_list(given: object) -> bool:
    arrays = np.ndarray | pd.Series | pd.Index | pd.api.extensions.ExtensionArray
    if isinstance(given, arrays):
        return given.ndim == 1
    return isinstance(given, Sequence) and not isinstance(given, str | bytes)


def _word(name: str) -> str:
    return "row" if name.startswith("row") else "column"


def _read_cut(given: Any, n: int, name: str) -> Cut:
    if isinstance(given, Cut):
        cut = given
    elif isinstance(given, Mapping):
        if not given or set(given) - {"k", "height"}:
            raise DataTypeError(f"{name} as a dict has k or height, got {given!r}")
        cut = Cut(**given)
    else:
        cut = Cut(k=int(given))
    if cut.k is not None and (not isinstance(cut.k, Integral) or not 1 <= cut.k <= n):
        raise DataValueError(
            f"{name} must be a whole number from 1 to {n}, the {_word(name)}s, got {cut.k}"
        )
    return cut


def _matched(given: pd.Series, labels: pd.Index | None, n: int, name: str) -> pd.Series:
    """Bring a Series into the order of the data."""
    if labels is None:
        raise DataTypeError(
            f"{name} indices can't be matched with data indices. Provide {name} as a non-indexed "
            "datatype, e.g. by using `.to_numpy()`"
        )
    if given.index.equals(labels):
        return given
    if not given.index.is_unique:
        twice = given.index[given.index.duplicated()][0]
        raise DataValueError(f"{name} names {twice!r} more than once")
    unknown = ~labels.isin(given.index)
    if unknown.any():
        named = ", ".join(repr(label) for label in labels[unknown][:MAX_NAMED])
        more = ", ..." if unknown.sum() > MAX_NAMED else ""
        raise DataValueError(
            f"{name} has no category for {unknown.sum()} of {n} {_word(name)}s: {named}{more}. "
            "Give them one, or None for a slice of what is missing"
        )
    return given.reindex(labels)
