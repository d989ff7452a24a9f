"""Plan: trees that are made straight from rows: by which way, and in what memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from clustergrid.pipeline.hierarchy.limits import Limits
from clustergrid.pipeline.summaries.plan import (
    LEAST_COMPARED,
    MOST_COMPARED,
    ListPass,
    compared_rows,
    listing_bytes,
    square_reads,
    summaries_serve,
)

__all__ = [
    "FEWEST_MEANS",
    "MEANS_WINDOW_VALUES",
    "MOST_IN_A_SQUARE",
    "SKETCHED",
    "RowTreeMemory",
    "way_from_rows",
]

MOST_IN_A_SQUARE = 24_576
"""Clusters that are left to the square of their distances, 4.8 GB; of many rows an eighth.

Of 28,057 genes lists leave 18,900. To bring these to 16,384 by a chain took as long as all else.
"""

LIST_LENGTH = 64
"""Near clusters that are listed of each: more leave fewer, and take longer."""

_LEAST_TASK_BYTES = 48_000_000
"""Of a task: totals of a strip of clusters, products, lists."""

_BLOCK_ROWS = 1024
"""Rows of a task on either side, each as they are, gathered, and as operands."""

ROWS_A_TASK, _STRIP_VALUES = 2048, 2**22
"""Rows of a strip whose lists a task makes, and values of long ones."""

_WINDOW_VALUES = 2**21
"""Of rows at rest that a task holds together."""

_OPERANDS_BYTES, _HELD_BYTES = 2 * 4, 2 * (8 + 8)
"""Of a value of points that are compared, at both sides; and of one at rest, which is read."""

_READ_BYTES = 20 * 2**20
"""Of chunks of rows that are read at once: zarr reads ten, encoded and decoded."""

_ENTRY_BYTES = 13
"""Of an entry of a list at rest."""

_LISTS_AT_REST = 5
"""Lists of a point, at most: the first, and those that rescans make."""

_POINT_BYTES = 2 * 8
"""Of a value where clusters are points: twice, while rows are put in order."""

_ORDERED_BYTES, SKETCHED = 2 * 8, 64
"""Of a point whose row is at rest: its place, and the point of each place; and values of its
sketch, from which the order of the rows follows, in single precision."""

_KEPT_BYTES, _SENT_BYTES = 7 * 8, 160
"""Of a cluster whose mean is at rest: what is known of it besides, and where the mean is; and as
tasks elsewhere are told of it, when there are no sketches any more."""

_RESTING_POINTS, _RESTING_MEANS = 2, 5
"""Values at rest for each of a matrix: of points twice, while rows are put in order; of means the
points, and twice the mean of each with its row, while these are put at rest anew."""

_BESIDES_PASSES = 10
"""Times that all points are read while they are put in order, and for the heights and single
distances: of chunks that several windows reach into. Measured with 300 and 1,100 features."""

_PAIRED_ROWS = 512
"""Points at either side whose distances are added up together."""

MEANS_WINDOW_VALUES, FEWEST_MEANS = 2**19, 32
"""Values of means at rest that are held together, or so many means."""

_COMPARED_BYTES, _AS_READ_BYTES = 2 * (8 + 8 + 4), 2 * 8
"""Of a value of a range that a task compares with others: the row's, the mean's and the operand's,
at both sides; and as they are read from where they are at rest."""

_WINDOW_BYTES = 8 * 8
"""Of such a value: of the row and of the mean, as they are read and held, of clusters at two sides
of a matrix."""

_SUMMARY_BYTES = 8 + 8 + 4
"""Of a value where clusters have means: the row's, the mean's, and that in single precision."""


def way_from_rows(method: str, metric_name: str, *, is_boolean: bool = False) -> str:
    """Say how a tree is made from rows, for a method and metric of which it can be.

    Parameters
    ----------
    method, metric_name
        Of the tree.
    is_boolean
        Whether the matrix holds booleans.

    Returns
    -------
    str
        ``spanning`` (tree), ``centroids``, ``summaries`` or ``points``.

    Examples
    --------
    >>> way_from_rows("single", "jaccard"), way_from_rows("median", "euclidean")
    ('spanning', 'centroids')
    >>> way_from_rows("average", "correlation"), way_from_rows("average", "euclidean")
    ('summaries', 'points')
    """
    if method == "single":
        return "spanning"
    if method in ("centroid", "median"):
        return "centroids"
    if summaries_serve(method, metric_name, is_boolean=is_boolean):
        return "summaries"
    return "points"


@dataclass(frozen=True, slots=True, kw_only=True)
class RowTreeMemory:
    """What a tree by summaries or points takes, beside what the process holds already.

    Attributes
    ----------
    n, k
        Observations and features.
    way
        ``summaries`` or ``points``.
    threads
        Of the driver's process.
    at_rest
        Whether rows are put at rest, and tasks read those that they compare.
    compared_rows
        Clusters that a task has at either side, where these are means at rest; None: as many as is
        quick.
    """

    n: int
    k: int
    way: str
    threads: int = 1
    at_rest: bool = False
    compared_rows: int | None = None

    @property
    def resting(self) -> RowTreeMemory:
        """What a tree takes whose rows are at rest, if they can be: the least of memory.

        Examples
        --------
        >>> memory = RowTreeMemory(n=1_000_000, k=2_000, way="points")
        >>> memory.rows_bytes, memory.resting.rows_bytes
        (32000000000, 272000000)
        """
        return replace(self, at_rest=self.way in ("points", "summaries"))

    @property
    def narrower(self) -> Iterator[RowTreeMemory]:
        """Yield what it takes with smaller tasks, which read rows at rest the more often.

        Examples
        --------
        >>> memory = RowTreeMemory(n=100_000, k=20_000, way="summaries").resting
        >>> [(each.compared_rows, each.task_bytes) for each in memory.narrower]
        [(256, 355691520), (128, 212331520), (64, 140651520)]
        """
        rows = self._compared_rows // 2
        while self.at_rest and self.way == "summaries" and rows >= LEAST_COMPARED:
            yield replace(self, compared_rows=rows)
            rows //= 2

    @property
    def rows_bytes(self) -> int:
        """Of the rows, in the driver, and in every worker process."""
        if self.at_rest:
            sketch_bytes = 4 * min(self.k, SKETCHED)
            if self.way != "summaries":
                return self.n * (_ORDERED_BYTES + sketch_bytes)
            window = max(MEANS_WINDOW_VALUES, FEWEST_MEANS * self.k)
            known_bytes = _ORDERED_BYTES + _KEPT_BYTES + max(sketch_bytes, _SENT_BYTES)
            return self.n * known_bytes + _WINDOW_BYTES * min(window, self.n * self.k)
        return self.n * self.k * (_SUMMARY_BYTES if self.way == "summaries" else _POINT_BYTES)

    @property
    def task_bytes(self) -> int:
        """Of a task, beside the rows."""
        if self.way == "summaries":
            rows = min(self.n, self._compared_rows)
            value_bytes = _COMPARED_BYTES + (_AS_READ_BYTES if self.at_rest else 0)
            read_bytes = _READ_BYTES if self.at_rest else 0
            working = max(_LEAST_TASK_BYTES, self._listing_bytes(rows))
            return working + read_bytes + value_bytes * self.k * rows
        # Those that are Euclidean are listed as means are; others, and all that follows, by strips.
        rows, strip = min(self.n, self._compared_rows), self._strip_rows
        listed = self._listing_bytes(rows) + _OPERANDS_BYTES * self.k * rows
        in_memory = _LEAST_TASK_BYTES + 8 * self.k * (strip + 3 * min(_BLOCK_ROWS, self.n))
        if not self.at_rest:
            return max(in_memory, listed)
        # Rows of a strip besides their operands, which are half as large; or of a window.
        window = min(self.n, max(_BLOCK_ROWS, _WINDOW_VALUES // max(1, self.k)))
        more = 8 * self.k * max(strip // 2, window - strip)
        return _READ_BYTES + max(in_memory + more, listed + _HELD_BYTES * self.k * rows)

    def _listing_bytes(self, rows: int) -> int:
        # Few threads have the most ranges a task, where that is not as always.
        return listing_bytes(rows, LIST_LENGTH, self.list_pass(1).ranges_a_task)

    @property
    def rest_bytes(self) -> int:
        """Of the rows at rest, and of means of them."""
        if not self.at_rest:
            return 0
        times = _RESTING_MEANS if self.way == "summaries" else _RESTING_POINTS
        return times * 8 * self.n * self.k

    def list_pass(self, threads: int) -> ListPass:
        """Return how a pass over means, or points, is cut for so many tasks at once."""
        return ListPass(
            n_owners=self.n, n_features=self.k, threads=threads, most_rows=self.compared_rows
        )

    def tasks(self, threads: int) -> int:
        """Return how many tasks list what is near to every row.

        Examples
        --------
        >>> memory = RowTreeMemory(n=1_000_000, k=2_000, way="summaries")
        >>> memory.tasks(2), memory.tasks(1600)
        (44278, 44278)
        """
        return self.list_pass(threads).n_tasks

    def read_bytes(
        self,
        passes: float,
        *,
        is_euclidean: bool = True,
        threads: int,
        most_clusters: int,
        sends: bool,
    ) -> int:
        """Return what tasks, and the driver, read of the rows and means at rest.

        A list pass reads each pair of ranges once. Of means those of later passes are half as many,
        with a row and a mean each, and put at rest anew before. Points of clusters are compared in
        strips with all others, or for the square with those behind them.

        Parameters
        ----------
        passes
            How often all rows are compared with all.
        is_euclidean
            Whether points are listed as means are; those of other metrics are in strips, too.
        threads
            Tasks that run at once.
        most_clusters
            That may be left for the square of their distances.
        sends
            Whether tasks send distances back.

        Examples
        --------
        >>> memory = RowTreeMemory(n=1_000_000, k=2_000, way="summaries").resting
        >>> more = {"threads": 2, "most_clusters": 25_000, "sends": False}
        >>> memory.rest_bytes, memory.read_bytes(2.0, **more)
        (80000000000, 8705906695599)
        """
        if not self.at_rest:
            return 0
        values_bytes = 8 * self.n * self.k
        more = max(0.0, passes - 2)
        if self.way != "summaries":
            strips = -(-self.n // _PAIRED_ROWS)
            lists = self.list_pass(threads).reads if is_euclidean else strips
            return round((1 + lists + strips / 2 + more * strips) * values_bytes)
        left = min(most_clusters, self.n // 2)
        later = replace(self, n=max(1, self.n // 2)).list_pass(threads).reads
        range_rows = replace(self, n=max(1, left)).list_pass(threads).rows
        square = square_reads(left, range_rows, sends=sends)
        means_bytes = 16 * left * self.k
        times = _BESIDES_PASSES + self.list_pass(threads).reads
        times += more * (1 + later)
        return round(times * values_bytes + (1 + square) * means_bytes)

    @property
    def _compared_rows(self) -> int:
        return min(compared_rows(self.k), self.compared_rows or MOST_COMPARED)

    @property
    def _strip_rows(self) -> int:
        return min(ROWS_A_TASK, max(_BLOCK_ROWS, _STRIP_VALUES // max(1, self.k)), self.n)

    @property
    def records_bytes(self) -> int:
        """Of the lists that a run keeps until the tree is finished."""
        return _LISTS_AT_REST * self.n * LIST_LENGTH * _ENTRY_BYTES

    @property
    def least_bytes(self) -> int:
        """The least that will do in the driver, beside rows and tasks."""
        return Limits.least_bytes(self.n)

    @property
    def useful_bytes(self) -> int:
        """What is used where memory is no matter, beside rows and tasks."""
        square = self.most_clusters**2 * 8
        return self.least_bytes + square + square // 16

    @property
    def most_clusters(self) -> int:
        """How many clusters may be left for a square, whatever the memory."""
        return min(self.n, max(MOST_IN_A_SQUARE, self.n // 8))

    def limits(self, memory_bytes: int) -> Limits:
        """Return the limits for so much memory, beside rows and tasks.

        They follow from the shape alone where there is enough of it, so that the tree does too.

        Raises
        ------
        MemoryLimitError
            It is less than the least.

        Examples
        --------
        >>> memory = RowTreeMemory(n=200_000, k=50, way="summaries")
        >>> memory.limits(10**9).most_clusters, memory.limits(10**11).most_clusters
        (10300, 25000)
        """
        used_bytes = min(memory_bytes, self.useful_bytes)
        limits = Limits.within(used_bytes, n=self.n, threads=self.threads)
        return replace(
            limits,
            most_clusters=min(limits.most_clusters, self.most_clusters),
            is_pass=self.at_rest and self.way == "summaries",
            compared_rows=self.compared_rows,
        )
