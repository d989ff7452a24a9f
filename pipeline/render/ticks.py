"""Driver: tick labels on matplotlib axes - which to show, and turning those that overlap.

seaborn draws the whole figure to learn where its labels are. Here only the labels are measured:
the positions are the same, and nothing that is drawn grows with the matrix.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from clustergrid.pipeline.render.layout import any_overlap, tick_positions, tick_step
from clustergrid.pipeline.render.tables import index_tick_labels
from clustergrid.storage.errors import DataValueError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.text import Text

__all__ = ["check_tick_labels", "choose_ticks", "hide_spines", "write_tick_labels"]


def check_tick_labels(requested: Any, n: int, name: str) -> None:
    """Refuse tick labels that mean nothing, or are not one for each row (or column).

    Parameters
    ----------
    requested
        As for `choose_ticks`.
    n
        Rows (or columns) of the matrix.
    name
        ``"xticklabels"`` or ``"yticklabels"``.
    """
    if requested is None or isinstance(requested, bool | int | np.integer):
        return
    if isinstance(requested, str):
        if requested != "auto":
            raise DataValueError(
                f"{name} must be 'auto', a bool, an int or a list of labels, got {requested!r}"
            )
    elif len(requested) not in (0, n):
        raise DataValueError(f"{name} has {len(requested)} labels for an axis of {n}")


def choose_ticks(
    axis: Axis, requested: Any, index: pd.Index, order: np.ndarray
) -> tuple[np.ndarray, Sequence[Any]]:
    """Decide where the ticks of one axis of the body are, and what they say.

    Parameters
    ----------
    axis
        The x or y axis, its limits set.
    requested
        ``"auto"``, True, False, every how many, or one label for each row (or column) of the data.
    index
        Labels in the data's order.
    order : (n,) int
        Leaf order.
    """
    n = len(order)
    if requested is None or isinstance(requested, bool | int | np.integer):
        step = int(requested or 0)
    elif isinstance(requested, str):
        step = _fitting_step(axis, n)
    else:
        given = np.asarray(requested)
        return (tick_positions(n, 1), given[order]) if len(given) else (np.empty(0), [])
    # Only the labels that are shown are looked at: an axis may have millions.
    labels = index_tick_labels(index[order[::step]]) if step > 0 else []
    return tick_positions(n, step), labels


def _fitting_step(axis: Axis, n_labels: int) -> int:
    """Every which label fits, by the size of the axes now and the font of its ticks."""
    figure = axis.axes.figure
    box = axis.axes.get_window_extent()
    length = (box.width if axis is axis.axes.xaxis else box.height) / figure.dpi
    (tick,) = axis.set_ticks([0])
    return tick_step(n_labels, length, float(tick.label1.get_fontsize()))


def write_tick_labels(ax: Axes, xlabels: Sequence[Any], ylabels: Sequence[Any]) -> None:
    """Write the labels at the ticks of an axes, turned so that they do not overlap.

    Labels of x lie unless they would overlap; labels of y stand unless they would overlap.
    """
    xtexts = ax.set_xticklabels(xlabels)
    ytexts = ax.set_yticklabels(ylabels, rotation="vertical")
    for text in ytexts:
        text.set_verticalalignment("center")
    if _overlap(ax.xaxis, xtexts):
        _rotate(xtexts, "vertical")
    if _overlap(ax.yaxis, ytexts):
        _rotate(ytexts, "horizontal")


def _rotate(texts: Sequence[Text], rotation: str) -> None:
    for text in texts:
        text.set_rotation(rotation)  # type: ignore[arg-type]


def _overlap(axis: Axis, texts: Sequence[Text]) -> bool:
    if len(texts) < 2:
        return False
    axis.get_tightbbox()  # moves the labels to their ticks, which otherwise only drawing does
    boxes = [text.get_window_extent().extents for text in texts]
    return any_overlap(np.array(boxes, dtype=np.float64))


def hide_spines(ax: Axes) -> None:
    """Hide the frame of an axes."""
    for spine in ax.spines.values():
        spine.set_visible(False)
