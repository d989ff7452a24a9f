"""Driver: tasks that list the near clusters of some clusters, or of all.

Clusters lie in the order of a k-d tree's leaves, so that near ones are mostly neighbours. Of *some*
owners a task takes a range, and compares it with all clusters, from the nearest range to the
farthest. Of *all* a task takes a pair of ranges and makes one product for the lists of both; what
it adds to them travels, and so that this is little, near pairs come first, and later ones are told
how far lists reach.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
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
    offer_around,
    offer_columns,
    open_found,
    pack_lists,
    take_found,
    tighten,
)
from clustergrid.pipeline.summaries._operands import (
    EVERYTHING,
    TOGETHER,
    Compared,
    Operands,
    fill_operands,
    guess_reach,
    mean_of,
    open_operands,
    set_reach,
)
from clustergrid.storage.grid import round_up, slabs

__all__ = ["OWNERS", "near_to_all", "near_to_some"]

OWNERS = 256
"""Rows of a product."""

_COLUMNS = 512
"""Of a product: with its operands it stays in a second-level cache."""

_OWNERS_A_TASK = 2048
"""At most: they are about one centre."""

_FEWEST_A_TASK = 1024
"""Of many features: with fewer, making operands would take longer than their products."""

_TASK_VALUES = 2**22
"""Of operands."""

_BLOCK_VALUES = 2**17
"""Of means that become operands together, of the clusters that some are compared with."""

_BUFFERED = 2**19
"""Entries that a task holds, before it cuts what it found to what lists take."""

_BLOCKS_A_TASK = 8
"""Ranges that one is compared with, at most, in a task that compares all with all."""

_SAMPLED = 16
"""A guess takes one of so many clusters, or fewer of many."""

_LARGEST_SAMPLE = 2**14

_GUESSED_FROM = 20
"""Clusters, in units of K, from which on lists begin with a guess."""

_LISTS_A_PIECE = 16_384


def near_to_some(
    compared: Compared,
    owners: NDArray[np.int64],
    n_neighbors: int,
    *,
    executor: Executor,
    pause: Callable[[float], None],
) -> Neighbors:
    """List the K nearest clusters of some.

    Parameters
    ----------
    compared
        All clusters.
    owners
        The places, among these, of those whose lists are wanted, one a row.
    n_neighbors
        K.
    executor, pause
        Where tasks run, and who is told the share that is done.
    """
    order = np.argsort(owners)
    wanted = _Wanted(compared=compared, owners=owners[order], n_neighbors=n_neighbors)
    lists = open_lists(len(owners), n_neighbors)
    length = min(n_neighbors, len(compared.slots) - 1)
    fair = round_up(-(-len(owners) // (4 * executor.threads)), OWNERS)
    parts = slabs(len(owners), min(_OWNERS_A_TASK, fair))
    done = 0
    for part, found in executor.map(_lists_of, executor.share(wanted), parts, name="near-clusters"):
        to = order[part]
        lists.ids[to, :length] = found.ids[:, :length]
        lists.bounds[to, :length] = found.bounds[:, :length]
        lists.exact[to, :length] = True
        lists.counts[to] = found.counts
        lists.tau[to] = found.tau
        done += len(to)
        pause(done / len(owners))
    return lists


def near_to_all(
    compared: Compared,
    n_neighbors: int,
    *,
    executor: Executor,
    threads: int,
    pause: Callable[[float], None],
) -> Neighbors:
    """List the K nearest clusters of all, of slots 0, 1, 2, ..., one a row.

    Parameters
    ----------
    compared
        All clusters, none of whose slots is empty.
    n_neighbors
        K.
    executor, pause
        Where tasks run, and who is told the share that is done.
    threads
        Of this process.
    """
    m = len(compared.slots)
    if m < _GUESSED_FROM * n_neighbors:
        places = np.empty(m, np.int64)
        places[compared.slots] = np.arange(m)
        return near_to_some(compared, places, n_neighbors, executor=executor, pause=pause)
    blocks = list(slabs(m, _block_edge(m, compared.summaries.rows.shape[1], executor.threads)))
    shared = executor.share(compared)
    lists, reach = open_lists(m, n_neighbors), open_reach(m, np.dtype(np.float64))
    for part, guesses in executor.map(
        _guesses_of, (shared, n_neighbors), blocks, name="near-guesses"
    ):
        reach.distance[compared.slots[part]] = guesses
        pause(0.0)
    pairs_done, all_pairs = 0, len(blocks) * (len(blocks) + 1) // 2
    for wave in _waves(compared, blocks):
        told = Reach(*(part[compared.slots] for part in reach))
        given = (shared, executor.share(told), n_neighbors)
        for tiles, n_pairs in executor.map(_pairs_found, given, wave, name="near-clusters"):
            for rows, others, found in tiles:
                owners = np.concatenate([compared.slots[rows], compared.slots[others]])
                take_found(found, owners, n_neighbors, lists, reach)
            pairs_done += n_pairs
            pause(pairs_done / all_pairs)
        _over_lists(partial(tighten, lists, reach, n_neighbors), m, threads)
    short = np.flatnonzero(lists.counts < n_neighbors)
    if len(short):  # a guess was too low for them
        places = np.empty(m, np.int64)
        places[compared.slots] = np.arange(m)
        others = near_to_some(
            compared,
            places[short],
            n_neighbors,
            executor=executor,
            pause=lambda _: pause(1.0),
        )
        replace_lists(lists, short, others)
    _over_lists(partial(close_lists, lists, n_neighbors, m - 1), m, threads)
    return lists


def _over_lists(function: Callable[[int, int], None], count: int, threads: int) -> None:
    in_threads(
        lambda part: function(part.start, part.stop),
        list(slabs(count, _LISTS_A_PIECE)),
        threads=threads,
        pause=lambda: None,
    )


def _block_edge(m: int, k: int, threads: int) -> int:
    """Return how many clusters a range has: enough ranges for all threads, none too large."""
    most = min(_OWNERS_A_TASK, max(_FEWEST_A_TASK, _TASK_VALUES // (k + 2) // OWNERS * OWNERS))
    return int(min(most, max(OWNERS, round_up(m // (8 * threads), OWNERS))))


class _Pairs(NamedTuple):
    """A range of clusters, and those that it is compared with: itself, or others behind it."""

    rows: slice
    others: list[slice]


def _waves(compared: Compared, blocks: list[slice]) -> Iterator[list[_Pairs]]:
    """Cut all pairs of ranges into tasks, and these into waves, each farther than the one before.

    Waves grow: after the first few lists reach hardly farther than in the end.
    """
    middles = np.stack([_middle_of(compared, block) for block in blocks])
    orders = []
    for i, middle in enumerate(middles):
        apart = np.square(middles[i:] - middle).sum(axis=1)
        apart[0] = -1.0
        orders.append(i + np.argsort(apart, kind="stable"))
    start, stop = 0, 1
    while start < len(blocks):
        wave = []
        for i, order in enumerate(orders):
            some = order[start:stop].tolist()
            for part in slabs(len(some), _BLOCKS_A_TASK):
                wave.append(_Pairs(rows=blocks[i], others=[blocks[j] for j in some[part]]))
        yield wave
        start, stop = stop, 2 * stop + 1


def _middle_of(compared: Compared, block: slice) -> NDArray[np.float64]:
    """Return about where a range is: a few of its clusters say so."""
    step = -(-(block.stop - block.start) // 16)
    return mean_of(compared, np.arange(block.start, block.stop, step))


def _guesses_of(shared: Any, block: slice) -> tuple[slice, NDArray[np.float64]]:
    """Guess how far the lists of a range reach."""
    compared, n_neighbors = shared
    places = np.arange(block.start, block.stop)
    return block, _Owners(compared, places).guesses(n_neighbors)


class _Owners:
    """Some clusters at the left of products, about their mean."""

    def __init__(self, compared: Compared, places: NDArray[np.int64]) -> None:
        self.compared, self.places = compared, places
        self.n_features = compared.summaries.rows.shape[1]
        self.centre = mean_of(compared, places)
        self.left = open_operands(len(places), self.n_features)
        fill_operands(compared, places, self.centre, True, self.left)

    def others(self, places: NDArray[np.int64]) -> Operands:
        """Return operands of others, for the right."""
        right = open_operands(len(places), self.n_features)
        fill_operands(self.compared, places, self.centre, False, right)
        return right

    def guesses(self, n_neighbors: int) -> NDArray[np.float64]:
        """Guess how far lists reach, so generously that few have to be made again."""
        m = len(self.compared.slots)
        step = max(_SAMPLED, -(-m // _LARGEST_SAMPLE))
        sample = np.arange(0, m, step)
        # So many of the K nearest are in the sample, on average; three deviations more hardly ever.
        expected = n_neighbors / step
        rank = ceil(expected + 3 * sqrt(expected) + 2)
        n = len(self.places)
        least = np.full((n, rank), EVERYTHING, np.float32)
        guesses = np.empty(n)
        scratch = np.empty(OWNERS * _COLUMNS, np.float32)
        for columns in slabs(len(sample), _COLUMNS):
            right = self.others(sample[columns])
            for rows in slabs(n, OWNERS):
                guess_reach(
                    _products(self.left.values[rows], right.values, scratch),
                    self.compared,
                    self.places,
                    self.left,
                    rows.start,
                    sample[columns],
                    right,
                    least,
                    guesses,
                )
        return guesses


def _products(
    left: NDArray[np.float32], right: NDArray[np.float32], scratch: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Multiply operands; columns beyond those at the right are whatever was there."""
    width = round_up(len(right), TOGETHER)
    products = scratch[: len(left) * width].reshape(len(left), width)
    np.matmul(left, right.T, out=products[:, : len(right)])
    return products


