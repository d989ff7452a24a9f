"""What rows, and means, at rest have to give: the bits that those in memory give."""

import numpy as np

from clustergrid.pipeline.execution import DaskExecutor, SerialExecutor, ThreadsExecutor
from tests.pipeline.points.cases import ignore

__all__ = ["assert_same_answers", "assert_same_lists", "assert_same_on_any_executor"]


def assert_same_lists(one, other):
    np.testing.assert_array_equal(one.counts, other.counts)
    np.testing.assert_array_equal(one.tau, other.tau)
    for owner, count in enumerate(one.counts):
        entries = [
            sorted(zip(lists.ids[owner, :count], lists.bounds[owner, :count], strict=True))
            for lists in (one, other)
        ]
        assert entries[0] == entries[1]


def assert_same_answers(here, rest, clusters, method):
    slots = np.flatnonzero(clusters.live)
    owners = slots[:: max(1, len(slots) // 20)]
    assert_same_lists(
        *[each.nearest_clusters(clusters, method, 5, owners, ignore) for each in (here, rest)]
    )
    rng = np.random.default_rng(0)
    first, second = np.sort(rng.choice(slots, (60, 2)), axis=1).T
    is_pair = first < second
    pairs = first[is_pair], second[is_pair]
    for one, other in (
        (each.square(clusters, method, ignore) for each in (here, rest)),
        (each.rows(clusters, method, owners[:7], ignore) for each in (here, rest)),
        (each.distances(clusters, method, *pairs, ignore) for each in (here, rest)),
    ):
        np.testing.assert_array_equal(one, other)


def assert_same_on_any_executor(tree, client, folder):
    """Make a tree in memory, and at rest in a folder on every executor; nothing is left there."""
    expected = tree(SerialExecutor(), None)
    for executor in (SerialExecutor(), ThreadsExecutor(3), DaskExecutor(client)):
        np.testing.assert_array_equal(tree(executor, (str(folder), "points")), expected)
        assert list(folder.glob("points*")) == []
