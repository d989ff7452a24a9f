"""Driver: some rows or columns of the body marked by name, with lines that lead to them.

Labels stand beside the body in the order of what they mark, as near to it as they can without
touching one another. That is an isotonic regression: with labels h apart, label i stands at
z_i + i h, with non-decreasing z so that the squared displacements are least (R. E. Barlow et al.,
*Statistical inference under order restrictions*, 1972). Lines between two sequences in the same
order do not cross.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from numbers import Number
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from clustergrid.pipeline.render.layout import POINTS_PER_INCH
from clustergrid.pipeline.render.tables import index_tick_labels
from clustergrid.storage.errors import DataTypeError, DataValueError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import LineCollection
    from matplotlib.text import Text

__all__ = ["MarkLabels", "find_marked", "spread"]

MAX_NAMED = 5
LEADER_POINTS = (2.0, 14.0, 17.0, 19.0)
"""From the body: where a line turns towards its label, where it is there, its end, the label."""
LINE_SPACING = 1.2
"""Distance of labels over their font size."""
LINE_WIDTH = 0.5
LINE_COLOR = "0.35"
LEAST_FONT_POINTS = 1.0


def find_marked(marks: Any, index: pd.Index, name: str) -> np.ndarray:
    """Positions of marked rows (or columns) in the data's order.

    Parameters
    ----------
    marks
        Labels of the data, each of which marks all rows that have it, or positions, where no label
        is a number; or a bool for each row. Labels of a MultiIndex are tuples.
    index
        Labels in the data's order.
    name
        ``"row_mark"`` or ``"col_mark"``, for messages.

    Raises
    ------
    DataTypeError
        It is no list, or of what can be no label.
    DataValueError
        A label is not there, or a position beyond the axis.
    """
    if isinstance(marks, str) or not hasattr(marks, "__len__"):
        raise DataTypeError(f"{name} must be a list of labels or positions, got {marks!r}")
    labels: list[Hashable] = list(marks.to_numpy() if hasattr(marks, "to_numpy") else marks)
    if odd := [label for label in labels if not isinstance(label, Hashable)]:
        raise DataTypeError(f"{name} has {odd[0]!r}, which is neither a label nor a position")
    kind = pd.api.types.infer_dtype(labels, skipna=False)
    if kind == "boolean":
        if len(labels) != len(index):
            raise DataValueError(f"{name} has {len(labels)} bools for an axis of {len(index)}")
        return np.flatnonzero(np.asarray(labels, dtype=bool))
    if kind == "integer" and not _has_numbers(index):
        positions = [int(at) for at in labels]  # type: ignore[call-overload]
        if beyond := [at for at in positions if not 0 <= at < len(index)]:
            raise DataValueError(
                f"{name} has positions {_named(beyond)}: the axis has 0 to {len(index) - 1}"
            )
        return np.unique(positions)
    if isinstance(index, pd.MultiIndex):
        index = index.to_flat_index()
    wanted = pd.Index(labels, tupleize_cols=False)
    if unknown := list(wanted[~wanted.isin(index)]):
        raise DataValueError(
            f"{name} has {_named(unknown)}: no such label among the {len(index):,} of the axis"
        )
    return np.flatnonzero(index.isin(wanted))


def _has_numbers(index: pd.Index) -> bool:
    """Whether some label is a number, so that a number is a label."""
    if isinstance(index, pd.MultiIndex):
        return False
    if pd.api.types.is_numeric_dtype(index.dtype):
        return not pd.api.types.is_bool_dtype(index.dtype)
    return any(
        isinstance(label, Number) and not isinstance(label, bool) for label in index.dropna()
    )


def _named(things: Sequence[object]) -> str:
    more = ", ..." if len(things) > MAX_NAMED else ""
    return ", ".join(map(repr, things[:MAX_NAMED])) + more


def spread(targets: np.ndarray, distance: float, low: float, high: float) -> np.ndarray:
    """Place labels at least a distance apart, in their order, with the least squared displacement.

    Parameters
    ----------
    targets : (n,) float64
        Where labels would be best; not decreasing.
    distance
        The least distance of two labels.
    low, high
        Where the first and the last may be; where there is too little room, they are around the
        middle.

    Returns
    -------
    (n,) float64

    Examples
    --------
    >>> spread(np.array([1.0, 1.0, 8.0]), 2.0, 0.0, 9.0).tolist()
    [0.0, 2.0, 8.0]
    """
    from scipy.optimize import isotonic_regression

    steps = distance * np.arange(len(targets))
    if not len(targets):
        return steps
    room = high - steps[-1]
    if room < low:
        low = room = (low + room) / 2
    # Clipped, the best places without limits are the best within them.
    shifts = np.clip(isotonic_regression(targets - steps).x, low, room)
    places: np.ndarray = shifts + steps
    return places


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MarkLabels:
    """Labels of marked leaves and their lines, at the right of the body or below it.

    Attributes
    ----------
    ax
        The body.
    axis
        0: rows are marked, 1: columns.
    coordinates : (k,) float64
        Of the marked leaves along the axis, ascending.
    length
        Of the axis, in its coordinates.
    texts, lines
        The artists.
    asked_points
        Font size of the labels where there is room.
    """

    ax: Axes
    axis: int
    coordinates: np.ndarray
    length: float
    texts: list[Text]
    lines: LineCollection
    asked_points: float

    @classmethod
    def write(
        cls, ax: Axes, axis: int, coordinates: np.ndarray, labels: pd.Index, length: float
    ) -> MarkLabels:
        """Write labels beside an axes whose size is not decided yet; `fit` moves them.

        Parameters
        ----------
        ax, axis, coordinates
            As the attributes.
        labels
            Of the marked leaves.
        length
            Of the axis, in its coordinates.
        """
        from matplotlib.collections import LineCollection
        from matplotlib.transforms import Affine2D, ScaledTranslation, blended_transform_factory

        to_points: Any = Affine2D().scale(1 / POINTS_PER_INCH) + ax.figure.dpi_scale_trans
        axes: Any = ax.transAxes
        if axis == 0:  # points to the right of the body's right edge
            across = to_points + ScaledTranslation(1, 0, axes)
            transform = blended_transform_factory(across, ax.transData)
        else:  # points below its lower edge
            across = to_points + ScaledTranslation(0, 0, axes)
            transform = blended_transform_factory(ax.transData, across)
        tick = (ax.xaxis if axis else ax.yaxis).get_major_ticks(1)[0]
        size = float(tick.label1.get_fontsize())
        look = (
            {"rotation": 90, "ha": "center", "va": "top"}
            if axis
            else {"ha": "left", "va": "center"}
        )
        plain: dict[str, Any] = {"transform": transform, "clip_on": False, "parse_math": False}
        texts = [
            ax.text(0, 0, str(label), fontsize=size, **(plain | look))
            for label in index_tick_labels(labels)
        ]
        lines = LineCollection(
            [], colors=LINE_COLOR, linewidths=LINE_WIDTH, transform=transform, clip_on=False
        )
        ax.add_collection(lines, autolim=False)
        marks = cls(
            ax=ax,
            axis=axis,
            coordinates=coordinates,
            length=length,
            texts=texts,
            lines=lines,
            asked_points=size,
        )
        marks.fit(float(ax.figure.dpi))  # or the layout would find all of them in a corner
        return marks

    def snapshot(self) -> Callable[[], None]:
        """Return what brings labels back where they are; no resolution moves them."""
        return lambda: None

    def fit(self, dpi: float) -> None:
        """Place labels for the size that the axes has now; their font shrinks if it must.

        Where even the smallest leaves no room for all, evenly chosen ones are shown.
        """
        del dpi
        if not self.texts:
            return
        box = self.ax.get_window_extent()
        points = (box.width if self.axis else box.height) / self.ax.figure.dpi * POINTS_PER_INCH
        room = points / LINE_SPACING
        n_shown = min(len(self.texts), max(1, int(room / LEAST_FONT_POINTS)))
        size = max(LEAST_FONT_POINTS, min(self.asked_points, room / n_shown))
        shown = np.linspace(0, len(self.texts) - 1, n_shown).round().astype(np.int64)
        line = size * LINE_SPACING * self.length / points
        marked = self.coordinates[shown]
        places = spread(marked, line, line / 2, self.length - line / 2)
        near, turn, end, begin = LEADER_POINTS
        offsets = np.array([0, near, turn, end])
        for text in self.texts:
            text.set_visible(False)
        for number, place in zip(shown, places, strict=True):
            text = self.texts[number]
            text.set_visible(True)
            text.set_fontsize(size)
            text.set_position((place, -begin) if self.axis else (begin, place))
        corners = np.stack([marked, marked, places, places], axis=-1)
        across = np.broadcast_to(offsets, corners.shape)
        pair = (corners, -across) if self.axis else (across, corners)
        self.lines.set_segments(list(np.stack(pair, axis=-1)))

    @property
    def n_shown(self) -> int:
        """Labels that have room."""
        return sum(text.get_visible() for text in self.texts)

    def width_points(self) -> float:
        """How far from the body labels and lines reach, in points."""
        if not self.texts:
            return 0.0
        boxes = [text.get_window_extent() for text in self.texts if text.get_visible()]
        longest = max(box.height if self.axis else box.width for box in boxes)
        return LEADER_POINTS[-1] + float(longest) / self.ax.figure.dpi * POINTS_PER_INCH
