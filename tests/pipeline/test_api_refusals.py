"""What the public functions refuse, and what they say."""

import dask.array
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from clustergrid.pipeline import clustermap, linkage, pdist, plan
from clustergrid.pipeline.errors import MemoryLimitError
from clustergrid.pipeline.planning import parse_bytes
from clustergrid.storage.errors import ClustergridError, DataTypeError, DataValueError

VALUES = np.random.default_rng(0).normal(size=(60, 13))
LABELLED = pd.DataFrame(
    np.arange(12.0).reshape(4, 3) ** 1.5, index=list("wxyz"), columns=list("abc")
)


def broken(**cells):
    frame = LABELLED.copy()
    for row, value in cells.items():
        frame.loc[row, "b"] = value
    return frame


@pytest.mark.parametrize("call", [pdist, linkage])
@pytest.mark.parametrize("chunked", [False, True])
def test_values_that_are_not_finite_are_counted_and_named(call, chunked):
    frame = broken(x=np.nan, z=np.inf)
    frame.loc["x", "c"] = np.nan
    data = frame
    if chunked:
        data = xr.DataArray(
            frame, dims=("gene", "sample"), coords={"gene": frame.index, "sample": frame.columns}
        ).chunk(gene=2)
    with pytest.raises(DataValueError) as caught:
        call(data)
    text = str(caught.value)
    assert text.startswith("The condensed distance matrix must contain only finite values.")
    assert "2 values are NaN and 1 infinite, in 2 of 4 rows (the first: 'x', 'z')" in text
    assert "Drop or impute" in text


@pytest.mark.parametrize(
    ("metric", "row", "words"),
    [
        ("cosine", [0, 0, 0], "1 of 4 rows is all zero and have no cosine distance ('y')"),
        ("correlation", [0.1, 0.1, 0.1], "1 of 4 rows is constant"),
        ("correlation", [0, 0, 0], "1 of 4 rows is constant"),
    ],
)
def test_rows_without_a_distance_are_named(metric, row, words):
    frame = LABELLED.copy()
    frame.loc["y"] = row
    with pytest.raises(DataValueError) as caught:
        pdist(frame, metric)
    text = str(caught.value).replace("has no", "have no")
    assert words in text
    assert "'y'" in text
    assert "choose another metric" in text


@pytest.mark.parametrize(
    ("data", "error", "words"),
    [
        (
            np.ones((1, 4)),
            DataValueError,
            "number of observations cannot be determined on an empty",
        ),
        (np.ones((0, 4)), DataValueError, "no rows"),
        (np.ones((4, 0)), DataValueError, "no columns"),
        (np.ones((2, 2, 2)), DataValueError, "two dimensions"),
        (np.array([["a", "b"], ["c", "d"]]), DataTypeError, "not real numbers"),
        (np.ones((3, 3)) * 1j, DataTypeError, "complex128, not real numbers"),
        (np.zeros((3, 3), "M8[s]"), DataTypeError, "not real numbers"),
        ([[1, 2], [3]], ClustergridError, "(?i)row|ragged|shape"),
        (LABELLED.assign(d=list("pqrs")), DataTypeError, "'d'"),
    ],
)
@pytest.mark.parametrize("call", [pdist, linkage])
def test_data_that_cannot_be_used(call, data, error, words):
    with pytest.raises(error, match=words):
        call(data)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: linkage(VALUES, "foo"), "Invalid method: foo"),
        (lambda: linkage(VALUES, metric="foo"), "Unknown Distance Metric: 'foo'"),
        (lambda: pdist(VALUES, "foo"), "Unknown Distance Metric: 'foo'"),
        (lambda: linkage(VALUES, "ward", "cosine"), "requires the distance metric to be Euclidean"),
        (lambda: plan(VALUES, method="ward", metric="cosine"), "to be Euclidean"),
        (lambda: plan(VALUES, z_score=2), "z_score must be 0"),
        (lambda: plan(VALUES, z_score=0, standard_scale=1), "Cannot perform both"),
    ],
)
def test_arguments_that_make_no_sense(call, words):
    with pytest.raises(DataValueError, match=words):
        call()


@pytest.mark.parametrize("dtype", ["int8", "nonsense", "float16", complex, 3])
def test_types_that_distances_cannot_have(dtype):
    with pytest.raises(DataTypeError, match="dtype must be float32 or float64"):
        pdist(VALUES, dtype=dtype)


@pytest.mark.parametrize("memory", ["lots", 0, -3, "8 parsecs"])
def test_memory_that_is_no_size(memory):
    with pytest.raises(ValueError, match="not a size in bytes"):
        pdist(VALUES, memory=memory)


@pytest.mark.parametrize("call", [pdist, linkage])
@pytest.mark.parametrize("at_rest", [False, True])
@pytest.mark.parametrize("memory", ["5MB", "255MB"])
def test_what_a_memory_error_says_is_enough(tmp_path, call, at_rest, memory):
    values = np.random.default_rng(4).normal(size=(2500, 3))
    store = tmp_path / "store" if at_rest else None
    with pytest.raises(MemoryLimitError, match=r"memory='[^']*' would do") as caught:
        call(values, memory=memory, store=store)
    assert caught.value.limit_bytes == parse_bytes(memory)
    enough = str(caught.value).split("memory='")[1].split("'")[0]
    assert parse_bytes(enough) == caught.value.needed_bytes
    call(values, memory=enough, store=store)


def test_memory_is_refused_before_the_matrix_is_read():
    def refuse(*args, **kwargs):
        raise AssertionError("something was computed")

    lazy = dask.array.zeros((100_000, 50), chunks=(10_000, 50))
    with (
        dask.config.set(scheduler=refuse),
        pytest.raises(MemoryLimitError, match="the stage linkage-row needs"),
    ):
        linkage(xr.DataArray(lazy, dims=("gene", "sample")), memory="600MB")


@pytest.mark.parametrize("method", ["single", "average"])
def test_a_function_without_a_distance_is_refused(method):
    values = np.random.default_rng(0).normal(size=(6, 4))
    values[3] = 1.0

    def undefined(u, v):
        return np.nan if np.ptp(u) == 0 or np.ptp(v) == 0 else 1.0

    with pytest.raises(
        ValueError, match=r"the rows '0' and '3' are at distance nan.*only finite values"
    ):
        linkage(values, method, undefined)


def test_a_tree_of_distances_keeps_to_the_memory():
    d = pdist(np.random.default_rng(0).normal(size=(400, 3)))
    with pytest.raises(MemoryLimitError, match=r"SciPy's tree of 400 observations takes 2.56 MB"):
        linkage(d, memory="1MB")


def test_what_is_wrong_with_the_columns_is_said_before_the_rows_are_clustered(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("something was computed")

    monkeypatch.setattr("clustergrid.pipeline.stages.Stages.linkage", refuse)
    values = np.random.default_rng(0).normal(size=(6, 5))
    with pytest.raises(ValueError, match="Unknown Distance Metric"):
        clustermap(values, col_metric="typo")
    with pytest.raises(ValueError, match="requires the distance metric to be Euclidean"):
        clustermap(values, col_method="ward", col_metric="cosine")
