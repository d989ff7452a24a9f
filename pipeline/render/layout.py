"""Plan: the arithmetic of the picture - ratios of the grid, ticks that fit, pixels of an axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias, TypeVar

import numpy as np

from clustergrid.storage.errors import DataValueError

__all__ = [
    "DEFAULT_COLORS_RATIO",
    "DEFAULT_DENDROGRAM_RATIO",
    "Ratio",
    "any_overlap",
    "axis_ratios",
    "pixels",
    "ratio_pair",
    "tick_positions",
    "tick_step",
]

DEFAULT_DENDROGRAM_RATIO = 0.2
DEFAULT_COLORS_RATIO = 0.03
POINTS_PER_INCH = 72

Ratio: TypeAlias = "float | Sequence[float] | None"
Item = TypeVar("Item")


def ratio_pair(ratio: Ratio, default: float, name: str) -> tuple[float, float]:
    """Read a ratio given as a number or as a (row, column) pair.

    Examples
    --------
    >>> ratio_pair(None, 0.2, "dendrogram_ratio"), ratio_pair((0.1, 0.3), 0.2, "dendrogram_ratio")
    ((0.2, 0.2), (0.1, 0.3))
    """
    if ratio is None:
        return default, default
    if isinstance(ratio, Sequence | np.ndarray):
        if len(ratio) != 2:
            raise DataValueError(f"{name} must be a number or a (row, column) pair, got {ratio!r}")
        return float(ratio[0]), float(ratio[1])
    return float(ratio), float(ratio)


def axis_ratios(n_strips: int, dendrogram_ratio: float, colors_ratio: float) -> list[float]:
    """Proportions of the figure for the tree, the colour strips if any, and the body.

    Examples
    --------
    >>> axis_ratios(0, 0.2, 0.03)
    [0.2, 0.8]
    >>> [round(ratio, 2) for ratio in axis_ratios(2, 0.2, 0.03)]
    [0.2, 0.06, 0.74]
    """
    ratios = [dendrogram_ratio]
    if n_strips:
        ratios.append(n_strips * colors_ratio)
    ratios.append(1 - sum(ratios))
    return ratios


def tick_step(n_labels: int, length_inches: float, font_points: float) -> int:
    """Every which label to show so that they fit along an axis; 0 when not even one fits.

    Examples
    --------
    >>> tick_step(150, 7.7, 10), tick_step(4, 7.7, 10), tick_step(4, 0.1, 10)
    (3, 1, 0)
    """
    # Floor division by the quotient, not multiplication: the same rounding as seaborn's.
    most = int(length_inches // (font_points / POINTS_PER_INCH))
    return n_labels // most + 1 if most >= 1 else 0


def tick_positions(n_labels: int, step: int) -> np.ndarray:
    """Centres of every `step`-th cell; none for a step of 0.

    Examples
    --------
    >>> tick_positions(5, 2)
    array([0.5, 2.5, 4.5])
    """
    return np.arange(0, n_labels, step) + 0.5 if step > 0 else np.empty(0)


def pixels(length_inches: float, dpi: float) -> int:
    """Whole pixels along a stretch of the figure, at least one.

    Examples
    --------
    >>> pixels(7.708, 100), pixels(0.001, 100)
    (770, 1)
    """
    # A millionth of a pixel short of a whole number is that number.
    return max(1, int(length_inches * dpi + 1e-6))


def any_overlap(boxes: np.ndarray) -> bool:
    """Whether any two rectangles share an area.

    Sorted by their first edges, rectangles `distance` places apart can only meet if some pair
    nearer than that does, so the search stops at once for labels that leave room.

    Parameters
    ----------
    boxes : (n, 4) float64
        Columns x0, y0, x1, y1.

    Examples
    --------
    >>> any_overlap(np.array([[0, 0, 2, 1], [2, 0, 3, 1]])), any_overlap(np.array([[0, 0, 2, 1]]))
    (False, False)
    >>> any_overlap(np.array([[0, 0, 2, 1], [5, 0, 6, 1], [1, 0, 3, 1]]))
    True
    """
    # Sweep along the direction the labels spread in: fewer boxes meet there.
    if len(boxes) > 1 and np.ptp(boxes[:, 1]) > np.ptp(boxes[:, 0]):
        boxes = boxes[:, [1, 0, 3, 2]]
    boxes = boxes[np.argsort(boxes[:, 0], kind="stable")]
    for distance in range(1, len(boxes)):
        left, right = boxes[:-distance], boxes[distance:]
        meets_along = (right[:, 0] < left[:, 2]) & (left[:, 0] < right[:, 2])
        meets_across = (right[:, 1] < left[:, 3]) & (left[:, 1] < right[:, 3])
        if bool(np.any(meets_along & meets_across)):
            return True
        if not np.any(right[:, 0] < left[:, 2]):
            return False
    return False
