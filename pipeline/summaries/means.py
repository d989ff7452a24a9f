"""Driver: the means of clusters, and what is known besides, in memory or at rest.

::

    points at rest, near ones side by side ──┬─ a pass ─▶ lists
          │ those that clusters gained       │
          ▼                                  ▼
    means at rest ──────────────────▶ some clusters in memory ─▶ distances, rows, the square
          ▲                                  │
          └───────── all that live ──────────┘   before a pass, or when many have changed

A mean is the same to the bit whenever it is made, so means that were kept are a memory, and no
state. In memory there is one for each slot, in every process that compares clusters: workers read
the points once, make means of them, and are told what was merged. At rest there are those of the
clusters that lived when they were put there, in any order; those of later clusters follow from
these and from the points that they have gained since, which are read. When these are too many, or a
pass wants all means side by side, the means of all live clusters are put at rest anew, and what was
there goes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline.execution import end_if_stopped
from clustergrid.pipeline.hierarchy._clusters import Clusters
from clustergrid.pipeline.hierarchy._threads import in_threads
from clustergrid.pipeline.points._near_order import near_order
from clustergrid.pipeline.points.prepared import path_of_means, remove_points
from clustergrid.pipeline.row_reader import RowReader, RowsAtRest, put_at_rest
from clustergrid.pipeline.row_tree_plan import FEWEST_MEANS, MEANS_WINDOW_VALUES
from clustergrid.pipeline.summaries._means import Summaries, open_summaries, some_summaries
from clustergrid.pipeline.summaries._members import (
    Members,
    count_gained,
    list_gained,
    take_members,
)
from clustergrid.pipeline.summaries.compared import Asked, Compared, Held, with_values
from clustergrid.pipeline.summaries.lists import largest_scale
from clustergrid.pipeline.summaries.plan import OWNERS
from clustergrid.pipeline.summaries.rows import RestingRows, SummaryRows
from clustergrid.storage.grid import slabs

__all__ = ["Means", "MeansAtRest", "MeansInMemory", "over_means"]

_VALUES_A_PIECE = 2**24
"""Means' values that are compared exactly between two pauses."""

_SAMPLED, _SAMPLED_VALUES = 4096, 2**21
"""Rows that tell how far most of all are apart, or fewer of many values."""

_WINDOW_VALUES, _FEWEST_IN_A_WINDOW = MEANS_WINDOW_VALUES, FEWEST_MEANS

_GAINED = 4
"""Means are put at rest anew when a share of so many is less than the points they gained since, and
a share of so many of these points is wanted."""

Pause = Callable[[], None]