def _pairs_found(shared: Any, pairs: _Pairs) -> tuple[list[tuple[slice, slice, Found]], int]:
    """Find what is near, of pairs of ranges, for the lists of both; and say how many pairs."""
    compared, reach, n_neighbors = shared
    tiles = _Tiles(compared, reach, n_neighbors, pairs)
    found = []
    for others in pairs.others:
        end_if_stopped()
        found.append((pairs.rows, others, tiles.find(others)))
    return found, len(pairs.others)


class _Tiles:
    """A range of clusters, and what is near to it, or what it is near to, in others.

    What is found waits in a buffer. Where that is full, as of points at equal distances, it is put
    into lists, which say how far they reach now.
    """

    def __init__(self, compared: Compared, reach: Reach, n_neighbors: int, pairs: _Pairs) -> None:
        self._compared, self._reach, self._n_neighbors = compared, reach, n_neighbors
        self._rows = pairs.rows
        self._n_rows = pairs.rows.stop - pairs.rows.start
        self._owners = _Owners(compared, np.arange(pairs.rows.start, pairs.rows.stop))
        set_reach(compared, self._owners.left, reach.distance, pairs.rows.start)
        self._scratch = np.empty(OWNERS * _COLUMNS, np.float32)
        self._buffer = open_found(_BUFFERED)

    def find(self, others: slice) -> Found:
        """Find what is near, of one other range."""
        width = others.stop - others.start
        places = (self._rows, others)
        local = Reach(
            distance=np.concatenate([self._reach.distance[part] for part in places]),
            last=np.concatenate([self._reach.last[part] for part in places]),
        )
        right = self._owners.others(np.arange(others.start, others.stop))
        set_reach(self._compared, right, local.distance, self._n_rows)
        lists: Neighbors | None = None
        is_diagonal = others.start == self._rows.start
        count = 0
        for columns in slabs(width, _COLUMNS):
            for rows in slabs(self._n_rows, OWNERS):
                if is_diagonal and rows.start >= columns.stop:
                    break
                if count + 2 * OWNERS * _COLUMNS > _BUFFERED:
                    lists = self._listed(count, local, right, lists)
                    count = 0
                count = find_pairs(
                    _products(self._owners.left.values[rows], right.values[columns], self._scratch),
                    columns.stop - columns.start,
                    self._compared,
                    self._owners.left,
                    rows.start,
                    self._rows.start + rows.start,
                    right,
                    columns.start,
                    others.start + columns.start,
                    is_diagonal,
                    self._n_rows,
                    local.distance,
                    self._buffer,
                    count,
                )
        if lists is None:
            return Found(*(part[:count].copy() for part in self._buffer))
        lists = self._listed(count, local, right, lists)
        found = open_found(int(lists.counts.sum()))
        count = pack_lists(lists, found)
        set_reach(self._compared, self._owners.left, self._reach.distance, self._rows.start)
        return Found(*(part[:count] for part in found))

    def _listed(
        self, count: int, local: Reach, right: Operands, lists: Neighbors | None
    ) -> Neighbors:
        """Empty the buffer into lists, and take nothing any more that is not nearer than these."""
        n_lists = len(local.distance)
        if lists is None:
            lists = open_lists(n_lists, self._n_neighbors)
        entries = Found(*(part[:count] for part in self._buffer))
        take_found(entries, np.arange(n_lists), self._n_neighbors, lists, local)
        tighten(lists, local, self._n_neighbors, 0, n_lists)
        set_reach(self._compared, self._owners.left, local.distance, 0)
        set_reach(self._compared, right, local.distance, self._n_rows)
        return lists


