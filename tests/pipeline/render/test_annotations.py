"""Annotations from raw metadata: what they are read as, and the colours they get."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from clustergrid.pipeline.render.annotations import (
    Bars,
    Boxes,
    Categories,
    Numbers,
    Points,
    Strip,
    read_annotations,
)
from clustergrid.pipeline.render.grouped import box_statistics, group_means, majorities
from clustergrid.pipeline.render.palettes import (
    CATEGORY_COLORS,
    CategoryScale,
    NumberScale,
    make_scales,
)
from clustergrid.storage.errors import ClustergridError

INDEX = pd.Index(["a", "b", "c", "d"])


def _read(values: Any, index: Any = None) -> Any:
    (annotation,) = read_annotations({"it": values}, index, 4, "row_annotations")
    return annotation.values


CATEGORIES: dict[str, tuple[Any, list[Any], list[int]]] = {
    "text": (["y", "x", None, "y"], ["x", "y"], [1, 0, -1, 1]),
    "mixed": (["y", 2, np.nan, 2], [2, "y"], [1, 0, -1, 0]),
    "string dtype": (pd.array(["y", "x", pd.NA, "y"], dtype="string"), ["x", "y"], [1, 0, -1, 1]),
    "categorical": (
        pd.Categorical(["lo", "hi", None, "lo"], ["lo", "mid", "hi"]),
        ["lo", "mid", "hi"],
        [0, 2, -1, 0],
    ),
    "bool": ([True, False, True, True], [False, True], [1, 0, 1, 1]),
    "nullable bool": (
        pd.array([True, False, pd.NA, True], dtype="boolean"),
        [False, True],
        [1, 0, -1, 1],
    ),
    "bool objects": ([True, False, None, True], [False, True], [1, 0, -1, 1]),
    "nothing": ([None] * 4, [], [-1] * 4),
}


@pytest.mark.parametrize(("given_values", "labels", "codes"), CATEGORIES.values(), ids=CATEGORIES)
def test_categories(given_values: Any, labels: list[Any], codes: list[int]) -> None:
    found = _read(given_values)
    assert isinstance(found, Categories)
    assert list(found.labels) == labels
    np.testing.assert_array_equal(found.codes, codes)
    assert found.is_boolean == (labels == [False, True])


NUMBERS: dict[str, tuple[Any, list[float]]] = {
    "ints": ([3, 1, 2, 0], [3, 1, 2, 0]),
    "floats": (np.array([0.5, np.nan, 2, 1]), [0.5, np.nan, 2, 1]),
    "nullable ints": (pd.array([3, pd.NA, 2, 0], dtype="Int64"), [3, np.nan, 2, 0]),
    "objects": (pd.Series([3, None, 2.5, 0], dtype=object), [3, np.nan, 2.5, 0]),
    "decimals": ([Decimal("0.5"), Decimal(1), Decimal(2), Decimal(3)], [0.5, 1, 2, 3]),
}


@pytest.mark.parametrize(("given_values", "values"), NUMBERS.values(), ids=NUMBERS)
def test_numbers(given_values: Any, values: list[float]) -> None:
    if isinstance(given_values, pd.Series):
        given_values = given_values.set_axis(INDEX)
    found = _read(given_values, INDEX)
    assert isinstance(found, Numbers)
    assert not found.is_date
    np.testing.assert_array_equal(found.values, values)


@pytest.mark.parametrize(
    "dates",
    [
        pd.to_datetime(["2020-01-01", None, "2020-01-03", "1970-01-02"]),
        pd.to_datetime(["2020-01-01", None, "2020-01-03", "1970-01-02"], utc=True),
        [datetime.date(2020, 1, 1), None, datetime.date(2020, 1, 3), datetime.datetime(1970, 1, 2)],
        pd.PeriodIndex(["2020-01-01", None, "2020-01-03", "1970-01-02"], freq="D"),
    ],
)
def test_dates_are_days_as_matplotlib_counts_them(dates: Any) -> None:
    found = _read(list(dates) if isinstance(dates, list) else pd.Series(dates).array)
    assert found.is_date
    expected = mpl.dates.date2num(np.array(["2020-01-01", "2020-01-03"], dtype="datetime64[D]"))
    np.testing.assert_array_equal(found.values[[0, 2]], expected)
    assert np.isnan(found.values[1])
    assert found.values[3] == 1


def test_annotations_are_matched_by_index() -> None:
    series = pd.Series([1.0, 2.0, 9.0], index=["d", "b", "of another table"], name="age")
    (found,) = read_annotations(series, INDEX, 4, "row_annotations")
    assert found.title == "age"
    np.testing.assert_array_equal(found.values.values, [np.nan, 2, np.nan, 1])
    frame = pd.DataFrame({"x": list("pqrs"), "y": range(4)}, index=INDEX[::-1])
    x, y = read_annotations(frame, INDEX, 4, "row_annotations")
    np.testing.assert_array_equal(x.values.codes, [3, 2, 1, 0])
    np.testing.assert_array_equal(y.values.values, [3, 2, 1, 0])
    tracks = {
        "bars": Bars(frame["y"]),
        "boxes": Boxes(frame[["y", "y"]]),
        "p": Points([1, 2, 3, 4]),
    }
    bars, boxes, points = read_annotations(tracks, INDEX, 4, "row_annotations")
    np.testing.assert_array_equal(bars.values.values, [3, 2, 1, 0])
    np.testing.assert_array_equal(boxes.values.values, [[3, 3], [2, 2], [1, 1], [0, 0]])
    np.testing.assert_array_equal(points.values.values, [1, 2, 3, 4])


LABELLED: dict[str, Any] = {
    "mapping": {"d": 4.0, "b": 2.0, "a": 1.0, "c": 3.0},
    "DataArray": xr.DataArray([4.0, 2, 1, 3], coords={"patient": list("dbac")}, dims="patient"),
    "DataArray in memory of its index": xr.DataArray([1.0, 2, 3, 4], coords={"x": INDEX}, dims="x"),
    "DataArray without labels": xr.DataArray([1.0, 2, 3, 4], dims="patient"),
}


@pytest.mark.parametrize("values", LABELLED.values(), ids=LABELLED)
def test_what_has_labels_is_matched_by_them(values: Any) -> None:
    for wrap in (Strip, Bars, Points):
        np.testing.assert_array_equal(_read(wrap(values), INDEX).values, [1, 2, 3, 4])
    if not isinstance(values, dict):
        table = xr.concat([values, values], "k").transpose(*values.dims, "k")
        expected = np.repeat([[1], [2], [3], [4]], 2, axis=1)
        np.testing.assert_array_equal(_read(Boxes(table), INDEX).values, expected)


def test_a_mapping_of_some_labels_leaves_the_others_missing() -> None:
    found = _read({"d": "x", "b": "y"}, INDEX)
    np.testing.assert_array_equal(found.codes, [-1, 1, -1, 0])


SERIES = pd.Series(range(4), index=INDEX)
REFUSED: dict[str, tuple[type[Exception], str, Any, Any]] = {
    "a list": (TypeError, "must be a Series, a DataFrame or a mapping.*row_colors", [1, 2], INDEX),
    "too few": (
        ValueError,
        r"row_annotations\['x'\] has 3 values for the 4",
        {"x": [1] * 3},
        INDEX,
    ),
    "no index": (TypeError, "has an index, and data has none", SERIES, None),
    "a mapping, no index": (
        TypeError,
        "has an index, and data has none",
        {"x": dict.fromkeys(range(4), 1)},
        None,
    ),
    "other labels": (
        ValueError,
        r"none of the labels of row_annotations\['x'\] \(0, 1, 2, ...\) is one of data's \('a'",
        {"x": pd.Series(range(4))},
        INDEX,
    ),
    "labels twice": (
        ValueError,
        "has labels more than once: 'a'",
        {"x": pd.Series([1, 2], index=["a", "a"])},
        INDEX,
    ),
    "infinite": (ValueError, "has 1 infinite values", {"x": [1, 2, 3, np.inf]}, INDEX),
    "complex": (TypeError, "holds complex", {"x": np.array([1j] * 4)}, INDEX),
    "text": (TypeError, "must be a Series, an array or a list, got 'red'", {"x": "red"}, INDEX),
    "bars of text": (
        TypeError,
        "must be numbers to be drawn as Bars",
        {"x": Bars(list("abcd"))},
        INDEX,
    ),
    "boxes of a list": (TypeError, "must be a table", {"x": Boxes([1, 2, 3, 4])}, INDEX),
    "a table": (TypeError, "one value for each", {"x": np.zeros((4, 2))}, INDEX),
    "size": (ValueError, "has size 2: a proportion", {"x": Bars([1] * 4, size=2)}, INDEX),
    "same titles": (ValueError, "read the same: 1, 1", {1: [1] * 4, "1": [2] * 4}, INDEX),
}


@pytest.mark.parametrize(("error", "message", "what", "index"), REFUSED.values(), ids=REFUSED)
def test_refused(error: type[Exception], message: str, what: Any, index: Any) -> None:
    with pytest.raises(error, match=message) as caught:
        read_annotations(what, index, 4, "row_annotations")
    assert isinstance(caught.value, ClustergridError)


def _scales(annotations: dict[str, Any], palettes: Any = None) -> dict[str, Any]:
    n = len(list(annotations.values())[-1])
    return make_scales(read_annotations(annotations, None, n, "row_annotations"), palettes)


def test_strips_of_categories_go_on_in_the_palette_and_numbers_in_the_maps() -> None:
    scales = _scales(
        {
            "x": list("abca"),
            "flag": [True, False] * 2,
            "y": list("pqpq"),
            "u": [1, 2, 3, 4],
            "v": [0.0] * 4,
        }
    )
    first = [mpl.colors.to_rgb(color) for color in CATEGORY_COLORS]
    assert scales["x"].labels == ("a", "b", "c")
    assert list(scales["x"].colors) == first[:3]
    assert list(scales["y"].colors) == first[3:5]
    assert scales["flag"].labels == (False, True)
    assert scales["flag"].colors[0][0] > 0.8 > 0.3 > scales["flag"].colors[1][0]
    assert (scales["u"].vmin, scales["u"].vmax) == (1, 4)
    assert scales["v"].vmin < 0 < scales["v"].vmax
    assert scales["u"].colormap(0.9) != scales["v"].colormap(0.9)


def test_colors_are_those_of_matplotlibs_accessible_cycle() -> None:
    if "petroff10" not in mpl.color_sequences:
        pytest.skip("this matplotlib has no petroff10")
    theirs = {mpl.colors.to_hex(color) for color in mpl.color_sequences["petroff10"]}
    assert set(CATEGORY_COLORS) == theirs


def test_up_to_thirty_categories_have_colors_of_their_own() -> None:
    scale = _scales({"x": [f"{i:02}" for i in range(30)]})["x"]
    assert len(set(scale.colors)) == 30
    with pytest.raises(ValueError, match="'x' has 31 categories, and 30 is the most"):
        _scales({"x": [f"{i:02}" for i in range(31)]})
    many = {str(i): (i / 31, 0, 0) for i in range(31)}
    assert len(_scales({"x": list(many)}, {"x": many})["x"].labels) == 31


def test_categories_that_nobody_has_are_not_in_the_legend() -> None:
    values = pd.Categorical(["hi", "lo", None, "hi"], ["lo", "mid", "hi"])
    scale = _scales({"x": values})["x"]
    assert scale.labels == ("lo", "hi")
    annotation = read_annotations({"x": values}, None, 4, "row_annotations")[0]
    np.testing.assert_array_equal(scale.codes(annotation.values), [1, 0, -1, 1])


PALETTES: dict[str, tuple[Any, list[str]]] = {
    "mapping": ({"b": "k", "a": "r", "more": "g"}, ["r", "k"]),
    "series": (pd.Series({"b": "k", "a": "r"}), ["r", "k"]),
    "list": (["r", "k", "g"], ["r", "k"]),
    "qualitative colormap": ("tab10", ["tab:blue", "tab:orange"]),
    "colormap": ("gray", ["black", "white"]),
}


@pytest.mark.parametrize(("palette", "colors"), PALETTES.values(), ids=PALETTES)
def test_palettes(palette: Any, colors: list[str]) -> None:
    expected = tuple(mpl.colors.to_rgb(color) for color in colors)
    assert _scales({"x": list("aabb")}, {"x": palette})["x"].colors == expected
    assert (
        _scales({"x": Strip(list("aabb"), palette=palette)} | {"y": [1] * 4})["x"].colors
        == expected
    )


def test_a_palette_of_numbers() -> None:
    scale = _scales({"x": Strip([1, 2], palette="vlag", vmin=-3, vmax=3)} | {"y": [1, 2]})["x"]
    assert isinstance(scale, NumberScale)
    assert (scale.vmin, scale.vmax, scale.colormap.name) == (-3, 3, "vlag")
    days = pd.to_datetime(["2020-01-01", "2020-02-01"])
    scale = _scales({"x": Strip(days.array, vmin="2019-12-31"), "y": [1, 2]})["x"]
    assert scale.is_date
    assert scale.vmax - scale.vmin == 32


BAD_PALETTES: dict[str, tuple[Any, Any, str]] = {
    "unknown title": ({"x": list("ab")}, {"z": "tab10"}, "'z', which is no strip: there are 'x'"),
    "lacks a category": ({"x": list("ab")}, {"x": {"a": "r"}}, "'x' has no colour for 'b'"),
    "short": ({"x": list("ab")}, {"x": ["r"]}, "1 colours for 2 categories"),
    "no colour": ({"x": list("ab")}, {"x": ["r", "bleu"]}, "'bleu', which is not a colour"),
    "no palette": ({"x": list("ab")}, {"x": 5}, "5: neither colours by category"),
    "no colormap": ({"x": [1, 2]}, {"x": "viridi"}, "Unknown colormap 'viridi'"),
    "mapping of numbers": ({"x": [1, 2]}, {"x": {1: "r"}}, "holds numbers, whose palette is"),
    "limits": ({"x": Strip([1, 2], vmin=5), "y": [1, 2]}, None, "vmin must be below vmax"),
}


@pytest.mark.parametrize(("what", "palettes", "message"), BAD_PALETTES.values(), ids=BAD_PALETTES)
def test_bad_palettes(what: Any, palettes: Any, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message) as caught:
        make_scales(read_annotations(what, None, 2, "row_annotations"), palettes)
    assert isinstance(caught.value, ClustergridError)


def test_strips_of_one_title_share_their_colors() -> None:
    rows = read_annotations({"x": list("ab")}, None, 2, "row_annotations")
    columns = read_annotations({"x": list("cab")}, None, 3, "col_annotations")
    scale = make_scales([*rows, *columns], None)["x"]
    assert isinstance(scale, CategoryScale)
    assert scale.labels == ("a", "b", "c")
    numbers = read_annotations({"x": [1, 2]}, None, 2, "col_annotations")
    with pytest.raises(TypeError, match="'x' hold categories, and other values too"):
        make_scales([*rows, *numbers], None)


groups = st.lists(st.lists(st.integers(-1, 3), min_size=1, max_size=6), min_size=1, max_size=8)


@given(groups)
def test_groups_are_those_of_a_plain_definition(members: list[list[int]]) -> None:
    edges = np.concatenate([[0], np.cumsum([len(group) for group in members])])
    codes = np.concatenate(members)
    values = np.where(codes < 0, np.nan, codes.astype(float))
    found, means = majorities(codes, edges, 4), group_means(values, edges)
    boxes = box_statistics(np.split(values, edges[1:-1]))
    for place, group in enumerate(members):
        there = [code for code in group if code >= 0]
        if not there:
            assert found[place] == -1
            assert np.isnan(means[place])
            assert np.isnan(boxes[place]).all()
            continue
        assert found[place] == min(set(there), key=lambda code: (-there.count(code), code))
        assert means[place] == pytest.approx(np.mean(there))
        np.testing.assert_allclose(boxes[place, 1:4], np.percentile(there, [25, 50, 75]))
        reach = 1.5 * (boxes[place, 3] - boxes[place, 1])
        inside = [v for v in there if boxes[place, 1] - reach <= v <= boxes[place, 3] + reach]
        assert (boxes[place, 0], boxes[place, 4]) == (min(inside), max(inside))
