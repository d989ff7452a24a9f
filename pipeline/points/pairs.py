"""Driver: the distances between the members of pairs of clusters, reduced to a total a pair.

Where rows are at rest, pairs are cut into parts, of blocks of the members of either cluster, and
rows are read for some parts at a time. A part is what the kernel adds up first, so totals have the
same bits as of rows in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline.execution import end_if_stopped
from clustergrid.pipeline.points._pair_squares import add_pairs, join_parts_of_pairs
from clustergrid.pipeline.points._squares import PAIR_EDGE
from clustergrid.pipeline.points.layout import Layout
from clustergrid.pipeline.row_reader import RowReader

__all__ = ["PairParts", "Pairs", "Run", "one_after_another"]

_PAIRS_A_PIECE = 100_000
"""Some milliseconds: rows of pairs lie anywhere. Rounds ask for some 100,000 at a time."""

Run: TypeAlias = Callable[[Callable[[slice], None], "list[slice]"], None]
"""Calls a function for pieces, which share no result."""


def one_after_another(function: Callable[[slice], None], pieces: list[slice]) -> None:
    """Call a function for pieces, in this thread."""
    for piece in pieces:
        end_if_stopped()
        function(piece)


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Clusters of points with Euclidean distances.

    Attributes
    ----------
    layout
        All clusters.
    reader, places
        The rows, and which is that of each point.
    form
        How distances follow from squares.
    window
        How many rows may be held at once.
    """

    layout: Layout
    reader: RowReader
    places: NDArray[np.int64]
    form: int
    window: int

    def reduce(
        self,
        first: NDArray[np.int64],
        second: NDArray[np.int64],
        method: int,
        totals: NDArray[np.float64],
        run: Run,
    ) -> Iterator[None]:
        """Reduce the distances of pairs of clusters into totals; yield now and then.

        Parameters
        ----------
        first, second
            ``(p,)``: places in the layout.
        method
            How they are reduced.
        totals
            ``(p,)``, which are all written when nothing more is yielded.
        run
            Calls a function for pieces of some milliseconds.
        """
        layout = self.layout
        if self.reader.in_memory:
            rows, places = self.reader.block(0, self.reader.shape[0]), self.places[layout.points]
            given = _Given(rows, places, layout.weights, layout.starts, self.form, method)
            given.add(first, second, totals, run)
            yield
            return
        parts = PairParts(layout, first, second)
        found = np.empty(len(parts.pairs))
        for part in parts.batches(self.window):
            rows = self.reader.take(self.places[layout.points[part.members]])
            weights = layout.weights[part.members]
            given = _Given(rows, np.arange(len(rows)), weights, part.starts, self.form, method)
            of_part = np.empty(len(part.numbers))
            given.add(part.first, part.second, of_part, run)
            found[part.numbers] = of_part
            del rows, given  # before others are read: two do not fit
            yield
        join_parts_of_pairs(found, parts.pairs, method, totals)


class _Given(NamedTuple):
    """What `add_pairs` is given of all pairs."""

    rows: NDArray[np.float64]
    places: NDArray[np.int64]
    weights: NDArray[np.float64]
    starts: NDArray[np.int64]
    form: int
    method: int

    def add(
        self,
        first: NDArray[np.int64],
        second: NDArray[np.int64],
        totals: NDArray[np.float64],
        run: Run,
    ) -> None:
        counts = np.diff(self.starts)
        piece_of = (np.cumsum(counts[first] * counts[second]) - 1) // _PAIRS_A_PIECE
        cuts = [*np.flatnonzero(np.diff(piece_of, prepend=-1)).tolist(), len(first)]

        def add(piece: slice) -> None:
            add_pairs(
                self.rows,
                self.places,
                self.weights,
                self.starts,
                first,
                second,
                self.form,
                self.method,
                totals,
                piece.start,
                piece.stop,
            )

        run(add, [slice(start, stop) for start, stop in pairwise(cuts)])


class PairPart(NamedTuple):
    """Some parts of pairs of clusters, and the members that they are of, side by side.

    Attributes
    ----------
    numbers
        Which parts these are.
    members
        Places in the layout of the members, block by block.
    starts
        Where each block begins among these, and the last one ends.
    first, second
        Two blocks a part.
    """

    numbers: NDArray[np.int64]
    members: NDArray[np.int64]
    starts: NDArray[np.int64]
    first: NDArray[np.int64]
    second: NDArray[np.int64]


class PairParts:
    """Pairs of clusters in parts: pairs of blocks of no more than `PAIR_EDGE` members.

    Attributes
    ----------
    pairs
        The pair of every part, those of one in the order in which they are added up.
    """

    def __init__(self, layout: Layout, first: NDArray[np.int64], second: NDArray[np.int64]) -> None:
        clusters = np.unique(np.concatenate([first, second]))
        starts, stops = layout.starts[clusters], layout.starts[clusters + 1]
        n_blocks = -(-(stops - starts) // PAIR_EDGE)
        first_block = np.cumsum(n_blocks) - n_blocks
        of = np.repeat(np.arange(len(clusters)), n_blocks)
        number = np.arange(len(of)) - first_block[of]
        self._begins = starts[of] + number * PAIR_EDGE
        self._counts = np.minimum(stops[of] - self._begins, PAIR_EDGE)
        one, other = np.searchsorted(clusters, first), np.searchsorted(clusters, second)
        n_parts = n_blocks[one] * n_blocks[other]
        self.pairs = np.repeat(np.arange(len(first)), n_parts)
        part = np.arange(len(self.pairs)) - (np.cumsum(n_parts) - n_parts)[self.pairs]
        width = n_blocks[other][self.pairs]
        self._first = first_block[one][self.pairs] + part // width
        self._second = first_block[other][self.pairs] + part % width

    def batches(self, most: int) -> Iterator[PairPart]:
        """Yield all parts, some that have no more than so many members together, or one."""
        # Blocks are in the order of the clusters, so that members lie near one another.
        order = np.lexsort((self._second, self._first))
        first, second = self._first[order], self._second[order]
        is_new = np.diff(first, prepend=-1) != 0
        ends = np.cumsum(self._counts[second] + np.where(is_new, self._counts[first], 0))
        start = 0
        while start < len(order):
            before = ends[start - 1] if start else 0
            if not is_new[start]:  # it was counted with the batch before
                before -= self._counts[first[start]]
            stop = max(start + 1, int(np.searchsorted(ends, before + most, side="right")))
            blocks = np.unique(np.concatenate([first[start:stop], second[start:stop]]))
            counts = self._counts[blocks]
            starts = np.concatenate([[0], np.cumsum(counts)])
            of = np.repeat(np.arange(len(blocks)), counts)
            yield PairPart(
                numbers=order[start:stop],
                members=np.arange(starts[-1]) - starts[of] + self._begins[blocks][of],
                starts=starts,
                first=np.searchsorted(blocks, first[start:stop]),
                second=np.searchsorted(blocks, second[start:stop]),
            )
            start = stop