class Means(Protocol):
    """What is known of clusters, wherever that is.

    Tasks get it as it is; what a process can make again is left behind, and made there.
    """

    @property
    def n(self) -> int:
        """How many points there are."""
        ...

    @property
    def n_features(self) -> int:
        """Values of a mean."""
        ...

    @property
    def order(self) -> NDArray[np.int64]:
        """The points, near ones mostly side by side, ``(n,)``."""
        ...

    @property
    def window(self) -> int:
        """How many means are held together."""
        ...

    @property
    def version(self) -> int:
        """Another number when tasks in other processes have to get it anew."""
        ...

    def held(self, asked: Asked, slots: NDArray[np.int64], pause: Pause) -> Held:
        """Return the summaries of some clusters, no more than a window."""
        ...

    def held_in_task(self, asked: Asked, slots: NDArray[np.int64]) -> Held:
        """Do the same in one of several tasks of a process, after `settle` in the driver's."""
        ...

    def near(self, slots: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return some slots' numbers, in an order in which it costs little to hold them."""
        ...

    def freshen(self, asked: Asked, slots: NDArray[np.int64], pause: Pause) -> None:
        """See to it that to hold some clusters takes hardly more than to read their means."""
        ...

    def settle(self, asked: Asked, pause: Pause) -> None:
        """See to the same of all clusters, before tasks hold them."""
        ...

    def compared(self, asked: Asked, slots: NDArray[np.int64], pause: Pause) -> Compared:
        """Return all live clusters in some order, as tasks in this process want them."""
        ...

    def points(self, which: NDArray[np.int64]) -> Iterator[NDArray[Any]]:
        """Read the rows of points in some order, some at a time."""
        ...

    def close(self) -> None:
        """Remove what is at rest."""
        ...


def over_means(
    count: int,
    n_features: int,
    function: Callable[[slice], Any],
    *,
    threads: int,
    pause: Pause,
    each: int = 1,
) -> None:
    """Call a kernel for ranges of `count`, so many means each, in threads where it pays."""
    parts = list(slabs(count, max(1, _VALUES_A_PIECE // (max(1, n_features) * each))))
    in_threads(function, parts, threads=1 if len(parts) == 1 else threads, pause=pause)


class MeansInMemory:
    """Means in the slots of their clusters; see `Means`.

    Parameters
    ----------
    points
        The rows.
    is_ward
        Whether distances are ward's.
    threads
        Of this process.
    """

    version = 0

    def __init__(self, points: SummaryRows, *, is_ward: bool, threads: int) -> None:
        self.n, self.n_features = points.rows.shape
        self.window = max(1, self.n)
        self._points, self._is_ward, self._threads = points, is_ward, threads
        self._begin()
        summaries = self._opened()
        self.order = near_order(points.rows, OWNERS)
        sample = self.order[:: _sampled_step(self.n, self.n_features)]
        self._largest_scale = largest_scale(some_summaries(summaries, sample))

    def _begin(self) -> None:
        self._lock = threading.RLock()
        self._summaries: Summaries | None = None
        self._number = 0

    def __getstate__(self) -> dict[str, Any]:
        """Leave behind what is made again, as rows are where they can be read again."""
        left = ("_lock", "_summaries", "_number", "order")
        state = {name: value for name, value in vars(self).items() if name not in left}
        return state | {"_points": self._points.to_send()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Begin anew, on one thread: there are others that have tasks."""
        vars(self).update(state)
        self._threads = 1
        self._begin()

    def _opened(self) -> Summaries:
        with self._lock:
            if self._summaries is None:
                points = self._points
                self._summaries = open_summaries(
                    points.read(), points.constants, factor=points.factor, is_ward=self._is_ward
                )
            return self._summaries

    def held(self, asked: Asked, slots: NDArray[np.int64], pause: Pause) -> Held:
        """Bring the summaries of some clusters up to date."""
        summaries, nobody = self._opened(), np.empty(0, np.int64)
        members = Members(summaries.rows, nobody, nobody, summaries.constants)
        over_means(
            len(slots),
            self.n_features,
            lambda part: take_members(
                summaries,
                slots,
                slots,
                asked.clusters,
                asked.halves,
                members,
                part.start,
                part.stop,
            ),
            threads=self._threads,
            pause=pause,
        )
        return summaries, slots

    def held_in_task(self, asked: Asked, slots: NDArray[np.int64]) -> Held:
        """Return the summaries of some clusters, which the first task brings up to date."""
        self.settle(asked, end_if_stopped)
        return self._opened(), slots

    def near(self, slots: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return numbers as they come: nothing is read."""
        return np.arange(len(slots))

    def freshen(self, asked: Asked, slots: NDArray[np.int64], pause: Pause) -> None:
        """Do nothing: all means are here."""

    def settle(self, asked: Asked, pause: Pause) -> None:
        """Bring the summaries of all clusters up to date, once."""
        with self._lock:
            if asked.number > self._number:
                self.held(asked, np.flatnonzero(asked.clusters.live), pause)
                self._number = asked.number

    def compared(self, asked: Asked, slots: NDArray[np.int64], pause: Pause) -> Compared:
        """Return all live clusters in some order, where they are."""
        self.settle(asked, pause)
        return Compared(
            summaries=self._opened(),
            slots=slots,
            where=slots,
            n_features=self.n_features,
            largest_scale=self._largest_scale,
        )

    def compared_here(self, asked: Asked, slots: NDArray[np.int64]) -> Compared:
        """Return the same in a task of another process, which has means of its own."""
        return self.compared(asked, slots, end_if_stopped)

    def points(self, which: NDArray[np.int64]) -> Iterator[NDArray[Any]]:
        """Read the rows of points, some at a time, so that copies of them are small."""
        for some in slabs(len(which), max(1, _WINDOW_VALUES // max(1, self.n_features))):
            yield self._opened().rows[which[some]]

    def close(self) -> None:
        """Do nothing: nothing is at rest."""


class MeansAtRest:
    """Means at rest, of which tasks read some, and points at rest beside them; see `Means`.

    Parameters
    ----------
    points
        The rows, at rest.
    is_ward
        Whether distances are ward's.
    threads
        Of this process.
    """

    def __init__(self, points: RestingRows, *, is_ward: bool, threads: int) -> None:
        self._points = points
        self.n, self.n_features = points.reader.shape
        self.window = max(_FEWEST_IN_A_WINDOW, _WINDOW_VALUES // max(1, self.n_features))
        self._threads = threads
        self.order = points.order
        known = open_summaries(
            np.empty((self.n, 0)), points.constants, factor=points.factor, is_ward=is_ward
        )
        # In the order in which they are at rest.
        self._known = some_summaries(known, self.order)
        self._place = np.empty(self.n, np.int64)
        self._place[self.order] = np.arange(self.n)
        self._point_place = self._place
        self._means: RowReader = points.reader
        self._n_kept = 0
        sample = np.arange(0, self.n, _sampled_step(self.n, self.n_features))
        some = some_summaries(self._known, sample)
        some = with_values(some, points.reader.take(sample), self.n_features)
        self._largest_scale = largest_scale(some)

    @property
    def version(self) -> int:
        """How often means were put at rest."""
        return self._n_kept

    def held(self, asked: Asked, slots: NDArray[np.int64], pause: Pause) -> Held:
        """Read some means, and bring them up to date."""
        clusters, halves = asked.clusters, asked.halves
        places = self._place[slots]
        held = some_summaries(self._known, places)
        held = with_values(held, self._means.take(places), self.n_features)
        counts = self._gained(clusters, slots)
        for positions, some in _in_windows(counts, self.window):
            begins = np.cumsum(some) - some
            members = np.empty(int(some.sum()), np.int64)
            list_gained(clusters, held.latest[positions], begins, some, members)
            rows = self._points.reader.take(self._point_place[members])
            gained = Members(rows, begins, some, self._points.constants)
            take_members(
                held, positions, slots[positions], clusters, halves, gained, 0, len(positions)
            )
            pause()
        held.sizes[:] = clusters.sizes[slots]
        return held, np.arange(len(slots))

    def held_in_task(self, asked: Asked, slots: NDArray[np.int64]) -> Held:
        """Do the same: nothing is shared."""
        return self.held(asked, slots, end_if_stopped)

    def _gained(self, clusters: Clusters, slots: NDArray[np.int64]) -> NDArray[np.int64]:
        """Count the points that some clusters have gained since their means were put at rest."""
        counts = np.empty(len(slots), np.int64)
        count_gained(clusters, slots, self._known.latest[self._place[slots]], counts)
        return counts

    def near(self, slots: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return numbers in the order in which means are at rest."""
        return np.argsort(self._place[slots], kind="stable")

    def settle(self, asked: Asked, pause: Pause) -> None:
        """Put means at rest anew, where those at rest lack many points."""
        self.freshen(asked, np.flatnonzero(asked.clusters.live), pause)

    def freshen(self, asked: Asked, slots: NDArray[np.int64], pause: Pause) -> None:
        """Do so where those of some clusters lack as many as are dearer to read than all means."""
        live = self.order[asked.clusters.live[self.order]]
        gained = self._gained(asked.clusters, slots).sum()
        # To put all of them there takes what all have gained.
        all_gained = self._gained(asked.clusters, live).sum()
        if gained > max(len(live), all_gained) // _GAINED:
            self._put(asked, live, pause)

    def compared(self, asked: Asked, slots: NDArray[np.int64], pause: Pause) -> Compared:
        """Put all live clusters side by side, in some order."""
        clusters, is_of_points = asked.clusters, self._means is self._points.reader
        if not (is_of_points and clusters.live.all() and np.array_equal(slots, self.order)):
            self._put(asked, slots, pause)
        return Compared(
            summaries=self._known._replace(sizes=clusters.sizes[slots]),
            slots=slots,
            where=None,
            n_features=self.n_features,
            largest_scale=self._largest_scale,
            at_rest=self._means,
        )

    def _put(self, asked: Asked, slots: NDArray[np.int64], pause: Pause) -> None:
        """Put the means of all live clusters at rest, in some order."""
        known: list[Summaries] = []

        def parts() -> Iterator[NDArray[np.float64]]:
            for some in slabs(len(slots), self.window):
                held, _ = self.held(asked, slots[some], pause)
                nothing = np.empty((len(held.rows), 0))
                known.append(held._replace(rows=nothing, offsets=nothing))
                yield np.concatenate([held.rows, held.offsets], axis=1)

        before = self._means
        means = put_at_rest(
            parts(),
            shape=(len(slots), 2 * self.n_features),
            dtype=np.dtype(np.float64),
            store=self._points.store,
            path=path_of_means(self._points.path, self._n_kept % 2),
        )
        self._n_kept += 1
        self._means = means
        self._known = _joined(known)
        self._place = np.full(self.n, -1)
        self._place[slots] = np.arange(len(slots))
        if before is not self._points.reader:
            assert isinstance(before, RowsAtRest)
            before.remove()

    def points(self, which: NDArray[np.int64]) -> Iterator[NDArray[Any]]:
        """Read the rows of points, some at a time."""
        for some in slabs(len(which), self.window):
            yield self._points.reader.take(self._point_place[which[some]])

    def close(self) -> None:
        """Remove points and means at rest."""
        remove_points(self._points.store, self._points.path)


def _sampled_step(n: int, k: int) -> int:
    return -(-n // min(_SAMPLED, max(1, _SAMPLED_VALUES // max(1, k))))


def _in_windows(
    counts: NDArray[np.int64], most: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Cut so many members of each of some clusters into windows: which clusters, how many of each.

    Examples
    --------
    >>> [(which.tolist(), some.tolist()) for which, some in _in_windows(np.array([2, 0, 5, 1]), 3)]
    [([0, 2], [2, 1]), ([2], [3]), ([2, 3], [1, 1])]
    """
    ends = np.cumsum(counts)
    for window in slabs(int(ends[-1]) if len(ends) else 0, most):
        first = int(np.searchsorted(ends, window.start, side="right"))
        last = int(np.searchsorted(ends, window.stop, side="left"))
        which = np.arange(first, last + 1)
        some = np.minimum(ends[which], window.stop) - np.maximum(
            ends[which] - counts[which], window.start
        )
        yield which[some > 0], some[some > 0]


def _joined(parts: list[Summaries]) -> Summaries:
    """Put what is known of some clusters behind one another."""

    def all_of(name: str) -> NDArray[Any]:
        return np.concatenate([getattr(part, name) for part in parts])

    return parts[0]._replace(
        rows=all_of("rows"),
        constants=all_of("constants"),
        offsets=all_of("offsets"),
        moved=all_of("moved"),
        scalars=all_of("scalars"),
        sizes=all_of("sizes"),
        masses=all_of("masses"),
        latest=all_of("latest"),
    )
