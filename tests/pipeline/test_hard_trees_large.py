"""Trees of up to 30,000 rows against the engine in memory; merges derived again from the rows."""

import importlib
from pathlib import Path

import numpy as np
import pytest
from scipy.cluster.hierarchy import is_valid_linkage

from benchmarks.merge_checks import check_merges
from clustergrid.pipeline import linkage, pdist
from clustergrid.pipeline.duplicates import find_duplicates
from clustergrid.pipeline.errors import MemoryLimitError
from clustergrid.pipeline.execution import SerialExecutor
from clustergrid.pipeline.monitor import Progress
from clustergrid.storage.datasets import load_endometrial
from clustergrid.storage.source import ArraySource
from tests.pipeline.hard_trees import assert_same_tree

pytestmark = pytest.mark.slow


@pytest.fixture
def jobs(monkeypatch):
    """The generators of the benchmarks."""
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    return importlib.import_module("large_jobs")


def in_the_least_memory(data, *asked, engine="data"):
    """Make a tree in the least memory that the plan accepts."""
    with pytest.raises(MemoryLimitError) as refused:
        linkage(data, *asked, engine=engine, memory="1MB")
    return linkage(data, *asked, engine=engine, memory=refused.value.needed_bytes)


SERVED = [
    *((method, "euclidean") for method in ("complete", "average", "weighted", "ward")),
    *(("average", metric) for metric in ("correlation", "cityblock")),
]


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("method", "metric"), SERVED)
def test_twelve_thousand_rows(jobs, method, metric):
    values = jobs.low_rank(12_000, 20, "float64")
    expected = linkage(values, method, metric, engine="square")
    assert_same_tree(linkage(values, method, metric, engine="data"), expected)
    assert_same_tree(in_the_least_memory(values, method, metric), expected)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("method", ["average", "ward"])
def test_thirty_thousand_rows(jobs, method):
    values = jobs.low_rank(30_000, 20, "float64")
    Z = linkage(values, method, engine="data")
    assert_same_tree(Z, linkage(values, method, engine="square"))


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("method", ["complete", "average"])
def test_tiles_of_twelve_thousand_rows(tmp_path, jobs, method):
    values = jobs.grouped(12_000, 20, "float64")
    distances = pdist(values, store=tmp_path)
    Z = in_the_least_memory(distances, method, engine="tiles")
    assert_same_tree(Z, linkage(distances, method, engine="square"))


HARD = {
    "noise in 1,000 dimensions": lambda rng, n: rng.normal(size=(n, 1000)),
    "heavy tails": lambda rng, n: rng.standard_t(1.1, size=(n, 20)),
    "offset": lambda rng, n: rng.normal(size=(n, 20)) + 1e6,
}


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("method", ["complete", "average", "ward"])
@pytest.mark.parametrize("kind", HARD)
def test_hard_data(kind, method):
    values = HARD[kind](np.random.default_rng(2), 5000)
    Z = in_the_least_memory(values, method)
    assert_same_tree(Z, linkage(values, method, engine="square"))


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("kind", "method", "metric"),
    [
        ("hub", "average", "euclidean"),
        ("hub", "complete", "euclidean"),
        ("hub", "ward", "euclidean"),
        ("hub-varied", "average", "correlation"),
    ],
)
def test_hubs_of_a_real_matrix(jobs, kind, method, metric):
    """Two in five rows say next to nothing; distances that tie leave a choice of trees."""
    values = jobs.matrix(kind, 9000, 0, "float64")
    Z = in_the_least_memory(values, method, metric)
    assert is_valid_linkage(Z)
    merges = np.random.default_rng(3).choice(len(Z), 600, replace=False)
    found = check_merges(values, Z, method, metric, merges=np.sort(merges))
    assert found.problems == ()
    expected = linkage(values, method, metric, engine="square")
    np.testing.assert_allclose(Z[-1, 2], expected[-1, 2], rtol=1e-10)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("method", ["complete", "average", "ward"])
def test_genes_of_which_most_are_copies(method):
    genes = load_endometrial()[0].to_numpy()[::20]
    rng = np.random.default_rng(4)
    values = genes[rng.integers(0, len(genes), 15_000)]
    kept = find_duplicates(ArraySource(values), SerialExecutor(), Progress(), name="d").kept
    assert len(kept) < 1500
    Z = in_the_least_memory(values, method)
    assert_same_tree(Z, linkage(values, method, engine="square"), untied=False)
    assert (Z[: 15_000 - len(kept), 2] == 0).all()


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("method", "metric"),
    [
        *((method, "euclidean") for method in ("average", "complete", "weighted", "ward")),
        ("average", "correlation"),
    ],
)
def test_merges_of_twenty_thousand_rows_are_derived_again(jobs, method, metric):
    values = jobs.low_rank(20_000, 34, "float64")
    Z = linkage(values, method, metric, engine="data")
    sample = np.random.default_rng(5).choice(len(Z), 500, replace=False)
    found = check_merges(values, Z, method, metric, merges=sample)
    assert found.problems == ()
    assert found.merges == 500
    assert found.whole + found.in_part > 990
    # Together they take the distances of all pairs once.
    heights = check_merges(values, Z, method, metric, merges=np.arange(len(Z)), neighbours=False)
    assert heights.problems == ()
    assert heights.pairs == (0 if method == "ward" else 20_000 * 19_999 // 2)
