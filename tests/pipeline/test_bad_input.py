"""What cannot be clustered is refused by name and in one line, wherever it is asked for."""

import re
import warnings

import numpy as np
import pandas as pd
import pytest

from clustergrid.pipeline import clustermap, linkage, pdist
from clustergrid.pipeline.cli import main
from clustergrid.storage.errors import DataTypeError, DataValueError

pytestmark = pytest.mark.quick_cases(one_in=4)

VALUES = np.random.default_rng(0).normal(size=(8, 5))


def table(values):
    values = np.asarray(values)
    columns = [f"s{i}" for i in range(values.shape[1])]
    return pd.DataFrame(values, [f"g{i}" for i in range(len(values))], columns)


def changed(where, value, values=VALUES):
    values = values.copy()
    values[where] = value
    return values


def distances(where=(0, 0), value=0.0):
    values = np.abs(VALUES[:5])
    values = values + values.T
    np.fill_diagonal(values, 0.0)
    values = pd.DataFrame(changed(where, value, values))
    values.index = values.columns = [f"g{i}" for i in range(5)]
    return values


NOT_FINITE = changed((1, slice(2, 4)), np.nan, changed((3, 1), np.inf))
NO_OVERLAP = changed((2, slice(0, 3)), np.nan, changed((4, slice(3, 5)), np.nan))
COMBINED = changed((slice(None), 4), 2 * VALUES[:, 3] - VALUES[:, 1])

