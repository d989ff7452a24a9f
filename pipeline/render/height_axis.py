"""Driver: the scale of the heights beside a tree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["scale_keywords", "show_heights"]

_MOST_TICKS = 4
_DECADES = 100.0
_FONT_SIZE = "small"


def _root(heights: np.ndarray) -> np.ndarray:
    # Matplotlib asks for places a little beyond the axis.
    root: np.ndarray = np.sqrt(np.maximum(heights, 0))
    return root


def scale_keywords(scale: str) -> dict[str, Any]:
    """Keywords of `Axes.set_xscale` or `set_yscale` for a scale of a tree."""
    if scale == "sqrt":
        return {"value": "function", "functions": (_root, np.square)}
    return {"value": scale}


def show_heights(ax: Axes, on_its_side: bool, scale: str) -> None:
    """Write heights under a tree that lies on its side, and to the right of one that stands.

    There the body's own tick labels take room already, and the trees stay beside it.
    """
    from matplotlib.ticker import (
        FixedLocator,
        LogFormatterSciNotation,
        LogLocator,
        MaxNLocator,
        NullFormatter,
        NullLocator,
        ScalarFormatter,
    )

    ax.set_axis_on()
    ax.patch.set_visible(False)
    axis, other = (ax.xaxis, ax.yaxis) if on_its_side else (ax.yaxis, ax.xaxis)
    low, high = sorted(axis.get_view_interval())
    if scale == "log" and high / low >= _DECADES:
        axis.set_major_locator(LogLocator(numticks=_MOST_TICKS))
        axis.set_major_formatter(LogFormatterSciNotation())
    elif scale == "sqrt":  # squares of round numbers stand apart
        locator = MaxNLocator(_MOST_TICKS, steps=[1, 2, 4, 5, 10])
        roots = np.asarray(locator.tick_values(low**0.5, high**0.5))
        shown = roots[(roots > 0) & (roots**2 <= high)]
        axis.set_major_locator(FixedLocator(list(shown**2)))
        axis.set_major_formatter(ScalarFormatter())
    else:  # there may be no power of ten in less than two decades
        # Half of a label at the leaves would push the body away from the tree.
        axis.set_major_locator(MaxNLocator(_MOST_TICKS, prune="lower" if on_its_side else None))
        axis.set_major_formatter(ScalarFormatter())
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())
    if on_its_side:
        ax.xaxis.set_ticks_position("bottom")
    else:
        ax.yaxis.set_ticks_position("right")
    axis.set_tick_params(labelsize=_FONT_SIZE)
    other.set_tick_params(length=0)
    ax.spines["bottom" if on_its_side else "right"].set_visible(True)
