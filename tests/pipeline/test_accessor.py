"""The functions as methods of a lazy array."""

import dask
import numpy as np
import pytest
import xarray as xr

import clustergrid.pipeline
from clustergrid.pipeline import ClusterGrid, linkage, pdist
from clustergrid.pipeline.planning import Plan

VALUES = np.random.default_rng(0).normal(size=(14, 9))


@pytest.fixture(params=["numpy", "dask"])
def array(request):
    array = xr.DataArray(
        VALUES,
        dims=("gene", "sample"),
        coords={"gene": [f"g{i}" for i in range(14)], "sample": list("abcdefghi")},
    )
    return array if request.param == "numpy" else array.chunk(gene=5, sample=4)


def test_along_a_dimension(array):
    for dim, values in ((None, VALUES), ("gene", VALUES), ("sample", VALUES.T)):
        d = array.clustergrid.pdist(dim=dim, metric="cityblock")
        np.testing.assert_array_equal(d.to_numpy(), pdist(values, "cityblock").to_numpy())
        Z = array.clustergrid.linkage(dim=dim, method="ward")
        np.testing.assert_array_equal(Z, linkage(values, "ward"))


def test_a_dimension_that_is_not_there(array):
    with pytest.raises(ValueError, match=r"no dimension 'x'; the array has \('gene', 'sample'\)"):
        array.clustergrid.linkage(dim="x")


def test_the_plan(array):
    plan = array.clustergrid.plan(memory="2GB", method="ward")
    assert isinstance(plan, Plan)
    assert plan.shape == (14, 9)
    # A small lazy matrix is gathered rather than copied.
    assert "ingest" not in str(plan)


def test_the_picture(array):
    import matplotlib.pyplot as plt

    with plt.rc_context({"backend": "agg"}):
        grid = array.clustergrid.clustermap(method="single", figsize=(3, 3))
    assert isinstance(grid, ClusterGrid)
    np.testing.assert_array_equal(grid.dendrogram_row.linkage, linkage(VALUES, "single"))
    plt.close(grid.figure)


def test_asking_for_the_accessor_computes_nothing():
    def refuse(*args, **kwargs):
        raise AssertionError("something was computed")

    with dask.config.set(scheduler=refuse):
        lazy = xr.DataArray(VALUES, dims=("gene", "sample")).chunk()
        assert lazy.clustergrid is not None
        lazy.clustergrid.plan(memory="2GB")


def test_errors_are_those_of_the_functions():
    flat = xr.DataArray(np.ones((3, 2, 2)), dims=("a", "b", "c"))
    with pytest.raises(ValueError, match="two dimensions"):
        flat.clustergrid.linkage(dim="b")
    with pytest.raises(ValueError, match="cannot be determined"):
        xr.DataArray(np.ones((1, 4)), dims=("a", "b")).clustergrid.linkage()


def test_public_names():
    for name in clustergrid.pipeline.__all__:
        assert getattr(clustergrid.pipeline, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        clustergrid.pipeline.nothing  # noqa: B018
