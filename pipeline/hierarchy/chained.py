"""Kernel: merges by the nearest-neighbour chain, of a source's clusters whose square does not fit.

Memory is some rows of distances, within a limit. Which rows are fetched, and which are given up,
follows from the distances and the limit alone. So a state that was kept now and then, rows
included, is all that another process needs to come to the same bits (``chain_state.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline.errors import MemoryLimitError
from clustergrid.pipeline.hierarchy._clusters import CODES, Clusters, costs_of
from clustergrid.pipeline.hierarchy._minimum import not_finite
from clustergrid.pipeline.hierarchy._pieces import ENTRIES_A_PIECE
from clustergrid.pipeline.hierarchy._row_cache import move_rows, open_rows, put_rows
from clustergrid.pipeline.hierarchy._row_chain import (
    FINISHED,
    STUCK,
    advance,
    open_chain,
    renumber_chain,
)
from clustergrid.pipeline.hierarchy.chain_state import (
    ChainRecords,
    ChainState,
    merges_part,
    replay,
    state_parts,
)
from clustergrid.pipeline.hierarchy.limits import FEWEST_ROWS, Limits
from clustergrid.pipeline.hierarchy.methods import Merges
from clustergrid.pipeline.hierarchy.reached import Report
from clustergrid.pipeline.hierarchy.recorded import question_digest
from clustergrid.pipeline.hierarchy.source import DistanceSource
from clustergrid.pipeline.sizes import format_bytes

__all__ = ["Chained", "merge_by_chain"]

_DISTANCE_BYTES = 8
# Rows in one product. More are no quicker each, and most of them are not what comes next.
_MOST_ROWS_A_BATCH = 64
# The rows on their way, of all rows that there is room for.
_BATCH_SHARE = 4
_FIRST_BATCH = 16
# However little what is fetched ahead is read: a product of few rows takes as long as of one.
_FEWEST_AHEAD = 15
# For one row that waits to be read, besides a batch of them, so many were.
_READ_A_WAITING = 4
# Points in one batch; and in a cluster that is fetched before it is needed. Others are a product
# by themselves.
_POINTS_A_BATCH = 1024
_FEW_POINTS = 32
# What a chain counts, beside its merges and steps.
_COUNTED = (
    *("_a_batch", "_most_a_batch", "_n_fetched", "_n_batches"),
    *("_n_first_reads", "_n_required", "_n_wasted"),
)
# Columns below which it is not worth while to leave out the dead ones.
_SMALLEST_MOVED = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Chained:
    """What a chain merged.

    Attributes
    ----------
    merges
        Of slots of clusters, the lower one first.
    rows_fetched
        Rows that the source was asked for, the same one again included, by all processes.
    batches
        In how many calls.
    """

    merges: Merges
    rows_fetched: int
    batches: int


def merge_by_chain(
    source: DistanceSource,
    clusters: Clusters,
    method: str,
    *,
    limits: Limits,
    report: Report,
    records: ChainRecords | None = None,
) -> Chained:
    """Merge clusters, in place, until no more are left than the limit.

    Parameters
    ----------
    source
        Of the rows.
    clusters
        The live ones are joined.
    method
        One that is reducible.
    limits
        How many clusters may be left, and the memory for rows.
    report
        Told between bounded pieces of the work.
    records
        Where it keeps how far it came, and finds how far an earlier process did; None: nowhere.

    Raises
    ------
    MemoryLimitError
        There is no room for the few rows that the chain needs at once.
    DataValueError
        A distance is not finite.
    """
    if np.count_nonzero(clusters.live) <= limits.most_clusters:
        return Chained(merges=Merges.empty(0), rows_fetched=0, batches=0)
    # Before memory is taken, for whoever is told to give back what is free.
    report("chain", 0.0)
    given = (source, clusters, method, limits, report)
    if records is None:
        return _Chaining(*given).run()
    kept = _Kept(
        records=records,
        asked=question_digest((clusters, method)),
        limits=_limits_of(limits, source.n),
        before=Merges.empty(0),
        distances_before=report.distances,
    )
    state = ChainState.of(records.last(), kept.asked)
    if state is None:
        return _Chaining(*given, kept=kept).run()
    return _go_on(*given, kept=kept, state=state)


def _go_on(
    source: DistanceSource,
    clusters: Clusters,
    method: str,
    limits: Limits,
    report: Report,
    *,
    kept: _Kept,
    state: ChainState,
) -> Chained:
    """Go on from a state: from all of it, or else from its merges, by a new chain."""
    given = (source, clusters, method, limits, report)
    report.distances += state.reached[0]
    report.height = max(report.height, state.reached[1])
    if state.goes_on(kept.limits):
        before, own = state.merges.cut(state.n_before)
        replay(clusters, method, before)
        chaining = _Chaining(*given, kept=replace(kept, before=before))
        if chaining.take(state):
            replay(clusters, method, own)
            return chaining.run()
        del chaining  # its memory is for another
        replay(clusters, method, own)
    else:
        replay(clusters, method, state.merges)
    report.clusters_left = int(np.count_nonzero(clusters.live))
    if report.clusters_left <= limits.most_clusters:
        return Chained(merges=state.merges, rows_fetched=0, batches=0)
    return _Chaining(*given, kept=replace(kept, before=state.merges)).run()


@dataclass(frozen=True, kw_only=True, eq=False)
class _Kept:
    """Where a chain keeps its states, what it was asked, and what came before it."""

    records: ChainRecords
    asked: NDArray[np.uint8]
    limits: NDArray[np.int64]
    before: Merges
    distances_before: int

    def first_part(self, merges: Merges, report: Report, counts: list[int]) -> dict[str, Any]:
        """Return the first part of a state, with all merges so far."""
        return merges_part(
            Merges.joined([self.before, merges]),
            asked=self.asked,
            limits=self.limits,
            n_before=len(self.before.height),
            reached=(report.distances - self.distances_before, report.height),
            counts=np.array(counts, np.int64),
        )


def _limits_of(limits: Limits, n: int) -> NDArray[np.int64]:
    """Return all that rows that are fetched, and merges, follow from."""
    told = (limits.most_clusters, limits.chain_bytes(n), _is_pass(limits), limits.by_members)
    return np.array(told, np.int64)


def _is_pass(limits: Limits) -> bool:
    """Whether a batch of rows takes about as long however many there are."""
    return limits.is_pass or limits.listing_bytes is not None


class _Chaining:
    def __init__(
        self,
        source: DistanceSource,
        clusters: Clusters,
        method: str,
        limits: Limits,
        report: Report,
        kept: _Kept | None = None,
    ) -> None:
        self._source = source
        self._clusters = clusters
        self._method = method
        self._report = report
        self._kept = kept
        slots = np.flatnonzero(clusters.live)
        self._n_clusters = width = len(slots)
        self._n_merges = width - limits.most_clusters
        rows_bytes = limits.chain_bytes(source.n)
        _check_room(rows_bytes, width)
        self._n_entries = rows_bytes // _DISTANCE_BYTES
        # A batch is a pass, whatever it holds.
        self._is_pass = _is_pass(limits)
        self._most_a_batch = self._limited(self._n_entries // (_BATCH_SHARE * width))
        room = min(width, self._n_entries // width - self._most_a_batch)
        n_points = costs_of(clusters, by_members=limits.by_members)[slots]
        self._rows = open_rows(np.empty(room * width), clusters, slots, n_points)
        self._chain = open_chain(width, self._n_merges)
        self._a_batch = (
            self._most_a_batch if self._is_pass else min(_FIRST_BATCH, self._most_a_batch)
        )
        self._n_fetched = self._n_batches = 0
        # Rows fetched ahead since the size of batches was chosen: those that were read, and those
        # that were given up before.
        self._n_first_reads = self._n_required = self._n_wasted = 0

    def take(self, state: ChainState) -> bool:
        """Go on from a state, whose merges are to be made after; whether it was whole."""
        found = state.into(self._rows.entries)
        if found is None:
            return False
        self._rows, self._chain = found
        for name, count in zip(_COUNTED, state.counts.tolist(), strict=True):
            setattr(self, name, count)
        return True

    def _keep(self, *, is_done: bool = False) -> None:
        """Keep where the chain stands, or its merges alone."""
        if self._kept is None or not (is_done or self._kept.records.is_due):
            return
        counts = [getattr(self, name) for name in _COUNTED]
        first = self._kept.first_part(self._merges(), self._report, counts)
        rows, chain = self._rows, self._chain
        self._kept.records.keep(iter([first]) if is_done else state_parts(first, rows, chain))

    def _merges(self) -> Merges:
        """Return those that were made so far."""
        chain, done = self._chain, int(self._chain.counts[2])
        return Merges(
            first=chain.first[:done], second=chain.second[:done], height=chain.heights[:done]
        )

    def run(self) -> Chained:
        """Merge until no more clusters are left than the limit."""
        chain, told = self._chain, int(self._chain.counts[2])
        while told < self._n_merges:
            target = self._n_merges
            width = len(self._rows.place)
            if width >= _SMALLEST_MOVED:
                target = min(target, self._n_clusters - width // 2)
            reason = advance(
                self._rows,
                self._chain,
                self._clusters,
                CODES[self._method],
                target,
                ENTRIES_A_PIECE,
            )
            if reason == STUCK:
                raise not_finite()
            done = int(chain.counts[2])
            self._tell(chain.heights[told:done], done)
            told = done
            self._keep()
            if reason >= 0:
                self._fetch(reason)
            elif reason == FINISHED and done < self._n_merges:
                self._move()
                chain = self._chain
        self._keep(is_done=True)
        merges = self._merges()
        return Chained(
            merges=merges if self._kept is None else Merges.joined([self._kept.before, merges]),
            rows_fetched=self._n_fetched,
            batches=self._n_batches,
        )

    def _tell(self, heights: NDArray[np.float64], done: int) -> None:
        report = self._report
        report.height = float(heights.max(initial=report.height))
        report.clusters_left = self._n_clusters - done
        report("chain", done / self._n_merges)

    def _pause(self) -> Callable[[float], None]:
        share = int(self._chain.counts[2]) / self._n_merges
        return lambda _: self._report("chain", share)

    def _fetch(self, column: int) -> None:
        """Get a row that the chain needs, and those that it will probably need next."""
        rows = self._rows
        self._choose_size()
        columns = np.sort(np.append(self._ahead(column), column))
        self._give_up(len(columns))
        live = np.flatnonzero(rows.closed == 0)
        fetched = self._source.rows(
            self._clusters, self._method, rows.slots[columns], self._pause()
        )
        places = np.flatnonzero(rows.holder < 0)[: len(columns)]
        _, n_logged, _, clock, _ = self._chain.counts.tolist()
        if not put_rows(rows, columns, places, live, fetched, n_logged, clock):
            raise not_finite()
        self._n_fetched += len(columns)
        self._n_batches += 1
        self._n_required += 1
        self._report.distances += int(rows.n_points[columns].sum()) * (self._source.n - 1)

    def _limited(self, rows_a_batch: int) -> int:
        return rows_a_batch if self._is_pass else min(rows_a_batch, _MOST_ROWS_A_BATCH)

    def _choose_size(self) -> None:
        """Make batches smaller where most of what is fetched ahead is given up unread."""
        if self._is_pass:
            self._a_batch = self._most_a_batch
            return
        n_read = int(self._chain.counts[4]) - self._n_first_reads - self._n_required
        if n_read + self._n_wasted < self._a_batch:
            return
        if 4 * self._n_wasted > n_read:
            self._a_batch = min(self._most_a_batch, max(2, self._a_batch // 2))
        elif 16 * self._n_wasted <= n_read:
            self._a_batch = min(self._most_a_batch, 2 * self._a_batch)
        self._n_first_reads = int(self._chain.counts[4])
        self._n_required = self._n_wasted = 0

    def _ahead(self, column: int) -> NDArray[np.int64]:
        """Choose what to fetch with a column: whatever else is near to where the chain is."""
        rows, chain = self._rows, self._chain
        length = int(chain.counts[0])
        last_two = chain.columns[max(0, length - 2) : length].tolist()
        known = [element for element in last_two if rows.place[element] >= 0]
        held = rows.holder[rows.holder >= 0]
        n_free = len(rows.holder) - int(np.count_nonzero(chain.inside[held]))
        n_ahead = min(self._a_batch - 1, (n_free - 1) // 2)
        if not self._is_pass:
            n_waiting = int(np.count_nonzero(~rows.is_read[held]))
            n_more = _MOST_ROWS_A_BATCH + int(chain.counts[4]) // _READ_A_WAITING - n_waiting
            n_ahead = min(n_ahead, max(_FEWEST_AHEAD, n_more))
        if not known or n_ahead < 1:
            return np.empty(0, np.int64)
        may_come = (rows.closed == 0) & (rows.place < 0) & ~chain.inside
        if not self._is_pass:
            may_come &= rows.n_points <= _FEW_POINTS
        near = np.flatnonzero(may_come)
        width = len(rows.place)
        start = int(rows.place[known[-1]]) * width
        near = near[_least(rows.entries[start : start + width][near], n_ahead)]
        if self._is_pass:
            return near
        points = rows.n_points[column] + np.cumsum(rows.n_points[near])
        return np.asarray(near[points <= _POINTS_A_BATCH])

    def _give_up(self, n_wanted: int) -> None:
        """Make room for rows: give up those outside of the chain, of the smallest clusters first.

        They are the cheapest to compute again. Of those in the chain, what comes last in it is
        needed first, and of the last two one may be what is wanted, but the other is needed.
        """
        rows, chain = self._rows, self._chain
        held = rows.holder[rows.holder >= 0]
        n_too_many = n_wanted - (len(rows.holder) - len(held))
        if n_too_many <= 0:
            return
        length = int(chain.counts[0])
        position = np.zeros(len(rows.place), np.int64)
        position[chain.columns[:length]] = np.arange(1, length + 1)
        position = position[held]
        is_spared = (position > 0) & (position > length - 2)
        held, position = held[~is_spared], position[~is_spared]
        order = np.lexsort((held, rows.used_at[held], rows.n_points[held], position))
        given_up = held[order[:n_too_many]]
        self._n_wasted += int(np.count_nonzero(~rows.is_read[given_up]))
        rows.holder[rows.place[given_up]] = -1
        rows.place[given_up] = -1

    def _move(self) -> None:
        """Leave out the columns of clusters that are no more; there is room for more rows then."""
        rows, chain = self._rows, self._chain
        kept = np.flatnonzero(rows.closed == 0)
        columns = rows.holder[rows.holder >= 0]
        n_logged = int(chain.counts[1])
        rows_a_piece = max(1, ENTRIES_A_PIECE // len(rows.place))
        pause = self._pause()
        for start in range(0, len(columns), rows_a_piece):
            stop = min(start + rows_a_piece, len(columns))
            move_rows(rows, columns, kept, n_logged, CODES[self._method], start, stop)
            pause(0.0)
        moved = open_rows(rows.entries, self._clusters, rows.slots[kept], rows.n_points[kept])
        places = np.arange(len(columns))
        moved.holder[: len(columns)] = np.searchsorted(kept, columns)
        moved.place[moved.holder[: len(columns)]] = places
        moved.used_at[:] = rows.used_at[kept]
        moved.is_read[:] = rows.is_read[kept]
        self._rows = moved
        self._chain = renumber_chain(chain, kept)
        rows_a_batch = (self._n_entries - len(rows.entries)) // len(kept)
        self._most_a_batch = self._limited(max(1, rows_a_batch))


def _check_room(rows_bytes: int, width: int) -> None:
    needed_bytes = FEWEST_ROWS * width * _DISTANCE_BYTES
    if rows_bytes < needed_bytes:
        raise MemoryLimitError(
            f"a chain through {width:,} clusters needs at least {format_bytes(needed_bytes)} for "
            f"{FEWEST_ROWS} rows of distances, got rows_bytes={rows_bytes}: allow more",
            needed_bytes=needed_bytes,
            limit_bytes=rows_bytes,
        )


def _least(values: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """Return where the least values are, in their order; of equal ones the first.

    Examples
    --------
    >>> _least(np.array([3.0, 1.0, 2.0, 1.0, 2.0]), 3).tolist()
    [1, 3, 2]
    """
    if len(values) > count:
        # A partition alone may take any of those that are equal to the last.
        most = np.partition(values, count - 1)[count - 1]
        among = np.flatnonzero(values <= most)
    else:
        among = np.arange(len(values))
    return among[np.argsort(values[among], kind="stable")][:count]
