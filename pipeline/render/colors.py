"""Kernel: the colours beside rows and columns, as users give them and as artists want them."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Sequence
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from matplotlib.colors import ListedColormap, is_color_like, to_rgb

from clustergrid.pipeline.render.labelled import as_labelled, refuse_repeated_labels
from clustergrid.storage.errors import DataTypeError, DataValueError

__all__ = [
    "RGB",
    "StripColors",
    "as_strips",
    "color_list_to_matrix_and_cmap",
    "mean_colors",
    "prepare_colors",
    "relative_luminance",
]

RGB: TypeAlias = tuple[float, float, float]
StripColors: TypeAlias = "list[RGB] | list[list[RGB]]"

MISSING_COLOR = "white"


def prepare_colors(
    colors: Any, labels: pd.Index | None, n: int, name: str
) -> tuple[StripColors | None, list[Hashable] | None]:
    """Bring row_colors or col_colors into the data's order, as RGB.

    Parameters
    ----------
    colors
        None, a list of colours, lists of such lists, a Series, a DataFrame, a mapping of labels to
        colours or an xarray.DataArray. Missing colours become white.
    labels
        Labels of the axis, to match colours that have labels with; None when data has none.
    n
        Rows (or columns) of the matrix.
    name
        ``"row_colors"`` or ``"col_colors"``, for messages.

    Returns
    -------
    colors
        One list of RGB triples, or one such list a strip; None when none were given.
    strip_labels
        Names of the strips, None when they have none.

    Raises
    ------
    DataTypeError
        When indexed colours meet data without an index, or something is no colour at all.
    DataValueError
        When the number of colours is not `n`, a colour is not known, or a label comes twice.
    """
    if colors is None:
        return None, None
    strip_labels: list[Hashable] | None = None
    colors = as_labelled(colors)
    if isinstance(colors, pd.Series | pd.DataFrame):
        colors, strip_labels = _match_labels(colors, labels, name)
    rgb = _to_rgb_lists(colors, name)
    _check_lengths(rgb, n, name)
    return rgb, strip_labels


def _match_labels(
    colors: pd.Series | pd.DataFrame, labels: pd.Index | None, name: str
) -> tuple[Any, list[Hashable]]:
    """Reorder indexed colours by the data's labels, and name the strips."""
    if labels is None:
        raise DataTypeError(
            f"{name} indices can't be matched with data indices. Provide {name} as a non-indexed "
            "datatype, e.g. by using `.to_numpy()`"
        )
    if len(labels) and not labels.isin(colors.index).any():
        warnings.warn(
            f"None of the labels of {name} is a label of data (e.g. {colors.index[:1].tolist()} "
            f"and {labels[:1].tolist()}): all its colours are drawn white.",
            UserWarning,
            stacklevel=4,
        )
    if not colors.index.equals(labels):  # else labels may come twice, in the data's order
        refuse_repeated_labels(colors.index, name)
        colors = colors.reindex(labels)
    matched = colors.to_numpy(dtype=object)
    if isinstance(colors, pd.DataFrame):
        return matched.T, list(colors.columns)
    name_of_strip: Any = colors.name
    return matched, ["" if name_of_strip is None else name_of_strip]


def _to_rgb_lists(colors: Any, name: str) -> StripColors:
    """Convert one list of colours, or a list of lists."""
    if isinstance(colors, str) or not hasattr(colors, "__len__"):
        raise DataTypeError(
            f"{name} must be a list of colours, lists of colours, a Series or a DataFrame, "
            f"got {colors!r}"
        )
    if len(colors) and not _is_missing(colors[0]) and not is_color_like(colors[0]):
        if isinstance(colors[0], str) or not hasattr(colors[0], "__len__"):
            raise DataValueError(f"{name} has {colors[0]!r}, which is not a colour")
        return [_to_rgb_list(strip, name) for strip in colors]
    return _to_rgb_list(colors, name)


def _to_rgb_list(colors: Sequence[Any], name: str) -> list[RGB]:
    """Convert a list of colours, each colour named in it once."""
    named = {color: _rgb(color, name) for color in set(filter(_is_name, colors))}
    return [named[color] if _is_name(color) else _rgb(color, name) for color in colors]


def _is_name(color: object) -> bool:
    return isinstance(color, str)


def _rgb(color: Any, name: str) -> RGB:
    try:
        return to_rgb(MISSING_COLOR if _is_missing(color) else color)
    except (ValueError, TypeError):
        raise DataValueError(f"{name} has {color!r}, which is not a colour") from None


def _is_missing(color: object) -> bool:
    return color is None or color is pd.NA or (isinstance(color, float) and color != color)


def _check_lengths(colors: StripColors, n: int, name: str) -> None:
    for position, strip in enumerate(as_strips(colors)):
        if len(strip) != n:
            which = f"Strip {position} of {name}" if np.ndim(colors[0]) > 1 else name
            raise DataValueError(
                f"{which} has {len(strip)} colours for {n} {name.removesuffix('_colors')}s of data"
            )


def as_strips(colors: StripColors) -> list[list[RGB]]:
    """Return one list of colours a strip, also for a single strip."""
    if len(colors) and np.ndim(colors[0]) < 2:
        return [colors]  # type: ignore[list-item]
    return colors  # type: ignore[return-value]


def color_list_to_matrix_and_cmap(
    colors: Sequence[Any], ind: Sequence[int] | np.ndarray, axis: int = 0
) -> tuple[np.ndarray, ListedColormap]:
    """Turn colours into integers and the colormap that turns those into the colours.

    Parameters
    ----------
    colors
        A list of colours, or lists of them.
    ind
        Leaf order: the colours are reordered by it.
    axis
        0: colours of rows, a column of the matrix a strip; 1: of columns, a row a strip.

    Returns
    -------
    matrix : (n, strips) or (strips, n) int64
    cmap
        One entry a distinct colour, in the order they come up.
    """
    strips = [colors] if is_color_like(colors[0]) else list(colors)
    if any(len(strip) != len(strips[0]) for strip in strips):
        raise DataValueError("Multiple side color vectors must have same size")
    codes: dict[Any, int] = {}
    matrix = np.array(
        [[codes.setdefault(color, len(codes)) for color in strip] for strip in strips], dtype=int
    )
    matrix = matrix[:, ind]
    return (matrix.T if axis == 0 else matrix), ListedColormap(list(codes))


def mean_colors(strips: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Average the colours of the leaves that share a pixel, as the body averages its cells.

    Parameters
    ----------
    strips : (k, n, 3) float64
        Colours in leaf order.
    edges : (p + 1,) int
        Leaf ``edges[a]`` is the first of pixel ``a``.

    Returns
    -------
    (k, p, 3) float64
    """
    sums = np.add.reduceat(strips, edges[:-1], axis=1)
    # A rounding above 1 would be no colour.
    means: np.ndarray = np.clip(sums / np.diff(edges)[None, :, None], 0, 1)
    return means


def relative_luminance(colors: np.ndarray) -> np.ndarray:
    """Relative luminance of sRGB colours, between 0 and 1.

    Parameters
    ----------
    colors : (n, 3 or 4) float64

    Notes
    -----
    By the definition in WCAG 2.1, https://www.w3.org/TR/WCAG21/#dfn-relative-luminance
    """
    channels = colors[:, :3]
    linear = np.where(channels <= 0.03928, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    luminance: np.ndarray = linear @ np.array([0.2126, 0.7152, 0.0722])
    return luminance
