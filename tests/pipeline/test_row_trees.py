"""What trees from rows go on from: the answers of a source, kept as records."""

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from clustergrid.pipeline.hierarchy.certified import Limits, cluster_certified
from clustergrid.pipeline.hierarchy.condensed import CondensedSource
from clustergrid.pipeline.records import Records
from clustergrid.pipeline.row_trees import resumable
from clustergrid.storage.rundir import RunDirectory

KEPT = ("nearest_points", "nearest_clusters", "distances")


class Counted:
    """Counts what a source is asked, and gives up at a certain question."""

    def __init__(self, give_up_at=None):
        self.source = CondensedSource(pdist(np.random.default_rng(0).normal(size=(400, 30))))
        self.asked, self.give_up_at = 0, give_up_at

    def __getattr__(self, name):
        found = getattr(self.source, name)
        if name in KEPT:
            self.asked += 1
            if self.asked == self.give_up_at:
                raise KeyboardInterrupt
        return found


def merges_of(source):
    limits = Limits(most_clusters=60, n_neighbors=8, rows_bytes=8 * 400 * 20)
    return cluster_certified(source, "average", limits=limits)


def test_a_source_is_asked_again_only_for_what_was_not_kept(tmp_path):
    whole = Counted()
    expected = merges_of(resumable(whole, None))
    assert whole.asked > 6
    directory = RunDirectory(tmp_path / "run", create=True)

    def records():
        return Records(directory, "linkage-row", "a" * 64)

    for give_up_at in (1, 3, whole.asked - 4):
        kept = len(records().names)
        with pytest.raises(KeyboardInterrupt):
            merges_of(resumable(Counted(give_up_at), records()))
        assert len(records().names) == kept + give_up_at - 1
    kept, last = len(records().names), Counted()
    found = merges_of(resumable(last, records()))
    for field in ("first", "second", "height"):
        np.testing.assert_array_equal(getattr(found, field), getattr(expected, field))
    assert 0 < last.asked == whole.asked - kept
    assert len(records().names) == whole.asked
