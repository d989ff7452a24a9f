"""Every metric of `pdist` against SciPy, through the engine that it takes at its size."""

import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.spatial.distance
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata

from clustergrid.pipeline import operands, pdist
from clustergrid.pipeline.engines.base import UndefinedPairError
from clustergrid.pipeline.execution import DaskExecutor, SerialExecutor, ThreadsExecutor
from clustergrid.pipeline.keywords import MetricKeywords
from clustergrid.pipeline.metrics import engine_for, get_metric
from clustergrid.storage.errors import DataValueError
from tests.budget import examples
from tests.pipeline.test_distance import distances

pytestmark = pytest.mark.quick_cases(one_in=8)

K = 23
_RNG = np.random.default_rng(0)
W = _RNG.random(K) + 0.1
W[3] = 0.0
V = _RNG.random(K) + 0.5
_A = _RNG.normal(size=(K, K))
VI = _A @ _A.T + np.eye(K)

REAL = {
    "braycurtis": [{}, {"w": W}],
    "canberra": [{}, {"w": W}],
    "chebyshev": [{}, {"w": W}],
    "cityblock": [{}, {"w": W}],
    "correlation": [{}, {"w": W}],
    "cosine": [{}, {"w": W}],
    "euclidean": [{}, {"w": W}],
    "hamming": [{}, {"w": W}],
    "jaccard": [{}, {"w": W}],
    "jensenshannon": [{}],
    "mahalanobis": [{}, {"VI": VI}],
    "minkowski": [
        {},
        *({"p": p} for p in (0.5, 1, 1.5, 2, 2.7, 3, 4, np.inf)),
        *({"p": p, "w": W} for p in (1, 1.5, 2, 3)),
    ],
    "seuclidean": [{}, {"V": V}],
    "sqeuclidean": [{}, {"w": W}],
}
BOOLEAN = ("dice", "jaccard", "rogerstanimoto", "russellrao", "sokalsneath", "yule", "hamming")
CASES = [(metric, keywords) for metric, all_of in REAL.items() for keywords in all_of]
NAMES = [f"{metric}-{'-'.join(map(str, kw))}-{kw.get('p', '')}" for metric, kw in CASES]


def positive(n, k=K, seed=0):
    """Values that every metric takes: above zero, some of them equal."""
    values = np.random.default_rng(seed).gamma(1.0, 1.0, (n, k)).round(2) + 0.01
    values[n // 2] = values[1]
    return values


def scipys(values, metric, **keywords):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return scipy.spatial.distance.pdist(values, metric, **keywords)


@pytest.fixture
def large(monkeypatch):
    """Take the engines of large problems, with blocks of 8 rows and 16 features."""
    import sys

    monkeypatch.setattr("clustergrid.pipeline.metrics.SMALL_OPERATIONS", 0)
    for name, module in list(sys.modules.items()):
        if name.startswith("clustergrid.pipeline"):
            for constant, value in (("BLOCK_ROWS", 8), ("BLOCK_FEATURES", 16)):
                if hasattr(module, constant):
                    monkeypatch.setattr(module, constant, value)


def square(values, metric, keywords=None, **kwargs):
    return scipy.spatial.distance.squareform(
        distances(values, metric, keywords=MetricKeywords.from_mapping(keywords or {}), **kwargs)
    )


@pytest.mark.parametrize("is_large", [False, True])
@pytest.mark.parametrize(("metric", "keywords"), CASES, ids=NAMES)
def test_real_metrics_are_scipys(request, metric, keywords, is_large):
    if is_large:
        request.getfixturevalue("large")
    values = positive(70)
    found = square(values, metric, keywords, tile_edge=16)
    # Rows 1 and 35 are equal: SciPy leaves a rounding of one minus a cosine there.
    atol = 1e-15 if metric in ("cosine", "correlation") else 0
    np.testing.assert_allclose(found, scipys(values, metric, **keywords), rtol=1e-10, atol=atol)
    assert scipy.spatial.distance.squareform(found)[1, 35] == 0


@pytest.mark.parametrize(("metric", "keywords"), CASES, ids=NAMES)
def test_float32_is_scipys_float64(large, metric, keywords):
    values = positive(40).astype(np.float32)
    found = square(values, metric, keywords)
    assert found.dtype == np.float32
    expected = scipys(values.astype(np.float64), metric, **keywords)
    scale = np.median(expected)
    assert (np.abs(found - expected) <= 2e-6 * np.maximum(expected, scale)).all()


@pytest.mark.parametrize("is_large", [False, True])
@pytest.mark.parametrize("kind", ["bool", "counts", "float"])
@pytest.mark.parametrize("weights", [None, W])
@pytest.mark.parametrize("metric", BOOLEAN)
def test_boolean_metrics_are_scipys(request, metric, weights, kind, is_large):
    if is_large:
        request.getfixturevalue("large")
    rng = np.random.default_rng(3)
    values = rng.random((45, K)) < rng.random((45, 1))
    values[:, 0] |= True
    if kind == "counts":
        values = values * rng.integers(1, 4, values.shape)
    elif kind == "float":
        values = values * rng.random(values.shape)
    keywords = {} if weights is None else {"w": weights}
    found = square(values, metric, keywords, tile_edge=16)
    # SciPy compares numbers with hamming, and forgets to convert some of dice without weights.
    truths = values if metric == "hamming" else values != 0
    np.testing.assert_allclose(found, scipys(truths, metric, **keywords), rtol=1e-12)


@pytest.mark.parametrize("metric", BOOLEAN)
def test_rows_of_false(large, metric):
    values = np.zeros((5, 9), dtype=bool)
    values[2:, 3] = True
    expected = scipys(values, metric)
    if np.isfinite(expected).all():
        np.testing.assert_allclose(square(values, metric), expected)
    else:
        with pytest.raises(DataValueError, match="finite"):
            square(values, metric)


@pytest.mark.parametrize("is_large", [False, True])
def test_spearman_is_the_correlation_of_ranks(request, is_large):
    if is_large:
        request.getfixturevalue("large")
    values = np.random.default_rng(1).normal(size=(60, 31)).round(1)
    expected = scipys(rankdata(values, axis=1), "correlation")
    np.testing.assert_allclose(square(values, "spearman", tile_edge=16), expected, rtol=1e-10)
    np.testing.assert_array_equal(
        square(values, "spearman", tile_edge=16, features_at_once=16),
        square(values, "spearman", tile_edge=64, features_at_once=64),
    )


def with_gaps(n=50, k=40, seed=2):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n, k)) + rng.normal(size=k)
    values[rng.random((n, k)) < 0.3] = np.nan
    return values


