"""Driver: the clusters that lists are made of, in memory, in that of each worker, or at rest."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline.hierarchy._clusters import Clusters
from clustergrid.pipeline.row_reader import RowReader
from clustergrid.pipeline.summaries._means import Summaries, some_summaries

__all__ = ["Asked", "Compared", "Held", "Sent", "compared_of", "packed", "with_values"]

_NARROW = 128
"""Means of so few values are copied side by side: compared one by one, they would be searched for
in all of the memory, and long ones are not."""

Held: TypeAlias = tuple[Summaries, NDArray[np.int64]]
"""Some summaries, and where among them those that were asked for are."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Asked:
    """Clusters that a source is asked about.

    Attributes
    ----------
    clusters
        All of them.
    halves
        Whether either part of a union counts for a half.
    number
        Of the call, of one source: the later, the more was merged.
    """

    clusters: Clusters
    halves: bool
    number: int

    @property
    def sent(self) -> Asked:
        """The same without what no mean is made of, for tasks in other processes."""
        nothing, nobody = np.empty(0), np.empty(0, np.int64)
        clusters = self.clusters._replace(masses=nothing, spreads=nothing, last_member=nobody)
        return replace(self, clusters=clusters)


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

    def range(self, places: slice) -> Held:
        """Return the clusters of a range, one behind another."""
        if self.where is not None:
            return self.some(np.arange(places.start, places.stop))
        some = some_summaries(self.summaries, places)
        if self.at_rest is not None:
            values = self.at_rest.block(places.start, places.stop)
            some = with_values(some, values, self.n_features)
        return some, np.arange(places.stop - places.start)

    def some(self, places: NDArray[np.int64]) -> Held:
        """Return some clusters."""
        which = places if self.where is None else self.where[places]
        if self.at_rest is None and self.n_features > _NARROW:
            return self.summaries, which
        some = some_summaries(self.summaries, which)
        if self.at_rest is not None:
            some = with_values(some, self.at_rest.take(which), self.n_features)
        return some, np.arange(len(which))

    @property
    def in_memory(self) -> bool:
        """Whether reading some of them costs no more than their values."""
        return self.at_rest is None or self.at_rest.in_memory

    def reordered(self, places: NDArray[np.int64]) -> Compared:
        """Return the same clusters in another order."""
        where = places if self.where is None else self.where[places]
        return replace(self, slots=self.slots[places], where=where)


class Kept(Protocol):
    """Means that a process has already, and brings up to date."""

    def compared_here(self, asked: Asked, slots: NDArray[np.int64]) -> Compared:
        """Return the clusters in some slots, in this order."""
        ...


Sent: TypeAlias = Compared | tuple[Kept, tuple[Asked, NDArray[np.int64]]]
"""Clusters as tasks get them, or what these make them of: means; and whose, in which slots."""


def compared_of(sent: Sent) -> Compared:
    """Return the clusters that a task compares."""
    if isinstance(sent, Compared):
        return sent
    kept, (asked, slots) = sent
    return kept.compared_here(asked, slots)


def with_values(known: Summaries, values: NDArray[np.float64], k: int) -> Summaries:
    """Add rows, and offsets where there are any, to what else is known of clusters."""
    if values.shape[1] == k:
        return known._replace(rows=values, offsets=np.zeros((len(values), k)))
    return known._replace(
        rows=np.ascontiguousarray(values[:, :k]), offsets=np.ascontiguousarray(values[:, k:])
    )


def packed(compared: Compared) -> Compared:
    """Put points that are compared side by side, which are read faster so.

    All offsets are zero, in any order, and nobody has touched their memory.
    """
    where, known = compared.where, compared.summaries
    if where is None or known.moved.any():
        return compared
    without = some_summaries(known._replace(offsets=known.offsets[:, :0]), where)
    summaries = without._replace(offsets=known.offsets[: len(where)])
    return replace(compared, summaries=summaries, where=None)
