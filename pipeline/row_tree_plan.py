"""Plan: trees that are made straight from rows: by which way, and in what memory."""

from __future__ import annotations

from dataclasses import dataclass, replace

from clustergrid.pipeline.hierarchy.limits import Limits
from clustergrid.pipeline.summaries.plan import summaries_serve

__all__ = [
    "FEWEST_MEANS",
    "MEANS_WINDOW_VALUES",
    "MOST_IN_A_SQUARE",
    "ROWS_A_TASK",
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

_READ_BYTES = 20 * 2**20
"""Of chunks of rows that are read at once: zarr reads ten, encoded and decoded."""

_ENTRY_BYTES = 13
"""Of an entry of a list at rest."""

_LISTS_AT_REST = 5
"""Lists of a point, at most: the first, and those that rescans make."""

_POINT_BYTES = 2 * 8
"""Of a value where clusters are points: twice, while rows are put in order."""

_ORDERED_BYTES, _SKETCHED = 2 * 8, 64
"""Of a point whose row is at rest: its place, and the point of each place; and values of its
sketch, from which the order of the rows follows, in single precision."""

_KEPT_BYTES = 7 * 8
"""Of a cluster whose mean is at rest: what is known of it besides, and where the mean is."""

_RESTING_POINTS, _RESTING_MEANS = 2, 5
"""Values at rest for each of a matrix: of points twice, while rows are put in order; of means the
points, and twice the mean of each with its row, while these are put at rest anew."""

MEANS_WINDOW_VALUES, FEWEST_MEANS = 2**19, 256
"""Values of means at rest that are held together, or so many means."""

_FEWEST_COMPARED, _COMPARED_VALUES = 512, 2**21
"""Means at rest of a range that a task compares with others, or of long ones."""

_COMPARED_BYTES = 2 * (8 + 8 + 4) + 2 * 8
"""Of such a value: the row's, the mean's and the operand's, at both sides, and as they are read."""

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
    """

    n: int
    k: int
    way: str
    threads: int = 1
    at_rest: bool = False

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
    def rows_bytes(self) -> int:
        """Of the rows, in the driver, and in every worker process."""
        if self.at_rest:
            rows_bytes = self.n * (_ORDERED_BYTES + 4 * min(self.k, _SKETCHED))
            if self.way == "summaries":
                window = max(MEANS_WINDOW_VALUES, FEWEST_MEANS * self.k)
                rows_bytes += self.n * _KEPT_BYTES + _WINDOW_BYTES * window
            return rows_bytes
        return self.n * self.k * (_SUMMARY_BYTES if self.way == "summaries" else _POINT_BYTES)

    @property
    def task_bytes(self) -> int:
        """Of a task, beside the rows."""
        strip = self._strip_rows
        block = 3 * min(_BLOCK_ROWS, self.n)
        in_memory = _LEAST_TASK_BYTES + 8 * self.k * (strip + block)
        if not self.at_rest:
            return in_memory
        if self.way == "summaries":
            compared = min(ROWS_A_TASK, max(_FEWEST_COMPARED, _COMPARED_VALUES // max(1, self.k)))
            return _LEAST_TASK_BYTES + _READ_BYTES + _COMPARED_BYTES * self.k * compared
        # Rows of a strip besides their operands, which are half as large; or of a window.
        window = min(self.n, max(_BLOCK_ROWS, _WINDOW_VALUES // max(1, self.k)))
        return in_memory + _READ_BYTES + 8 * self.k * max(strip // 2, window - strip)

    @property
    def rest_bytes(self) -> int:
        """Of the rows at rest, and of means of them."""
        if not self.at_rest:
            return 0
        times = _RESTING_MEANS if self.way == "summaries" else _RESTING_POINTS
        return times * 8 * self.n * self.k

    def read_bytes(self, passes: float) -> int:
        """Return what tasks read of the rows at rest.

        A strip of rows is compared with all others: each pair of strips once, where means are.

        Parameters
        ----------
        passes
            How often all rows are compared with all.

        Examples
        --------
        >>> memory = RowTreeMemory(n=1_000_000, k=2_000, way="summaries").resting
        >>> memory.rest_bytes, memory.read_bytes(2.0)
        (80000000000, 7856000000000)
        """
        if not self.at_rest:
            return 0
        reads = -(-self.n // self._strip_rows)
        if self.way == "summaries":
            reads = (reads + 1) // 2
        # Once while they are put in order.
        return round((1 + passes * reads) * 8 * self.n * self.k)

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
        return replace(limits, most_clusters=min(limits.most_clusters, self.most_clusters))
