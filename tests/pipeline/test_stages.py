"""The stages bound to one matrix."""

import gc
from pathlib import Path

import dask
import dask.array
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy.cluster.hierarchy import linkage as scipy_linkage
from scipy.spatial.distance import pdist

from clustergrid.pipeline import bound_matrix
from clustergrid.pipeline.execution import DaskExecutor, SerialExecutor, ThreadsExecutor
from clustergrid.pipeline.monitor import Progress
from clustergrid.pipeline.opening import open_stages
from clustergrid.pipeline.planning import Resources
from clustergrid.pipeline.stages import Stages
from clustergrid.storage.condensed import open_condensed
from clustergrid.storage.errors import DataTypeError, DataValueError
from clustergrid.storage.source import ArraySource, ZarrSource

pytestmark = pytest.mark.quick_cases(one_in=16)

RNG = np.random.default_rng(0)
VALUES = RNG.normal(size=(80, 30)) * np.exp(RNG.normal(size=30)) + 3
GENES = [f"g{i}" for i in range(80)]


def labelled(values=VALUES):
    return xr.DataArray(
        values,
        dims=("gene", "sample"),
        coords={"gene": GENES[: len(values)], "sample": np.arange(values.shape[1])},
    )


def bound(matrix=None, **options):
    options.setdefault("executor", SerialExecutor())
    options.setdefault("resources", Resources(memory_bytes=10**9, threads=1))
    return Stages(labelled() if matrix is None else matrix, **options)


def normalized(z_score=None, standard_scale=None):
    frame = pd.DataFrame(VALUES)
    axis = z_score if z_score is not None else standard_scale
    by_column = frame.T if axis == 0 else frame
    if z_score is not None:
        by_column = (by_column - by_column.mean()) / by_column.std()
    elif standard_scale is not None:
        by_column = by_column - by_column.min()
        by_column = by_column / by_column.max()
    return (by_column.T if axis == 0 else by_column).to_numpy()


@pytest.mark.parametrize(
    "options", [{}, {"z_score": 0}, {"z_score": 1}, {"standard_scale": 0}, {"standard_scale": 1}]
)
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("chunked", [False, True])
def test_trees_of_the_normalized_matrix(axis, options, chunked):
    matrix = labelled().chunk(gene=33, sample=7) if chunked else labelled()
    expected = normalized(**options)
    expected = expected.T if axis else expected
    found = bound(matrix, **options)
    for method, metric in (("average", "euclidean"), ("complete", "correlation")):
        Z = found.linkage(axis, method=method, metric=metric)
        theirs = scipy_linkage(expected, method, metric)
        np.testing.assert_allclose(Z[:, 2], theirs[:, 2], rtol=1e-10, atol=1e-15)
        np.testing.assert_array_equal(Z[:, [0, 1, 3]], theirs[:, [0, 1, 3]])
    d = found.distances(axis, metric="cityblock").to_numpy()
    np.testing.assert_allclose(d, pdist(expected, "cityblock"), rtol=1e-10)


def test_the_picture_is_of_the_normalized_matrix():
    rows, columns = RNG.permutation(80), RNG.permutation(30)
    expected = normalized(z_score=1)[np.ix_(rows, columns)]
    mask = RNG.random(VALUES.shape) < 0.3
    for matrix in (labelled(), labelled().chunk(gene=9)):
        found = bound(matrix, z_score=1)
        image = found.reduced_image(rows, columns, (80, 30))
        np.testing.assert_allclose(image.values, expected, rtol=1e-12, atol=1e-12)
        np.testing.assert_array_equal(found.reordered(rows, columns), image.values)
        low, high = found.limits()
        assert (low, high) == (image.values.min(), image.values.max())
        for given in (mask, xr.DataArray(mask), xr.DataArray(dask.array.from_array(mask, 11))):
            hidden = found.reduced_image(rows, columns, (80, 30), mask=given).values
            np.testing.assert_array_equal(np.isnan(hidden), mask[np.ix_(rows, columns)])
            assert found.limits(mask=given) == (np.nanmin(hidden), np.nanmax(hidden))
    with pytest.raises(DataValueError, match="Mask must have the same shape as data"):
        found.limits(mask=mask[1:])


def test_a_tree_is_computed_once():
    events = []
    found = bound(progress=Progress(events.append))
    first = found.linkage(0, method="average", metric="euclidean")
    before = len(events)
    assert found.linkage(0, method="average", metric="euclidean") is first
    assert len(events) == before
    assert found.linkage(0, method="single", metric="euclidean") is not first
    # The pass over the matrix was not made again.
    assert [event.stage for event in events].count("statistics") == 2


@pytest.mark.parametrize(
    ("options", "constant", "words"),
    [
        ({"z_score": 0}, (slice(3, 5), slice(None)), "2 of 80 rows are constant, and z_score=0"),
        ({"z_score": 1}, (slice(None), 7), "1 of 30 columns is constant, and z_score=1"),
        ({"standard_scale": 0}, (9, slice(None)), "1 of 80 rows is constant, and standard_scale=0"),
    ],
)
@pytest.mark.parametrize("axis", [0, 1])
def test_what_normalizing_cannot_divide_is_named(options, constant, words, axis):
    values = VALUES.copy()
    values[constant] = 0.1
    with pytest.raises(DataValueError, match="must contain only finite values") as caught:
        bound(labelled(values), **options).linkage(axis, method="average", metric="euclidean")
    assert words in str(caught.value)
    label = {0: "'g3', 'g4'", 1: "'7'"}.get(options.get("z_score"), "'g9'")
    assert label in str(caught.value)


