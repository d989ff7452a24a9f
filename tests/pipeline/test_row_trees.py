"""What trees from rows go on from: the answers of a source, kept as records."""

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from clustergrid.pipeline import row_trees
from clustergrid.pipeline.hierarchy import chain_state, linkage_matrix
from clustergrid.pipeline.hierarchy.certified import Limits, cluster_certified
from clustergrid.pipeline.hierarchy.condensed import CondensedSource
from clustergrid.pipeline.records import Records
from clustergrid.pipeline.row_trees import resumable
from clustergrid.storage.errors import StorageError
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


HUB = np.random.default_rng(0).gamma(0.5, 3, size=(300, 12))
HUB[:120] *= 1e-7
LIMITS = Limits(most_clusters=7, n_neighbors=3, rows_bytes=8 * 300 * 30)


class Fetched:
    """Counts batches of rows, and gives up at one."""

    def __init__(self, give_up_at=None):
        self.source, self.n = CondensedSource(pdist(HUB)), 300
        self.batches, self.give_up_at = 0, give_up_at

    def __getattr__(self, name):
        return getattr(self.source, name)

    def rows(self, *asked):
        if self.batches == self.give_up_at:
            raise KeyboardInterrupt
        self.batches += 1
        return self.source.rows(*asked)


def chain_merges(source, records):
    return cluster_certified(resumable(source, records), "average", limits=LIMITS)


@pytest.fixture
def always(monkeypatch):
    """States of a chain are kept whenever they may be, in many parts."""
    monkeypatch.setattr(row_trees, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(row_trees, "CHECKPOINT_SHARE", 0)
    monkeypatch.setattr(chain_state, "_PART_BYTES", 8 * 300 * 3)


def chain_names(records):
    return [name for name in records.names if name.startswith("chain")]


def test_a_chain_is_gone_on_with(always, tmp_path):
    directory = RunDirectory(tmp_path / "run", create=True)

    def records():
        return Records(directory, "linkage-row", "a" * 64)

    whole = Fetched()
    expected = chain_merges(whole, None)
    assert whole.batches > 5
    with pytest.raises(KeyboardInterrupt):
        chain_merges(Fetched(whole.batches // 2), records())
    kept = chain_names(records())
    assert len(kept) > 3
    assert len({name.split("-")[1] for name in kept}) == 1  # one takes the place of another
    again = Fetched()
    found = chain_merges(again, records())
    for field in ("first", "second", "height"):
        np.testing.assert_array_equal(getattr(found, field), getattr(expected, field))
    assert again.batches == whole.batches - whole.batches // 2
    assert len(chain_names(records())) == 2
    last = Fetched()
    chain_merges(last, records())
    assert last.batches == 0


def test_a_part_that_is_damaged_costs_rows(always, tmp_path):
    directory = RunDirectory(tmp_path / "run", create=True)
    with pytest.raises(KeyboardInterrupt):
        chain_merges(Fetched(5), Records(directory, "linkage-row", "a" * 64))
    (file,) = (tmp_path / "run").glob("pieces/*/chain-*-000001.npz")
    file.write_bytes(file.read_bytes()[:-9])
    found = chain_merges(Fetched(), Records(directory, "linkage-row", "a" * 64))
    expected = linkage_matrix(chain_merges(Fetched(), None), 300)
    np.testing.assert_allclose(linkage_matrix(found, 300), expected, rtol=1e-10)


def test_a_chain_goes_on_without_states_where_there_is_no_room(always, tmp_path, monkeypatch):
    records = Records(RunDirectory(tmp_path / "run", create=True), "linkage-row", "a" * 64)
    write, n_written = records.write, []

    def full(name, arrays, **options):
        if name.startswith("chain"):
            n_written.append(name)
            if len(n_written) > 2:
                raise StorageError("no space left on device")
        write(name, arrays, **options)

    monkeypatch.setattr(records, "write", full)
    chain_merges(Fetched(), records)
    # The first is of no rows. That of the end has no room either.
    assert len(n_written) == 4
    assert chain_names(records) == ["chain-000001-000000", "chain-000001"]


@pytest.mark.parametrize("give_up_at", [1, 2])
def test_answers_before_a_chain_are_replaced_beside_its_states(always, tmp_path, give_up_at):
    """Another question drops the answers after it, and leaves what has no number."""
    records = Records(RunDirectory(tmp_path / "run", create=True), "linkage-row", "a" * 64)
    with pytest.raises(KeyboardInterrupt):
        chain_merges(Fetched(3), records)
    others = Limits(most_clusters=7, n_neighbors=3 + give_up_at, rows_bytes=8 * 300 * 30)
    source = resumable(Fetched(), records)
    found = linkage_matrix(cluster_certified(source, "average", limits=others), 300)
    expected = linkage_matrix(cluster_certified(Fetched(), "average", limits=others), 300)
    np.testing.assert_allclose(found, expected, rtol=1e-10)
