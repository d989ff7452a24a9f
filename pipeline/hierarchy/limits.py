"""Plan: what a tree from lists of near clusters may use, and the least that will do."""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt

from clustergrid.pipeline.errors import MemoryLimitError
from clustergrid.pipeline.sizes import format_bytes

__all__ = ["FEWEST_ROWS", "LISTED_BYTES", "MOST_SCRATCHES", "Limits"]

FEWEST_ROWS = 4
"""Rows of distances that the chain needs at once: of two neighbours, one on its way, and a copy."""

LISTED_BYTES = 8
"""Of a distance between a cluster that a pass lists anew and another."""

MOST_SCRATCHES = 16
"""Threads that change lists at once, each on a scratch of its own.

Limits have room for so many on every machine: how many clusters may be left to the square, and so
the last digits of a tree, do not depend on how many threads there are. More would not be quicker,
since they wait for the memory.
"""

# Of an entry of a list; room for two, and half as much for the lists of unions.
_ENTRY_BYTES = 13
_LIST_BYTES = 3 * _ENTRY_BYTES
# Vectors of the clusters, of a round or a chain, and of the merges; and of each scratch.
_SCRATCH_BYTES = 9
_VECTORS_BYTES = 400 + MOST_SCRATCHES * _SCRATCH_BYTES
_DISTANCE_BYTES = 8
# The square, and a twentieth for the vectors of the engine that works on it.
_SQUARE_NUMERATOR, _SQUARE_DENOMINATOR = 21, 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a tree may use. Lists, rows and the square do not live at the same time.

    Parameters
    ----------
    most_clusters
        How many clusters may be left for the square of their distances.
    few_clusters
        Where lists are cheaper than a square, those that block others are made anew, as long as
        that pays, until so few are left. None: until the square fits.
    n_neighbors
        K, how many near clusters are listed. More leave fewer clusters and take more memory,
        26 K bytes a point (and up to half as much again while lists are united).
    rows_bytes
        For rows of distances, of clusters to all others, where lists leave too many clusters. By
        default as much as the lists or the square take, which do not live then.
    listing_bytes
        For what one pass over distances at rest makes new lists of, `LISTED_BYTES` for each
        distance between clusters. If it is given, single distances are never asked for: they
        would take as much of a pass as new lists do. None: they can be had one by one.
    is_pass
        Whether to compute rows of distances takes about as long for many clusters as for one,
        because what is at rest is read for them: rows are fetched as many at a time as there is
        room for. With `listing_bytes` it does.
    compared_rows
        Clusters whose means a task holds at either side, where these are at rest; None: as many as
        is quick.
    by_members
        Whether a distance of clusters is made of those between all their members. If not, because
        a cluster is summed up, it costs the same however large they are.
    threads
        How many threads work. Nothing else here follows from it.

    Raises
    ------
    ValueError
        If one of them is below one.
    """

    most_clusters: int
    n_neighbors: int = 64
    rows_bytes: int | None = None
    listing_bytes: int | None = None
    is_pass: bool = False
    compared_rows: int | None = None
    by_members: bool = True
    few_clusters: int | None = None
    threads: int = 1

    def __post_init__(self) -> None:
        for name in (
            *("most_clusters", "few_clusters", "n_neighbors"),
            *("rows_bytes", "listing_bytes", "compared_rows", "threads"),
        ):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")

    def chain_bytes(self, n: int) -> int:
        """Return the memory for rows of distances of n points.

        Examples
        --------
        >>> Limits(most_clusters=1000).chain_bytes(10_000)
        24960000
        """
        if self.rows_bytes is not None:
            return self.rows_bytes
        return max(self.most_clusters**2 * _DISTANCE_BYTES, n * _lists_bytes(n, self.n_neighbors))

    @staticmethod
    def least_bytes(n: int, *, n_neighbors: int = 64) -> int:
        """Return the least memory that is enough for n points, beside the source and the process.

        Examples
        --------
        >>> Limits.least_bytes(10_000), Limits.least_bytes(10_000, n_neighbors=16)
        (30400000, 11680000)
        """
        return n * (_VECTORS_BYTES + _lists_bytes(n, n_neighbors))

    @classmethod
    def within(
        cls, memory_bytes: int, *, n: int, n_neighbors: int = 64, threads: int = 1
    ) -> Limits:
        """Return the limits for n points and so much memory, beside the source and the process.

        Raises
        ------
        MemoryLimitError
            It is less than `least_bytes`.

        Examples
        --------
        >>> limits = Limits.within(400_000_000, n=10_000)
        >>> limits.most_clusters, limits.rows_bytes
        (6853, 394560000)
        """
        least_bytes = cls.least_bytes(n, n_neighbors=n_neighbors)
        if memory_bytes < least_bytes:
            raise MemoryLimitError(
                f"lists of the {n_neighbors} nearest of {n:,} points need at least "
                f"{format_bytes(least_bytes)}, got {format_bytes(memory_bytes)}: "
                "allow more memory, or list fewer neighbours",
                needed_bytes=least_bytes,
                limit_bytes=memory_bytes,
            )
        working_bytes = memory_bytes - n * _VECTORS_BYTES
        entries = working_bytes * _SQUARE_DENOMINATOR // (_SQUARE_NUMERATOR * _DISTANCE_BYTES)
        return cls(
            most_clusters=max(1, isqrt(entries)),
            n_neighbors=n_neighbors,
            rows_bytes=working_bytes,
            threads=threads,
        )


def _lists_bytes(n: int, n_neighbors: int) -> int:
    """Return what the list of a point takes, or else the few rows of a chain."""
    lists_bytes = min(n_neighbors, max(1, n - 1)) * _LIST_BYTES
    return max(lists_bytes, FEWEST_ROWS * _DISTANCE_BYTES)
