"""Driver: the rows of some points in memory, wherever all of them are."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline.points._squares import PAIR_EDGE
from clustergrid.pipeline.points.base import Points
from clustergrid.pipeline.points.layout import Layout
from clustergrid.pipeline.row_reader import RowReader

__all__ = ["Held", "Window", "hold", "window_rows"]

_WINDOW_VALUES = 2**21
_LEAST_WINDOW = 2 * PAIR_EDGE


class Held(NamedTuple):
    """Some rows.

    Attributes
    ----------
    rows
        ``(r, k)``.
    places
        ``(r,)`` increasing: where they are among all; None: they are all.
    """

    rows: NDArray[Any]
    places: NDArray[np.int64] | None

    def where(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return where some places are among these rows."""
        return places if self.places is None else np.searchsorted(self.places, places)


def hold(reader: RowReader, places: NDArray[np.int64]) -> Held:
    """Bring some rows into memory; of an array there already, all of them."""
    if reader.in_memory:
        return Held(reader.block(0, reader.shape[0]), None)
    wanted = np.unique(places)
    return Held(reader.take(wanted), wanted)


def window_rows(reader: RowReader) -> int:
    """Return how many rows a task holds, beside those at the left.

    Rows at rest are read once for each window at most, and mostly once for all.
    """
    n, k = reader.shape
    return n if reader.in_memory else max(_LEAST_WINDOW, _WINDOW_VALUES // max(1, k))


class Window:
    """The members of clusters that follow one another, as many at a time as may be held.

    Parameters
    ----------
    points, layout
        What holds them; all clusters.
    last
        Where the members end that will be asked for.
    """

    def __init__(self, points: Points, layout: Layout, last: int) -> None:
        self._points, self._layout, self._last = points, layout, int(last)
        self._stop = -1
        self._held: Any = None

    def over(self, start: int, stop: int) -> Any:
        """Return what holds the members from `start` to `stop`; ranges have to ascend.

        Callers forget what they were given before they ask for more: two do not fit.
        """
        if stop > self._stop:
            self._held = None
            self._stop = max(stop, min(start + self._points.window, self._last))
            self._held = self._points.hold(self._layout.points[start : self._stop])
        return self._held
