"""Kernel: annotations of rows and columns, from raw metadata to values in the data's order."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from matplotlib.colors import is_color_like

from clustergrid.pipeline.render.labelled import as_labelled, refuse_repeated_labels
from clustergrid.storage.errors import DataTypeError, DataValueError

__all__ = [
    "Annotation",
    "Bars",
    "BodyNumbers",
    "Boxes",
    "Categories",
    "Numbers",
    "Points",
    "Strip",
    "Track",
    "read_annotations",
]

TRACK_SIZE = 0.08
"""Width of a track of rows, height of one of columns, as a proportion of the figure."""


@dataclass(frozen=True, slots=True, eq=False)
class Strip:
    """A strip of colours; what a bare Series, column or list becomes.

    Attributes
    ----------
    values : (n,)
        Categories, booleans, numbers or dates: a Series or mapping (matched by label), an array or
        a list.
    palette
        Of categories a mapping to colours, a list of colours or the name of a colormap; of numbers
        and dates a colormap or its name. None: one is chosen.
    vmin, vmax
        Values of the first and the last colour, of numbers and dates.
    size
        Proportion of the figure; None: that of the strips of given colours, `colors_ratio`.
    """

    values: Any
    palette: Any = field(default=None, kw_only=True)
    vmin: Any = field(default=None, kw_only=True)
    vmax: Any = field(default=None, kw_only=True)
    size: float | None = field(default=None, kw_only=True)


@dataclass(frozen=True, slots=True, eq=False)
class Bars:
    """Bars beside the body, from zero to a value each; missing ones are hatched.

    Attributes
    ----------
    values : (n,)
        Numbers: a Series or mapping (matched by label), an array or a list.
    color
        Of the bars.
    limits
        Ends of the axis; None: those of what is shown, and zero.
    size
        Proportion of the figure.
    """

    values: Any
    color: Any = field(default="0.4", kw_only=True)
    limits: tuple[float, float] | None = field(default=None, kw_only=True)
    size: float = field(default=TRACK_SIZE, kw_only=True)


@dataclass(frozen=True, slots=True, eq=False)
class Points:
    """Points beside the body, one a value.

    Attributes
    ----------
    values : (n,)
        Numbers: a Series or mapping (matched by label), an array or a list.
    color
        Of the points.
    limits
        Ends of the axis; None: those of what is shown.
    size
        Proportion of the figure.
    """

    values: Any
    color: Any = field(default="0.2", kw_only=True)
    limits: tuple[float, float] | None = field(default=None, kw_only=True)
    size: float = field(default=TRACK_SIZE, kw_only=True)


@dataclass(frozen=True, slots=True, eq=False)
class Boxes:
    """Boxes beside the body: quartiles, the median, and whiskers to 1.5 times their distance.

    Attributes
    ----------
    values : (n, k)
        Numbers: a DataFrame (matched by index) or an array; None: those of the body.
    color
        Of the boxes.
    limits
        Ends of the axis; None: those of what is shown.
    size
        Proportion of the figure.
    """

    values: Any = None
    color: Any = field(default="0.75", kw_only=True)
    limits: tuple[float, float] | None = field(default=None, kw_only=True)
    size: float = field(default=TRACK_SIZE, kw_only=True)


Track: TypeAlias = Bars | Points | Boxes


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Categories:
    """Categories or booleans in the data's order.

    Attributes
    ----------
    codes : (n,) int64
        Positions in `labels`, -1 where missing.
    labels
        In their own order where they have one (a categorical), else sorted.
    is_boolean
        Whether they are False and True.
    """

    codes: np.ndarray
    labels: tuple[Hashable, ...]
    is_boolean: bool = False

    @property
    def is_missing(self) -> np.ndarray:
        """``(n,) bool``: where there is no value."""
        missing: np.ndarray = self.codes < 0
        return missing


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Numbers:
    """Numbers or dates in the data's order.

    Attributes
    ----------
    values : (n,) or (n, k) float64
        NaN where missing; of dates days since 1970, as matplotlib counts them.
    is_date
        Whether they are dates.
    """

    values: np.ndarray
    is_date: bool = False

    @property
    def is_missing(self) -> np.ndarray:
        """``(n,) bool``: where there is no value."""
        missing: np.ndarray = np.isnan(self.values).reshape(len(self.values), -1).all(axis=1)
        return missing

    def of(self, leaves: np.ndarray) -> np.ndarray:
        """Those of some rows."""
        found: np.ndarray = self.values[leaves]
        return found


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BodyNumbers:
    """The numbers of the body itself, of which no copy is made.

    Attributes
    ----------
    of
        Gives ``(m, k)`` float64 of m rows, or columns: NaN where nothing is shown.
    """

    of: Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Annotation:
    """One annotation: how it is drawn, and its values in the data's order.

    Attributes
    ----------
    title
        Written beside it, and above its legend.
    kind
        What was asked for, with its options.
    values
        None of `Boxes` of the body, until it is there.
    """

    title: str
    kind: Strip | Track
    values: Categories | Numbers | BodyNumbers | None

    @property
    def has_missing(self) -> bool:
        """Whether something stands for a missing value: boxes and points have no look of these."""
        if isinstance(self.kind, Boxes | Points) or isinstance(self.values, BodyNumbers | None):
            return False
        return bool(self.values.is_missing.any())


def read_annotations(given: Any, index: pd.Index | None, n: int, name: str) -> list[Annotation]:
    """Bring annotations into the data's order.

    Parameters
    ----------
    given
        None, a Series, a DataFrame (a strip a column), or a mapping of titles to values, Series,
        mappings of labels to values, `Strip`, `Bars`, `Points` or `Boxes`.
    index
        Labels of the axis, to match a Series, a DataFrame, a mapping or an xarray.DataArray with
        labels with; None where the data has none.
        Labels that the data does not have are left out, and those that only it has are missing.
    n
        Rows (or columns) of the data.
    name
        ``"row_annotations"`` or ``"col_annotations"``, for messages.

    Raises
    ------
    DataTypeError
        Indexed values meet data without an index; values are none that can be shown.
    DataValueError
        There are more or fewer values than rows; labels are not those of the data, or come twice.
    """
    if given is None:
        return []
    if isinstance(given, pd.Series):
        given = {"" if given.name is None else given.name: given}
    elif isinstance(given, pd.DataFrame):
        if not given.columns.is_unique:
            twice = given.columns[given.columns.duplicated()][0]
            raise DataValueError(f"{name} has the column {twice!r} more than once")
        given = {column: given[column] for column in given.columns}
    if not isinstance(given, Mapping):
        raise DataTypeError(
            f"{name} must be a Series, a DataFrame or a mapping of titles to values, got "
            f"{type(given).__name__}. Colours that were chosen already are {name[:3]}_colors"
        )
    found = [_annotation(title, entry, index, n, name) for title, entry in given.items()]
    titles = [annotation.title for annotation in found]
    if len(set(titles)) < len(titles):
        raise DataValueError(f"{name} has titles that read the same: {', '.join(titles)}")
    return found


def _annotation(
    title: Hashable, entry: Any, index: pd.Index | None, n: int, name: str
) -> Annotation:
    kind = entry if isinstance(entry, Strip | Bars | Points | Boxes) else Strip(entry)
    where = f"{name}[{title!r}]"
    _check_look(kind, where)
    if isinstance(kind, Boxes) and kind.values is None:
        return Annotation(title=str(title), kind=kind, values=None)
    ordered = _in_order(kind.values, index, n, where)
    if isinstance(kind, Boxes):
        return Annotation(title=str(title), kind=kind, values=_table(ordered, where))
    if not isinstance(ordered, pd.Series):
        raise DataTypeError(f"{where} must have one value for each of the {n}, not a table of them")
    values = _values(ordered, where)
    if not isinstance(kind, Strip) and not (isinstance(values, Numbers) and not values.is_date):
        raise DataTypeError(f"{where} must be numbers to be drawn as {type(kind).__name__}")
    return Annotation(title=str(title), kind=kind, values=values)


def _check_look(kind: Strip | Track, where: str) -> None:
    """Refuse what could not be drawn."""
    if kind.size is not None and not 0 < kind.size < 1:
        raise DataValueError(f"{where} has size {kind.size}: a proportion of the figure, 0 to 1")
    if isinstance(kind, Strip):
        return
    if not is_color_like(kind.color):
        raise DataValueError(f"{where} has color {kind.color!r}, which is not a colour")
    if kind.limits is None:
        return
    ends = np.asarray(kind.limits, dtype=np.float64)
    if ends.shape != (2,) or not np.isfinite(ends).all() or ends[0] >= ends[1]:
        raise DataValueError(
            f"{where} has limits {kind.limits!r}: they are two finite numbers, the lower one first"
        )


def _in_order(values: Any, index: pd.Index | None, n: int, where: str) -> pd.Series | pd.DataFrame:
    """Match what has labels by them, and everything else by position."""
    values = as_labelled(values)
    if isinstance(values, pd.Series | pd.DataFrame):
        return _matched(values, index, where)
    if isinstance(values, str) or not hasattr(values, "__len__"):
        raise DataTypeError(f"{where} must be a Series, an array or a list, got {values!r}")
    if len(values) != n:
        raise DataValueError(f"{where} has {len(values)} values for the {n} of the data")
    if isinstance(values, np.ndarray) and values.ndim == 2:
        return pd.DataFrame(values)
    if isinstance(values, np.ndarray) and values.ndim > 2:
        raise DataValueError(f"{where} has {values.ndim} dimensions; one or two can be shown")
    if (
        isinstance(values, Sequence)
        and len(values)
        and isinstance(values[0], Sequence | np.ndarray)
    ):
        return pd.Series(values) if isinstance(values[0], str) else pd.DataFrame(list(values))
    return pd.Series(values)


def _matched(
    values: pd.Series | pd.DataFrame, index: pd.Index | None, where: str
) -> pd.Series | pd.DataFrame:
    if index is None:
        raise DataTypeError(
            f"{where} has an index, and data has none to match it with. Provide it as a "
            "non-indexed datatype, e.g. by using `.to_numpy()`"
        )
    refuse_repeated_labels(values.index, where)
    if len(index) and not index.isin(values.index).any():
        theirs, ours = (
            ", ".join(repr(label) for label in labels[:3]) for labels in (values.index, index)
        )
        raise DataValueError(
            f"none of the labels of {where} ({theirs}, ...) is one of data's ({ours}, ...)"
        )
    return values.reindex(index)


def _table(values: pd.Series | pd.DataFrame, where: str) -> Numbers:
    if isinstance(values, pd.Series):
        raise DataTypeError(f"{where} must be a table, of which each row becomes a box")
    try:
        table = values.to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError):
        raise DataTypeError(f"{where} must be numbers to be drawn as Boxes") from None
    return Numbers(values=_finite(table, where))


def _finite(values: np.ndarray, where: str) -> np.ndarray:
    infinite = np.isinf(values)
    if infinite.any():
        raise DataValueError(
            f"{where} has {int(infinite.sum())} infinite values: no axis and no colour reaches them"
        )
    return values


def _values(series: pd.Series, where: str) -> Categories | Numbers:
    """Tell categories, booleans, numbers and dates apart, by their type alone."""
    dtype = series.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        labels = tuple(dtype.categories)
        return Categories(codes=series.cat.codes.to_numpy(np.int64), labels=labels)
    if pd.api.types.is_bool_dtype(dtype):
        return _booleans(series)
    if isinstance(dtype, pd.PeriodDtype):
        series = series.dt.to_timestamp()
    if pd.api.types.is_datetime64_any_dtype(series.dtype):
        return _dates(series)
    if pd.api.types.is_numeric_dtype(dtype) and dtype.kind != "c":
        return Numbers(values=_finite(series.to_numpy(np.float64, na_value=np.nan), where))
    found = pd.api.types.infer_dtype(series, skipna=True)
    if found == "boolean":
        return _booleans(series)
    if found in ("integer", "floating", "mixed-integer-float", "decimal"):
        return Numbers(values=_finite(series.to_numpy(np.float64, na_value=np.nan), where))
    if found in ("datetime64", "datetime", "date"):
        return _dates(pd.to_datetime(series))
    if found in ("string", "mixed", "mixed-integer", "empty", "bytes"):
        return _categories(series, where)
    raise DataTypeError(
        f"{where} holds {found}: categories, booleans, numbers and dates can be shown"
    )


def _booleans(series: pd.Series) -> Categories:
    missing = series.isna().to_numpy()
    codes = np.where(missing, False, series.to_numpy(dtype=object)).astype(np.int64)
    return Categories(codes=np.where(missing, -1, codes), labels=(False, True), is_boolean=True)


def _dates(series: pd.Series) -> Numbers:
    if series.dt.tz is not None:
        series = series.dt.tz_convert(None)
    days = (series - pd.Timestamp("1970-01-01")) / pd.Timedelta(days=1)
    return Numbers(values=days.to_numpy(np.float64, na_value=np.nan), is_date=True)


def _categories(series: pd.Series, where: str) -> Categories:
    try:
        codes, uniques = pd.factorize(series)
    except TypeError:
        raise DataTypeError(f"{where} holds lists or other things that are no categories") from None
    labels = list(uniques)
    order = sorted(range(len(labels)), key=lambda code: (str(labels[code]), code))
    places = np.full(len(labels) + 1, -1, np.int64)  # the last is of -1, missing
    places[order] = np.arange(len(labels))
    return Categories(codes=places[codes], labels=tuple(labels[code] for code in order))
