"""Plan: what the tree of distances at rest takes of memory, and how many clusters that leaves.

Two parts of the work follow one another, and neither holds what the other does::

    lists, rounds    lists of all points + tiles of tasks, or a region and rows of some clusters
    contraction      square of the clusters that are left + tiles and the region they are read into
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isqrt

from clustergrid.pipeline.errors import MemoryLimitError
from clustergrid.pipeline.hierarchy.limits import LISTED_BYTES
from clustergrid.pipeline.sizes import format_bytes
from clustergrid.pipeline.tile_memory import with_slack

__all__ = ["LIST_LENGTHS", "READERS", "REGION_COLUMNS", "REGION_ROWS", "StoredMemory"]

REGION_ROWS = 4096
"""Rows of a region of the matrix. Results depend on it in their last bits: it is fixed.

A multiple of the edge of every tile that clustergrid makes, so that each is read once in a pass.
"""

REGION_COLUMNS = 8192
"""Columns of a region. Fixed for the same reason; the wider, the less often totals are fetched."""

LIST_LENGTHS = (256, 128, 64, 32, 16)
"""Near clusters in each list. Long ones spare reads, and make room for the square when they go."""

READERS = (4, 2, 1)
"""Tiles that are read at once. How many follows from the memory, and not from the threads there
are: what is left for a square does not depend on these, nor do the last digits of a tree."""

_LISTS_SHARE = 3
"""Lists take no more than a third of the memory, where shorter ones are possible."""

_ENTRY_BYTES = 39
"""Of an entry: room for two, and half as much for lists of unions."""
_POINT_BYTES = 200
"""What is known of a point besides, in the source and the driver of rounds."""
_PACKED_BYTES = 28
"""Of an entry that a task found: as it is made, on its way, and as it is taken."""
_UNDER_WAY = 2
"""Tasks a thread, of which some wait for their results to be taken."""
_LEAST_CLUSTERS = 512
_USEFUL_CLUSTERS, _USEFUL_SHARE = 16_384, 8
"""Clusters that are left to the square where memory is no matter; of many points an eighth."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredMemory:
    """Memory of the tree of n observations, whose distances are at rest.

    Parameters
    ----------
    n
        Observations.
    tile_edge, itemsize
        Of the tiles, and bytes of a distance.
    n_neighbors
        K, how many near clusters are listed.
    readers
        How many tiles are read at once; of `READERS`.

    Examples
    --------
    >>> memory = StoredMemory(n=60_000, tile_edge=2048, itemsize=4)
    >>> memory.lists_bytes, memory.region_bytes
    (611040000, 134217728)
    >>> memory.most_clusters(2_500_000_000)
    16131
    >>> few = memory.shortened(600_000_000)
    >>> few.n_neighbors, few.readers
    (64, 1)
    """

    n: int
    tile_edge: int
    itemsize: int
    n_neighbors: int = LIST_LENGTHS[0]
    readers: int = READERS[0]

    def shortened(self, memory_bytes: int) -> StoredMemory:
        """Return the same with lists that are short enough, and readers that are few enough."""
        lengths = [length for length in LIST_LENGTHS if length < self.n_neighbors]
        choices = [
            replace(self, n_neighbors=length, readers=readers)
            for length in (self.n_neighbors, *lengths)
            for readers in READERS
        ]
        fitting = (
            one
            for one in choices
            if max(one.lists_bytes * _LISTS_SHARE, one.least_bytes) <= memory_bytes
        )
        return next(fitting, choices[-1])

    def with_fewer_readers(self, memory_bytes: int) -> StoredMemory:
        """Return the same with readers that are few enough, and lists as long as they are."""
        choices = [replace(self, readers=readers) for readers in READERS]
        return next((one for one in choices if one.least_bytes <= memory_bytes), choices[-1])

    @property
    def lists_bytes(self) -> int:
        """Of all lists while rounds go on, and of what else is known of each point."""
        return self.n * (min(self.n_neighbors, self.n) * _ENTRY_BYTES + _POINT_BYTES)

    @property
    def region_bytes(self) -> int:
        """Of the place that regions of the matrix are read into."""
        return min(self.n, REGION_ROWS) * min(self.n, REGION_COLUMNS) * self.itemsize

    @property
    def reading_bytes(self) -> int:
        """Of tiles that are read at once: encoded, and decoded."""
        return self.readers * self._tile_bytes

    @property
    def _tile_bytes(self) -> int:
        return with_slack(2 * self._edge**2 * self.itemsize)

    @property
    def task_bytes(self) -> int:
        """Of a task that lists what is near in a tile, and of what it found."""
        entries = 2 * self._edge * self.n_neighbors
        room = 2 * entries * 13
        found = _UNDER_WAY * entries * _PACKED_BYTES
        return self._tile_bytes + room + found

    def tasks(self, memory_bytes: int) -> int:
        """How many tasks that list what is near there is room for at once, beside the lists."""
        return max(1, (memory_bytes - self.lists_bytes) // self.task_bytes)

    @property
    def _edge(self) -> int:
        return min(self.tile_edge, self.n)

    @property
    def _contraction_bytes(self) -> int:
        return self.region_bytes + self.reading_bytes + self.n * _POINT_BYTES

    def most_clusters(self, memory_bytes: int) -> int:
        """How many clusters may be left for the square of their distances.

        The square, and a twentieth for the vectors of the engine that works on it.

        Raises
        ------
        MemoryLimitError
            Not even lists fit, or hardly any square.
        """
        square = memory_bytes - self._contraction_bytes
        most = isqrt(max(0, square) * 20 // (21 * 8))
        if memory_bytes < self.least_bytes:
            raise MemoryLimitError(
                f"the tree of {self.n:,} observations, whose distances are at rest in tiles of "
                f"{self._edge:,} x {self._edge:,}, takes {format_bytes(self.least_bytes)} beside "
                f"the process, and {format_bytes(memory_bytes)} may be used: give more, or put the "
                "distances into smaller tiles",
                needed_bytes=self.least_bytes,
                limit_bytes=memory_bytes,
            )
        return min(most, self.n)

    @property
    def least_bytes(self) -> int:
        """The least with which work can begin."""
        clusters = min(self.n, _LEAST_CLUSTERS)
        rounds = self.region_bytes + self.reading_bytes + LISTED_BYTES * clusters * self.n
        return max(
            self.lists_bytes + max(self.task_bytes, rounds),
            self._contraction_bytes + clusters**2 * 8 * 21 // 20,
        )

    @property
    def useful_bytes(self) -> int:
        """What is used where memory is no matter, so that the tree follows from the shape then.

        Reading apart it depends on tiles only where these take more than all else.
        """
        clusters = min(self.n, max(_USEFUL_CLUSTERS, self.n // _USEFUL_SHARE))
        square = self.n * _POINT_BYTES + clusters**2 * 8 * 21 // 20
        working = max(square, _LISTS_SHARE * self.lists_bytes)
        return max(self.least_bytes, self.reading_bytes + self.region_bytes + working)

    def listing_bytes(self, memory_bytes: int) -> int:
        """How much is left beside the lists for what new ones are made of."""
        return memory_bytes - self.lists_bytes - self.region_bytes - self.reading_bytes

    def rows_bytes(self, memory_bytes: int) -> int:
        """How much rows of distances may take once the lists are gone."""
        return memory_bytes - self._contraction_bytes
