"""Driver: the clusters that lists are made of, in memory or at rest."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline.row_reader import RowReader
from clustergrid.pipeline.summaries._means import Summaries, some_summaries

__all__ = ["Compared", "packed", "with_values"]


@dataclass(frozen=True, eq=False)
class Compared:
    """The clusters that are compared, in an order in which neighbours mostly are near.

    Parameters
    ----------
    summaries
        Of them, and maybe of others; without rows where these are at rest.
    slots
        ``(m,) int64``: the slot of each, by which it is listed.
    where
        ``(m,) int64``: where it is in the summaries; None where they are in this order.
    n_features
        Values of a mean, k.
    largest_scale
        Power of two that means are multiplied by, at most; see `lists.largest_scale`.
    at_rest
        ``(k,)`` values of the row of each summary, or ``(2 k,)``, with the offset behind it. It is
        sent to other processes as a location. None: summaries have them.
    """

    summaries: Summaries
    slots: NDArray[np.int64]
    where: NDArray[np.int64] | None
    n_features: int
    largest_scale: float
    at_rest: RowReader | None = None

    def range(self, places: slice) -> Summaries:
        """Return the clusters of a range, one behind another."""
        if self.where is not None:
            return self.some(np.arange(places.start, places.stop))
        some = some_summaries(self.summaries, places)
        if self.at_rest is None:
            return some
        return with_values(some, self.at_rest.block(places.start, places.stop), self.n_features)

    def some(self, places: NDArray[np.int64]) -> Summaries:
        """Return some clusters, one behind another."""
        which = places if self.where is None else self.where[places]
        some = some_summaries(self.summaries, which)
        if self.at_rest is None:
            return some
        return with_values(some, self.at_rest.take(which), self.n_features)

    def reordered(self, places: NDArray[np.int64]) -> Compared:
        """Return the same clusters in another order."""
        where = places if self.where is None else self.where[places]
        return replace(self, slots=self.slots[places], where=where)


def with_values(known: Summaries, values: NDArray[np.float64], k: int) -> Summaries:
    """Add rows, and offsets where there are any, to what else is known of clusters."""
    if values.shape[1] == k:
        return known._replace(rows=values, offsets=np.zeros((len(values), k)))
    return known._replace(
        rows=np.ascontiguousarray(values[:, :k]), offsets=np.ascontiguousarray(values[:, k:])
    )


def packed(compared: Compared) -> Compared:
    """Hold nothing but what is compared, in its order; to be read, or sent to other processes."""
    if compared.where is None:
        return compared
    where, known = compared.where, compared.summaries
    if not known.moved.any():
        # All offsets are zero, in any order, and nobody has touched their memory.
        offsets = known.offsets[: len(where)]
        packed = some_summaries(known._replace(offsets=known.offsets[:, :0]), where)
        return replace(compared, summaries=packed._replace(offsets=offsets), where=None)
    return replace(compared, summaries=some_summaries(known, where), where=None)
