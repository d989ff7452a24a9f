"""The public functions around the picture, against SciPy and against what they promise."""

import itertools
import subprocess
import sys

import dask.array
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import xarray as xr
import zarr
from distributed import Client, LocalCluster
from scipy.cluster.hierarchy import cophenet, is_valid_linkage
from scipy.cluster.hierarchy import linkage as scipy_linkage
from scipy.spatial.distance import pdist as scipy_pdist
from scipy.stats import rankdata
from sklearn.datasets import load_iris

from clustergrid.pipeline import linkage, pdist, plan
from clustergrid.pipeline.errors import MemoryLimitError
from clustergrid.pipeline.hierarchy import METHODS
from clustergrid.pipeline.metrics import METRICS
from clustergrid.pipeline.tree.optimal import neighbor_sum
from clustergrid.storage.errors import DataTypeError, DataValueError

pytestmark = pytest.mark.quick_cases(one_in=8)

VALUES = np.random.default_rng(0).normal(size=(60, 13))
RANKED = ("spearman", "nan_spearman")
PAIRS = [
    (method, metric)
    for method in METHODS
    for metric in METRICS
    if metric == "euclidean" or method not in ("centroid", "median", "ward")
    if metric not in (*RANKED, "precomputed")
]


def distinct_iris():
    """Iris, moved by less than its precision so that no two distances tie."""
    values = load_iris().data
    return values + np.random.default_rng(0).uniform(-1e-3, 1e-3, values.shape)


DATA = {"random": VALUES, "iris": distinct_iris(), "float32": VALUES.astype(np.float32)}

# Of a matrix without missing values, these are SciPy's.
SCIPYS = {"nan_euclidean": "euclidean", "nan_correlation": "correlation"}


def suited(values, metric):
    """Values that a metric is defined for."""
    if METRICS[metric].is_boolean:
        return values > np.median(values)  # more than none of a row
    return np.abs(values) if metric == "jensenshannon" else values


@pytest.mark.parametrize("kind", DATA)
@pytest.mark.parametrize(("method", "metric"), PAIRS)
def test_trees_are_scipys(method, metric, kind):
    values = suited(DATA[kind], metric)
    Z = linkage(values, method, metric)
    as_scipy = values if METRICS[metric].is_boolean else values.astype(np.float64)
    expected = scipy_linkage(scipy_pdist(as_scipy, SCIPYS.get(metric, metric)), method)
    assert Z.shape == expected.shape
    assert Z.dtype == np.float64
    assert is_valid_linkage(Z)
    rtol = 1e-5 if kind == "float32" else 1e-10
    is_unit = metric in ("cosine", "correlation", "nan_correlation")
    # What SciPy loses of small distances, a square before its root.
    atol = 1e-12 if metric == "jensenshannon" else 1e-15 if is_unit else 0
    np.testing.assert_allclose(Z[:, 2], expected[:, 2], rtol=rtol, atol=atol)
    has_ties = METRICS[metric].is_boolean or metric == "hamming"
    if kind != "float32" and not has_ties:
        np.testing.assert_array_equal(Z[:, [0, 1, 3]], expected[:, [0, 1, 3]])


@pytest.mark.parametrize("metric", RANKED)
def test_trees_of_ranks_are_scipys(metric):
    Z = linkage(VALUES, "average", metric)
    expected = scipy_linkage(scipy_pdist(rankdata(VALUES, axis=1), "correlation"), "average")
    np.testing.assert_allclose(Z[:, 2], expected[:, 2], rtol=1e-10)


@pytest.mark.parametrize("method", METHODS)
def test_iris_as_it_is_with_its_ties(method):
    values = load_iris().data
    Z, expected = linkage(values, method), scipy_linkage(values, method)
    if method in ("centroid", "median"):
        # Heights after a tie depend on how it was broken; they come from the same engine here.
        np.testing.assert_array_equal(Z, scipy_linkage(scipy_pdist(values), method))
        return
    np.testing.assert_allclose(Z[:, 2], expected[:, 2], rtol=1e-10)