@dataclass(frozen=True)
class _Wanted:
    """What every task is given: all clusters, and the places of those whose lists are wanted."""

    compared: Compared
    owners: NDArray[np.int64]
    n_neighbors: int


class _Lists:
    """Lists of some clusters, to which others are offered.

    Where there are many others, lists begin with a guess of how far they will reach; where not,
    with the clusters next to their owner.
    """

    def __init__(
        self, wanted: _Wanted, places: NDArray[np.int64], *, may_guess: bool = True
    ) -> None:
        self._owners = _Owners(wanted.compared, places)
        self._n_neighbors = wanted.n_neighbors
        n = len(places)
        self._lists = open_lists(n, self._n_neighbors)
        self._reach: Reach = open_reach(n, np.dtype(np.float64))
        self._scratch = np.empty(OWNERS * _COLUMNS, np.float32)
        self._n_around = 0
        if may_guess and len(wanted.compared.slots) >= _GUESSED_FROM * self._n_neighbors:
            self._reach.distance[:] = self._owners.guesses(self._n_neighbors)
            set_reach(wanted.compared, self._owners.left, self._reach.distance, 0)
        else:
            self._n_around = self._n_neighbors
            offer_around(
                wanted.compared,
                places,
                self._n_neighbors,
                self._owners.left,
                self._lists,
                self._reach,
            )

    def near_to_far(self) -> list[slice]:
        """Return ranges of all clusters, those about the nearest first."""
        compared = self._owners.compared
        room = _BLOCK_VALUES // (self._owners.n_features + 2)
        step = _COLUMNS if room >= _COLUMNS else TOGETHER
        width = max(step, room // step * step)
        blocks = list(slabs(len(compared.slots), width))
        middles = np.stack([_middle_of(compared, block) for block in blocks])
        apart = np.square(middles - self._owners.centre).sum(axis=1)
        return [blocks[i] for i in np.argsort(apart, kind="stable").tolist()]

    def offer(self, others: slice) -> None:
        """Offer a range of clusters to all lists."""
        owners = self._owners
        right = owners.others(np.arange(others.start, others.stop))
        for columns in slabs(others.stop - others.start, _COLUMNS):
            for rows in slabs(len(owners.places), OWNERS):
                offer_columns(
                    _products(owners.left.values[rows], right.values[columns], self._scratch),
                    columns.stop - columns.start,
                    owners.compared,
                    owners.places,
                    owners.left,
                    rows.start,
                    right,
                    columns.start,
                    others.start + columns.start,
                    self._n_around,
                    self._n_neighbors,
                    self._lists,
                    self._reach,
                )

    def short(self) -> NDArray[np.intp]:
        """Return the lists that a guess was too low for."""
        if self._n_around:
            return np.empty(0, np.intp)
        return np.flatnonzero(self._lists.counts < self._n_neighbors)

    def replace(self, numbers: NDArray[np.intp], others: _Lists) -> None:
        """Put others in the place of some lists."""
        replace_lists(self._lists, numbers, others._lists)

    def closed(self) -> Neighbors:
        """Return the lists of the K nearest, with room for no more."""
        lists, length = self._lists, self._n_neighbors
        n_others = len(self._owners.compared.slots) - 1
        close_lists(lists, length, n_others, 0, len(lists.counts))
        return lists._replace(
            ids=lists.ids[:, :length].copy(),
            bounds=lists.bounds[:, :length].copy(),
            exact=lists.exact[:, :0],
        )


def _lists_of(wanted: _Wanted, part: slice) -> tuple[slice, Neighbors]:
    """List what is nearest to some owners, of all clusters."""
    places = wanted.owners[part]
    lists = _listed(wanted, places)
    short = lists.short()
    if len(short):
        lists.replace(short, _listed(wanted, places[short], may_guess=False))
    return part, lists.closed()


def _listed(wanted: _Wanted, places: NDArray[np.int64], *, may_guess: bool = True) -> _Lists:
    lists = _Lists(wanted, places, may_guess=may_guess)
    for others in lists.near_to_far():
        end_if_stopped()
        lists.offer(others)
    return lists