def test_missing_values_are_drawn_where_nothing_is_clustered():
    values = VALUES.copy()
    values[4, 5] = np.nan
    found = bound(labelled(values), z_score=0)
    image = found.reduced_image(np.arange(80), np.arange(30), (80, 30))
    assert np.argwhere(np.isnan(image.values)).tolist() == [[4, 5]]
    with pytest.raises(DataValueError, match=r"1 values are NaN .* 1 of 30 columns \('5'\)"):
        found.linkage(1, method="average", metric="euclidean")


def test_one_row_has_no_tree_but_its_columns_have():
    found = bound(labelled(VALUES[:1]))
    with pytest.raises(DataValueError, match=r"one row only; draw it with row_cluster=False"):
        found.linkage(0, method="average", metric="euclidean")
    Z = found.linkage(1, method="average", metric="euclidean")
    np.testing.assert_allclose(Z, scipy_linkage(VALUES[:1].T, "average"))


def test_options_that_make_no_sense():
    for options in ({"z_score": 2}, {"z_score": 0, "standard_scale": 0}):
        with pytest.raises(DataValueError):
            bound(**options)
    with pytest.raises(DataTypeError):
        bound(dtype="int8")
    with pytest.raises(DataTypeError):
        bound(labelled(VALUES.astype(complex)))
    with pytest.raises(DataValueError, match="Invalid method"):
        bound().linkage(0, method="foo", metric="euclidean")


def test_labels():
    found = bound()
    assert found.labels(0, np.array([3, 0])) == ["g3", "g0"]
    assert found.labels(1, [2]) == ["2"]
    assert bound(xr.DataArray(VALUES, dims=("a", "b"))).labels(0, [5]) == ["5"]


# Where the matrix is.


def test_a_small_lazy_matrix_is_gathered_and_a_large_one_put_at_rest(monkeypatch):
    lazy = labelled().chunk(gene=13)
    assert isinstance(bound(lazy).source, ArraySource)
    tight = Resources(memory_bytes=8 * VALUES.nbytes - 1, threads=1)
    found = bound(lazy, resources=tight)
    assert isinstance(found.source, ZarrSource)
    np.testing.assert_array_equal(found.source.read(slice(0, 80), slice(0, 30)), VALUES)
    directory = Path(found.source.store)
    assert directory.exists()
    del found
    gc.collect()
    assert not directory.exists()


def test_a_store_keeps_the_matrix(tmp_path):
    tight = Resources(memory_bytes=1000, threads=1)
    found = bound(labelled().chunk(gene=13), resources=tight, store=str(tmp_path / "store"))
    assert Path(found.source.store) == tmp_path / "store"
    del found
    gc.collect()
    assert (tmp_path / "store" / "matrix").exists()


@pytest.mark.parametrize("chunked", [False, True])
def test_a_large_matrix_does_not_travel_inside_tasks(monkeypatch, client, chunked):
    monkeypatch.setattr(bound_matrix, "SHIPPED_BYTES", VALUES.nbytes)
    matrix = labelled().chunk(gene=13) if chunked else labelled()
    assert isinstance(bound(matrix, executor=DaskExecutor(client)).source, ArraySource)
    monkeypatch.setattr(bound_matrix, "SHIPPED_BYTES", VALUES.nbytes - 1)
    with client.as_current():
        source = bound(matrix, executor=DaskExecutor(client)).source
    assert isinstance(source, ZarrSource)


def test_who_runs_it(client):
    assert isinstance(open_stages(VALUES).executor, ThreadsExecutor)
    lazy = labelled().chunk()
    assert isinstance(open_stages(lazy).executor, ThreadsExecutor)
    assert open_stages(VALUES, client=client).executor.client is client
    with client.as_current():
        assert open_stages(lazy).executor.client is client
        assert isinstance(open_stages(VALUES).executor, ThreadsExecutor)
    found = open_stages(VALUES, memory="3GB", client=client)
    resources = found.resources
    assert (resources.memory_bytes, resources.threads) == (3 * 10**9, 2)
    assert (resources.worker_processes, resources.elsewhere) == (1, False)


# What is left at rest.


def test_distances_in_a_store_replace_those_before(tmp_path):
    many = xr.DataArray(np.random.default_rng(1).normal(size=(1200, 5)), dims=("a", "b"))
    expected = bound(many).distances(0, metric="euclidean").to_numpy()
    store = str(tmp_path / "store")
    for options in ({}, {"dtype": "float32"}, {"executor": ThreadsExecutor(3)}):
        found = bound(many, store=store, **options).distances(0, metric="euclidean")
        at_rest = open_condensed(store, "condensed_row")
        assert at_rest.grid == found.grid
        assert found.grid.n_tiles == 6
        assert at_rest.dtype == options.get("dtype", "float64")
        np.testing.assert_array_equal(at_rest.to_numpy(), expected.astype(at_rest.dtype))


def test_rows_and_columns_lie_side_by_side(tmp_path):
    found = bound(store=str(tmp_path / "store"))
    for axis in (0, 1):
        found.linkage(axis, method="average", metric="euclidean")
    assert open_condensed(tmp_path / "store", "condensed_row").n == 80
    assert open_condensed(tmp_path / "store", "condensed_col").n == 30


def test_asking_for_nothing_reads_nothing():
    def refuse(*args, **kwargs):
        raise AssertionError("something was computed")

    with dask.config.set(scheduler=refuse):
        found = bound(labelled().chunk(gene=7), z_score=0)
        assert not found.in_memory
        assert found.shape == (80, 30)
        assert found.dtype == "float64"
        assert found.labels(0, [1]) == ["g1"]
