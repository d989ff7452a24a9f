"""Kernel: the colours of annotations: which, and what they stand for."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from matplotlib.colors import Colormap, ListedColormap, is_color_like, to_rgb

from clustergrid.pipeline.render.annotations import Annotation, Categories, Numbers, Strip
from clustergrid.pipeline.render.colormaps import get_colormap
from clustergrid.storage.errors import DataTypeError, DataValueError

__all__ = ["CATEGORY_COLORS", "CategoryScale", "NumberScale", "Scale", "make_scales"]

CATEGORY_COLORS = (
    "#3f90da", "#ffa90e", "#bd1f01", "#832db6", "#92dadd",
    "#a96b59", "#b9ac70", "#e76300", "#717581", "#94a4a2",
)  # fmt: skip
"""matplotlib's petroff10, told apart by people of every colour vision, its greys last, which
are those of booleans too. M. A. Petroff, *Accessible color sequences for data visualization*
(2021), https://arxiv.org/abs/2107.02270"""
BOOLEAN_COLORS = ("#e3e3e3", "#303030")
"""Of False and True."""
NUMBER_COLORMAPS = ("Purples", "Greens", "Oranges", "Blues", "Reds", "Greys")
"""Of one hue each, from light to dark; the strips of a figure take one after another."""
FAINTEST = 0.12
"""Where those maps begin here: their first colours are nearly white."""
BLENDS = ((1.0, 0.0), (0.5, 0.5), (0.55, 0.0))
"""Share of a colour, and of white, in the first, second and third ten categories."""
MAX_NAMED = 5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CategoryScale:
    """What colours stand for.

    Attributes
    ----------
    labels, colors
        Categories that are shown and their RGB triples, in the order of the legend.
    """

    labels: tuple[Hashable, ...]
    colors: tuple[tuple[float, float, float], ...]

    def codes(self, values: Categories) -> np.ndarray:
        """``(n,) int64``: positions in `labels` of this scale, -1 where missing."""
        places = {label: place for place, label in enumerate(self.labels)}
        table = np.array([*(places.get(label, -1) for label in values.labels), -1], np.int64)
        codes: np.ndarray = table[values.codes]
        return codes

    @property
    def colormap(self) -> ListedColormap:
        """One entry a category."""
        return ListedColormap(list(self.colors) or ["white"])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NumberScale:
    """A colormap and the numbers (of dates, days since 1970) of its first and last colour.

    Attributes
    ----------
    colormap, vmin, vmax
        What has which colour.
    is_date
        Whether numbers are dates.
    is_constant
        Whether there is one number, that in the middle.
    """

    colormap: Colormap
    vmin: float
    vmax: float
    is_date: bool
    is_constant: bool = False


Scale: TypeAlias = CategoryScale | NumberScale


def make_scales(
    annotations: Sequence[Annotation], palettes: Mapping[str, Any] | None
) -> dict[str, Scale]:
    """Choose the colours of all strips of a figure.

    Strips of one title share their colours, and have one legend. Other strips of categories go on
    where the one before left off, so that a colour seldom stands for two things.

    Parameters
    ----------
    annotations
        Of rows and columns.
    palettes
        By title, as in `Strip`, whose own come first.

    Raises
    ------
    DataTypeError, DataValueError
        A palette is none, lacks a category, or is of a title that there is not.
    """
    palettes = dict(palettes or {})
    strips = [each for each in annotations if isinstance(each.kind, Strip)]
    titles = list(dict.fromkeys(strip.title for strip in strips))
    if unknown := [title for title in palettes if title not in titles]:
        raise DataValueError(
            f"annotation_palettes has {', '.join(map(repr, unknown[:MAX_NAMED]))}, which is no "
            f"strip: there are {', '.join(map(repr, titles)) or 'none'}"
        )
    scales: dict[str, Scale] = {}
    n_colors = n_maps = 0
    for title in titles:
        same = [strip for strip in strips if strip.title == title]
        given = [s.kind.palette for s in same if isinstance(s.kind, Strip)]
        palette = next((one for one in given if one is not None), palettes.get(title))
        if isinstance(same[0].values, Categories):
            scale = _category_scale(title, _labels_of(title, same), palette, n_colors)
            if palette is None and not same[0].values.is_boolean:
                n_colors += len(scale.labels)
            scales[title] = scale
        else:
            scales[title] = _number_scale(title, same, palette, n_maps)
            n_maps += palette is None
    return scales


def _labels_of(title: str, strips: Sequence[Annotation]) -> tuple[tuple[Hashable, ...], bool]:
    """Labels that some strip of a title shows, in the order of the first, and if all are bool."""
    labels: dict[Hashable, None] = {}
    is_boolean = True
    for strip in strips:
        values = strip.values
        if not isinstance(values, Categories):
            raise DataTypeError(f"annotations {title!r} hold categories, and other values too")
        is_boolean &= values.is_boolean
        present = np.bincount(values.codes[values.codes >= 0], minlength=len(values.labels))
        labels |= dict.fromkeys(
            label for label, count in zip(values.labels, present, strict=True) if count
        )
    return ((False, True) if is_boolean and labels else tuple(labels)), is_boolean


