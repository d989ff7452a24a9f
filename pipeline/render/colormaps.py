"""Kernel: colormaps by name, among them mako, rocket, vlag and icefire, and their recentring.

The four maps are built when they are asked for, and nothing is registered with matplotlib: a
process that also imports seaborn, which registers maps of the same names, sees no conflict.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.colors import Colormap, ListedColormap, Normalize

from clustergrid.pipeline.render._colormap_tables import TABLES
from clustergrid.storage.errors import DataValueError

__all__ = ["default_colormap", "get_colormap", "recentred"]

N_COLORS = 256
N_CHANNELS = 3


def get_colormap(colormap: str | Colormap | Sequence[Any]) -> Colormap:
    """Look a colormap up, whatever way it is given.

    Parameters
    ----------
    colormap
        A name (ours, with or without ``_r``, or one matplotlib knows), a colormap, or a list of
        colours.

    Raises
    ------
    DataValueError
        When no colormap has that name.

    Examples
    --------
    >>> get_colormap("mako").N, get_colormap("mako_r").name, get_colormap("viridis").name
    (256, 'mako_r', 'viridis')
    """
    if isinstance(colormap, Colormap):
        return colormap
    if not isinstance(colormap, str):
        return ListedColormap(list(colormap))
    name = colormap.removesuffix("_r")
    if name in TABLES:
        # A copy, as matplotlib gives: the caller may set its bad, under and over colours.
        return _own_colormap(name, is_reversed=colormap != name).copy()
    try:
        return mpl.colormaps[colormap]
    except KeyError:
        raise DataValueError(
            f"Unknown colormap {colormap!r}: neither one of {', '.join(sorted(TABLES))} (or with "
            "_r), nor in matplotlib.colormaps."
        ) from None


def default_colormap(center: float | None) -> Colormap:
    """Return the colormap used when none is given: sequential, or diverging about a centre."""
    return get_colormap("rocket" if center is None else "icefire")


@cache
def _own_colormap(name: str, *, is_reversed: bool) -> ListedColormap:
    channels = np.frombuffer(bytes.fromhex(TABLES[name]), dtype=">u2") / 65535
    colors = channels.reshape(N_COLORS, N_CHANNELS)
    if is_reversed:
        return ListedColormap(colors[::-1].tolist(), name=f"{name}_r")
    return ListedColormap(colors.tolist(), name=name)


def recentred(colormap: Colormap, vmin: float, vmax: float, center: float) -> Colormap:
    """Cut the stretch out of a colormap that puts its middle colour at `center`.

    The colours for missing, too low and too high values are kept where they were set.

    Parameters
    ----------
    colormap
        A diverging colormap.
    vmin, vmax
        The values that the first and the last colour will stand for.
    center
        The value that gets the middle colour of `colormap`.
    """
    half_range = max(vmax - center, center - vmin)
    scale = Normalize(center - half_range, center + half_range)
    first, last = np.asarray(scale([vmin, vmax]), dtype=np.float64)
    stretch = ListedColormap(colormap(np.linspace(first, last, N_COLORS)).tolist())

    # The ends a colormap returns for infinities equal its first and last colours unless set.
    bad = colormap(np.ma.masked_invalid([np.nan]))[0]
    under, over = colormap(-np.inf), colormap(np.inf)
    return stretch.with_extremes(
        bad=tuple(bad),
        under=under if under != colormap(0) else None,
        over=over if over != colormap(colormap.N - 1) else None,
    )
