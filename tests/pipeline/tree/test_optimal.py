"""Optimal ordering against every order there is, against SciPy, and between engines and threads."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster import hierarchy
from scipy.spatial.distance import pdist, squareform

from clustergrid.pipeline.tree import _distances, _exact, _min_plus, _reach, optimal
from clustergrid.pipeline.tree._places import places
from clustergrid.pipeline.tree.optimal import (
    neighbor_sum,
    optimal_leaf_ordering,
    ordering_bytes,
)
from clustergrid.pipeline.tree.orders import leaf_order
from clustergrid.storage.errors import DataValueError
from tests.budget import examples
from tests.pipeline.tree.trees import METHODS, chain, random_tree

pytestmark = pytest.mark.quick_cases(one_in=8)


def distances_and_tree(n, method="average", seed=0, ties=False, blobs=False):
    rng = np.random.default_rng([seed, n])
    points = rng.integers(0, 3, (n, 3)).astype(float) if ties else rng.normal(size=(n, 3))
    if blobs:
        points += 6 * rng.normal(size=(8, 3))[rng.integers(0, 8, n)]
    condensed = pdist(points)
    return condensed, hierarchy.linkage(condensed, method)


def sum_of(order, square):
    return square[order[1:], order[:-1]].sum()


def least_sum(Z, square):
    """Try all orders, but for mirrored ones."""
    n = len(Z) + 1
    best = np.inf
    for bits in range(2 ** max(0, n - 2)):
        turned = Z.copy()
        swaps = np.array([bits >> t & 1 for t in range(n - 2)] + [0], bool)
        turned[swaps, :2] = Z[swaps, 1::-1]
        best = min(best, sum_of(hierarchy.leaves_list(turned), square))
    return best


def least_sum_by_definition(Z, square):
    """Bar-Joseph, Gifford and Jaakkola's recurrence as it is written, pair by pair."""
    n = len(Z) + 1
    least = {(i, i): 0.0 for i in range(n)}
    below = [[leaf] for leaf in range(n)]
    halves = [([leaf], [leaf]) for leaf in range(n)]
    for left, right in Z[:, :2].astype(int):
        for u in below[left]:
            for w in below[right]:
                ms = halves[left][1] if u in halves[left][0] else halves[left][0]
                ks = halves[right][1] if w in halves[right][0] else halves[right][0]
                least[u, w] = least[w, u] = min(
                    least[u, m] + square[m, k] + least[k, w] for m in ms for k in ks
                )
        halves.append((below[left], below[right]))
        below.append(below[left] + below[right])
    return min(least[u, w] for u in halves[-1][0] for w in halves[-1][1])


def assert_same_tree(Z, turned):
    np.testing.assert_array_equal(np.sort(turned[:, :2], axis=1), np.sort(Z[:, :2], axis=1))
    np.testing.assert_array_equal(turned[:, 2:], Z[:, 2:])
    np.testing.assert_array_equal(turned[-1], Z[-1])


