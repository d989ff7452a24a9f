"""Products are bounds; the order of points; cuts that follow from the clusters alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clustergrid.pipeline.hierarchy._clusters import (
    CODES,
    add_pair,
    nothing_yet,
    open_clusters,
)
from clustergrid.pipeline.points._bounds import at_left, bound_operands, share_of_roundings
from clustergrid.pipeline.points._near_order import near_order, order_in_groups
from clustergrid.pipeline.points._squares import (
    HALF,
    PLAIN,
    ROOT,
    add_squares,
    fill_panels,
    join,
    of_square,
)
from clustergrid.pipeline.points.layout import Layout, cut_strips
from tests.budget import examples
from tests.pipeline.points.cases import some_clusters

MAKE = {
    "normal": lambda rng, n, k: rng.normal(size=(n, k)),
    "heavy tails": lambda rng, n, k: rng.standard_t(1.0, size=(n, k)),
    "near one another": lambda rng, n, k: 1.0 + 1e-7 * rng.normal(size=(n, k)),
    "one far away": lambda rng, n, k: np.vstack([rng.normal(size=(n - 1, k)), np.full(k, 1e9)]),
    "many scales": lambda rng, n, k: 10.0 ** rng.uniform(-12, 3, (n, 1)) * rng.normal(size=(n, k)),
    "equal": lambda rng, n, k: np.ones((n, k)),
}


@pytest.mark.parametrize("kind", MAKE)
@settings(max_examples=examples(40), deadline=None)
@given(seed=st.integers(0, 2**32 - 1), k=st.sampled_from([1, 2, 7, 34, 300, 2000]))
def test_products_are_bounds_of_squares(kind, seed, k):
    rng = np.random.default_rng(seed)
    n = 24
    rows = MAKE[kind](rng, n, k)
    centre = rows[rng.integers(0, n, 3)].mean(axis=0)
    longest = np.sqrt(np.square(rows - rows.mean(axis=0)).sum(axis=1).max())
    scale = float(np.ldexp(1.0, -int(np.frexp(longest)[1])))
    share, everything = share_of_roundings(k), np.arange(n)
    right = np.empty((n, k + 2), np.float32)
    bound_operands(rows, everything, centre, scale, share, right)
    left = at_left(right)
    squares = np.square((rows[:, None] - rows) * scale).sum(axis=2)
    assert (left @ right.T <= squares + 1e-30).all()
    if kind == "normal":
        # Else anything would be a bound, and nobody would see it.
        far = squares > 0.01
        assert (left @ right.T)[far].sum() > 0.9 * squares[far].sum()


@pytest.mark.parametrize("form", [PLAIN, ROOT, HALF])
@pytest.mark.parametrize("method", ["single", "complete", "average", "ward"])
@settings(max_examples=examples(10), deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n_left=st.sampled_from([1, 7, 8, 9, 24, 63, 64, 65, 100, 137]),
    n_right=st.integers(1, 9),
    k=st.integers(1, 9),
)
def test_panels_have_the_bits_of_one_pair_after_another(form, method, seed, n_left, n_right, k):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(200, k))
    left, right = rng.permutation(200)[:n_left], rng.permutation(200)[:n_right]
    left_weights, right_weights = rng.uniform(0.5, 2, n_left), rng.uniform(0.5, 2, n_right)
    left_units, right_units = rng.integers(0, 3, n_left), np.sort(rng.integers(0, 2, n_right))
    code = CODES[method]
    totals = np.full((3, 2), nothing_yet.python(code))
    own = totals.copy()
    to_right = (rows, right, right_weights, right_units, form, code)
    add_squares(fill_panels(rows, left), left_weights, left_units, *to_right, totals)
    is_extreme = method in ("single", "complete")
    for point, weight, unit in zip(left, left_weights, left_units, strict=True):
        sums = np.full(2, nothing_yet.python(code))
        for other, by, to in zip(right, right_weights, right_units, strict=True):
            square = np.add.accumulate((rows[point] - rows[other]) ** 2)[-1]
            value = square if is_extreme else of_square.python(square, form)
            sums[to] = add_pair.python(code, sums[to], value, by)
        for to in range(2):
            own[unit, to] = join.python(code, own[unit, to], weight, sums[to])
    np.testing.assert_array_equal(totals, own)


@pytest.mark.parametrize("order", [near_order, order_in_groups])
@pytest.mark.parametrize("n", [0, 1, 15, 16, 17, 1000])
def test_orders_hold_every_point_once(n, order):
    for rows in (np.random.default_rng(n).normal(size=(n, 3)), np.ones((n, 3))):
        np.testing.assert_array_equal(np.sort(order(rows, 16)), np.arange(n))


def test_directions_tell_groups_apart_that_no_feature_does():
    rng = np.random.default_rng(0)
    is_second = rng.random(2000) < 0.5
    rows = rng.normal(size=(2000, 100)) + 0.6 * np.where(is_second, 1, -1)[:, None]
    leaves = is_second[order_in_groups(rows, 50)].reshape(-1, 50).mean(axis=1)
    assert np.median(np.minimum(leaves, 1 - leaves)) == 0
    leaves = is_second[near_order(rows, 50)].reshape(-1, 50).mean(axis=1)
    assert np.median(np.minimum(leaves, 1 - leaves)) > 0.05


def test_leaves_are_of_near_points():
    rows = np.random.default_rng(0).normal(size=(4096, 2))
    leaves = rows[near_order(rows, 64)].reshape(64, 64, 2)
    assert np.median(leaves.std(axis=1)) < 0.2


@settings(max_examples=examples(50), deadline=None)
@given(n=st.integers(1, 200), n_merges=st.integers(0, 199), edge=st.integers(1, 64))
def test_cuts_hold_every_pair_of_clusters_once(n, n_merges, edge):
    n_merges = min(n_merges, n - 1)
    clusters = some_clusters(n, "average", n_merges=n_merges)
    layout = Layout.of(clusters, edge)
    m = n - n_merges
    assert len(layout) == m
    np.testing.assert_array_equal(np.sort(layout.points), np.arange(n))
    assert layout.groups[0][0] == 0
    assert layout.groups[-1][1] == m
    for (first, last), (after, _) in zip(layout.groups, layout.groups[1:], strict=False):
        assert last == after
        assert last - first == 1 or layout.counts[first:last].sum() <= edge
    cluster_of = np.repeat(np.arange(m), layout.counts)

    def seen(strips):
        times = np.zeros((n, m), np.int64)
        for strip in strips:
            members, of = layout.members(strip.owners)
            assert len(of) == len(members)
            members = members[strip.members]
            first, last = layout.groups[strip.first_group][0], layout.groups[strip.last_group][1]
            times[members, first:last] += 1
            assert strip.work == len(members) * (layout.starts[last] - layout.starts[first])
        return times

    upper = cluster_of[:, None] <= np.arange(m)
    np.testing.assert_array_equal(seen(cut_strips(layout))[upper], 1)
    for most in (1, 40, 300):
        strips = cut_strips(layout, most_distances=most)
        np.testing.assert_array_equal(seen(strips)[upper], 1)
        for strip in strips:
            first, last = layout.groups[strip.first_group][0], layout.groups[strip.last_group][1]
            is_few = len(strip.owners) * (last - first) <= most
            assert is_few or strip.part is not None or strip.first_group == strip.last_group
    owners = np.random.default_rng(0).permutation(m)[: m // 2 + 1]
    of_owners = np.isin(cluster_of, owners)
    for n_wanted in (1, 4, 50):
        for across, most in ((False, None), (True, None), (True, 40)):
            strips = cut_strips(
                layout, owners, n_wanted=n_wanted, across=across, most_distances=most
            )
            times = seen(strips)
            assert (times[of_owners] == 1).all()
            assert (times[~of_owners] == 0).all()
        strips = cut_strips(layout, owners, n_wanted=n_wanted, most_points=3 * edge)
        assert (seen(strips)[of_owners] == 1).all()
        for strip in strips:
            counts = layout.counts[strip.owners]
            assert len(counts) == 1 or (counts.sum() <= 3 * edge and counts.max() <= edge)


def test_a_cluster_is_cut_where_it_always_is():
    clusters = open_clusters(np.ones(100, np.int64), "average")
    layout = Layout.of(clusters, 10)
    assert [s.members for s in cut_strips(layout)] == [slice(0, 10)] * 10
    assert all(s.part is None for s in cut_strips(layout))
