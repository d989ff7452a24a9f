"""What rounds may use follows from the memory and the points, on every machine."""

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from clustergrid.pipeline.errors import MemoryLimitError
from clustergrid.pipeline.hierarchy import proved
from clustergrid.pipeline.hierarchy.certified import cluster_certified
from clustergrid.pipeline.hierarchy.condensed import CondensedSource
from clustergrid.pipeline.hierarchy.limits import MOST_SCRATCHES, Limits
from clustergrid.pipeline.row_tree_plan import RowTreeMemory

THREADS = (1, 2, 3, 64)


def test_limits_within_memory():
    limits = Limits.within(2_000_000, n=1000, n_neighbors=16)
    vectors = 1000 * (400 + MOST_SCRATCHES * 9)
    assert limits.most_clusters**2 * 8 * 1.05 + vectors <= 2_000_000
    assert (limits.most_clusters + 2) ** 2 * 8 * 1.05 + vectors > 2_000_000
    assert limits.rows_bytes == 2_000_000 - vectors
    least_bytes = Limits.least_bytes(1000, n_neighbors=16)
    assert least_bytes == vectors + 1000 * 16 * 39
    assert Limits.within(least_bytes, n=1000, n_neighbors=16).most_clusters == 272
    with pytest.raises(MemoryLimitError, match="16 nearest of 1,000 points need at least"):
        Limits.within(least_bytes - 1, n=1000, n_neighbors=16)
    # The rows that a chain cannot do without count too.
    assert Limits.least_bytes(10**6, n_neighbors=1) > 10**6 * (400 + 4 * 8)
    # A list has no more than all others.
    assert Limits.least_bytes(5) == Limits.least_bytes(5, n_neighbors=4)


def test_limits_do_not_depend_on_threads():
    def of_rows(threads):
        memory = RowTreeMemory(n=200_000, k=50, way="points", threads=threads)
        limits = memory.limits(10**9)
        return memory.least_bytes, memory.useful_bytes, limits.most_clusters, limits.rows_bytes

    def of_distances(threads):
        limits = Limits.within(400_000_000, n=10_000, threads=threads)
        assert limits.threads == threads
        return limits.most_clusters, limits.rows_bytes

    assert len({of_rows(threads) for threads in THREADS}) == 1
    assert len({of_distances(threads) for threads in THREADS}) == 1


def test_no_more_scratches_than_there_is_room_for(monkeypatch):
    opened, busy, most = [], set(), []
    make, unite = proved.open_scratch, proved.unite_lists

    def open_one(lists):
        opened.append(make(lists))
        return opened[-1]

    def watch(*args):
        busy.add(id(args[6].seen))
        most.append(len(busy))
        unite(*args)
        busy.discard(id(args[6].seen))

    monkeypatch.setattr(proved, "open_scratch", open_one)
    monkeypatch.setattr(proved, "unite_lists", watch)
    monkeypatch.setattr(proved, "_SLOTS_A_PIECE", 7)
    distances = pdist(np.random.default_rng(0).normal(size=(600, 4)))
    limits = Limits(most_clusters=600, n_neighbors=8, threads=40)
    cluster_certified(CondensedSource(distances, threads=3), "average", limits=limits)
    assert len(opened) == MOST_SCRATCHES
    assert 1 <= max(most) <= MOST_SCRATCHES
