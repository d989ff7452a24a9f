"""Distances at rest as a source: against the vector in memory, the definition, and itself."""

import pickle
import weakref

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist, squareform

from clustergrid.pipeline.execution import DaskExecutor, SerialExecutor, ThreadsExecutor
from clustergrid.pipeline.hierarchy import REDUCIBLE_METHODS, Duplicates
from clustergrid.pipeline.hierarchy._clusters import open_clusters
from clustergrid.pipeline.hierarchy.condensed import CondensedSource
from clustergrid.pipeline.stored import lists as lists_module
from clustergrid.pipeline.stored import regions
from clustergrid.pipeline.stored.source import StoredSource
from clustergrid.storage.errors import DataValueError, TileError
from tests.budget import examples
from tests.pipeline.hierarchy.kinds import KINDS, definition
from tests.pipeline.stored.matrices import PLACES, merged, tiles_at_rest, tiles_in, tiles_in_memory

pytestmark = pytest.mark.quick_cases(one_in=8)


def silent(share):
    assert 0 <= share <= 1


def source_of(distances, *, executor=None, threads=1, listing_bytes=10**9):
    executor = executor or SerialExecutor()
    return StoredSource(distances, executor=executor, threads=threads, listing_bytes=listing_bytes)


@pytest.fixture
def small_regions(monkeypatch):
    """Regions of 16 rows and 24 columns, so that small matrices have many."""
    monkeypatch.setattr(regions, "REGION_ROWS", 16)
    monkeypatch.setattr(regions, "REGION_COLUMNS", 24)


def vector_of(kind, n, dtype=np.float64, seed=0):
    return pdist(KINDS[kind](np.random.default_rng(seed), n)).astype(dtype)


def assert_same_lists(one, other):
    """Compare what is in lists, whatever the order of their entries."""
    np.testing.assert_array_equal(one.counts, other.counts)
    np.testing.assert_array_equal(one.tau, other.tau)
    for row, count in enumerate(one.counts):
        order, others = (np.argsort(lists.ids[row, :count]) for lists in (one, other))
        for name in ("ids", "bounds", "exact"):
            found = getattr(one, name)[row, :count][order]
            np.testing.assert_array_equal(found, getattr(other, name)[row, :count][others])


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_lists_are_those_of_a_vector_in_memory(tmp_path, place, dtype):
    for kind in ("normal", "integers", "equal distances"):
        vector = vector_of(kind, 90, dtype)
        clusters = open_clusters(np.ones(90, np.int64), "average")
        for edge in (7, 32, 90):
            distances = tiles_in(place, vector, edge, tmp_path / f"{kind}{edge}")
            for n_neighbors in (1, 5, 40, 89, 200):
                expected = CondensedSource(vector).nearest_points(
                    clusters, "average", n_neighbors, silent
                )
                source = source_of(distances)
                found = source.nearest_points(clusters, "average", n_neighbors, silent)
                assert_same_lists(found, expected)
                assert source.reads == 1


@pytest.mark.parametrize("kind", ["low rank", "integers", "hub"])
def test_every_executor_makes_the_same_lists(tmp_path, client, kind):
    vector = vector_of(kind, 200, np.float32)
    distances = tiles_at_rest(vector, 32, tmp_path)
    clusters = open_clusters(np.ones(200, np.int64), "ward")
    expected = CondensedSource(vector).nearest_points(clusters, "ward", 9, silent)
    for executor in (ThreadsExecutor(2), ThreadsExecutor(5), DaskExecutor(client)):
        source = source_of(distances, executor=executor)
        assert_same_lists(source.nearest_points(clusters, "ward", 9, silent), expected)


