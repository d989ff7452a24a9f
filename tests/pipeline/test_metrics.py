"""The table of metrics."""

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from clustergrid.pipeline import pdist as our_pdist
from clustergrid.pipeline.hierarchy import METHODS
from clustergrid.pipeline.metrics import METRICS, check_metric, get_metric
from clustergrid.storage.errors import DataValueError

VALUES = np.random.default_rng(0).normal(size=(12, 5))


def test_every_metric_is_scipys():
    assert list(METRICS) == [
        "euclidean",
        "sqeuclidean",
        "cosine",
        "correlation",
        "cityblock",
        "chebyshev",
    ]


@pytest.mark.parametrize("name", METRICS)
def test_aliases_are_scipys(name):
    for alias in METRICS[name].aliases:
        for written in (alias, alias.upper()):
            assert get_metric(written) is METRICS[name]
            np.testing.assert_array_equal(pdist(VALUES, written), pdist(VALUES, name))


@pytest.mark.parametrize("name", ["", "foo", "euclidean ", None, 3, ["euclidean"]])
def test_unknown_metrics_list_the_known(name):
    with pytest.raises(DataValueError, match=r"Unknown Distance Metric: .* chebyshev"):
        get_metric(name)


@pytest.mark.parametrize("metric", [*METRICS, lambda u, v: abs(u - v).sum()])
@pytest.mark.parametrize("method", METHODS)
def test_methods_that_need_euclidean_distances(metric, method):
    if method in ("centroid", "median", "ward") and metric != "euclidean":
        with pytest.raises(DataValueError, match=f"`method={method}` requires the distance metric"):
            check_metric(metric, method)
    else:
        check_metric(metric, method)


def test_a_function_is_called_for_every_pair(client):
    def canberra(u, v):
        return float((np.abs(u - v) / (np.abs(u) + np.abs(v))).sum())

    expected = pdist(VALUES, "canberra")
    np.testing.assert_allclose(our_pdist(VALUES, canberra).to_numpy(), expected, rtol=1e-12)
    found = our_pdist(VALUES, canberra, client=client).to_numpy()
    np.testing.assert_array_equal(found, our_pdist(VALUES, canberra).to_numpy())


def test_a_function_called_euclidean_is_not_the_metric():
    def euclidean(u, v):
        return 1.0

    with pytest.raises(DataValueError, match="requires"):
        check_metric(euclidean, "ward")
    assert (our_pdist(VALUES, euclidean).to_numpy() == 1).all()


def test_errors_of_a_function_are_raised():
    def broken(u, v):
        raise LookupError("no such pair")

    with pytest.raises(LookupError, match="no such pair"):
        our_pdist(VALUES, broken)