def forms(values, tmp_path):
    array = zarr.create_array(
        str(tmp_path / "a.zarr"), shape=values.shape, chunks=(17, 5), dtype=values.dtype
    )
    array[:] = values
    np.save(tmp_path / "a.npy", values)
    return {
        "list": values.tolist(),
        "array": values,
        "fortran": np.asfortranarray(values),
        "frame": pd.DataFrame(values),
        "xarray": xr.DataArray(values, dims=("gene", "sample")),
        "dask": dask.array.from_array(values, chunks=(7, 13)),
        "lazy xarray": xr.DataArray(values, dims=("gene", "sample")).chunk(gene=11, sample=4),
        "zarr": zarr.open_array(str(tmp_path / "a.zarr"), mode="r"),
        "sparse": scipy.sparse.csr_array(values),
        "file": tmp_path / "a.npy",
    }


def test_whatever_holds_the_matrix(tmp_path):
    expected = pdist(VALUES).to_numpy()
    np.testing.assert_allclose(expected, scipy_pdist(VALUES), rtol=1e-12)
    tree = linkage(VALUES, "ward")
    for name, data in forms(VALUES, tmp_path).items():
        np.testing.assert_array_equal(pdist(data).to_numpy(), expected, err_msg=name)
        np.testing.assert_array_equal(linkage(data, "ward"), tree, err_msg=name)


@pytest.mark.parametrize("dtype", ["int8", "uint16", "bool", "float16"])
def test_types_follow_the_input(dtype):
    values = (np.random.default_rng(1).random((20, 9)) * 2).astype(dtype)
    d = pdist(values, "cityblock")
    assert d.dtype == (np.float32 if dtype == "float16" else np.float64)
    expected = scipy_pdist(values.astype(np.float64), "cityblock")
    np.testing.assert_allclose(d.to_numpy(), expected, rtol=1e-6)
    assert pdist(values, "cityblock", dtype="float32").dtype == np.float32


@pytest.mark.parametrize("at_rest", [False, True])
def test_distances_as_an_object(tmp_path, at_rest):
    values = np.random.default_rng(2).normal(size=(1100, 4))
    d = pdist(values, store=tmp_path / "store" if at_rest else None, memory="450MB")
    expected = scipy_pdist(values)
    np.testing.assert_allclose(d.to_numpy(), expected, rtol=1e-12)
    assert (d.n, d.dtype, d.shape, len(d)) == (1100, np.float64, expected.shape, len(expected))
    assert d.grid.n_edges > 1
    square = np.zeros((1100, 1100))
    for i, j in itertools.product(range(d.grid.n_edges), repeat=2):
        square[d.grid.rows(i), d.grid.rows(j)] = d.tile(i, j)
        np.testing.assert_array_equal(d.tile(i, j), d.tile(j, i).T)
    np.testing.assert_array_equal(square, square.T)
    np.testing.assert_array_equal(square[np.triu_indices(1100, 1)], d.to_numpy())
    for pair in ((0, 1), (1099, 3), (600, 600), (-1, 0)):
        assert d[pair] == square[pair]


@pytest.mark.parametrize("method", METHODS)
def test_a_tree_of_distances(method):
    condensed = scipy_pdist(VALUES)
    expected = scipy_linkage(condensed, method)
    for distances in (condensed, pdist(VALUES)):
        Z = linkage(distances, method)
        np.testing.assert_allclose(Z[:, 2], expected[:, 2], rtol=1e-10)
        np.testing.assert_array_equal(Z[:, [0, 1, 3]], expected[:, [0, 1, 3]])
    np.testing.assert_array_equal(condensed, scipy_pdist(VALUES))


def test_distances_that_are_no_distances():
    with pytest.raises(DataValueError, match=r"length 4: 3 .* have 3"):
        linkage(np.ones(4))
    with pytest.raises(DataValueError, match="only finite values"):
        linkage(np.array([1.0, np.nan, 2.0]))
    with pytest.raises(DataTypeError, match="not real numbers"):
        linkage(np.array([1j, 2j, 3j]))
    with pytest.raises(DataValueError, match="Invalid method: foo"):
        linkage(np.ones(3), "foo")


