"""Driver: what is written at the body - tick labels, marks, names of the axes."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from clustergrid.pipeline.render.heatmap import HeatmapOptions
from clustergrid.pipeline.render.marks import MarkLabels, find_marked
from clustergrid.pipeline.render.matrix import DrawnMatrix
from clustergrid.pipeline.render.slices import Slices
from clustergrid.pipeline.render.ticks import (
    check_tick_labels,
    choose_ticks,
    hide_spines,
    write_tick_labels,
)
from clustergrid.pipeline.tree.orders import leaf_places
from clustergrid.storage.errors import DataValueError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["BodyLabels"]

ROWS, COLUMNS = 0, 1


class BodyLabels:
    """What is written at the body.

    Parameters
    ----------
    matrix
        The body.
    row_mark, col_mark
        Rows and columns to mark, as in `find_marked`; None: tick labels instead.
    """

    def __init__(self, matrix: DrawnMatrix, row_mark: Any, col_mark: Any) -> None:
        self._matrix = matrix
        self._marks: list[MarkLabels] = []
        self._marked = tuple(
            None if marks is None else find_marked(marks, matrix.index(axis), name)
            for axis, (marks, name) in enumerate(((row_mark, "row_mark"), (col_mark, "col_mark")))
        )

    def check(self, options: HeatmapOptions) -> None:
        """Refuse, before anything is computed, tick labels that mean nothing, or beside marks."""
        for axis, name in ((ROWS, "yticklabels"), (COLUMNS, "xticklabels")):
            requested = getattr(options, name)
            check_tick_labels(requested, self._matrix.shape[axis], name)
            is_asked = not (isinstance(requested, str | bool) or requested is None)
            if self._marked[axis] is not None and (is_asked or requested is True):
                which = ("row_mark", "col_mark")[axis]
                raise DataValueError(f"{name} and {which} would be written over one another")

    def write(
        self,
        ax: Axes,
        options: HeatmapOptions,
        orders: tuple[np.ndarray, np.ndarray],
        slices: tuple[Slices, Slices],
    ) -> list[MarkLabels]:
        """Write tick labels, marks and the names of the axes, whose limits are set.

        Parameters
        ----------
        ax
            The body.
        options
            Which tick labels.
        orders
            Leaf orders of rows and columns.
        slices
            Where the leaves of both stand.

        Returns
        -------
        list
            The marks, to be fitted to the size that the axes will have.
        """
        hide_spines(ax)
        matrix = self._matrix
        chosen = []
        for axis, along, requested in (
            (COLUMNS, ax.xaxis, options.xticklabels),
            (ROWS, ax.yaxis, options.yticklabels),
        ):
            if self._marked[axis] is not None:
                requested = False
            ticks, labels = choose_ticks(along, requested, matrix.index(axis), orders[axis])
            chosen.append((slices[axis].position(ticks), labels))
        (xticks, xlabels), (yticks, ylabels) = chosen
        ax.set(xticks=xticks, yticks=yticks)
        write_tick_labels(ax, xlabels, ylabels)
        ax.set(xlabel=matrix.axis_label(COLUMNS), ylabel=matrix.axis_label(ROWS))
        rotation = ax.get_yticklabels()[0].get_rotation() if len(yticks) else None
        ax.yaxis.set_ticks_position("right")
        ax.yaxis.set_label_position("right")
        for text in ax.get_yticklabels():
            text.set_rotation(rotation)  # type: ignore[arg-type]
        self._marks = [
            self._mark(ax, axis, marked, orders[axis], slices[axis])
            for axis, marked in enumerate(self._marked)
            if marked is not None
        ]
        return self._marks

    def warn_of_hidden(self) -> None:
        """Say of how many marks the labels have no room, once the figure is laid out."""
        for marks in self._marks:
            n_marks, n_shown = len(marks.texts), marks.n_shown
            if n_shown < n_marks:
                warnings.warn(
                    f"{('row_mark', 'col_mark')[marks.axis]} names {n_marks:,} "
                    f"{('rows', 'columns')[marks.axis]}, and {n_shown:,} labels have room: name "
                    "fewer, or make the figure larger",
                    UserWarning,
                    stacklevel=2,
                )

    def _mark(
        self, ax: Axes, axis: int, marked: np.ndarray, order: np.ndarray, slices: Slices
    ) -> MarkLabels:
        places = leaf_places(order)
        in_order = marked[np.argsort(places[marked])]
        coordinates = slices.position(places[in_order] + 0.5)
        labels = self._matrix.index(axis)[in_order]
        marks = MarkLabels.write(ax, axis, coordinates, labels, slices.length)
        name = ax.xaxis if axis else ax.yaxis
        name.labelpad += marks.width_points()
        return marks
