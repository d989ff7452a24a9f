"""Driver: what is written beside annotations - their titles, and the small axes of tracks."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np

from clustergrid.pipeline.escapes import drawable
from clustergrid.pipeline.render.layout import POINTS_PER_INCH
from clustergrid.pipeline.render.ticks import hide_spines

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Text

__all__ = ["NUMBER_FORMAT", "StripName", "name_strip", "name_track", "tick_track"]

LINE_SPACING = 1.15
"""Height of a line of text over its font size."""
LEAST_POINTS = 4.0
SMALL_TICKS = 0.8
"""Font size of the axis of a track over that of other tick labels."""
MOST_STEPS = 2
NUMBER_FORMAT = "{x:g}"
"""Whole numbers: there is no room beside a small axis for a common factor."""
NEAR_END = 0.15
"""Share of an axis from whose end a tick label is written inwards, not over the next annotation."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StripName:
    """The title of a strip, written as large as there is room for.

    Attributes
    ----------
    ax, axis
        The strip, of rows (0) or columns (1).
    text
        The artist.
    asked_points
        Font size where there is room.
    """

    ax: Axes
    axis: int
    text: Text
    asked_points: float

    def fit(self) -> None:
        """Write it no higher than the strip is now, beside which there may be another."""
        box = self.ax.get_window_extent()
        length = box.height if self.axis else box.width
        room = length / self.ax.figure.dpi * POINTS_PER_INCH / LINE_SPACING
        self.text.set_fontsize(max(LEAST_POINTS, min(self.asked_points, room)))


def name_strip(ax: Axes, axis: int, title: str) -> StripName:
    """Write the title below a strip of rows (axis 0), to the right of one of columns."""
    hide_spines(ax)
    ax.tick_params(length=0)
    if axis == 0:
        ax.set(xticks=[0.5], yticks=[])
        (text,) = ax.set_xticklabels([drawable(title)], rotation=90, parse_math=False)
    else:
        ax.set(xticks=[], yticks=[0.5])
        ax.yaxis.tick_right()
        (text,) = ax.set_yticklabels([drawable(title)], rotation=0, va="center", parse_math=False)
    name = StripName(ax=ax, axis=axis, text=text, asked_points=float(text.get_fontsize()))
    name.fit()
    return name


def name_track(ax: Axes, axis: int, title: str) -> None:
    """Write the title below a track of rows (axis 0), to the right of one of columns."""
    for side, spine in ax.spines.items():
        spine.set_linewidth(0.6)
        spine.set_visible(side == ("right" if axis else "bottom"))
    (ax.xaxis if axis else ax.yaxis).set_ticks([])
    if axis:
        ax.yaxis.tick_right()
        ax.yaxis.set_label_position("right")
        look: dict[str, Any] = {"rotation": 0, "ha": "left", "va": "center"}
        ax.set_ylabel(drawable(title), labelpad=3, parse_math=False, **look)
    else:
        ax.set_xlabel(drawable(title), rotation=90, labelpad=3, parse_math=False)


def tick_track(ax: Axes, axis: int, low: float, high: float) -> None:
    """Draw the small axis of a track with a few ticks, whose labels stay within its ends.

    Parameters
    ----------
    ax
        The track, whose limits are set.
    axis
        0: of rows, its small axis lies below it; 1: of columns, it stands at its right.
    low, high
        Ends of the small axis; those of the axes may be further apart.
    """
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter

    small = ax.yaxis if axis else ax.xaxis
    ax.spines["right" if axis else "bottom"].set_bounds(low, high)
    ticks = np.asarray(MaxNLocator(nbins=MOST_STEPS, min_n_ticks=2).tick_values(low, high))
    ticks = ticks[(ticks >= low) & (ticks <= high)]
    size = SMALL_TICKS * _label_size("ytick" if axis else "xtick")
    ticks = ticks[:: _step(ax, axis, ticks, size)]
    write = StrMethodFormatter(NUMBER_FORMAT)
    small.set_ticks(list(ticks), labels=[write(tick) for tick in ticks])
    small.set_tick_params(labelsize=size, length=2, width=0.6, pad=1.5)
    if not axis:
        small.set_tick_params(labelrotation=90)
    ends = ("bottom", "top") if axis else ("left", "right")
    for tick, text in zip(ticks, small.get_ticklabels(), strict=True):
        share = (tick - low) / (high - low)
        at = ends[0] if share < NEAR_END else ends[1] if share > 1 - NEAR_END else "center"
        text.set(va=at) if axis else text.set(ha=at)


def _step(ax: Axes, axis: int, ticks: np.ndarray, points: float) -> int:
    """Every which tick has room for its label; at the ends both may move inwards by half of it."""
    if len(ticks) < 2:
        return 1
    box = ax.get_window_extent()
    ends = ax.get_ylim() if axis else ax.get_xlim()
    per_unit = (box.height if axis else box.width) / abs(ends[1] - ends[0])
    distance = float(ticks[1] - ticks[0]) * per_unit / ax.figure.dpi * POINTS_PER_INCH
    return ceil(2 * LINE_SPACING * points / distance)


def _label_size(name: str) -> float:
    import matplotlib as mpl
    from matplotlib.font_manager import FontProperties

    defaults: Any = mpl.rcParams
    return float(FontProperties(size=defaults[f"{name}.labelsize"]).get_size_in_points())
