"""Kernel: where a chain stands, as arrays that are kept and that another process goes on from.

A state has parts. The first says what the chain was asked, and holds its merges and, while it goes
on, all that is small; the others hold rows of distances, a few at a time. Asked the same within the
same limits, a chain goes on from all of it, to the bits that it would have come to. Within other
limits the merges are those of a tree all the same: a new chain begins where they end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline._jit import jit
from clustergrid.pipeline.hierarchy._clusters import CODES, Clusters, join
from clustergrid.pipeline.hierarchy._minimum import LANES
from clustergrid.pipeline.hierarchy._row_cache import Rows
from clustergrid.pipeline.hierarchy._row_chain import Chain
from clustergrid.pipeline.hierarchy.methods import Merges

__all__ = ["ChainRecords", "ChainState", "Part", "merges_part", "replay", "state_parts"]

Part: TypeAlias = Mapping[str, NDArray[Any]]

_PART_BYTES = 2**23
"""Of the rows of a part, which are in memory twice while it is written: the chain has the rest."""

_ROWS, _CHAIN = "row-", "chain-"
_NOT_KEPT = ("entries", "lanes")


class ChainRecords(Protocol):
    """Where states of a chain are kept."""

    @property
    def is_due(self) -> bool:
        """Whether it is time to keep another: they are to take a small part of it."""
        ...

    def keep(self, parts: Iterator[Part]) -> None:
        """Keep a state, in place of the one before once all of it is safe."""
        ...

    def last(self) -> Iterator[Part]:
        """Yield the parts of the last one that was kept, until one is missing or damaged."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class ChainState:
    """A state that was kept, of which rows of distances are yet to be read.

    Attributes
    ----------
    merges
        All so far.
    n_before
        How many of them chains made within other limits, before this one began.
    limits
        What this one was told.
    reached
        Distances between points that were asked for, and the greatest height.
    counts
        ``(any,) int64``: whatever else the chain counts.
    """

    merges: Merges
    n_before: int
    limits: NDArray[np.int64]
    reached: tuple[int, float]
    counts: NDArray[np.int64]
    _first: Part
    _others: Iterator[Part]

    @classmethod
    def of(cls, parts: Iterator[Part], asked: NDArray[np.uint8]) -> ChainState | None:
        """Read what was kept of a question; None where there is nothing."""
        first = next(parts, None)
        if first is None or not np.array_equal(first.get("asked", []), asked):
            return None
        distances, height, n_before = first["reached"].tolist()
        return cls(
            merges=Merges(first=first["first"], second=first["second"], height=first["height"]),
            n_before=int(n_before),
            limits=first["limits"],
            reached=(int(distances), height),
            counts=first["counts"],
            _first=first,
            _others=parts,
        )

    def goes_on(self, limits: NDArray[np.int64]) -> bool:
        """Whether the chain is under way, within the same limits."""
        return f"{_ROWS}place" in self._first and np.array_equal(self.limits, limits)

    def into(self, entries: NDArray[np.float64]) -> tuple[Rows, Chain] | None:
        """Read the rows into memory, once; None where one of them is missing or damaged."""
        rows = Rows(entries=entries, lanes=np.empty(LANES), **_unpacked(self._first, _ROWS))
        width, n_held = len(rows.place), 0
        for part in self._others:
            for place, row in zip(part["places"].tolist(), part["rows"], strict=True):
                entries[place * width : (place + 1) * width] = row
                n_held += 1
        if n_held != np.count_nonzero(rows.holder >= 0):
            return None
        return rows, Chain(**_unpacked(self._first, _CHAIN))


def merges_part(
    merges: Merges,
    *,
    asked: NDArray[np.uint8],
    limits: NDArray[np.int64],
    n_before: int,
    reached: tuple[int, float],
    counts: NDArray[np.int64],
) -> dict[str, NDArray[Any]]:
    """Return the first part of a state, which is the only one when the chain is at its end."""
    return {
        "asked": asked,
        "first": merges.first,
        "second": merges.second,
        "height": merges.height,
        "limits": limits,
        "reached": np.array([*reached, n_before], np.float64),
        "counts": counts,
    }


def state_parts(first: Part, rows: Rows, chain: Chain) -> Iterator[Part]:
    """Yield the parts of a chain that is under way: what `merges_part` returned, and its rows."""
    yield {**first, **_packed(rows, _ROWS), **_packed(chain, _CHAIN)}
    width = len(rows.place)
    held = np.flatnonzero(rows.holder >= 0)
    at_once = max(1, _PART_BYTES // (8 * width))
    for start in range(0, len(held), at_once):
        places = held[start : start + at_once]
        some = [rows.entries[place * width : (place + 1) * width] for place in places.tolist()]
        yield {"places": places, "rows": np.stack(some)}


def _packed(state: Rows | Chain, prefix: str) -> dict[str, NDArray[Any]]:
    fields = state._asdict().items()
    return {f"{prefix}{name}": value for name, value in fields if name not in _NOT_KEPT}


def _unpacked(part: Part, prefix: str) -> dict[str, NDArray[Any]]:
    return {
        name.removeprefix(prefix): value for name, value in part.items() if name.startswith(prefix)
    }


def replay(clusters: Clusters, method: str, merges: Merges) -> None:
    """Merge clusters as a chain did, in its order."""
    _replay(clusters, CODES[method], merges.first, merges.second, merges.height)


@jit
def _replay(
    clusters: Clusters,
    method: int,
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    heights: NDArray[np.float64],
) -> None:
    for t in range(len(first)):
        join(clusters, method, first[t], second[t], heights[t])
