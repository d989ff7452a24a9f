"""The plain distances that tiles are held against are those of SciPy, pandas and scikit-learn."""

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import cdist
from scipy.stats import spearmanr
from sklearn.metrics.pairwise import nan_euclidean_distances

from clustergrid.pipeline.metrics import METRICS, get_metric
from clustergrid.pipeline.oracle import plain_distances

RNG = np.random.default_rng(0)
VALUES = RNG.random((9, 7))
OURS = ("spearman", "nan_euclidean", "nan_correlation", "nan_spearman", "precomputed")


@pytest.mark.parametrize("name", [name for name in METRICS if name not in OURS])
def test_scipys(name):
    keywords = {"seuclidean": {"V": np.arange(1.0, 8)}, "mahalanobis": {"VI": np.eye(7) * 2}}
    values = VALUES > 0.5 if METRICS[name].is_boolean else VALUES
    metric = get_metric(name, keywords.get(name))
    found = plain_distances(metric, values[:4].astype(float), values[4:].astype(float))
    expected = cdist(values[:4], values[4:], name, **keywords.get(name, {}))
    np.testing.assert_array_equal(found, expected)


def test_keywords_reach_scipy():
    weights = np.arange(7.0)
    metric = get_metric("minkowski", {"p": 3, "w": weights})
    found = plain_distances(metric, VALUES[:4], VALUES[4:])
    np.testing.assert_array_equal(found, cdist(VALUES[:4], VALUES[4:], "minkowski", p=3, w=weights))


def test_ranks():
    values = VALUES.round(1)
    found = plain_distances(get_metric("spearman"), values, values)
    np.testing.assert_allclose(
        found, 1 - spearmanr(values, axis=1).statistic, rtol=1e-12, atol=1e-15
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("nan_euclidean", nan_euclidean_distances),
        ("nan_correlation", lambda values: 1 - pd.DataFrame(values.T).corr()),
        ("nan_spearman", lambda values: 1 - pd.DataFrame(values.T).corr("spearman")),
    ],
)
def test_features_that_both_have(name, expected):
    values = RNG.random((6, 30)).round(1)
    values[RNG.random(values.shape) < 0.3] = np.nan
    found = plain_distances(get_metric(name), values, values)
    np.testing.assert_allclose(found, expected(values), rtol=1e-12, atol=1e-15)


def test_equal_rows_have_a_jensenshannon_distance():
    values = np.repeat(RNG.random((40, 1, 9)), 2, axis=1)
    for one, other in values:
        assert plain_distances(get_metric("js"), one[None], other[None]) < 1e-7
