"""Driver: tasks that list what is near to clusters, in memory that is that of a few ranges of them.

Those whose lists are wanted come first, and all in the order of a k-d tree's leaves, so that near
ones are mostly neighbours. A task takes a range of them and compares it with others, each pair of
clusters once, for the lists of both. What it adds to these travels; so that this is little, lists
begin with a guess of how far they will reach, near ranges are compared first, and later tasks are
told how far lists reach by then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from math import ceil, sqrt
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline.execution import Executor, end_if_stopped
from clustergrid.pipeline.hierarchy._neighbors import (
    Neighbors,
    Reach,
    close_lists,
    open_lists,
    open_reach,
    replace_lists,
)
from clustergrid.pipeline.hierarchy._threads import in_threads
from clustergrid.pipeline.summaries._lists import (
    Found,
    find_pairs,
    first_found,
    open_found,
    pack_lists,
    take_found,
    tighten,
)
from clustergrid.pipeline.summaries._means import Summaries
from clustergrid.pipeline.summaries._operands import (
    EVERYTHING,
    TOGETHER,
    Operands,
    fill_operands,
    guess_reach,
    mean_of,
    open_operands,
    set_reach,
    squared_lengths,
)
from clustergrid.pipeline.summaries.compared import Compared, Held, compared_of
from clustergrid.pipeline.summaries.plan import (
    BUFFERED,
    MOST_COMPARED,
    OWNERS,
    ListPass,
)
from clustergrid.storage.grid import round_up, slabs

__all__ = ["Lists", "largest_scale", "near_lists"]

_COLUMNS = 512
"""Of a product: with its operands it stays in a second-level cache."""

_SAMPLED = 16
"""A guess takes one of so many clusters, or fewer of many."""

_LARGEST_SAMPLE = 2**14

_LARGEST_EXPONENT = 400
"""Of a scale, whose square is a double."""

_SMALLER_EXPONENT = 24
"""Of how much smaller than all clusters a range of them may be, to be scaled to length one."""

_GUESSED_FROM = 20
"""Clusters, in units of K, from which on lists begin with a guess."""

_LISTS_A_PIECE = 16_384


@dataclass(frozen=True, slots=True, kw_only=True)
class Lists:
    """How lists are made.

    Attributes
    ----------
    n_neighbors
        K.
    most_rows
        Clusters of a range at most; None: as many as is quick.
    executor
        Where tasks run.
    send
        Prepares clusters for these tasks; what it returns `compared_of` understands.
    threads
        Of this process.
    pause
        Told the share that is done.
    """

    n_neighbors: int
    most_rows: int | None = None
    executor: Executor
    send: Callable[[Compared], Any]
    threads: int
    pause: Callable[[float], None]


def near_lists(compared: Compared, rows: NDArray[np.int64], how: Lists) -> Neighbors:
    """List the K nearest clusters of those that come first.

    Parameters
    ----------
    compared
        All clusters.
    rows
        A permutation: the list of the first of them is number ``rows[0]``, and so on.
    how
        K, and where it is done.
    """
    m, n_lists = len(compared.slots), len(rows)
    # A sample of what is at rest would be as much to read as all of it.
    guesses = compared.in_memory and m >= _GUESSED_FROM * how.n_neighbors
    lists = _listed(compared, rows, how, may_guess=guesses)
    places = np.flatnonzero(lists.counts[rows] < min(how.n_neighbors, m - 1))
    # A guess was too low for them. Few at a time: a rescan has all lists beside these.
    again = replace(how, pause=lambda _: how.pause(1.0))
    for part in slabs(len(places), max(MOST_COMPARED, n_lists // 8)):
        some = places[part]
        remade = _listed(
            compared.reordered(np.append(some, np.delete(np.arange(m), some))),
            np.arange(len(some)),
            again,
            may_guess=False,
        )
        replace_lists(lists, rows[some], remade)
    _over_lists(partial(close_lists, lists, how.n_neighbors, m - 1), n_lists, how.threads)
    return lists


def _listed(
    compared: Compared, rows: NDArray[np.int64], how: Lists, *, may_guess: bool
) -> Neighbors:
    """List what is near; lists that begin with a guess may be short, none has a certificate."""
    m, n_lists, n_neighbors = len(compared.slots), len(rows), how.n_neighbors
    executor, pause = how.executor, how.pause
    cut = ListPass(
        n_owners=n_lists,
        n_others=m - n_lists,
        n_features=compared.n_features,
        threads=executor.threads,
        most_rows=how.most_rows,
    )
    sent = how.send(compared)
    lists, reach = open_lists(n_lists, n_neighbors), open_reach(n_lists, np.dtype(np.float64))
    if may_guess:
        for part, guesses in executor.map(
            _guesses_of, (sent, n_neighbors), cut.owners, name="cluster-guesses"
        ):
            reach.distance[rows[part]] = guesses
            pause(0.0)
    done = 0
    for wave in _waves(cut, compared):
        # What is no owner has no list, which takes nothing.
        told = Reach(np.full(m, -np.inf), np.zeros(m, np.int64))
        told.distance[:n_lists] = reach.distance[rows]
        told.last[:n_lists] = reach.last[rows]
        given = (sent, executor.share(told), n_neighbors)
        for pairs, tiles in executor.map(_found_in, given, wave, name="cluster-lists"):
            for others, found in zip(pairs.others, tiles, strict=True):
                take_found(found, _rows_of(rows, pairs.rows, others), n_neighbors, lists, reach)
            done += len(pairs.others)
            pause(done / cut.n_pairs)
        _over_lists(partial(tighten, lists, reach, n_neighbors), n_lists, how.threads)
    return lists


def _rows_of(rows: NDArray[np.int64], first: slice, second: slice) -> NDArray[np.int64]:
    """Return the lists of two ranges, one behind the other; the second may be of no owners."""
    return np.concatenate([rows[first], rows[second]])


def _over_lists(function: Callable[[int, int], None], count: int, threads: int) -> None:
    in_threads(
        lambda part: function(part.start, part.stop),
        list(slabs(count, _LISTS_A_PIECE)),
        threads=threads,
        pause=lambda: None,
    )


class _Pairs(NamedTuple):
    """A range of owners, and those that it is compared with: itself, or others behind it."""

    rows: slice
    others: list[slice]


def _waves(cut: ListPass, compared: Compared) -> Iterator[list[_Pairs]]:
    """Cut all pairs of ranges into tasks, and these into waves, each farther than before."""
    owners, a_task = cut.owners, cut.ranges_a_task
    ranges = [*owners, *cut.others]
    middles = np.stack([_middle_of(compared, part) for part in ranges])
    orders = []
    for i, middle in enumerate(middles[: len(owners)]):
        apart = np.square(middles[i:] - middle).sum(axis=1)
        apart[0] = -1.0
        orders.append(i + np.argsort(apart, kind="stable"))
    for wave in cut.waves():
        tasks = []
        for i, order in enumerate(orders):
            some = order[wave].tolist()
            for part in slabs(len(some), a_task):
                tasks.append(_Pairs(rows=ranges[i], others=[ranges[j] for j in some[part]]))
        yield tasks


def _middle_of(compared: Compared, part: slice) -> NDArray[np.float64]:
    """Return about where a range is: a few of its clusters say so."""
    step = -(-(part.stop - part.start) // 16)
    return mean_of(*compared.some(np.arange(part.start, part.stop, step)))


def largest_scale(summaries: Summaries) -> float:
    """Return the largest scale for operands of ranges of clusters, of a sample of all of these.

    Others would be too long about a range that is smaller yet.
    """
    _, scale = _of_most(summaries, np.arange(len(summaries.rows)))
    return float(np.ldexp(scale, _SMALLER_EXPONENT))


def _of_most(summaries: Summaries, places: NDArray[np.int64]) -> tuple[NDArray[np.float64], float]:
    """Return about where most of some clusters are, and the scale that makes them of length one.

    A few may be anywhere: numbers as 1e37 stand for none in matrices of others.
    """
    squares = np.empty(len(places))
    squared_lengths(summaries, places, mean_of(summaries, places), squares)
    centre = mean_of(summaries, places[squares <= np.median(squares)])
    squared_lengths(summaries, places, centre, squares)
    usual = float(np.median(squares)) or float(squares.max())
    exponent = -int(np.frexp(np.sqrt(usual))[1])
    limited = min(max(exponent, -_LARGEST_EXPONENT), _LARGEST_EXPONENT)
    return centre, float(np.ldexp(1.0, limited))


class _Left:
    """A range of clusters at the left of products, about where most of them are."""

    def __init__(self, compared: Compared, part: slice) -> None:
        self._compared, self.part = compared, part
        self.held = compared.range(part)
        self.slots = compared.slots[part]
        self._centre, scale = _of_most(*self.held)
        self.scale = min(scale, compared.largest_scale)
        self.operands = self._operands(self.held, is_left=True)
        self._scratch = np.empty(OWNERS * _COLUMNS, np.float32)

    def _operands(self, held: Held, *, is_left: bool) -> Operands:
        summaries, places = held
        operands = open_operands(len(places), summaries.rows.shape[1])
        fill_operands(summaries, places, self._centre, self.scale, is_left, operands)
        return operands

    def right(self, held: Held) -> Operands:
        """Return operands of others."""
        return self._operands(held, is_left=False)

    def products(self, rows: slice, right: Operands, columns: slice) -> NDArray[np.float32]:
        """Multiply some with some; columns beyond those at the right are whatever was there."""
        left, others = self.operands.values[rows], right.values[columns]
        width = round_up(len(others), TOGETHER)
        products = self._scratch[: len(left) * width].reshape(len(left), width)
        np.matmul(left, others.T, out=products[:, : len(others)])
        return products

    def guesses(self, n_neighbors: int) -> NDArray[np.float64]:
        """Guess how far lists reach, so generously that few have to be made again."""
        m, n = len(self._compared.slots), len(self.slots)
        step = max(_SAMPLED, -(-m // _LARGEST_SAMPLE))
        sample = np.arange(0, m, step)
        # So many of the K nearest are in the sample, on average; three deviations more hardly ever.
        expected = n_neighbors / step
        rank = ceil(expected + 3 * sqrt(expected) + 2)
        least = np.full((n, rank), EVERYTHING, np.float32)
        guesses = np.empty(n)
        for columns in slabs(len(sample), _COLUMNS):
            some = sample[columns]
            right = self.right(self._compared.some(some))
            for rows in slabs(n, OWNERS):
                guess_reach(
                    self.products(rows, right, slice(0, len(some))),
                    self.held[0],
                    self.scale,
                    self.operands,
                    rows.start,
                    self.part.start + rows.start,
                    some,
                    right,
                    least,
                    guesses,
                )
        return guesses


def _guesses_of(shared: Any, part: slice) -> tuple[slice, NDArray[np.float64]]:
    """Guess how far the lists of a range reach."""
    sent, n_neighbors = shared
    return part, _Left(compared_of(sent), part).guesses(n_neighbors)


def _found_in(shared: Any, pairs: _Pairs) -> tuple[_Pairs, list[Found]]:
    """Find what is near, of pairs of ranges, for the lists of both."""
    sent, reach, n_neighbors = shared
    compared = compared_of(sent)
    left, buffer = _Left(compared, pairs.rows), open_found(BUFFERED)
    found = []
    for others in pairs.others:
        end_if_stopped()
        found.append(_Tile(compared, reach, n_neighbors, left, others, buffer).find())
    return pairs, found


class _Tile:
    """Two ranges of clusters, and what is near to each in the other.

    What is found waits in a buffer. Where that is full, as of points at equal distances, it is put
    into lists, which say how far they reach now.
    """

    def __init__(
        self,
        compared: Compared,
        reach: Reach,
        n_neighbors: int,
        left: _Left,
        others: slice,
        buffer: Found,
    ) -> None:
        self._compared, self._n_neighbors = compared, n_neighbors
        self._left, self._others, self._buffer = left, others, buffer
        self._is_diagonal = others.start == left.part.start
        self._held = left.held if self._is_diagonal else compared.range(others)
        self._right = left.right(self._held)
        self._reach = Reach(*(np.concatenate([known[left.part], known[others]]) for known in reach))
        self._lists: Neighbors | None = None
        self._tell()

    def _tell(self) -> None:
        """Let operands know how far lists reach."""
        first = 0
        for operands in (self._left.operands, self._right):
            set_reach(self._held[0], self._left.scale, operands, self._reach.distance, first)
            first += len(operands.values)

    def find(self) -> Found:
        """Return the entries of all lists, numbered from the first at the left to the last."""
        left, n_rows, count = self._left, len(self._left.slots), 0
        slots = self._compared.slots[self._others]
        for columns in slabs(len(slots), _COLUMNS):
            for rows in slabs(n_rows, OWNERS):
                if self._is_diagonal and rows.start >= columns.stop:
                    break
                if count + 2 * OWNERS * _COLUMNS > BUFFERED:
                    self._list(count)
                    count = 0
                count = find_pairs(
                    left.products(rows, self._right, columns),
                    columns.stop - columns.start,
                    left.operands,
                    *left.held,
                    left.slots,
                    rows.start,
                    self._right,
                    *self._held,
                    slots,
                    columns.start,
                    self._is_diagonal,
                    self._reach.distance,
                    self._buffer,
                    count,
                )
        # What waits to be taken is no more than lists take, also while these reach far.
        if self._lists is None and count <= self._n_neighbors * len(self._reach.distance):
            part = first_found(self._buffer, count)
            return Found(part.owners.copy(), part.ids.copy(), part.distances.copy())
        lists = self._list(count)
        found = open_found(int(lists.counts.sum()))
        return first_found(found, pack_lists(lists, found))

    def _list(self, count: int) -> Neighbors:
        """Empty the buffer into lists, and take nothing any more that is not nearer than these."""
        n_lists = len(self._reach.distance)
        if self._lists is None:
            self._lists = open_lists(n_lists, self._n_neighbors)
        entries = first_found(self._buffer, count)
        numbers = np.arange(n_lists)
        take_found(entries, numbers, self._n_neighbors, self._lists, self._reach)
        tighten(self._lists, self._reach, self._n_neighbors, 0, n_lists)
        self._tell()
        return self._lists
