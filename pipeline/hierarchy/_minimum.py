"""Kernel: the least of many values, and where it is."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline._jit import jit
from clustergrid.storage.errors import DataValueError

__all__ = ["LANES", "LISTED", "minimum", "nearest_few", "not_finite"]

LANES = 128
LISTED = 4
"""How many nearest neighbours `nearest_few` lists."""


def not_finite() -> DataValueError:
    """Return the error of an engine that finds no finite distance, or no end of a chain."""
    return DataValueError(
        "The distance matrix must be symmetric and contain only finite values, small enough that "
        "their squares are finite too."
    )


@jit
def minimum(values: NDArray[Any], closed: NDArray[Any], lanes: NDArray[Any]) -> tuple[float, int]:
    """Return the least of the values that are not closed, and the first position that has it.

    Position -1 when nothing is finite. The minimum is kept in lanes because compilers vectorize
    independent minima, not a single one: floating point's has an order. The position is looked
    for afterwards, in the few lanes that attain it.
    """
    n = len(values)
    n_lanes = len(lanes)
    whole = n - n % n_lanes
    lanes[:] = np.inf
    for start in range(0, whole, n_lanes):
        some = values[start : start + n_lanes]
        some_closed = closed[start : start + n_lanes]
        for lane in range(n_lanes):
            value = some[lane] + some_closed[lane]
            lanes[lane] = value if value < lanes[lane] else lanes[lane]
    best = lanes[0]
    for lane in range(1, n_lanes):
        best = lanes[lane] if lanes[lane] < best else best
    where = -1
    for i in range(whole, n):
        value = values[i] + closed[i]
        if value < best:
            best = value
            where = i
    if where < 0 and best < np.inf:
        where = n
        for lane in range(n_lanes):
            if lanes[lane] == best:
                i = lane
                while i < where and values[i] + closed[i] != best:
                    i += n_lanes
                where = min(where, i)
    return best, where


@jit
def nearest_few(
    values: NDArray[Any],
    closed: NDArray[Any],
    lanes: NDArray[Any],
    slots: NDArray[np.int64],
    distances: NDArray[np.float64],
) -> float:
    """List a few small values that are not closed, the least first; return a bound of the others.

    Parameters
    ----------
    values, closed, lanes
        As in `minimum`.
    slots, distances
        ``(LISTED,)``: where the values are, and which; -1 and infinite where there are no more.
        The least of a lane each, in the order of size; a lane's others count for the bound.
    """
    n = len(values)
    n_lanes = len(lanes)
    whole = n - n % n_lanes
    lanes[:] = np.inf
    for start in range(0, whole, n_lanes):
        some = values[start : start + n_lanes]
        some_closed = closed[start : start + n_lanes]
        for lane in range(n_lanes):
            value = some[lane] + some_closed[lane]
            lanes[lane] = value if value < lanes[lane] else lanes[lane]
    for i in range(whole, n):
        value = values[i] + closed[i]
        lanes[i - whole] = value if value < lanes[i - whole] else lanes[i - whole]
    bound = np.inf
    for k in range(len(slots)):
        lane = int(np.argmin(lanes))
        best = lanes[lane]
        slots[k] = -1
        distances[k] = best
        lanes[lane] = np.inf
        if best == np.inf:
            continue
        for i in range(lane, n, n_lanes):
            value = values[i] + closed[i]
            if value == best and slots[k] < 0:
                slots[k] = i
            elif value < bound:
                bound = value
    return float(min(bound, np.min(lanes)))