# Data, metric, keywords, the kind of error, and what it says.
CASES = {
    "not finite": (table(NOT_FINITE), "euclidean", {}, DataValueError,
                   r"2 values are NaN and 1 infinite, in 2 of 8 rows \(the first: 'g1', 'g3'\)\. "
                   "Drop or impute them.*nan_euclidean"),
    "infinite, where some may be missing":
        (table(NOT_FINITE), "nan_euclidean", {}, DataValueError,
         r"2 values are NaN and 1 infinite, in 1 of 8 rows \('g3'\)"),
    "constant row": (table(changed(3, 1.0)), "correlation", {}, DataValueError,
                     r"1 of 8 rows is constant and has no correlation distance \('g3'\)\. Drop"),
    "constant ranks": (table(changed(3, 1.0)), "spearman", {}, DataValueError,
                       r"1 of 8 rows is constant and has no spearman distance \('g3'\)\. Drop"),
    "zero row": (table(changed(slice(3, 5), 0.0)), "cosine", {}, DataValueError,
                 r"2 of 8 rows are all zero and have no cosine .* \(the first: 'g3', 'g4'\)\. D"),
    "nothing to divide": (table(np.abs(changed(3, 0.0))), "jensenshannon", {}, DataValueError,
                          r"1 of 8 rows is all zero .* no jensenshannon distance \('g3'\)\. Drop"),
    "text": (table(VALUES).assign(kind=list("abcdefgh")), "euclidean", {}, DataTypeError,
             "'kind'"),
    "dates": (table(VALUES).assign(when=pd.date_range("2020", periods=8)), "euclidean", {},
              DataTypeError, "'when'"),
    "one row": (table(VALUES[:1]), "euclidean", {}, DataValueError, "There is one row only"),
    "no overlap": (table(NO_OVERLAP), "nan_euclidean", {}, DataValueError,
                   "the rows 'g2' and 'g4' have values in 0 common features, and nan_euclidean "
                   "wants min_periods=1.*Drop rows with few values, impute them"),
    "little overlap": (table(changed((2, slice(0, 3)), np.nan)), "nan_correlation",
                       {"min_periods": 3}, DataValueError,
                       r"1 of \d+ rows has fewer than min_periods=3 values, .*'g2'.* lower min_"),
    "constant in common": (table(changed((2, slice(0, 3)), np.nan, changed((4, slice(3, 5)), 1))),
                           "nan_spearman", {}, DataValueError,
                           "the rows 'g2' and 'g4' have no nan_spearman distance: one of them is "
                           "constant in their 2 common features"),
    "constant column": (table(changed((slice(None), 3), 1.0)), "seuclidean", {}, DataValueError,
                        r"1 of 5 columns is constant, and seuclidean divides .* \('s3'\)"),
    "no variance": (table(VALUES), "seuclidean", {"V": np.arange(5.0)}, DataValueError,
                    "V is 0.0 for feature 0: seuclidean divides by it"),
    "too few rows": (table(VALUES[:5]), "mahalanobis", {}, DataValueError,
                     r"number of observations \(5\) is too small.*at least 6"),
    "combined columns": (table(COMBINED), "mahalanobis", {}, DataValueError,
                         "3 of 5 columns are linear combinations of others: the covariance .* is "
                         r"singular \(the first: 's1', 's3', 's4'\)\. Drop some"),
    "constant for mahalanobis": (table(changed((slice(None), 2), 0.1)), "mahalanobis", {},
                                 DataValueError,
                                 r"1 of 5 columns is constant: .*singular \('s2'\)"),
    "negative VI": (table(VALUES), "mahalanobis", {"VI": -np.eye(5)}, DataValueError,
                    "VI has the negative eigenvalue -1"),
    "VI of others": (table(VALUES), "mahalanobis", {"VI": np.eye(4)}, DataValueError,
                     "VI is for 4 features, and the rows have 5"),
    "no power": (table(VALUES), "minkowski", {"p": 0}, DataValueError,
                 "p must be greater than 0, got 0"),
    "negative weights": (table(VALUES), "cityblock", {"w": np.arange(5.0) - 1}, DataValueError,
                         "Input weights should be all non-negative"),
    "weights of others": (table(VALUES), "cityblock", {"w": np.ones(4)}, DataValueError,
                          "w is for 4 features, and the rows have 5"),
    "keyword of others": (table(VALUES), "cosine", {"p": 3}, DataTypeError,
                          "cosine does not take p: it takes w"),
    "not symmetric": (distances((1, 2), 9.0), "precomputed", {}, DataValueError,
                      r"the distance of 'g1' and 'g2' \(row 1, column 2\) is 9.0 in one direction"),
    "negative": (distances((1, 2), -1.0), "precomputed", {}, DataValueError,
                 r"the distance of 'g1' and 'g2' .* is -1.0, which is negative"),
    "not zero": (distances((2, 2), 3.0), "precomputed", {}, DataValueError,
                 r"the distance of 'g2' \(row 2, column 2\) to itself is 3.0, and not zero"),
    "not square": (table(VALUES), "precomputed", {}, DataValueError,
                   "takes a square matrix of distances, got 8 x 5"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("call", ["pdist", "linkage", "clustermap"])
def test_in_python(name, call):
    data, metric, keywords, error, words = CASES[name]
    calls = {
        "pdist": lambda: pdist(data, metric, **keywords),
        "linkage": lambda: linkage(data, "average", metric, metric_kws=keywords),
        "clustermap": lambda: clustermap(
            data, metric=metric, metric_kws=keywords, col_cluster=False, figsize=(2, 2)
        ),
    }
    with pytest.raises(error, match=words) as caught:
        calls[call]()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", CASES)
def test_in_the_command(name, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    data, metric, keywords, _, words = CASES[name]
    data.to_csv("a.csv")
    options = ["--metric", metric, "--no-col-cluster", "--figsize", "2", "2"]
    for word, value in keywords.items():
        if isinstance(value, np.ndarray):
            np.save(f"{word}.npy", value)
            value = f"{word}.npy"
        options += ["--metric-kws", f"{word}={value}"]
    with pytest.raises(SystemExit) as left:
        main(["run", "a.csv", "-o", "run", *options])
    out, err = capfd.readouterr()
    assert left.value.code in (1, 2)
    last = err.splitlines()[-1]
    assert last.startswith("clustergrid: ")
    assert "Traceback" not in err
    # In a text, a column of dates is one of text; numbers come as float64.
    assert re.search(words.replace("got 0", "got 0.0"), last), last
    assert "finished in" not in out


@pytest.mark.parametrize(
    ("data", "error", "words"),
    [
        (np.ones((0, 4)), DataValueError, "no rows"),
        (np.ones((4, 0)), DataValueError, "no columns"),
        (VALUES * 1j, DataTypeError, "complex128"),
        ([[1, 2], [3]], DataTypeError, "the rows have different lengths.* no column 1"),
    ],
)
@pytest.mark.parametrize("call", [pdist, linkage, clustermap])
def test_what_is_no_matrix(call, data, error, words):
    with pytest.raises(error, match=words):
        call(data)


@pytest.mark.parametrize(
    ("shape", "words"), [((0, 4), "no rows"), ((4, 0), "no columns"), ((4, 3), "complex128")]
)
def test_what_is_no_matrix_in_the_command(tmp_path, capfd, shape, words):
    dtype = complex if words == "complex128" else float
    np.save(tmp_path / "a.npy", np.ones(shape, dtype))
    with pytest.raises(SystemExit) as left:
        main(["run", str(tmp_path / "a.npy"), "-o", str(tmp_path / "run")])
    assert left.value.code == 1
    assert words in capfd.readouterr().err.splitlines()[-1]


# Values that are no booleans.

BITS = (VALUES > 0).astype(float)
OTHERS = {
    "half": 0.5 * BITS,
    "one of many": changed((3, 2), 0.999, BITS),
    "larger": 2 * BITS,
    "negative": -BITS,
    "counts": (3 * BITS).astype(int),
}
WARNING = "jaccard compares booleans: values other than 0 and 1 were taken for true"


@pytest.mark.parametrize("kind", OTHERS)
def test_values_that_are_no_booleans_are_told_of_once(kind):
    expected = pdist(OTHERS[kind] != 0, "jaccard").to_numpy()
    with pytest.warns(UserWarning, match=WARNING) as told:
        found = pdist(OTHERS[kind], "jaccard").to_numpy()
    assert len(told) == 1
    np.testing.assert_array_equal(found, expected)
    with pytest.warns(UserWarning, match=WARNING) as told:
        grid = clustermap(OTHERS[kind], metric="jaccard", figsize=(2, 2))
    assert len(told) == 1
    import matplotlib.pyplot as plt

    plt.close(grid.figure)


@pytest.mark.parametrize("dtype", [bool, np.int8, np.float32, float])
def test_booleans_of_any_type_are_no_news(dtype):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pdist(BITS.astype(dtype), "jaccard")
        many = np.random.default_rng(0).random((2100, 9)) < 0.3
        pdist(many.astype(dtype), "yule")


def test_scaled_booleans_are_booleans(tmp_path, capfd):
    np.save(tmp_path / "a.npy", 7 * BITS + 0.3)
    options = ["--metric", "jaccard", "--figsize", "2", "2"]
    main(["run", str(tmp_path / "a.npy"), "-o", str(tmp_path / "run"), *options,
          "--standard-scale", "columns"])  # fmt: skip
    assert "warning" not in capfd.readouterr().err
    main(["run", str(tmp_path / "a.npy"), "-o", str(tmp_path / "other"), *options])
    err = capfd.readouterr().err
    assert err.count("clustergrid: warning: " + WARNING) == 1