def _category_scale(
    title: str, shown: tuple[tuple[Hashable, ...], bool], palette: Any, start: int
) -> CategoryScale:
    labels, is_boolean = shown
    if palette is None:
        colors = BOOLEAN_COLORS if is_boolean else _next_colors(title, len(labels), start)
        return CategoryScale(labels=labels, colors=tuple(to_rgb(c) for c in colors[: len(labels)]))
    if isinstance(palette, pd.Series):
        palette = palette.to_dict()
    if isinstance(palette, Mapping):
        if missing := [label for label in labels if label not in palette]:
            more = ", ..." if len(missing) > MAX_NAMED else ""
            raise DataValueError(
                f"the palette of annotation {title!r} has no colour for "
                f"{', '.join(map(repr, missing[:MAX_NAMED]))}{more}"
            )
        chosen = [palette[label] for label in labels]
    else:
        chosen = _colors_of(title, palette, len(labels))
    for color in chosen:
        if not is_color_like(color):
            raise DataValueError(
                f"the palette of annotation {title!r} has {color!r}, which is not a colour"
            )
    return CategoryScale(labels=labels, colors=tuple(to_rgb(color) for color in chosen))


def _next_colors(title: str, n: int, start: int) -> list[Any]:
    most = len(CATEGORY_COLORS)
    if n > most * len(BLENDS):
        raise DataValueError(
            f"annotation {title!r} has {n} categories, and {most * len(BLENDS)} is the most that "
            "can be told apart at all: leave it out, or give annotation_palettes={...} for it"
        )
    colors = []
    for place in range(n):
        own, white = BLENDS[place // most]
        color = to_rgb(CATEGORY_COLORS[(start + place) % most])
        colors.append(tuple(own * channel + white for channel in color))
    return colors


def _colors_of(title: str, palette: Any, n: int) -> list[Any]:
    """Colours of a list, or of a colormap: its first where it has few, else evenly spaced."""
    if isinstance(palette, str | Colormap):
        colormap = get_colormap(palette)
        if isinstance(colormap, ListedColormap) and n <= colormap.N <= 20:
            return list(colormap(np.arange(n)))
        return list(colormap(np.linspace(0, 1, max(n, 2))))[:n]
    if not hasattr(palette, "__len__"):
        raise DataTypeError(
            f"the palette of annotation {title!r} is {palette!r}: neither colours by category, nor "
            "a list of colours, nor a colormap"
        )
    if len(palette) < n:
        raise DataValueError(
            f"the palette of annotation {title!r} has {len(palette)} colours for {n} categories"
        )
    return list(palette)[:n]


def _number_scale(
    title: str, strips: Sequence[Annotation], palette: Any, start: int
) -> NumberScale:
    if isinstance(palette, Mapping):
        raise DataTypeError(
            f"annotation {title!r} holds numbers, whose palette is a colormap, not a mapping. Make "
            'it categories, with .astype("category"), if it is'
        )
    values = [strip.values for strip in strips]
    numbers = [each for each in values if isinstance(each, Numbers)]
    if len(numbers) < len(values) or len({each.is_date for each in numbers}) > 1:
        raise DataTypeError(f"annotations {title!r} hold numbers, and other values too")
    is_date = numbers[0].is_date
    together = np.concatenate([each.values for each in numbers])
    shown = together[~np.isnan(together)]
    low, high = (shown.min(), shown.max()) if len(shown) else (0.0, 1.0)
    for strip in strips:
        assert isinstance(strip.kind, Strip)
        low = low if strip.kind.vmin is None else _number(strip.kind.vmin, is_date)
        high = high if strip.kind.vmax is None else _number(strip.kind.vmax, is_date)
    if low > high:
        raise DataValueError(f"annotation {title!r}: vmin must be below vmax, got {low} and {high}")
    if is_constant := bool(low == high):
        low, high = low - 0.5, high + 0.5
    if palette is not None:
        colormap = get_colormap(palette)
    else:
        whole = get_colormap(NUMBER_COLORMAPS[start % len(NUMBER_COLORMAPS)])
        colormap = ListedColormap(whole(np.linspace(FAINTEST, 1, 256)).tolist())
    return NumberScale(
        colormap=colormap,
        vmin=float(low),
        vmax=float(high),
        is_date=is_date,
        is_constant=is_constant,
    )


def _number(value: Any, is_date: bool) -> float:
    if is_date:
        return (pd.Timestamp(value) - pd.Timestamp("1970-01-01")) / pd.Timedelta(days=1)
    return float(value)