@pytest.mark.parametrize("from_distances", [False, True])
def test_optimal_ordering_turns_the_same_tree(from_distances):
    condensed = scipy_pdist(VALUES)
    Z = linkage(condensed if from_distances else VALUES, "average", optimal_ordering=True)
    expected = scipy_linkage(condensed, "average", optimal_ordering=True)
    np.testing.assert_allclose(Z[:, 2], expected[:, 2], rtol=1e-10)
    # SciPy's orders are not always the best (scipy#11227).
    assert neighbor_sum(Z, condensed) <= neighbor_sum(expected, condensed) * (1 + 1e-12)
    assert neighbor_sum(Z, condensed) < neighbor_sum(linkage(VALUES), condensed)


def test_progress_of_a_tree():
    events = []
    linkage(scipy_pdist(VALUES), progress=events.append)
    assert [event.state for event in events] == ["started", "finished"]
    assert {event.total for event in events} == {59}
    events.clear()
    pdist(VALUES, "cosine", progress=events.append)
    stages = list(dict.fromkeys(event.stage for event in events))
    assert stages == ["statistics", "distance-row-norms", "distance-row"]


# What makes no difference.


@pytest.fixture(scope="module")
def tall():
    rng = np.random.default_rng(3)
    values = rng.normal(size=(2400, 24)) + rng.normal(size=24)
    values[rng.integers(0, 2400, 300)] = 0
    return values


@pytest.mark.parametrize("method", ["average", "ward", "single", "centroid"])
def test_nothing_but_the_data_decides_a_bit(tall, tmp_path, client, method):
    expected = linkage(tall, method, memory="8GB")
    lazy = xr.DataArray(tall, dims=("gene", "sample"))
    for number, (data, options) in enumerate(
        [
            (tall, {"memory": "600MB"}),
            (tall, {"client": client}),
            (tall, {"memory": "600MB", "store": True}),
            (tall, {"memory": "4GB", "store": True, "client": client}),
            (lazy.chunk(gene=311), {}),
            (lazy.chunk(gene=1000, sample=5), {"store": True}),
            (lazy.chunk(gene=700), {"client": client, "memory": "900MB"}),
        ]
    ):
        if options.pop("store", False):
            options["store"] = tmp_path / str(number)
        np.testing.assert_array_equal(linkage(data, method, **options), expected, str(options))


@pytest.mark.slow
def test_a_worker_process_decides_no_bit(tall, tmp_path, worker_process):
    varied = tall[tall.any(axis=1)]
    expected = pdist(varied, "correlation").to_numpy()
    lazy = xr.DataArray(varied, dims=("gene", "sample")).chunk(gene=500)
    for data, store in ((varied, None), (lazy, None), (varied, tmp_path / "a")):
        found = pdist(data, "correlation", client=worker_process, store=store)
        np.testing.assert_array_equal(found.to_numpy(), expected)


def test_many_observations_are_scipys(tall):
    for method in ("average", "ward"):
        Z = linkage(tall, method)
        condensed = scipy_pdist(tall)
        expected = scipy_linkage(condensed, method)
        np.testing.assert_allclose(Z[:, 2], expected[:, 2], rtol=1e-10)
        np.testing.assert_allclose(cophenet(Z), cophenet(expected), rtol=1e-10)


# Where it runs.


def tasks_run_on(client):
    log = client.cluster.scheduler.transition_log
    return {str(key[0] if isinstance(key, tuple) else key) for key, *_ in log}


