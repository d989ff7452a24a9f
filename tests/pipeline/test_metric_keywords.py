"""Keywords of metrics: SciPy's, in every function that takes them, and refused by name."""

import numpy as np
import pytest
import xarray as xr
from scipy.cluster.hierarchy import linkage as scipy_linkage
from scipy.spatial.distance import pdist as scipy_pdist

from clustergrid.pipeline import clustermap, linkage, pdist, plan
from clustergrid.storage.errors import DataTypeError, DataValueError

VALUES = np.random.default_rng(0).normal(size=(60, 13))

KEYWORDS = [
    ("minkowski", {"p": 3}),
    ("minkowski", {"p": np.inf, "w": np.arange(13)}),
    ("cityblock", {"w": np.arange(13.0)}),
    ("seuclidean", {"V": np.arange(1, 14)}),
    ("mahalanobis", {"VI": np.diag(np.arange(1.0, 14))}),
]


@pytest.mark.parametrize(("metric", "keywords"), KEYWORDS)
def test_keywords_are_scipys(tmp_path, metric, keywords):
    expected = scipy_pdist(VALUES, metric, **keywords)
    lazy = xr.DataArray(VALUES, dims=("gene", "sample")).chunk(gene=17)
    for data, store in ((VALUES, None), (lazy, None), (VALUES, tmp_path / "store")):
        d = pdist(data, metric, store=store, **keywords)
        np.testing.assert_allclose(d.to_numpy(), expected, rtol=1e-12)
        Z = linkage(data, "average", metric, metric_kws=keywords)
        np.testing.assert_allclose(Z[:, 2], scipy_linkage(expected, "average")[:, 2], rtol=1e-12)
    d = lazy.T.clustergrid.pdist(dim="gene", metric=metric, **keywords)
    np.testing.assert_allclose(d.to_numpy(), expected, rtol=1e-12)
    Z = lazy.T.clustergrid.linkage(dim="gene", metric=metric, metric_kws=keywords)
    np.testing.assert_allclose(Z[:, 2], scipy_linkage(expected, "average")[:, 2], rtol=1e-12)


def test_a_plan_knows_what_keywords_and_booleans_do():
    values = np.zeros((20_000, 100), dtype=bool)

    def engine(metric, **keywords):
        found = plan(
            values,
            metric=metric,
            col_cluster=False,
            metric_kws=keywords,
            memory="8GB",
            engine="square",
        )
        (stage,) = [stage for stage in found.stages if stage.name == "distance-row"]
        return stage.engine

    assert engine("hamming") == "hamming, counts"
    assert engine("hamming", w=np.ones(100)) == "hamming, direct"
    assert engine("minkowski", p=2) == "minkowski, product"
    assert engine("minkowski", p=1) == "minkowski, direct"


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda k: pdist(VALUES, "cosine", **k), DataTypeError, "cosine does not take p"),
        (lambda k: linkage(VALUES, metric_kws=k), DataTypeError, "euclidean does not take p"),
        (lambda k: plan(VALUES, metric_kws=k), DataTypeError, "euclidean does not take p"),
        (lambda k: clustermap(VALUES, metric_kws=k), DataTypeError, "euclidean does not take p"),
        (lambda k: pdist(VALUES, max, **k), DataTypeError, "bind it with functools.partial"),
        (lambda k: linkage(VALUES, metric_kws=[k]), DataTypeError, "are a mapping"),
        (lambda k: linkage(VALUES, metric_kws={"q": 1}), DataTypeError, "no metric takes 'q'"),
        (lambda k: linkage(np.ones(3), metric_kws={"q": 1}), DataTypeError, "no metric takes 'q'"),
    ],
)
def test_keywords_that_are_none(call, error, words):
    with pytest.raises(error, match=words):
        call({"p": 3})


@pytest.mark.parametrize("call", [clustermap, plan])
def test_keywords_of_one_axis_only(call):
    for keywords, words in (
        ({"w": np.ones(13)}, "w is for 13 features, and the columns have 60: give keywords to one"),
        ({"w": np.ones(60)}, "w is for 60 features, and the rows have 13: give keywords to one"),
        ({"w": np.ones(7)}, "w is for 7 features, and the rows have 13"),
    ):
        with pytest.raises(DataValueError, match=words):
            call(VALUES, metric_kws=keywords)


def test_a_picture_takes_keywords_of_each_axis():
    import matplotlib.pyplot as plt

    row, column = {"w": np.arange(13.0)}, {"p": 3, "w": np.arange(60.0)}
    grid = clustermap(
        VALUES, metric="minkowski", row_metric_kws=row, col_metric_kws=column, figsize=(3, 3)
    )
    for tree, values, keywords in (
        (grid.dendrogram_row, VALUES, row), (grid.dendrogram_col, VALUES.T, column)
    ):  # fmt: skip
        expected = scipy_linkage(scipy_pdist(values, "minkowski", **keywords), "average")
        np.testing.assert_allclose(tree.linkage[:, 2], expected[:, 2], rtol=1e-12)
    plt.close(grid.figure)
    # Keywords of both axes, but for the axis that has its own.
    grid = clustermap(VALUES, metric="cityblock", metric_kws=row, col_metric_kws={}, figsize=(3, 3))
    expected = scipy_linkage(scipy_pdist(VALUES.T, "cityblock"), "average")
    np.testing.assert_allclose(grid.dendrogram_col.linkage[:, 2], expected[:, 2], rtol=1e-12)
    plt.close(grid.figure)
