"""Trees of distances at rest: SciPy's, within their memory, in few reads."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist

from clustergrid.pipeline.errors import MemoryLimitError
from clustergrid.pipeline.execution import DaskExecutor, SerialExecutor, ThreadsExecutor
from clustergrid.pipeline.hierarchy import REDUCIBLE_METHODS
from clustergrid.pipeline.monitor import Progress
from clustergrid.pipeline.stored import regions
from clustergrid.pipeline.stored.memory import StoredMemory
from clustergrid.pipeline.stored.tree import stored_tree
from clustergrid.storage.errors import DataValueError
from tests.budget import examples
from tests.pipeline.hierarchy.kinds import (
    KINDS,
    UNTIED,
    assert_every_merge_is_a_minimum,
    assert_scipys,
)
from tests.pipeline.stored.matrices import PLACES, tiles_at_rest, tiles_in, tiles_in_memory

pytestmark = pytest.mark.quick_cases(one_in=8)


def tree_of(distances, method, *, memory_bytes=10**9, executor=None, **options):
    return stored_tree(
        distances,
        method,
        memory_bytes=memory_bytes,
        executor=executor or SerialExecutor(),
        progress=Progress(),
        name="linkage",
        **options,
    )


@pytest.mark.parametrize("method", REDUCIBLE_METHODS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [2, 3, 60, 400])
def test_heights_and_clades_are_scipys(monkeypatch, n, kind, method):
    monkeypatch.setattr(regions, "REGION_ROWS", 64)
    monkeypatch.setattr(regions, "REGION_COLUMNS", 128)
    vector = pdist(KINDS[kind](np.random.default_rng(n), n))
    if kind not in UNTIED and method not in ("single", "complete") and n > 3:
        return  # which of equals are merged first may change heights further up
    for dtype in (np.float64, np.float32):
        given = vector.astype(dtype)
        if kind not in UNTIED and method != "single":
            continue
        for n_neighbors in (1, 6, 64):
            Z = tree_of(tiles_in_memory(given, 32), method, n_neighbors=n_neighbors)
            assert_scipys(Z, given, method, untied=kind in UNTIED and dtype == np.float64)


@pytest.mark.parametrize("n", [25, 130])
@pytest.mark.parametrize("method", REDUCIBLE_METHODS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_merge_is_a_minimum(monkeypatch, kind, method, n):
    monkeypatch.setattr(regions, "REGION_ROWS", 64)
    monkeypatch.setattr(regions, "REGION_COLUMNS", 128)
    vector = pdist(KINDS[kind](np.random.default_rng(0), n))
    for n_neighbors in (2, 64):
        Z = tree_of(tiles_in_memory(vector, 32), method, n_neighbors=n_neighbors)
        assert_every_merge_is_a_minimum(Z, vector, method)


@settings(
    max_examples=examples(60),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    data=st.data(),
    n=st.integers(2, 14),
    edge=st.integers(1, 14),
    n_neighbors=st.integers(1, 14),
    method=st.sampled_from(REDUCIBLE_METHODS),
)
def test_any_small_integer_distances(data, n, edge, n_neighbors, method):
    size = n * (n - 1) // 2
    values = data.draw(st.lists(st.integers(0, 4), min_size=size, max_size=size))
    vector = np.array(values, dtype=np.float64)
    Z = tree_of(tiles_in_memory(vector, edge), method, n_neighbors=n_neighbors)
    assert_every_merge_is_a_minimum(Z, vector, method)


@pytest.mark.parametrize("kind", ["low rank", "hub", "equal distances", "duplicated"])
@pytest.mark.parametrize("method", ["average", "ward"])
def test_the_same_bits_wherever_tiles_are(tmp_path, client, kind, method):
    vector = pdist(KINDS[kind](np.random.default_rng(5), 90)).astype(np.float32)
    expected = tree_of(tiles_in_memory(vector, 90), method, n_neighbors=8, threads=1)
    for place in PLACES:
        for edge in (16, 50):
            distances = tiles_in(place, vector, edge, tmp_path / f"{place}{edge}")
            for threads, executor in ((1, None), (3, ThreadsExecutor(3))):
                Z = tree_of(distances, method, n_neighbors=8, threads=threads, executor=executor)
                np.testing.assert_array_equal(Z, expected)
    distances = tiles_at_rest(vector, 16, tmp_path / "dask")
    Z = tree_of(distances, method, n_neighbors=8, executor=DaskExecutor(client))
    np.testing.assert_array_equal(Z, expected)


@pytest.mark.slow
def test_worker_processes_make_the_same_lists(tmp_path, worker_process):
    vector = pdist(np.random.default_rng(3).normal(size=(600, 5))).astype(np.float32)
    distances = tiles_at_rest(vector, 128, tmp_path)
    expected = tree_of(distances, "average", n_neighbors=16)
    Z = tree_of(distances, "average", n_neighbors=16, executor=DaskExecutor(worker_process))
    np.testing.assert_array_equal(Z, expected)


@pytest.mark.parametrize("method", ["centroid", "median"])
def test_methods_that_bring_clusters_nearer_are_refused(method):
    distances = tiles_in_memory(np.ones(10), 5)
    with pytest.raises(DataValueError, match=f"{method} linkage of 5 .* in memory .*200 B"):
        tree_of(distances, method)
    with pytest.raises(DataValueError, match="Invalid method: foo"):
        tree_of(distances, "foo")


def test_too_little_memory_is_refused_with_what_would_do():
    distances = tiles_in_memory(np.ones(300 * 299 // 2), 300)
    with pytest.raises(MemoryLimitError, match="give more, or put the distances into") as caught:
        tree_of(distances, "average", memory_bytes=10**6)
    Z = tree_of(distances, "average", memory_bytes=caught.value.needed_bytes)
    assert len(Z) == 299


def test_one_observation_has_an_empty_tree():
    assert tree_of(tiles_in_memory(np.empty(0), 1), "average").shape == (0, 4)


def test_memory_of_both_parts():
    memory = StoredMemory(n=60_000, tile_edge=2048, itemsize=4)
    most = memory.most_clusters(3 * 10**9)
    square = most**2 * 8 * 1.05
    assert (
        square + memory.region_bytes + memory.reading_bytes
        <= 3 * 10**9
        <= 1.02 * (square + memory.region_bytes + memory.reading_bytes)
    )
    assert memory.listing_bytes(3 * 10**9) + memory.lists_bytes < 3 * 10**9
    assert memory.most_clusters(10**12) == 60_000
    assert memory.shortened(10**9).n_neighbors == 128
    assert memory.shortened(1).n_neighbors == 16
    wide = StoredMemory(n=60_000, tile_edge=4096, itemsize=8)
    assert wide.least_bytes > memory.least_bytes


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_memory_and_reads_are_kept(tmp_path, dtype):
    # A mixture, whose tree is not done by the lists alone.
    rng = np.random.default_rng(0)
    n = 20_000
    points = 2 * rng.normal(size=(40, 20))[rng.integers(0, 40, n)] + rng.normal(size=(n, 20))
    from clustergrid.pipeline import pdist as our_pdist

    our_pdist(points.astype(dtype), store=tmp_path / "d", memory="2GB")
    # Neither the square nor the packed tiles fit.
    limit = 500_000_000 if dtype == "float32" else 900_000_000
    found = subprocess.run(
        [sys.executable, "-c", _PEAK, str(tmp_path / "d"), str(limit)],
        check=True,
        capture_output=True,
        text=True,
    )
    used, reads = (float(word) for word in found.stdout.split())
    assert used <= limit
    assert reads <= 5


_PEAK = """
import sys
import numpy as np
from clustergrid.pipeline.execution import ThreadsExecutor
from clustergrid.pipeline.monitor import Progress
from clustergrid.pipeline.stored import tree
from clustergrid.pipeline.stored.source import StoredSource
from clustergrid.pipeline import pdist
from clustergrid.storage.condensed import open_condensed

def status(name):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(name))

where = {"progress": Progress(), "name": "linkage", "threads": 2}
# Compiles, loads and caches what the measured call needs.
few = pdist(np.random.default_rng(1).normal(size=(3000, 4)).astype("float32"))
tree.stored_tree(few, "average", memory_bytes=10**9, **where)
sources = []

class Kept(StoredSource):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        sources.append(self)

tree.StoredSource = Kept
stored = open_condensed(sys.argv[1])
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")
before = status("VmRSS")
Z = tree.stored_tree(stored, "average", memory_bytes=int(sys.argv[2]), **where)
assert len(Z) == stored.n - 1
print(status("VmHWM") - before, sources[0].reads)
"""
