"""Trees of every source against the square of all distances, whatever the limits and the pieces.

What is compared, and where. `C` complete, `A` average, `W` weighted, `D` ward; `S` single, where a
source makes it. *All metrics* are those of the table and a function of the user's own.

===========================================  ===========  ===========  ===========  ===========
property                                     points       summaries    stored       condensed
===========================================  ===========  ===========  ===========  ===========
served: methods                              C A W        A W D        C A W D S    C A W D S
served: metrics                              all others   those of a   any          any
                                                          mean
heights and clades, against the square:      here         here         here         here
any K, memory, threads, tile edge
bits: threads, tile edges, executors         here         here         here         here
bits: K and memory                           here (C)     here         here (C S)   here (C S)
the least memory that is accepted            here         here         here         here
stopped after any record, and gone on with   here         here         here         here
worker processes, distributed                here         here         here         no tasks
identical rows first                         here         here         (the caller) (the caller)
hard data at the least memory                here         here         here         here
hard data, against SciPy                     points/      summaries/   stored/      hierarchy/
every merge a minimum among ties             points/      summaries/   stored/      hierarchy/
clusters, rows, lists against definitions    points/      summaries/   stored/      hierarchy/
20,000 rows and more                         large        large        large        hierarchy/
===========================================  ===========  ===========  ===========  ===========

``large`` is ``test_hard_trees_large.py``; the others are folders beside this file. Heights of
average, weighted and ward depend on K and on the memory in their last digits, except those of
summaries, which are computed again from the tree.
"""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import cophenet, linkage
from scipy.spatial.distance import pdist

from clustergrid.pipeline.errors import MemoryLimitError
from clustergrid.pipeline.execution import DaskExecutor, ThreadsExecutor
from clustergrid.pipeline.hierarchy import REDUCIBLE_METHODS
from clustergrid.pipeline.hierarchy.limits import Limits
from clustergrid.pipeline.hierarchy.recorded import CALLS
from clustergrid.pipeline.metrics import METRICS as ALL_METRICS
from clustergrid.pipeline.stored import regions
from tests.budget import examples
from tests.pipeline import hard_trees
from tests.pipeline.hard_trees import (
    Asked,
    RowCase,
    Shelf,
    VectorCase,
    assert_same_tree,
    duplicates_of,
    name_of,
    oracle,
    row_case,
    served,
)

pytestmark = pytest.mark.quick_cases(one_in=16)

N_STORED = 700
"""Of fewer points the square of all fits where anything does."""