@pytest.fixture
def fresh_client():
    """A client whose scheduler has run nothing yet; the current one."""
    with (
        LocalCluster(
            n_workers=1, threads_per_worker=2, processes=False, dashboard_address=":0"
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


def ran_tiles(client):
    return any("distance-tile-" in name for name in tasks_run_on(client))


def test_lazy_data_run_on_the_active_client(fresh_client):
    pdist(VALUES)
    assert not tasks_run_on(fresh_client)  # in memory already: no reason to go anywhere
    lazy = xr.DataArray(VALUES, dims=("gene", "sample")).chunk(gene=20)
    pdist(lazy)
    assert ran_tiles(fresh_client)


def test_the_client_that_is_given_is_used(fresh_client, client):
    client.cluster.scheduler.transition_log.clear()
    pdist(VALUES, client=client)
    assert ran_tiles(client)
    assert not tasks_run_on(fresh_client)
    lazy = xr.DataArray(VALUES, dims=("gene", "sample")).chunk(gene=20)
    client.cluster.scheduler.transition_log.clear()
    linkage(lazy, client=client)
    assert ran_tiles(client)
    assert not tasks_run_on(fresh_client)


def test_a_large_lazy_matrix_is_put_at_rest_by_the_client(fresh_client, monkeypatch):
    from clustergrid.pipeline import bound_matrix

    monkeypatch.setattr(bound_matrix, "SHIPPED_BYTES", 1000)
    lazy = xr.DataArray(VALUES, dims=("gene", "sample")).chunk(gene=20)
    expected = pdist(VALUES).to_numpy()
    np.testing.assert_array_equal(pdist(lazy).to_numpy(), expected)
    assert any("matrix-ingest" in name for name in tasks_run_on(fresh_client))
    np.testing.assert_array_equal(pdist(VALUES, client=fresh_client).to_numpy(), expected)


def test_a_small_matrix_loads_neither_scheduler_nor_store():
    code = """
import sys
import numpy as np, pandas as pd
from clustergrid.pipeline import clustermap, linkage, pdist, plan
values = np.random.default_rng(0).normal(size=(40, 6))
for data in (values, pd.DataFrame(values)):
    linkage(data, "ward")
    pdist(data, "correlation").to_numpy()
    print(plan(data))
heavy = {"dask", "distributed", "zarr", "numba", "anndata"}.intersection(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, capture_output=True)


def test_distances_at_rest_need_less_than_their_square(tmp_path):
    values = np.random.default_rng(5).normal(size=(4000, 2))
    options = {"dtype": "float32", "memory": "460MB", "store": tmp_path / "store"}
    with pytest.raises(MemoryLimitError):
        linkage(values, **options)
    d = pdist(values, **options)
    assert d[17, 3999] == pytest.approx(np.linalg.norm(values[17] - values[3999]), rel=1e-6)


def test_one_huge_value_leaves_the_other_float32_distances(monkeypatch):
    monkeypatch.setattr("clustergrid.pipeline.metrics.SMALL_OPERATIONS", 0)
    values = np.random.default_rng(0).normal(size=(4, 20)).astype(np.float32)
    values[0, 0] = 9.96921e36  # NetCDF's fill value
    for metric in ("euclidean", "cosine"):
        wanted = scipy_pdist(values.astype(np.float64), metric)
        np.testing.assert_allclose(pdist(values, metric).to_numpy(), wanted, rtol=2e-6)


def test_identical_rows_may_be_apart_for_a_function(monkeypatch):
    monkeypatch.setattr("clustergrid.pipeline.tree_engine.SMALL_OBSERVATIONS", 10)
    values = np.repeat(np.random.default_rng(0).normal(size=(10, 3)), 2, axis=0)

    def far(u, v):
        return np.abs(u - v).sum() + 1.0

    np.testing.assert_allclose(
        linkage(values, "average", far), scipy_linkage(values, "average", far)
    )


def test_a_lazy_matrix_may_be_larger_than_memory():
    lazy = xr.DataArray(dask.array.zeros((20_000, 500_000), chunks=(1_000, 5_000), dtype="f4"))
    planned = plan(lazy, memory="16GB", col_cluster=False)
    assert planned.peak_memory_bytes < 16 * 10**9 < lazy.nbytes


def test_the_picture_of_lazy_data_is_made_on_the_active_client(fresh_client):
    import matplotlib.pyplot as plt

    lazy = xr.DataArray(
        dask.array.from_array(np.random.default_rng(0).normal(size=(40, 12)), chunks=(10, 12)),
        dims=("gene", "sample"),
    )
    with plt.rc_context({"backend": "agg"}):
        grid = lazy.clustergrid.clustermap(figsize=(3, 3))
    plt.close(grid.figure)
    ran = " ".join(tasks_run_on(fresh_client))
    assert all(stage in ran for stage in ("statistics", "distance-tile", "downsample"))
