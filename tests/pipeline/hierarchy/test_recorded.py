"""Answers of a source that are kept: a tree made again has the same bits, and asks for nothing."""

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from clustergrid.pipeline.hierarchy import REDUCIBLE_METHODS
from clustergrid.pipeline.hierarchy.certified import Limits, cluster_certified
from clustergrid.pipeline.hierarchy.condensed import CondensedSource
from clustergrid.pipeline.hierarchy.recorded import CALLS, RecordedSource
from tests.pipeline.hierarchy.kinds import KINDS

pytestmark = pytest.mark.quick_cases(one_in=8)

LIMITS = Limits(most_clusters=20, n_neighbors=3, rows_bytes=8 * 300 * 20)


class Store:
    """Answers on a shelf; a process that dies takes with it what is not there."""

    def __init__(self, most=None):
        self.answers = {}
        self.most = most

    def save(self, number, name, arrays):
        if len(self.answers) == self.most:
            raise KeyboardInterrupt
        assert (number, name) not in self.answers
        self.answers[number, name] = {key: array.copy() for key, array in arrays.items()}

    def load(self, number, name):
        found = [arrays for (n, _), arrays in self.answers.items() if n == number]
        return found[0] if found else None

    def drop(self, number):
        self.answers = {key: arrays for key, arrays in self.answers.items() if key[0] < number}


class Silent:
    """A source that must not be asked."""

    n = 300

    def __getattr__(self, name):
        raise AssertionError(f"{name} was called")


def merges_of(source, store, method="average", kept=CALLS, limits=LIMITS):
    recorded = RecordedSource(source, save=store.save, load=store.load, drop=store.drop, kept=kept)
    return cluster_certified(recorded, method, limits=limits)


def assert_same(made, expected):
    for name in ("first", "second", "height"):
        np.testing.assert_array_equal(getattr(made, name), getattr(expected, name))


@pytest.fixture
def source():
    return CondensedSource(pdist(KINDS["hub"](np.random.default_rng(2), 300)))


@pytest.mark.parametrize("method", REDUCIBLE_METHODS)
def test_a_replay_has_the_same_bits_and_asks_for_nothing(source, method):
    store = Store()
    expected = cluster_certified(source, method, limits=LIMITS)
    assert_same(merges_of(source, store, method), expected)
    names = [name for _, name in store.answers]
    # Of single linkage, what lists do not have is no nearer.
    assert set(names) == set(CALLS) - ({"distances"} if method == "single" else set())
    assert [number for number, _ in store.answers] == list(range(1, len(names) + 1))
    assert_same(merges_of(Silent(), store, method), expected)


def test_it_goes_on_after_any_answer(source):
    expected = cluster_certified(source, "average", limits=LIMITS)
    store = Store(0)
    deaths = 0
    while True:
        try:
            made = merges_of(source, store)
            break
        except KeyboardInterrupt:
            deaths += 1
            store.most += 4
    assert deaths > 5
    assert_same(made, expected)


def test_what_is_not_kept_is_passed_on(source):
    store = Store()
    kept = ("nearest_points", "square")
    expected = merges_of(source, store, kept=kept)
    assert [name for _, name in store.answers] == ["nearest_points", "square"]
    assert_same(merges_of(source, store, kept=kept), expected)
    with pytest.raises(AssertionError, match="was called"):
        merges_of(Silent(), store, kept=kept)
    with pytest.raises(ValueError, match="kept must be some of "):
        merges_of(source, store, kept=["rows", "all"])


def counted(source, monkeypatch):
    """Names of the calls that a source gets."""
    calls = []
    for name in CALLS:
        real = getattr(source, name)

        def spy(*args, _name=name, _real=real):
            calls.append(_name)
            return _real(*args)

        monkeypatch.setattr(source, name, spy)
    return calls


@pytest.mark.parametrize(
    ("method", "n_neighbors"), [("complete", 3), ("average", 4)], ids=["method", "lists"]
)
def test_answers_for_another_tree_go(source, method, n_neighbors):
    store = Store()
    merges_of(source, store)
    limits = Limits(most_clusters=20, n_neighbors=n_neighbors, rows_bytes=48_000)
    expected = cluster_certified(source, method, limits=limits)
    assert_same(merges_of(source, store, method, limits=limits), expected)
    numbers = [number for number, _ in store.answers]
    assert numbers == list(range(1, len(numbers) + 1))
    assert_same(merges_of(Silent(), store, method, limits=limits), expected)


@pytest.mark.parametrize("most_clusters", [5, 21, 60, 290])
@pytest.mark.parametrize("method", ["average", "weighted", "ward"])
def test_other_limits_use_what_is_the_same(source, method, most_clusters, monkeypatch):
    store = Store()
    merges_of(source, store, method)
    limits = Limits(most_clusters=most_clusters, n_neighbors=3, rows_bytes=48_000)
    expected = cluster_certified(source, method, limits=limits)
    calls = counted(source, monkeypatch)
    assert_same(merges_of(source, store, method, limits=limits), expected)
    assert "nearest_points" not in calls
    numbers = [number for number, _ in store.answers]
    assert numbers == sorted(set(numbers))
    # And those of a run that was killed after each of its answers.
    for n_left in range(len(numbers)):
        store.drop(n_left + 1)
        merges_of(source, store, method)
        assert_same(merges_of(source, store, method, limits=limits), expected)
