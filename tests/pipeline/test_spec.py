"""What was asked for is checked once, before anything runs."""

import json
from dataclasses import replace

import numpy as np
import pytest

from clustergrid.pipeline.keywords import MetricKeywords
from clustergrid.pipeline.spec import AxisSpec, RunSpec, check_normalization, distance_dtype
from clustergrid.storage.errors import ClustergridError, DataTypeError, DataValueError


@pytest.mark.parametrize(
    ("matrix", "asked", "expected"),
    [
        ("float64", None, "float64"),
        ("float32", None, "float32"),
        ("float16", None, "float32"),
        ("longdouble", None, "float64"),
        (">f4", None, "float32"),
        ("int8", None, "float64"),
        ("uint64", None, "float64"),
        ("bool", None, "float64"),
        ("int32", "float32", "float32"),
        ("float32", np.float64, "float64"),
        ("float64", np.dtype("f4"), "float32"),
        ("float64", float, "float64"),
    ],
)
def test_distances_follow_the_matrix(matrix, asked, expected):
    assert distance_dtype(np.dtype(matrix), asked) == expected


@pytest.mark.parametrize(
    "asked",
    ["int8", "float16", "nonsense", "complex64", 3, {"a": 1}, {"names": 1}, "f4,f4", object()],
)
def test_other_types_of_distances_are_refused(asked):
    with pytest.raises(DataTypeError, match="dtype must be float32 or float64, got"):
        distance_dtype(np.dtype("float64"), asked)


@pytest.mark.parametrize("matrix", ["complex64", "U3", "M8[s]", "m8[s]", "O", "S1"])
def test_matrices_of_other_things_are_refused(matrix):
    with pytest.raises(DataTypeError, match="not real numbers"):
        distance_dtype(np.dtype(matrix))


@pytest.mark.parametrize("axis", [None, 0, 1, np.int64(1)])
def test_axes_of_normalization(axis):
    check_normalization(axis, None)
    check_normalization(None, axis)


@pytest.mark.parametrize("axis", [2, -1, True, False, "0", 0.5])
def test_other_axes_are_refused(axis):
    with pytest.raises(DataValueError, match="z_score must be 0"):
        check_normalization(axis, None)
    with pytest.raises(DataValueError, match="standard_scale must be 0"):
        RunSpec(standard_scale=axis)


def test_both_normalizations_are_refused():
    with pytest.raises(
        DataValueError, match="Cannot perform both z-scoring and standard-scaling on data"
    ):
        RunSpec(z_score=0, standard_scale=0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"method": "foo"}, "Invalid method: foo"),
        ({"metric": "foo"}, r"Unknown Distance Metric: 'foo'\. Known: braycurtis, c"),
        ({"metric": None}, "Unknown Distance Metric"),
        ({"method": "ward", "metric": "cosine"}, "`method=ward` requires .* to be Euclidean"),
        ({"method": "median", "metric": "cityblock"}, "`method=median` requires"),
        ({"dtype": "int8"}, "dtype must be"),
    ],
)
def test_an_axis_that_makes_no_sense(options, words):
    with pytest.raises(ClustergridError, match=words):
        AxisSpec(**options)


def test_an_axis_is_looked_up():
    spec = RunSpec(row=AxisSpec(method="ward"), column=AxisSpec(metric="cosine"))
    assert spec.axis(0).method == "ward"
    assert spec.axis(1).metric == "cosine"
    assert hash(spec) == hash(
        RunSpec(row=AxisSpec(method="ward"), column=AxisSpec(metric="cosine"))
    )


def test_aliases_of_euclidean_go_with_ward():
    AxisSpec(method="ward", metric="Euclid")


def test_keywords_are_of_the_features_of_their_axis():
    weights = MetricKeywords.from_mapping({"w": np.ones(5)})
    weighted, none = AxisSpec(metric_kws=weights), AxisSpec(cluster=False)
    RunSpec(row=weighted).check_features((30, 5))
    RunSpec(row=weighted, column=none).check_features((30, 5))
    RunSpec(row=replace(weighted, linkage="tree.npy")).check_features((30, 9))
    with pytest.raises(DataValueError) as caught:
        RunSpec(row=weighted, column=weighted).check_features((30, 5))
    assert str(caught.value) == (
        "w is for 5 features, and the columns have 30: give keywords to one axis, row_metric_kws "
        "or col_metric_kws"
    )
    with pytest.raises(DataValueError) as caught:
        RunSpec(row=weighted, column=none).check_features((5, 30))
    assert str(caught.value) == "w is for 5 features, and the rows have 30"


def test_an_axis_as_json_holds_no_arrays():
    keywords = MetricKeywords.from_mapping({"p": np.inf, "w": np.ones(5)})
    asked = AxisSpec(metric="minkowski", metric_kws=keywords).to_json()
    assert json.loads(json.dumps(asked, allow_nan=False)) == asked
    assert asked["metric_kws"]["p"] == "inf"
    assert len(asked["metric_kws"]["w"]) == 64