def pandas_correlation(values, method):
    return 1 - pd.DataFrame(values.T).corr(method=method).to_numpy()


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("nan_correlation", lambda values: pandas_correlation(values, "pearson")),
        ("nan_spearman", lambda values: pandas_correlation(values, "spearman")),
    ],
)
def test_pairwise_complete_correlations_are_pandas(metric, expected):
    values = with_gaps()
    found = scipy.spatial.distance.squareform(pdist(values, metric).to_numpy())
    np.testing.assert_allclose(found, expected(values), rtol=1e-9, atol=1e-13)


def test_nan_euclidean_is_scikit_learns():
    from sklearn.metrics.pairwise import nan_euclidean_distances

    values = with_gaps()
    found = scipy.spatial.distance.squareform(pdist(values, "nan_euclidean").to_numpy())
    np.testing.assert_allclose(found, nan_euclidean_distances(values), rtol=1e-10)


@pytest.mark.parametrize("metric", ["nan_euclidean", "nan_correlation", "nan_spearman"])
def test_pairs_without_common_features_are_named(metric):
    values = with_gaps()
    values[7, :20], values[30, 20:] = np.nan, np.nan
    frame = pd.DataFrame(values, index=[f"gene {i}" for i in range(len(values))])
    with pytest.raises(DataValueError, match=r"the rows 'gene 7' and 'gene 30' have values in 0 "):
        pdist(frame, metric)
    with pytest.raises(UndefinedPairError, match="min_periods=30"):
        distances(with_gaps(), metric, keywords=MetricKeywords(min_periods=30))


def test_infinite_values_are_refused_where_missing_ones_are_not():
    values = with_gaps()
    values[3, 5] = np.inf
    with pytest.raises(DataValueError, match="1 infinite"):
        pdist(values, "nan_euclidean")
    with pytest.raises(DataValueError, match="nan_euclidean, nan_correlation and nan_spearman"):
        pdist(with_gaps(), "euclidean")


EVERY = [
    *(case for case in CASES if case[1].get("p") in (None, 1.5, 2.7)),
    *((metric, {}) for metric in BOOLEAN),
    *((metric, {}) for metric in ("spearman", "nan_euclidean", "nan_correlation", "nan_spearman")),
]


def values_for(metric, n, k, dtype):
    values = positive(n, k, seed=n + k).astype(dtype)
    if metric.startswith("nan_"):
        values[np.random.default_rng(k).random((n, k)) < 0.1] = np.nan
        values[:, 0], values[:, 1] = 1.0, np.arange(n) + 2.0
    if metric in BOOLEAN:
        return values > 0.5
    return values