def test_news_of_what_lists_take_may_be_old(monkeypatch):
    vector = vector_of("integers", 120)
    clusters = open_clusters(np.ones(120, np.int64), "average")
    distances = tiles_in_memory(vector, 16)
    expected = source_of(distances).nearest_points(clusters, "average", 6, silent)
    found = []
    real = lists_module._run

    def forget(task, work):
        # As if every task had been handed out before the first one ended.
        for reach in (work.row_reach, work.column_reach):
            reach[:] = np.inf
        tile, near = real(task, work)
        found.append(len(near.ids))
        return tile, near

    monkeypatch.setattr(lists_module, "_run", forget)
    assert_same_lists(source_of(distances).nearest_points(clusters, "average", 6, silent), expected)
    found_late = sum(found)
    found.clear()
    monkeypatch.setattr(
        lists_module,
        "_run",
        lambda task, work: (lambda r: (found.append(len(r[1].ids)), r)[1])(real(task, work)),
    )
    source_of(distances).nearest_points(clusters, "average", 6, silent)
    assert sum(found) < found_late / 1.5


def test_ward_of_points_that_stand_for_several_observations():
    rng = np.random.default_rng(2)
    vector = pdist(rng.normal(size=(60, 3))).astype(np.float32)
    clusters = open_clusters(rng.integers(1, 9, 60), "ward")
    expected = CondensedSource(vector).nearest_points(clusters, "ward", 7, silent)
    found = source_of(tiles_in_memory(vector, 16)).nearest_points(clusters, "ward", 7, silent)
    assert_same_lists(found, expected)


def everything(source, clusters, method):
    """All distances three times: of all rows, of the square, of all pairs."""
    slots = np.flatnonzero(clusters.live)
    upper = np.triu_indices(len(slots), 1)
    square = source.square(clusters, method, silent)
    pairs = source.distances(clusters, method, slots[upper[0]], slots[upper[1]], silent)
    turned = source.distances(clusters, method, slots[upper[1]], slots[upper[0]], silent)
    np.testing.assert_array_equal(pairs, turned)
    return source.rows(clusters, method, slots, silent), square, squareform(pairs)


@pytest.mark.parametrize("method", REDUCIBLE_METHODS)
@pytest.mark.parametrize("kind", ["normal", "heavy tails", "hub", "integers"])
def test_distances_between_clusters_are_those_of_the_definition(small_regions, kind, method):
    vector = vector_of(kind, 80)
    clusters = merged(vector, method)
    slots = np.flatnonzero(clusters.live)
    assert len(slots) < 75
    members = np.zeros((len(slots), 80))
    for row, slot in enumerate(slots):
        member = slot
        while member >= 0:
            members[row, member] = clusters.weights[member] / clusters.masses[slot]
            member = clusters.next_member[member]
    expected = definition(method, squareform(vector), members)
    rows, square, pairs = everything(source_of(tiles_in_memory(vector, 12)), clusters, method)
    off = ~np.eye(len(slots), dtype=bool)
    np.testing.assert_allclose(rows[off], expected[off], rtol=1e-9)
    np.testing.assert_allclose(square[off], pairs[off], rtol=1e-12)
    np.testing.assert_allclose(rows[off], pairs[off], rtol=1e-12)
    if method in ("single", "complete"):
        np.testing.assert_array_equal(rows[off], pairs[off])
        np.testing.assert_array_equal(square[off], pairs[off])
    assert np.isinf(np.diag(rows)).all()
    np.testing.assert_array_equal(square, square.T)


@settings(
    max_examples=examples(60),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(2, 70),
    edge=st.integers(1, 70),
    threads=st.integers(1, 4),
    method=st.sampled_from(REDUCIBLE_METHODS),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_any_tiles_and_threads_give_the_same_bits(
    small_regions, seed, n, edge, threads, method, dtype
):
    vector = pdist(np.random.default_rng(seed).normal(size=(n, 3))).astype(dtype)
    clusters = merged(vector, method, n_neighbors=1 + seed % 5)
    expected = everything(source_of(tiles_in_memory(vector, n)), clusters, method)
    found = everything(source_of(tiles_in_memory(vector, edge), threads=threads), clusters, method)
    off = ~np.eye(len(expected[0]), dtype=bool)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one[off], other[off])


