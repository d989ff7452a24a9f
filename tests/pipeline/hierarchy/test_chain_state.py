"""A chain that was broken off goes on from the state that it kept, to the same bits."""

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from clustergrid.pipeline.hierarchy import REDUCIBLE_METHODS, chain_state, chained, linkage_matrix
from clustergrid.pipeline.hierarchy.certified import Limits, merge_certified
from clustergrid.pipeline.hierarchy.recorded import RecordedSource
from tests.pipeline.hierarchy.kinds import assert_scipys
from tests.pipeline.hierarchy.test_chained import HUBS, Counting

N = 300


class States:
    """States in memory, of which every one is due."""

    def __init__(self, is_due=True):
        self.is_due, self.parts, self.n_kept = is_due, [], 0

    def keep(self, parts):
        # What the chain works on, it changes.
        self.parts = [{name: value.copy() for name, value in part.items()} for part in parts]
        self.n_kept += 1

    def last(self):
        return iter(self.parts)


class Broken(Counting):
    """A source whose process ends after some batches of rows."""

    def __init__(self, distances, most):
        super().__init__(distances)
        self.most = most

    def rows(self, *asked):
        if len(self.batches) >= self.most:
            raise InterruptedError
        return super().rows(*asked)


def limits_of(rows, **others):
    options = {"most_clusters": 7, "n_neighbors": 3, "rows_bytes": 8 * N * rows}
    return Limits(**options | others)


def left_of(source, method, limits, states):
    recorded = RecordedSource(
        source,
        save=lambda *kept: None,
        load=lambda *asked: None,
        drop=lambda number: None,
        chain=states,
    )
    return merge_certified(recorded, method, limits=limits)


def assert_same(found, expected):
    for name in ("first", "second", "height"):
        np.testing.assert_array_equal(
            getattr(found.start.merges, name), getattr(expected.start.merges, name)
        )
    assert found.rows_fetched == expected.rows_fetched
    assert found.chained == expected.chained


@pytest.mark.quick_cases(one_in=5)
@pytest.mark.parametrize("is_pass", [False, True])
@pytest.mark.parametrize("rows", [4, 30, 300])
@pytest.mark.parametrize("kind", ["near-zero rows", "constant rows"])
@pytest.mark.parametrize("method", REDUCIBLE_METHODS)
def test_a_chain_goes_on_where_it_stood(monkeypatch, method, kind, rows, is_pass):
    monkeypatch.setattr(chained, "_SMALLEST_MOVED", 16)  # columns are left out several times
    monkeypatch.setattr(chain_state, "_PART_BYTES", 8 * N * 3)
    distances = pdist(HUBS[kind](np.random.default_rng(1), N))
    limits = limits_of(rows, is_pass=is_pass)
    whole = Counting(distances)
    expected = left_of(whole, method, limits, None)
    n_batches = len(whole.batches)
    assert expected.chained > 30
    for most in sorted({0, 1, n_batches // 2, n_batches - 1}):
        states, broken = States(), Broken(distances, most)
        with pytest.raises(InterruptedError):
            left_of(broken, method, limits, states)
        again = Counting(distances)
        assert_same(left_of(again, method, limits, states), expected)
        assert broken.batches + again.batches == whole.batches
        # And of a chain that is done nothing is left but its merges.
        assert len(states.parts) == 1
        done = Counting(distances)
        found = left_of(done, method, limits, states)
        assert done.batches == []
        np.testing.assert_array_equal(found.start.merges.height, expected.start.merges.height)


def test_passes_are_those_of_all_processes():
    distances = pdist(HUBS["near-zero rows"](np.random.default_rng(1), N))
    expected = left_of(Counting(distances), "average", limits_of(30), None)
    states = States()
    with pytest.raises(InterruptedError):
        left_of(Broken(distances, 3), "average", limits_of(30), states)
    found = left_of(Counting(distances), "average", limits_of(30), states)
    assert found.passes == pytest.approx(expected.passes, rel=1e-12)


@pytest.mark.parametrize("method", REDUCIBLE_METHODS)
@pytest.mark.parametrize("others", [{"rows": 9}, {"rows": 200}, {"most_clusters": 60}])
def test_within_other_limits_it_begins_where_the_merges_end(method, others):
    distances = pdist(HUBS["near-zero rows"](np.random.default_rng(1), N))
    states, whole = States(), Counting(distances)
    left_of(whole, method, limits_of(30), None)
    with pytest.raises(InterruptedError):
        left_of(Broken(distances, len(whole.batches) // 2), method, limits_of(30), states)
    kept = states.parts[0]["first"].copy()
    assert len(kept) > 5
    limits, source = limits_of(**{"rows": 30} | others), Counting(distances)
    left = left_of(source, method, limits, states)
    assert len(left.start.sizes) <= limits.most_clusters
    n_proved = len(left.start.merges.first) - left.chained
    np.testing.assert_array_equal(left.start.merges.first[n_proved:][: len(kept)], kept)
    # Broken off once more, and within the first limits again.
    states.is_due = True
    with pytest.raises(InterruptedError):
        left_of(Broken(distances, 2), method, limits_of(12, most_clusters=2), states)
    expected = left_of(Counting(distances), method, limits_of(30, most_clusters=1), states)
    assert_scipys(linkage_matrix(expected.start.merges, N), distances, method)


@pytest.mark.parametrize("damage", ["no last part", "no parts but the first", "nothing"])
def test_a_state_that_is_not_whole_costs_rows_only(monkeypatch, damage):
    monkeypatch.setattr(chain_state, "_PART_BYTES", 8 * N * 3)
    distances = pdist(HUBS["near-zero rows"](np.random.default_rng(1), N))
    states = States()
    with pytest.raises(InterruptedError):
        left_of(Broken(distances, 6), "average", limits_of(30, most_clusters=1), states)
    assert len(states.parts) > 3
    n_kept = {"no last part": -1, "no parts but the first": 1, "nothing": 0}[damage]
    states.parts = states.parts[:n_kept]
    left = left_of(Counting(distances), "average", limits_of(30, most_clusters=1), states)
    assert_scipys(linkage_matrix(left.start.merges, N), distances, "average")


def test_a_state_of_another_question_is_none():
    values = HUBS["near-zero rows"](np.random.default_rng(1), N)
    states = States()
    with pytest.raises(InterruptedError):
        left_of(Broken(pdist(values), 6), "average", limits_of(30), states)
    for distances, method in ((pdist(values), "complete"), (pdist(values**2), "average")):
        expected = left_of(Counting(distances), method, limits_of(30), None)
        kept = States()
        kept.parts = states.parts
        assert_same(left_of(Counting(distances), method, limits_of(30), kept), expected)


def test_states_that_are_not_due_are_not_kept():
    distances = pdist(HUBS["near-zero rows"](np.random.default_rng(1), N))
    states = States(is_due=False)
    left_of(Counting(distances), "average", limits_of(30), states)
    assert states.n_kept == 1  # of the end
