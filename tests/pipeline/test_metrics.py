"""The table of metrics."""

import numpy as np
import pytest
import scipy.spatial.distance
from scipy.spatial.distance import pdist

from clustergrid.pipeline import pdist as our_pdist
from clustergrid.pipeline.hierarchy import METHODS
from clustergrid.pipeline.metrics import METRICS, check_metric, get_metric
from clustergrid.storage.errors import DataTypeError, DataValueError

VALUES = np.random.default_rng(0).normal(size=(12, 5))


OURS = ("spearman", "nan_euclidean", "nan_correlation", "nan_spearman", "precomputed")


def test_every_metric_and_alias_is_scipys():
    scipys = {info.canonical_name: info.aka for info in scipy.spatial.distance._METRIC_INFOS}
    assert set(METRICS) == {*scipys, *OURS}
    for name, aliases in scipys.items():
        assert {name, *METRICS[name].aliases} == aliases
        for alias in aliases:
            for written in (alias, alias.upper(), f"test_{alias}"):
                assert get_metric(written) is METRICS[name]


@pytest.mark.parametrize("name", [name for name in METRICS if name not in OURS])
def test_keywords_are_scipys(name):
    values = np.abs(VALUES)
    for word, value in {"p": 3.0, "w": np.ones(5), "V": np.ones(5), "VI": np.eye(5)}.items():
        try:
            pdist(values, name, **{word: value})
        except TypeError:
            with pytest.raises(DataTypeError, match=f"{name} does not take {word}"):
                get_metric(name, {word: value})
        else:
            assert list(get_metric(name, {word: value}).keywords.given) == [word]


@pytest.mark.parametrize("name", ["", "foo", "euclidean ", None, 3, ["euclidean"]])
def test_unknown_metrics_list_the_known(name):
    with pytest.raises(DataValueError, match=r"Unknown Distance Metric: .* chebyshev, "):
        get_metric(name)


@pytest.mark.parametrize("metric", [*METRICS, lambda u, v: abs(u - v).sum()])
@pytest.mark.parametrize("method", METHODS)
def test_methods_that_need_euclidean_distances(metric, method):
    is_euclidean = metric in ("euclidean", "precomputed")
    if method in ("centroid", "median", "ward") and not is_euclidean:
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