@settings(max_examples=examples(60), deadline=None)
@given(n=st.integers(2, 9), seed=st.integers(0, 10**6), ties=st.booleans(), data=st.data())
def test_no_order_is_better(n, seed, ties, data):
    method = data.draw(st.sampled_from(METHODS))
    # Squares all the way up, questions all the way down, or what is cheaper.
    steps = data.draw(st.sampled_from([1e9, 0, _reach.ENTRY_STEPS]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_reach, "ENTRY_STEPS", steps)
        assert_best(n, method, seed, ties, data)


def assert_best(n, method, seed, ties, data):
    condensed, Z = distances_and_tree(n, method, seed, ties)
    square = squareform(condensed)
    given_as = data.draw(
        st.sampled_from([condensed, square, lambda rows, columns: square[np.ix_(rows, columns)]])
    )
    turned = optimal_leaf_ordering(Z, given_as)
    assert_same_tree(Z, turned)
    assert sum_of(leaf_order(turned), square) == pytest.approx(least_sum(Z, square), rel=1e-12)
    assert neighbor_sum(turned, given_as) == pytest.approx(sum_of(leaf_order(turned), square))


@pytest.mark.parametrize("steps", [1e9, 0, 1])
@pytest.mark.parametrize("method", METHODS)
def test_the_sum_is_that_of_the_recurrence(method, steps, monkeypatch):
    monkeypatch.setattr(_reach, "ENTRY_STEPS", steps)
    condensed, Z = distances_and_tree(60, method)
    found = neighbor_sum(optimal_leaf_ordering(Z, condensed), condensed)
    assert found == pytest.approx(least_sum_by_definition(Z, squareform(condensed)), rel=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_it_is_never_worse_than_scipys(method):
    # SciPy turns every cluster into the order that is best for it alone (scipy#11227).
    condensed, Z = distances_and_tree(200, method)
    by_scipy = neighbor_sum(hierarchy.optimal_leaf_ordering(Z, condensed), condensed)
    found = neighbor_sum(optimal_leaf_ordering(Z, condensed), condensed)
    assert found < by_scipy < neighbor_sum(Z, condensed)


def test_it_is_scipys_where_that_is_the_best():
    points = np.array([0.0, 1.0, 3.0, 3.5, 10.0, 14.0, 10.4])[:, None]
    condensed = pdist(points)
    Z = hierarchy.linkage(condensed, "average")
    turned = optimal_leaf_ordering(Z, condensed)
    np.testing.assert_array_equal(turned, hierarchy.optimal_leaf_ordering(Z, condensed))


@pytest.mark.parametrize("steps", [0, _reach.ENTRY_STEPS])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("blobs", [False, True])
def test_compiled_kernels_give_the_bits_of_numpy(method, blobs, steps, monkeypatch):
    monkeypatch.setattr(_reach, "ENTRY_STEPS", steps)
    monkeypatch.setattr(_reach, "_ENTRIES_A_PIECE", 5000)
    monkeypatch.setattr(_reach, "_MOST_LEVELS", 4)
    # More than one strip of columns and block of rows, and what is left over.
    condensed, Z = distances_and_tree(700, method, blobs=blobs)
    plain = optimal_leaf_ordering(Z, condensed)
    monkeypatch.setattr(optimal, "MOST_LEAVES_WITHOUT_COMPILER", 0)
    monkeypatch.setattr(_distances, "MOST_LEAVES_WITHOUT_COMPILER", 0)
    monkeypatch.setattr(_exact, "_MOST_STEPS_IN_ONE_THREAD", 20_000)
    for threads in (1, 3):
        for given_ in (condensed, squareform(condensed)):
            turned = optimal_leaf_ordering(Z, given_, threads=threads)
            np.testing.assert_array_equal(turned, plain)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("at_once", [None, 90])
def test_of_a_square_the_lower_triangle_is_read(monkeypatch, compiled, at_once):
    condensed, Z = distances_and_tree(400, "average")
    if compiled:
        monkeypatch.setattr(optimal, "MOST_LEAVES_WITHOUT_COMPILER", 0)
        monkeypatch.setattr(_distances, "MOST_LEAVES_WITHOUT_COMPILER", 0)
    expected = optimal_leaf_ordering(Z, condensed, leaves_at_once=at_once)
    square = np.tril(squareform(condensed))
    square[np.triu_indices(400)] = np.nan
    for threads in (1, 3):
        turned = optimal_leaf_ordering(Z, square, leaves_at_once=at_once, threads=threads)
        np.testing.assert_array_equal(turned, expected)
    square[399, 7] = np.nan
    with pytest.raises(DataValueError, match="finite"):
        optimal_leaf_ordering(Z, square, leaves_at_once=400)


def test_paths_are_the_same_bits_in_every_engine(monkeypatch):
    condensed, Z = distances_and_tree(600, "ward", blobs=True)
    order = leaf_order(Z)
    monkeypatch.setattr(_reach, "ENTRY_STEPS", 10**6)
    squares = []
    for compiled, steps, threads in (
        (False, 0, 1),
        (True, 10**9, 1),
        (True, 10**4, 1),
        (True, 10**4, 4),
    ):
        monkeypatch.setattr(_exact, "_MOST_STEPS_IN_ONE_THREAD", steps)
        square = squareform(condensed)[np.ix_(order, order)]
        with _exact.workers(threads) as pool:
            _exact.swaps_of(Z, square, pool, lambda steps: None, compiled=compiled)
        squares.append(square)
    for square in squares[1:]:
        np.testing.assert_array_equal(square, squares[0])


@settings(max_examples=examples(30), deadline=None)
@given(n=st.integers(5, 60), at_once=st.integers(4, 30), seed=st.integers(0, 1000), data=st.data())
def test_problems_of_few_leaves_are_never_worse_than_the_plain_order(n, at_once, seed, data):
    condensed, Z = distances_and_tree(n, data.draw(st.sampled_from(METHODS)), seed, ties=seed % 2)
    turned = optimal_leaf_ordering(Z, condensed, leaves_at_once=at_once)
    assert_same_tree(Z, turned)
    best = neighbor_sum(optimal_leaf_ordering(Z, condensed), condensed)
    assert best * (1 - 1e-12) <= neighbor_sum(turned, condensed) <= neighbor_sum(Z, condensed)


@pytest.mark.parametrize("method", METHODS)
def test_problems_gain_most_of_what_there_is(method):
    condensed, Z = distances_and_tree(400, method)
    plain = neighbor_sum(Z, condensed)
    best = plain - neighbor_sum(optimal_leaf_ordering(Z, condensed), condensed)
    gained = plain - neighbor_sum(
        optimal_leaf_ordering(Z, condensed, leaves_at_once=128), condensed
    )
    assert gained > 0.9 * best


def test_a_function_is_asked_for_bounded_blocks_of_few_distances(monkeypatch):
    condensed, Z = distances_and_tree(500, "ward", blobs=True)
    square = squareform(condensed)
    asked = []

    def blocks(rows, columns):
        asked.append((len(rows), len(columns)))
        return square[np.ix_(rows, columns)].astype(np.float32)

    turned = optimal_leaf_ordering(Z, blocks, leaves_at_once=50)
    held = optimal_leaf_ordering(Z, square.astype(np.float32), leaves_at_once=50)
    np.testing.assert_array_equal(turned, held)
    assert max(columns for _, columns in asked) <= 64
    assert sum(rows * columns for rows, columns in asked) < 500 * (2 * 64 + 2 * 50)


@pytest.mark.slow
def test_a_long_chain_in_parts():
    n = 20_000
    Z = chain(n)
    places = np.random.default_rng(0).permutation(n).astype(float)

    def blocks(rows, columns):
        return np.abs(places[rows, None] - places[columns])

    turned = optimal_leaf_ordering(Z, blocks, leaves_at_once=500)
    assert_same_tree(Z, turned)
    # A leaf may stand at either end of all those below it: at least the nearer one is found.
    assert neighbor_sum(turned, blocks) < 0.7 * neighbor_sum(Z, blocks)


@pytest.mark.parametrize("steps", [1e9, 0, _reach.ENTRY_STEPS])
def test_equal_distances_leave_the_order_as_it_is(steps, monkeypatch):
    monkeypatch.setattr(_reach, "ENTRY_STEPS", steps)
    for n in (2, 3, 30, 100):
        Z = hierarchy.linkage(np.ones(n * (n - 1) // 2), "average")
        turned = optimal_leaf_ordering(Z, np.ones(n * (n - 1) // 2))
        np.testing.assert_array_equal(turned, Z)
        assert turned is not Z


@pytest.mark.parametrize(
    "steps", [1e9, pytest.param(0, marks=pytest.mark.slow), _reach.ENTRY_STEPS]
)
def test_progress_ends_it_and_counts_to_the_end(monkeypatch, steps):
    monkeypatch.setattr(_reach, "ENTRY_STEPS", steps)
    monkeypatch.setattr(_exact, "ENTRY_STEPS", steps)
    condensed, Z = distances_and_tree(1200, "complete", blobs=True)
    monkeypatch.setattr(_exact, "_MOST_STEPS_IN_ONE_THREAD", 100_000)
    told = []
    optimal_leaf_ordering(Z, condensed, threads=2, progress=lambda *now: told.append(now))
    done, totals = np.array(told).T
    assert (np.diff(done) >= 0).all()
    assert done[0] == 0
    assert len(set(totals)) == 1
    assert done[-1] == totals[0]
    assert len(told) > 20
    # All of the work is counted, and nothing twice: it does not stand still at the end.
    before = done[done < totals[0]].max()
    assert 0.98 * totals[0] < before
    assert (done == totals[0]).sum() < 4

    def stop(done, total):
        if done > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        optimal_leaf_ordering(Z, condensed, threads=2, progress=stop)


def test_what_does_not_fit_is_refused():
    condensed, Z = distances_and_tree(40)
    with pytest.raises(DataValueError, match=r"of 40 leaves .* 780 entries, .* shape \(779,\)"):
        optimal_leaf_ordering(Z, condensed[1:])
    with pytest.raises(DataValueError, match="at least 4, got 3"):
        optimal_leaf_ordering(Z, condensed, leaves_at_once=3)
    with pytest.raises(DataValueError, match=r"\(40, 40\), got \(39, 40\)"):
        optimal_leaf_ordering(Z, lambda rows, columns: np.zeros((len(rows) - 1, len(columns))))
    condensed[7] = np.inf
    with pytest.raises(DataValueError, match="finite"):
        optimal_leaf_ordering(Z, condensed)
    with pytest.raises(DataValueError, match="finite"):
        optimal_leaf_ordering(Z, lambda i, j: np.full((len(i), len(j)), np.nan))


@pytest.mark.parametrize("make", [chain, pytest.param(random_tree, marks=pytest.mark.slow)])
def test_measured_memory_is_what_it_says(make):
    n = 1500
    Z = make(n)
    condensed = np.random.default_rng(0).random(n * (n - 1) // 2)
    optimal_leaf_ordering(Z, condensed)  # loads the compiler
    for at_once in (None, 300):
        tracemalloc.start()
        optimal_leaf_ordering(Z, condensed, leaves_at_once=at_once)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert 8 * (at_once or n) ** 2 < peak < ordering_bytes(n, at_once)


def test_memory_is_bounded_by_the_problem():
    assert ordering_bytes(optimal.MAX_LEAVES_ORDERED_EXACTLY) < 4.1e9
    assert ordering_bytes(10**6) < 1.2e9
    assert ordering_bytes(10**6, 1000) < ordering_bytes(10**6)


def test_what_is_reached_is_the_same_bits_in_every_engine(monkeypatch):
    monkeypatch.setattr(_reach, "_ENTRIES_A_PIECE", 1)
    rng = np.random.default_rng(0)
    for shape in ((1, 1), (200, 1), (1, 300), (130, 517), (64, 256)):
        block, rows, columns = rng.random(shape), rng.random(shape[0]), rng.random(shape[1])
        expected = (block + columns).min(axis=1), (block + rows[:, None]).min(axis=0)
        for compiled, threads in ((False, 1), (True, 1), (True, 3)):
            with _exact.workers(threads) as pool:
                reach = _reach.Reach(
                    square=block,
                    shape=None,
                    pool=pool,
                    advance=lambda steps: None,
                    compiled=compiled,
                )
                for found, wanted in zip(reach.relax(block, rows, columns), expected, strict=True):
                    np.testing.assert_array_equal(found, wanted)


@pytest.mark.slow
def test_the_top_of_a_tree_takes_a_fraction_of_the_steps():
    _, Z = distances_and_tree(3000, "ward", blobs=True)
    start, size = places(Z)
    squares = _min_plus.joins_of(Z, start, size).steps
    is_whole, steps = _reach.choose_whole(Z, size, squares)
    assert steps == _exact.ordering_steps(Z) < 0.1 * squares[:-1].sum() < 3000**3 / 6
    # What is asked is above what is squared.
    children = Z[:, :2].astype(int) - len(Z) - 1
    for t in np.flatnonzero(is_whole):
        assert all(child < 0 or is_whole[child] for child in children[t])
    assert 2 < (~is_whole).sum() < 300
    # Of a chain no question pays.
    assert choose_whole_of(chain(500)) == 1


def choose_whole_of(Z):
    """How many merges of a tree are asked instead of squared."""
    start, size = places(Z)
    return (~_reach.choose_whole(Z, size, _min_plus.joins_of(Z, start, size).steps)[0]).sum()


@pytest.mark.parametrize("given_as", ["condensed", "square", "function"])
@pytest.mark.parametrize("compiled", [False, True])
def test_all_entries_are_told_once(monkeypatch, compiled, given_as):
    if compiled:
        monkeypatch.setattr(_distances, "MOST_LEAVES_WITHOUT_COMPILER", 0)
    for n in (5, 129, 301):  # their triangles, and pieces of these, have odd numbers of entries
        square = squareform(np.random.default_rng(n).random(n * (n - 1) // 2))
        forms = {
            "condensed": squareform(square),
            "square": square,
            "function": lambda rows, columns, square=square: square[np.ix_(rows, columns)],
        }
        told = []
        source = _distances.source_of(forms[given_as], n)
        source.square(np.random.default_rng(0).permutation(n), None, told.append)
        assert sum(told) == n * (n + 1) // 2