@cache
def case_of(name):
    """Make a case, once: ``method-metric`` of rows, ``method-stored-dtype`` or ``-condensed-``."""
    method, what, *dtype = name.split("-")
    if dtype:
        n = N_STORED if what == "stored" else 300
        points = np.random.default_rng(3).normal(size=(n, 9))
        points[: n // 2] += 2 * points[:1]
        return VectorCase(method=method, source=what, vector=pdist(points).astype(dtype[0]))
    return row_case(method, NAMED[what])


NAMED = {name_of(metric): metric for metric in hard_trees.METRICS}
ROWS = [f"{method}-{name_of(metric)}" for method, metric in served()]
VECTORS = [
    f"{method}-{source}-{dtype}"
    for source in ("stored", "condensed")
    for method in REDUCIBLE_METHODS
    for dtype in ("float32", "float64")
]
CASES = ROWS + VECTORS
FEW = [
    *("complete-cityblock", "average-euclidean", "weighted-nan_euclidean", "average-jaccard"),
    *("ward-euclidean", "average-correlation", "weighted-sqeuclidean", "average-russellrao"),
    *("average-stored-float32", "complete-stored-float64", "ward-stored-float64"),
    *("single-stored-float32", "weighted-condensed-float64"),
]


@cache
def oracle_of(name):
    return oracle(case_of(name))


@cache
def plain(name):
    return case_of(name).tree()


@pytest.fixture(autouse=True)
def small_regions(monkeypatch):
    """Regions of tiles at rest are so small that there are many."""
    monkeypatch.setattr(regions, "REGION_ROWS", 128)
    monkeypatch.setattr(regions, "REGION_COLUMNS", 256)


ANYHOW = {
    "n_neighbors": st.integers(2, 64),
    "memory_share": st.sampled_from([0.02, 0.1, 0.4, 1.0]),
    "threads": st.integers(1, 3),
    "edge": st.sampled_from([16, 50, 64, 128, 700]),
}


def test_every_metric_is_looked_at():
    assert {name_of(metric) for metric in hard_trees.METRICS} >= set(ALL_METRICS) - {"precomputed"}
    sources = {case_of(name).source for name in CASES}
    assert sources == {"points", "summaries", "stored", "condensed"}


def bits_of_limits(case):
    """Whether not even lists and memory alter a bit."""
    return case.source == "summaries" or case.method in ("single", "complete")


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_no_two_distances_are_equal(name):
    case = case_of(name)
    distances = case.square[np.triu_indices(case.n, 1)]
    # A single float is not told from its neighbour by 200,000 others.
    if case_dtype(case) == np.float64:
        assert len(np.unique(distances)) == len(distances)


def case_dtype(case):
    return case.vector.dtype if isinstance(case, VectorCase) else case.square.dtype


def assert_any_gives_the_tree(name, asked, other):
    case = case_of(name)
    Z = case.tree(asked)
    untied = case_dtype(case) == np.float64
    assert_same_tree(Z, oracle_of(name), untied=untied)
    if bits_of_limits(case) and untied:
        np.testing.assert_array_equal(Z, plain(name))
        asked = other
    # What tiles take is not left for a square.
    edge = asked.edge if case.source == "stored" else other.edge
    again = case.tree(replace(asked, threads=other.threads, edge=edge))
    np.testing.assert_array_equal(again, plain(name) if bits_of_limits(case) and untied else Z)


HYPOTHESIS = {
    "deadline": None,
    "derandomize": True,
    "suppress_health_check": [HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
@settings(max_examples=examples(25), **HYPOTHESIS)
@given(asked=st.builds(Asked, **ANYHOW), other=st.builds(Asked, **ANYHOW))
def test_many_lists_memories_threads_and_edges(name, asked, other):
    assert_any_gives_the_tree(name, asked, other)


@pytest.mark.parametrize("name", [case for case in VECTORS if "-stored-" in case])
def test_edges_of_tiles_and_threads_change_no_bit(name):
    case = case_of(name)
    # So much that it is no matter what tasks hold of it.
    expected = case.tree(Asked(n_neighbors=6))
    for edge, threads in ((7, 1), (50, 2), (128, 3), (700, 2)):
        Z = case.tree(Asked(n_neighbors=6, edge=edge, threads=threads))
        np.testing.assert_array_equal(Z, expected)


@pytest.mark.parametrize("n_neighbors", [2, 16])
@pytest.mark.parametrize("name", FEW)
def test_the_least_memory_is_enough(name, n_neighbors):
    assert_least_is_enough(name, n_neighbors)


@pytest.mark.slow
@pytest.mark.parametrize("n_neighbors", [2, 16])
@pytest.mark.parametrize("name", CASES)
def test_the_least_memory_is_enough_for_every_tree(name, n_neighbors):
    assert_least_is_enough(name, n_neighbors)


def assert_least_is_enough(name, n_neighbors):
    case = case_of(name)
    asked = Asked(n_neighbors=n_neighbors, memory_share=0.0, edge=32)
    assert_same_tree(case.tree(asked), oracle_of(name), untied=case_dtype(case) == np.float64)
    if case.source == "stored":
        least = case.memory(asked).least_bytes
        with pytest.raises(MemoryLimitError) as error:
            case.tree(replace(asked, memory_share=-1.5 / (9 * case.n**2)))
    else:
        least = Limits.least_bytes(case.n, n_neighbors=n_neighbors)
        with pytest.raises(MemoryLimitError) as error:
            Limits.within(least - 1, n=case.n, n_neighbors=n_neighbors)
    assert (error.value.needed_bytes, error.value.limit_bytes) == (least, least - 1)


def gone_on_with(case, asked, *, after, kept, later):
    """Stop when so many answers are kept; make the tree again from these, otherwise."""
    shelf = Shelf(after)
    with pytest.raises(KeyboardInterrupt):
        case.tree(replace(asked, recorded=shelf.recorded(kept)))
    assert len(shelf.answers) == after
    again = Shelf(answers=shelf.answers)
    return case.tree(replace(later, recorded=again.recorded(kept))), again.computed


@pytest.mark.parametrize("name", FEW)
def test_stopped_after_any_record_and_gone_on_with(name):
    assert_goes_on(name, ("nearest_points", "nearest_clusters", "distances"), memory_share=1.0)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_every_tree_is_gone_on_with(name):
    assert_goes_on(name, CALLS, memory_share=0.05)


def assert_goes_on(name, kept, *, memory_share):
    case = case_of(name)
    asked = Asked(n_neighbors=4, memory_share=memory_share)
    shelf = Shelf()
    expected = case.tree(replace(asked, recorded=shelf.recorded(kept)))
    np.testing.assert_array_equal(case.tree(asked), expected)
    n_answers = len(shelf.answers)
    for after in sorted({0, 1, n_answers // 2, n_answers - 1} & set(range(n_answers))):
        later = replace(asked, threads=2)
        Z, computed = gone_on_with(case, asked, after=after, kept=kept, later=later)
        np.testing.assert_array_equal(Z, expected)
        assert computed == n_answers - after


def asked_on(executor, name, folder):
    is_stored = "-stored-" in name
    return Asked(
        n_neighbors=5, memory_share=0.05, executor=executor, folder=folder if is_stored else None
    )


@pytest.mark.parametrize("name", FEW)
def test_a_distributed_tree_has_the_same_bits(client, tmp_path, name):
    case = case_of(name)
    Z = case.tree(asked_on(DaskExecutor(client), name, tmp_path))
    np.testing.assert_array_equal(Z, case.tree(asked_on(None, name, tmp_path / "again")))


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in CASES if "condensed" not in name])
def test_every_distributed_tree_has_the_same_bits(worker_process, tmp_path, name):
    case = case_of(name)
    Z = case.tree(asked_on(DaskExecutor(worker_process), name, tmp_path))
    np.testing.assert_array_equal(Z, case.tree(asked_on(None, name, tmp_path / "again")))


def test_a_distributed_tree_is_gone_on_with_in_threads(client):
    for name in ("average-euclidean", "average-correlation"):
        case = case_of(name)
        asked = Asked(n_neighbors=4, memory_share=0.1)
        Z, _ = gone_on_with(
            case,
            replace(asked, executor=DaskExecutor(client)),
            after=2,
            kept=CALLS,
            later=replace(asked, executor=ThreadsExecutor(3)),
        )
        np.testing.assert_array_equal(Z, case.tree(asked))


# Hard data, where the memory is the least.


def _near_zero_rows(rng, n):
    """Ordinary rows, and two in five that are near to zero and to each other."""
    values = rng.gamma(0.5, 3, size=(n, 12)) * rng.gamma(0.3, 5, size=(n, 1)) + 1e-3
    values[rng.permutation(n)[: 2 * n // 5]] *= 1e-7
    return values


HARD = {
    "noise in 1,000 dimensions": lambda rng, n: rng.normal(size=(n, 1000)),
    "heavy tails": lambda rng, n: rng.standard_t(1.1, size=(n, 6)),
    "a hub": _near_zero_rows,
    "offset": lambda rng, n: rng.normal(size=(n, 5)) + 1e6,
    "powers of 3": lambda rng, n: 3.0 ** rng.permutation(min(n, 150))[:, None],
    "tiny": lambda rng, n: 1e-150 * rng.normal(size=(n, 6)),
    "huge": lambda rng, n: 1e150 * rng.normal(size=(n, 6)),
}
BY = [
    *((method, "euclidean") for method in ("complete", "average", "weighted", "ward")),
    *(("average", metric) for metric in ("sqeuclidean", "correlation", "cityblock")),
    *((method, "stored") for method in ("single", "complete", "average", "ward")),
]


def hard_case(kind, method, metric, n):
    values = HARD[kind](np.random.default_rng(12), n)
    if metric == "stored":
        return VectorCase(method=method, source="stored", vector=pdist(values))
    return RowCase(method=method, metric=metric, values=values)


@pytest.mark.slow
@pytest.mark.parametrize(("method", "metric"), BY)
@pytest.mark.parametrize("kind", HARD)
def test_hard_data_in_the_least_memory(kind, method, metric):
    if metric == "sqeuclidean" and kind == "huge":
        pytest.skip("squared distances overflow")
    if metric == "correlation" and kind in ("powers of 3", "offset"):
        pytest.skip("of one feature there is none; of an offset few digits are left")
    case = hard_case(kind, method, metric, 600 if metric == "stored" else 250)
    Z = case.tree(Asked(n_neighbors=3, memory_share=0.0, edge=128))
    assert_same_tree(Z, oracle(case))


@pytest.mark.parametrize(("method", "metric"), BY)
def test_all_distances_are_equal(method, metric):
    n = 600 if metric == "stored" else 200
    values = np.eye(n)
    if metric == "stored":
        case, height = VectorCase(method=method, source="stored", vector=pdist(values)), 2**0.5
    else:
        case = RowCase(method=method, metric=metric, values=values)
        height = {"euclidean": 2**0.5, "sqeuclidean": 2, "cityblock": 2}.get(metric, n / (n - 1))
    for memory_share in (0.0, 1.0):
        Z = case.tree(Asked(n_neighbors=5, memory_share=memory_share, edge=128))
        # Ward's of equal distances: 2 a b / (a + b) (1 / a + 1 / b) = 2, whatever was merged.
        np.testing.assert_allclose(Z[:, 2], height, rtol=1e-12)


def with_copies(values, n, seed=0):
    """Each row many times, some hundreds of times, in any order."""
    rng = np.random.default_rng(seed)
    of = np.concatenate([np.arange(len(values)), rng.geometric(0.02, n - len(values)) - 1])
    return values[rng.permutation(np.minimum(of, len(values) - 1))]


@pytest.mark.parametrize("metric", ["euclidean", "sqeuclidean", "correlation", "cityblock"])
@pytest.mark.parametrize("method", hard_trees.METHODS)
def test_massive_duplicates_are_one_row_of_that_many(method, metric):
    if method == "ward" and metric != "euclidean":
        pytest.skip("ward takes Euclidean distances")
    case = RowCase(
        method=method, metric=metric, values=with_copies(hard_trees.normal(220, 9), 1500)
    )
    duplicates = duplicates_of(case.values)
    assert len(duplicates.kept) == 220
    expected = linkage(pdist(case.values, metric), method)
    scale = expected[-1, 2]
    # SciPy leaves a rounding of distances that are zero.
    expected[:, 2] = np.where(expected[:, 2] < 1e-13 * scale, 0, expected[:, 2])
    for n_neighbors, memory_share in ((3, 0.0), (64, 1.0)):
        asked = Asked(n_neighbors=n_neighbors, memory_share=memory_share, duplicates=duplicates)
        Z = case.tree(asked)
        assert (Z[: 1500 - 220, 2] == 0).all()
        assert_same_tree(Z, expected, untied=False)
        np.testing.assert_allclose(cophenet(Z), cophenet(expected), rtol=1e-9, atol=1e-12 * scale)


@pytest.mark.parametrize("way", ["points", "summaries"])
@pytest.mark.parametrize("scale", [1e-140, 1e-300, 1e150, 1e153])
def test_values_at_the_ends_of_double_precision(way, scale):
    """Heights are those of ordinary values, times the scale."""
    if way == "points" and scale < 1e-150:
        pytest.skip("squares of differences are no doubles, of SciPy's distances either")
    values = hard_trees.normal(200, 5)
    method = "average" if way == "points" else "ward"
    case = RowCase(method=method, metric="euclidean", values=values * scale)
    expected = linkage(pdist(values), method)
    Z = case.tree(Asked(n_neighbors=5, memory_share=0.1))
    np.testing.assert_allclose(Z[:, 2] / scale, expected[:, 2], rtol=1e-10)
    np.testing.assert_array_equal(hard_trees.clades(Z), hard_trees.clades(expected))