@pytest.mark.parametrize("method", REDUCIBLE_METHODS)
def test_bits_of_a_row_do_not_depend_on_the_others(small_regions, method):
    vector = vector_of("heavy tails", 90)
    clusters = merged(vector, method)
    slots = np.flatnonzero(clusters.live)
    source = source_of(tiles_in_memory(vector, 16), threads=2)
    together = source.rows(clusters, method, slots[::-1], silent)
    for row, slot in enumerate(slots[::-1]):
        alone = source.rows(clusters, method, np.array([slot]), silent)
        np.testing.assert_array_equal(alone[0], together[row])


@pytest.mark.parametrize("place", PLACES)
def test_any_place_gives_the_same_bits(small_regions, tmp_path, place):
    vector = vector_of("low rank", 75, np.float32)
    clusters = merged(vector, "average")
    expected = everything(source_of(tiles_in_memory(vector, 8)), clusters, "average")
    found = everything(source_of(tiles_in(place, vector, 8, tmp_path)), clusters, "average")
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("method", REDUCIBLE_METHODS)
def test_lists_of_clusters_are_the_nearest_of_their_rows(small_regions, method):
    vector = vector_of("hub", 90)
    clusters = merged(vector, method)
    slots = np.flatnonzero(clusters.live)
    owners = slots[::3]
    expected = source_of(tiles_in_memory(vector, 16)).rows(clusters, method, owners, silent)
    for listing_bytes in (1, 8 * 5 * len(slots), 10**9):
        source = source_of(tiles_in_memory(vector, 16), threads=2, listing_bytes=listing_bytes)
        found = source.nearest_clusters(clusters, method, 4, owners, silent)
        for owner, row in enumerate(expected):
            nearest = np.lexsort((slots, row))[:4]
            assert set(found.ids[owner, :4]) == set(slots[nearest])
            assert found.tau[owner] == row[nearest[-1]]
            assert found.counts[owner] == 4
            assert found.exact[owner].all()
    # So much memory as there is, so many owners in a pass.
    at_once = source_of(tiles_in_memory(vector, 16))
    at_once.nearest_clusters(clusters, method, 4, owners, silent)
    two_by_two = source_of(tiles_in_memory(vector, 16), listing_bytes=16 * len(slots))
    two_by_two.nearest_clusters(clusters, method, 4, owners, silent)
    assert at_once.reads < 2
    assert 2 * at_once.reads < two_by_two.reads <= -(-len(owners) // 2) * at_once.reads


def test_rows_are_gone_with_the_lists_that_were_made_of_them(monkeypatch):
    # As a kernel's compiler does, when the kernel is called for the first time.
    held = []
    real = StoredSource.rows

    def hold(self, *args):
        rows = real(self, *args)
        cycle = [rows]
        cycle.append(cycle)
        held.append(weakref.ref(rows))
        return rows

    monkeypatch.setattr(StoredSource, "rows", hold)
    clusters = open_clusters(np.ones(40, np.int64), "average")
    source = source_of(tiles_in_memory(vector_of("normal", 40), 16))
    source.nearest_clusters(clusters, "average", 3, np.arange(4), silent)
    assert held[0]() is None


def test_lists_of_all_clusters_have_no_certificate_to_keep():
    vector = vector_of("normal", 30)
    clusters = merged(vector, "complete")
    slots = np.flatnonzero(clusters.live)
    found = source_of(tiles_in_memory(vector, 8)).nearest_clusters(
        clusters, "complete", 64, slots[:2], silent
    )
    assert np.isinf(found.tau).all()
    assert (found.counts == len(slots) - 1).all()


def test_what_is_read_is_what_is_needed(small_regions):
    vector = vector_of("normal", 128)
    clusters = open_clusters(np.ones(128, np.int64), "average")
    distances = tiles_in_memory(vector, 8)
    pair = np.array([3]), np.array([60])
    source = source_of(distances)
    source.square(clusters, "average", silent)
    assert source.reads == 1
    source = source_of(distances)
    assert source.values_read(clusters, *pair) == 64
    source.distances(clusters, "average", *pair, silent)
    assert source.reads == 64 / distances.grid.n_values
    source = source_of(distances)
    source.rows(clusters, "average", np.array([50, 53]), silent)
    # Points 48 to 55 are in six tiles above the diagonal, one on it and nine behind it.
    assert source.reads == 16 * 64 / distances.grid.n_values
    # Tiles that two regions share are read for both.
    large = source_of(tiles_in_memory(vector, 32))
    large.square(clusters, "average", silent)
    assert 1 < large.reads <= 4


def damage(folder, flip):
    """Lose a chunk, or flip a bit in it."""
    chunk = next(iter(sorted((folder / "condensed_row" / "tiles" / "c").rglob("*"))))
    while chunk.is_dir():
        chunk = next(iter(sorted(chunk.iterdir())))
    if not flip:
        chunk.unlink()
        return
    content = bytearray(chunk.read_bytes())
    content[40] ^= 4
    chunk.write_bytes(content)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("where", ["loop", "threads", "dask"])
def test_tiles_that_are_missing_or_damaged_are_named(tmp_path, client, where, flip):
    distances = tiles_at_rest(vector_of("normal", 64), 16, tmp_path)
    damage(tmp_path, flip)
    executors = {
        "loop": SerialExecutor(),
        "threads": ThreadsExecutor(2),
        "dask": DaskExecutor(client),
    }
    clusters = open_clusters(np.ones(64, np.int64), "average")
    source = source_of(distances, executor=executors[where], threads=2)
    said = "tile \\(0, 0\\) of .* is damaged" if flip else "tile \\(0, 0\\) of .* is not there"
    with pytest.raises(TileError, match=said):
        source.nearest_points(clusters, "average", 3, silent)
    with pytest.raises(TileError, match=said):
        source.square(clusters, "average", silent)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_distance_that_is_not_finite_is_named(bad):
    vector = np.ones(64 * 63 // 2)
    square = squareform(vector)
    square[21, 50] = square[50, 21] = bad
    distances = tiles_in_memory(squareform(square, checks=False), 16)
    clusters = open_clusters(np.ones(64, np.int64), "average")
    with pytest.raises(DataValueError, match=f"observations 21 and 50 is {bad}: .*finite values"):
        source_of(distances).nearest_points(clusters, "average", 3, silent)


def test_tiles_in_memory_stay_in_this_process(client):
    vector = vector_of("normal", 50)
    source = source_of(tiles_in_memory(vector, 16), executor=DaskExecutor(client), threads=2)
    assert source._executor.in_process


def test_tasks_take_no_room_along():
    task = lists_module._ListsOfTile(tiles_in_memory(vector_of("normal", 40), 16), 3, None)
    for tile in ((0, 0), (1, 2)):
        reach = np.full(16 if tile == (0, 0) else 8, np.inf)
        task(lists_module._Work(tile=tile, row_reach=np.full(16, np.inf), column_reach=reach))
    assert len(task._rooms) == 1
    assert not pickle.loads(pickle.dumps(task))._rooms


@pytest.mark.parametrize("call", ["nearest_points", "rows", "square", "distances"])
def test_interrupt_ends_the_work(small_regions, call):
    vector = vector_of("normal", 90)
    clusters = open_clusters(np.ones(90, np.int64), "average")
    source = source_of(tiles_in_memory(vector, 16), executor=ThreadsExecutor(2), threads=2)
    some = np.arange(4)
    arguments = {
        "nearest_points": (3,),
        "rows": (some,),
        "square": (),
        "distances": (some, some + 50),
    }[call]

    def interrupt(share):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        getattr(source, call)(clusters, "average", *arguments, interrupt)


def test_duplicates_have_weights(small_regions):
    rng = np.random.default_rng(7)
    points = rng.normal(size=(50, 4))
    of = np.concatenate([np.arange(50), rng.integers(0, 50, 90)])
    start = Duplicates(kept=np.arange(50), duplicate_of=of[50:], row=np.arange(50, 140)).start
    vector = pdist(points)
    for method in REDUCIBLE_METHODS:
        clusters = merged(vector, method, start=start)
        expected = CondensedSource(vector).square(clusters, method, silent)
        found = source_of(tiles_in_memory(vector, 16)).square(clusters, method, silent)
        off = ~np.eye(len(found), dtype=bool)
        np.testing.assert_allclose(found[off], expected[off], rtol=1e-12)