@pytest.mark.parametrize(("metric", "keywords"), EVERY, ids=lambda each: str(each)[:14])
@settings(
    max_examples=examples(6),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    n=st.integers(26, 50),
    edge=st.integers(1, 5),
    features=st.integers(1, 2),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_cutting_changes_no_bit(large, metric, keywords, n, edge, features, dtype):
    values = values_for(metric, n, K, dtype)
    whole = square(values, metric, keywords, tile_edge=10**6, features_at_once=32)
    cut = square(values, metric, keywords, tile_edge=8 * edge, features_at_once=16 * features)
    np.testing.assert_array_equal(cut, whole)


@pytest.mark.parametrize(("metric", "keywords"), EVERY, ids=lambda each: str(each)[:14])
def test_every_executor_gives_the_same_bits(large, client, metric, keywords):
    values = values_for(metric, 40, K, np.float32)
    expected = square(values, metric, keywords, tile_edge=16, executor=SerialExecutor())
    for executor in (ThreadsExecutor(3), DaskExecutor(client)):
        found = square(values, metric, keywords, tile_edge=16, executor=executor)
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(("metric", "keywords"), EVERY, ids=lambda each: str(each)[:14])
def test_columns_are_the_rows_of_the_transposed(large, metric, keywords):
    values = values_for(metric, 40, K, np.float64)
    expected = square(values, metric, keywords)
    found = square(np.ascontiguousarray(values.T), metric, keywords, axis=1)
    # Statistics of columns are summed in another order, and centres differ by a rounding.
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-15)


@pytest.mark.parametrize("is_large", [False, True])
def test_jensenshannon_compares_distributions(request, is_large):
    if is_large:
        request.getfixturevalue("large")
    values = positive(30)
    values[4] = 0.0
    values[9] *= -1.0
    values[11, 20] = -0.5
    with pytest.raises(DataValueError, match=r"3 of the rows are all zero or negative.*4, 9, 11"):
        square(values, "jensenshannon")


@pytest.mark.parametrize("metric", ["cityblock", "euclidean", "sqeuclidean"])
def test_distances_that_overflow_single_precision_are_refused(large, metric):
    values = np.full((4, 30), 3e38, np.float32)
    values[1::2] *= -1
    with pytest.raises(DataValueError, match="overflows float32"):
        square(values, metric)


def test_seuclidean_names_constant_features():
    values = positive(30)
    values[:, 4] = 2.0
    with pytest.raises(DataValueError, match=r"1 of 23 columns is constant.*\('4'\)"):
        pdist(values, "seuclidean")


def test_mahalanobis_needs_a_covariance_that_can_be_inverted():
    with pytest.raises(DataValueError, match="at least 24 observations are required"):
        pdist(positive(20), "mahalanobis")
    values = positive(40)
    values[:, 4] = 0.0
    with pytest.raises(DataValueError, match="singular"):
        pdist(values, "mahalanobis")
    with pytest.raises(DataValueError, match="negative eigenvalue"):
        distances(positive(40), "mahalanobis", keywords=MetricKeywords(VI=-np.eye(K)))


def test_near_duplicates_keep_their_digits_in_mahalanobis_distances(large):
    values = np.random.default_rng(5).normal(size=(60, K)) + 1e4
    values[30:] = values[:30] + 1e-6 * np.random.default_rng(6).normal(size=(30, K))
    found = square(values, "mahalanobis", {"VI": VI})
    expected = scipys(values, "mahalanobis", VI=VI)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.parametrize("metric", ["euclidean", "correlation"])
def test_blocks_of_near_pairs_go_through_a_second_product(large, monkeypatch, metric):
    called = []
    original = operands.distance_input  # the module is patched, so that a typo would show
    assert callable(original)
    from clustergrid.pipeline.engines.product import Products

    second = Products._in_double_precision
    monkeypatch.setattr(
        Products,
        "_in_double_precision",
        lambda self, place, lost: called.append(place) or second(self, place, lost),
    )
    centres = np.random.default_rng(7).normal(size=(4, 60))
    values = np.repeat(centres, 10, axis=0)
    values = (values + 0.02 * np.random.default_rng(8).normal(size=values.shape)).astype(np.float32)
    found = square(values, metric)
    np.testing.assert_allclose(found, scipys(values.astype(np.float64), metric), rtol=2e-6)
    assert called


def test_engines_follow_from_metric_keywords_and_type():
    def engine(name, keywords=None, **about):
        return engine_for(get_metric(name, keywords), 20_000, 1_000, **about)

    assert engine("dice") == "counts"
    assert engine("dice", {"w": np.ones(3)}) == "direct"
    assert engine("hamming") == "direct"
    assert engine("hamming", is_boolean=True) == "counts"
    assert engine("minkowski") == "product"
    assert engine("minkowski", {"p": 3}) == "direct"
    assert engine("nan_euclidean") == "missing"
