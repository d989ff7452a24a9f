"""Plan: which trees are made from summaries of clusters, and how tasks compare these.

Clusters are cut into ranges, and each pair of ranges is compared once. A task has one range at the
left and some others, one after another::

    lists    waves of tasks, near ranges first; what is near goes back
    square   each range with those from it on; distances go back, where they cannot be put in place

Where means are at rest, a task reads both sides. Bits depend on none of this.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import isqrt

from clustergrid.storage.grid import round_up, slabs

__all__ = [
    "BUFFERED",
    "LEAST_COMPARED",
    "OWNERS",
    "RANGES_A_TASK",
    "ListPass",
    "compared_rows",
    "listing_bytes",
    "square_columns",
    "square_ranges_a_task",
    "square_reads",
    "summaries_serve",
]

_SQUARES = ("sqeuclidean", "cosine", "correlation", "spearman", "russellrao")
"""Metrics that are squared Euclidean distances of some rows, but for a constant of each."""

OWNERS = 256
"""Rows of a product."""

MOST_COMPARED = 2048
"""Clusters of a range, at most: they are about one centre."""

FEWEST_COMPARED, LEAST_COMPARED = 512, 64
"""Of many features: with fewer, to make operands takes longer than their products, and to read
means at rest longer than both. And the fewest, where there is no memory for more."""

COMPARED_VALUES = 2**21
"""Of the operands of a range; its means take five times as much memory."""

RANGES_A_TASK, _MOST_RANGES_A_TASK = 8, 64
"""That one is compared with, at most; and where tasks were too many then. Of more, what a task
finds would take gigabytes: rather more tasks, of more than five million rows."""

_TASKS_A_THREAD, _MOST_TASKS = 8, 50_000
"""That are wanted, and that a scheduler, which is one process, hands out within two minutes."""

_FEW_THREADS, _FAIR_ROWS = 64, 1024
"""For more threads than so many, ranges are cut no smaller: a task of some milliseconds takes the
scheduler about as long."""

_WAVES = 4
"""Of a list pass, in each of which the last task of a range has less to do."""

FIRST_WAVE = 16
"""One of so many ranges is compared before it is said how far lists reach."""

BUFFERED = 2**19
"""Entries that a task holds, before it cuts what it found to what lists take."""

SENT_DISTANCES = 2**20
"""That a task sends back, 8 MB, which it holds twice."""

_FOUND_BYTES, _ENTRY_BYTES = 16, 13
"""Of an entry that was found, and of one of a list."""

_WAITING = 2
"""What a task found is held by it, and of another task until it is taken."""


def summaries_serve(method: str, metric_name: str, *, is_boolean: bool = False) -> bool:
    """Whether a cluster is its mean and a scalar, so that a tree takes no distances of pairs.

    Parameters
    ----------
    method, metric_name
        As SciPy names them.
    is_boolean
        Whether the matrix holds booleans, of which hamming is a squared distance.

    Examples
    --------
    >>> summaries_serve("ward", "euclidean"), summaries_serve("average", "correlation")
    (True, True)
    >>> summaries_serve("average", "euclidean"), summaries_serve("complete", "cosine")
    (False, False)
    >>> [summaries_serve("average", "hamming", is_boolean=held) for held in (False, True)]
    [False, True]
    """
    if method == "ward":
        return metric_name == "euclidean"
    if method not in ("average", "weighted"):
        return False
    return metric_name in _SQUARES or (metric_name == "hamming" and is_boolean)


def compared_rows(n_features: int) -> int:
    """Return how many clusters of so many features a range has, where there is memory for it.

    Examples
    --------
    >>> [compared_rows(k) for k in (50, 1024, 2000, 100_000)]
    [2048, 1792, 1024, 512]
    """
    fair = COMPARED_VALUES // (n_features + 2) // OWNERS * OWNERS
    return min(MOST_COMPARED, max(FEWEST_COMPARED, fair))


def listing_bytes(rows: int, n_neighbors: int, ranges_a_task: int = RANGES_A_TASK) -> int:
    """Return the memory of what a task lists, of ranges of so many clusters.

    Examples
    --------
    >>> listing_bytes(2048, 64), listing_bytes(512, 64, 46)
    (82313216, 106561536)
    """
    n_lists = 2 * rows
    found = ranges_a_task * n_lists * n_neighbors * _FOUND_BYTES
    lists = n_lists * 2 * n_neighbors * _ENTRY_BYTES
    return _WAITING * found + lists + BUFFERED * _FOUND_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class ListPass:
    """How the clusters of a list pass are cut.

    Attributes
    ----------
    n_owners
        Clusters whose lists are wanted.
    n_others
        Those that are compared with them besides.
    n_features
        Values of a mean.
    threads
        Tasks that run at once.
    most_rows
        Clusters of a range at most; None: as many as is quick.

    Examples
    --------
    >>> wide = ListPass(n_owners=100_000, n_features=2000, threads=2)
    >>> wide.rows, wide.n_ranges, wide.n_tasks, round(wide.reads, 1)
    (1024, 98, 689, 55.5)
    """

    n_owners: int
    n_others: int = 0
    n_features: int
    threads: int
    most_rows: int | None = None

    @property
    def _widest(self) -> int:
        return min(compared_rows(self.n_features), self.most_rows or MOST_COMPARED)

    @property
    def rows(self) -> int:
        """Of a range of owners: few enough that there are tasks for all threads.

        There are as many pairs of ranges as their number squared, so that this is a root.
        """
        fair = self._fair_rows(self.threads)
        if self.threads > _FEW_THREADS:
            fair = max(fair, min(_FAIR_ROWS, self._fair_rows(_FEW_THREADS)))
        return min(self._widest, max(OWNERS, fair))

    def _fair_rows(self, threads: int) -> int:
        n_ranges = isqrt(2 * RANGES_A_TASK * _TASKS_A_THREAD * threads)
        return round_up(self.n_owners // n_ranges, OWNERS)

    @property
    def ranges_a_task(self) -> int:
        """That one is compared with, at most.

        Examples
        --------
        >>> million = ListPass(n_owners=1_000_000, n_features=10_000, threads=1600)
        >>> million.ranges_a_task, million.n_tasks
        (46, 44515)
        >>> ListPass(n_owners=10**12, n_features=50, threads=2).ranges_a_task
        64
        """
        # The last task of a range in each wave is smaller.
        most = max(_MOST_TASKS // _WAVES, _MOST_TASKS - _WAVES * self.n_ranges)
        fair = -(-self.n_pairs // most)
        return min(_MOST_RANGES_A_TASK, max(RANGES_A_TASK, fair))

    @property
    def owners(self) -> list[slice]:
        """Ranges of those whose lists are wanted."""
        return list(slabs(self.n_owners, self.rows))

    @property
    def others(self) -> list[slice]:
        """Ranges of those that come behind them."""
        first = self.n_owners
        parts = slabs(self.n_others, self._widest)
        return [slice(first + part.start, first + part.stop) for part in parts]

    @property
    def n_ranges(self) -> int:
        """How many ranges there are."""
        return -(-self.n_owners // self.rows) + -(-self.n_others // self._widest)

    @property
    def n_pairs(self) -> int:
        """How many pairs of ranges there are, of which one has owners."""
        n = -(-self.n_owners // self.rows)
        return n * (n + 1) // 2 + n * (self.n_ranges - n)

    def waves(self) -> Iterator[slice]:
        """Cut what a range is compared with, from the nearest to the farthest, into waves.

        Waves grow: after the first few lists reach hardly farther than in the end.

        Examples
        --------
        >>> few = ListPass(n_owners=100 * 256, n_features=50, threads=100)
        >>> [(wave.start, wave.stop) for wave in few.waves()]
        [(0, 4), (4, 16), (16, 50)]
        """
        start, stop = 0, -(-self.n_ranges // FIRST_WAVE)
        while start < self.n_ranges:
            yield slice(start, min(stop, self.n_ranges))
            start, stop = stop, 4 * stop

    @property
    def n_tasks(self) -> int:
        """How many tasks there are."""
        n_tasks, a_task = 0, self.ranges_a_task
        for wave in self.waves():
            for i in range(-(-self.n_owners // self.rows)):
                n_others = min(wave.stop, self.n_ranges - i) - wave.start
                n_tasks += -(-max(0, n_others) // a_task)
        return n_tasks

    @property
    def reads(self) -> float:
        """How often all clusters are read: at the left once a task, and each pair of ranges."""
        n_owners = -(-self.n_owners // self.rows)
        return (self.n_tasks + self.n_pairs - n_owners) / self.n_ranges


def square_columns(rows: int, *, sends: bool) -> int:
    """Return how many clusters a range of so many is compared with at a time, for their square.

    Examples
    --------
    >>> square_columns(2048, sends=False), square_columns(2048, sends=True)
    (2048, 512)
    """
    return min(rows, max(LEAST_COMPARED, SENT_DISTANCES // rows)) if sends else rows


def square_ranges_a_task(n_clusters: int, rows: int, *, sends: bool) -> int:
    """Return how many ranges one is compared with, for a square.

    Where distances are sent they are to be few, unless tasks were too many then.

    Examples
    --------
    >>> [square_ranges_a_task(125_000, rows, sends=True) for rows in (256, 512, 2048)]
    [3, 1, 1]
    """
    if not sends:
        return RANGES_A_TASK
    n_pieces = _square_pieces(n_clusters, rows, sends=sends)
    return max(1, -(-round(n_pieces) // _MOST_TASKS))


def _square_pieces(n_clusters: int, rows: int, *, sends: bool) -> float:
    """Return how many pairs of a range and columns the half of a square has."""
    n_left = -(-n_clusters // rows)
    return n_left * (n_left + 1) / 2 * rows / square_columns(rows, sends=sends)


def square_reads(n_clusters: int, rows: int, *, sends: bool) -> float:
    """Return how often all of some clusters are read for their square.

    Examples
    --------
    >>> [round(square_reads(20_480, 1024, sends=sends), 1) for sends in (False, True)]
    [11.8, 21.0]
    """
    n_pairs = _square_pieces(n_clusters, rows, sends=sends)
    a_task = square_ranges_a_task(n_clusters, rows, sends=sends)
    columns = square_columns(rows, sends=sends)
    return (n_pairs / a_task * rows + n_pairs * columns) / max(1, n_clusters)
