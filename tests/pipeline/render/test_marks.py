"""Marked rows and columns: which, where their labels stand, and the lines to them."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.text import Text
from scipy.optimize import minimize

from clustergrid.pipeline.render import clustermap
from clustergrid.pipeline.render.marks import find_marked, spread
from clustergrid.storage.errors import ClustergridError

pytestmark = pytest.mark.quick_cases(one_in=16)

NO_TREES = {"row_cluster": False, "col_cluster": False}

targets = st.lists(st.floats(0, 100), min_size=1, max_size=12).map(sorted).map(np.array)


@given(targets, st.floats(0.1, 8))
def test_labels_keep_their_order_and_their_distance(at: np.ndarray, distance: float) -> None:
    places = spread(at, distance, 0, 100)
    assert (np.diff(places) >= distance * (1 - 1e-9)).all()
    if distance * (len(at) - 1) <= 100:
        assert places[0] >= -1e-9
        assert places[-1] <= 100 + 1e-9
    else:  # around the middle
        assert places[0] + places[-1] == pytest.approx(100)


@given(targets, st.floats(1, 8))
def test_labels_are_displaced_as_little_as_can_be(at: np.ndarray, distance: float) -> None:
    if distance * (len(at) - 1) > 100:
        return
    places = spread(at, distance, 0, 100)
    apart = [
        {"type": "ineq", "fun": lambda x, i=i: x[i + 1] - x[i] - distance}
        for i in range(len(at) - 1)
    ]
    start = np.linspace(0, 100, len(at)) if len(at) > 1 else at
    found = minimize(
        lambda x: ((x - at) ** 2).sum(), start, constraints=apart, bounds=[(0, 100)] * len(at)
    )
    assert ((places - at) ** 2).sum() <= found.fun * (1 + 1e-6) + 1e-6


def test_labels_with_room_stand_at_what_they_mark() -> None:
    np.testing.assert_array_equal(spread(np.array([10.0, 30, 80]), 5, 0, 100), [10, 30, 80])
    assert len(spread(np.empty(0), 5, 0, 100)) == 0


TEXT = pd.Index(["a", "b", "c", "b"])
FOUND: dict[str, tuple[Any, pd.Index, list[int]]] = {
    "labels": (["c", "a"], TEXT, [0, 2]),
    "repeated labels": (["b"], TEXT, [1, 3]),
    "positions": ([3, 0, 3], TEXT, [0, 3]),
    "bools": ([True, False, False, True], TEXT, [0, 3]),
    "integer labels": ([30, 10], pd.Index([10, 20, 30]), [0, 2]),
    "a Series": (pd.Series(["c"], index=[7]), TEXT, [2]),
    "tuples": ([("x", 2)], pd.MultiIndex.from_product([["x", "y"], [1, 2]]), [1]),
    "tuples of numbers": ([(2, 1)], pd.MultiIndex.from_product([[1, 2], [1, 2]]), [2]),
    "a tuple of a shorter length": (
        [("x",)],
        pd.Index([("x",), ("x", 2)], tupleize_cols=False),
        [0],
    ),
    "positions in a MultiIndex": ([3], pd.MultiIndex.from_product([[1, 2], [1, 2]]), [3]),
    "float labels": ([5, 0], pd.Index([5.0, 4, 3, 2, 1, 0]), [0, 5]),
    "number objects": ([5], pd.Index([5, 4, "x", 2, 1, 0], dtype=object), [0]),
    "numbers as categories": ([5], pd.CategoricalIndex([5, 4, 3]), [0]),
    "positions beside a missing label": ([1], pd.Index(["a", "b", np.nan]), [1]),
    "an array of positions": (np.array([2, 1]), TEXT, [1, 2]),
    "nullable bools": (pd.array([True, False, False, True], dtype="boolean"), TEXT, [0, 3]),
    "none": ([], TEXT, []),
}


@pytest.mark.parametrize(("marks", "index", "positions"), FOUND.values(), ids=FOUND)
def test_marks_are_found(marks: Any, index: pd.Index, positions: list[int]) -> None:
    np.testing.assert_array_equal(find_marked(marks, index, "row_mark"), positions)


REFUSED: dict[str, tuple[type[Exception], str, Any]] = {
    "unknown": (ValueError, "row_mark has 'z': no such label among the 4", ["a", "z"]),
    "beyond": (ValueError, "row_mark has positions 4, -1: the axis has 0 to 3", [4, -1, 2]),
    "text": (TypeError, "must be a list of labels or positions, got 'a'", "a"),
    "number": (TypeError, "must be a list of labels or positions, got 3", 3),
    "bools": (ValueError, "row_mark has 2 bools for an axis of 4", [True, False]),
    "lists": (TypeError, r"row_mark has \['a', 'b'\], which is neither a label", [["a", "b"]]),
}


@pytest.mark.parametrize(("error", "message", "marks"), REFUSED.values(), ids=REFUSED)
def test_refused(error: type[Exception], message: str, marks: Any) -> None:
    with pytest.raises(error, match=message) as caught:
        find_marked(marks, TEXT, "row_mark")
    assert isinstance(caught.value, ClustergridError)


def _texts(g: Any) -> list[Any]:
    return list(g.ax_heatmap.texts)


@pytest.mark.parametrize("axis", [0, 1])
def test_marks_stand_beside_the_body_in_leaf_order(axis: int) -> None:
    values = np.random.default_rng(0).normal(size=(200, 200))
    labels = [f"gene {i}" for i in range(200)]
    table = pd.DataFrame(values, index=labels, columns=labels)
    wanted = [f"gene {i}" for i in (3, 4, 5, 50, 51, 52, 53, 54, 120, 121, 199)]
    g = clustermap(table, figsize=(6, 6), **{("row_mark", "col_mark")[axis]: wanted})
    tree = (g.dendrogram_row, g.dendrogram_col)[axis]
    in_order = [labels[leaf] for leaf in tree.reordered_ind if labels[leaf] in wanted]
    assert [text.get_text() for text in _texts(g)] == in_order
    boxes = [text.get_window_extent() for text in _texts(g)]
    body = g.ax_heatmap.get_window_extent()
    (lines,) = g.ax_heatmap.collections[:1] if not g.ax_heatmap.images else g.ax_heatmap.collections
    segments = [lines.get_transform().transform(line) for line in lines.get_segments()]
    places = [labels.index(label) for label in in_order]
    leaf_places = np.argsort(tree.reordered_ind)[places] + 0.5
    for box, line, leaf in zip(boxes, segments, leaf_places, strict=True):
        if axis == 0:
            assert body.x1 < box.x0
            assert line[0] == pytest.approx((body.x1, body.y1 - leaf / 200 * body.height))
            assert line[-1, 1] == pytest.approx((box.y0 + box.y1) / 2, abs=3)
            assert line[-1, 0] <= box.x0
        else:
            assert box.y1 < body.y0
            assert line[0] == pytest.approx((body.x0 + leaf / 200 * body.width, body.y0))
            assert line[-1, 0] == pytest.approx((box.x0 + box.x1) / 2, abs=3)
            assert line[-1, 1] >= box.y1
    along = 1 - axis
    ends = np.array([line[-1, along] for line in segments])
    starts = np.array([line[0, along] for line in segments])
    # In the same order at both ends, lines do not cross.
    assert (np.argsort(ends) == np.argsort(starts)).all()
    for one, other in pairwise(boxes):
        assert one.y0 >= other.y1 - 1 if axis == 0 else one.x1 <= other.x0 + 1
    figure = g.figure.bbox
    for box in boxes:
        assert figure.x0 <= box.x0
        assert box.x1 <= figure.x1
        assert box.y0 >= figure.y0


def test_marks_take_the_place_of_tick_labels(table: pd.DataFrame) -> None:
    g = clustermap(table, row_mark=["gene 3"])
    assert len(g.ax_heatmap.get_yticks()) == 0
    assert len(g.ax_heatmap.get_xticks()) == 8
    with pytest.raises(ValueError, match="yticklabels and row_mark would be written over one"):
        clustermap(table, row_mark=["gene 3"], yticklabels=True)
    with pytest.raises(ValueError, match="col_mark has 's9'"):
        clustermap(table, col_mark=["s9"])
    g = clustermap(table, row_mark=["gene 3"], yticklabels=False)
    assert len(_texts(g)) == 1


def test_more_marks_than_fit_are_written_smaller() -> None:
    g = clustermap(np.random.default_rng(0).normal(size=(300, 5)), figsize=(4, 4),
                   row_mark=list(range(150)), **NO_TREES)  # fmt: skip
    boxes = [text.get_window_extent() for text in _texts(g)]
    assert _texts(g)[0].get_fontsize() < 5
    body = g.ax_heatmap.get_window_extent()
    for one, other in pairwise(boxes):
        assert one.y0 >= other.y1 - 1.5
    assert body.y0 - 2 <= min(box.y0 for box in boxes)
    assert max(box.y1 for box in boxes) <= body.y1 + 2


def test_marks_that_no_font_is_small_enough_for_stay_on_the_page() -> None:
    values = np.random.default_rng(0).normal(size=(1000, 5))
    with pytest.warns(UserWarning, match=r"row_mark names 700 rows, and \d+ labels have room"):
        g = clustermap(values, figsize=(4, 4), row_mark=list(range(700)), **NO_TREES)
    shown = [text for text in _texts(g) if text.get_visible()]
    body = g.ax_heatmap.get_window_extent()
    assert 100 < len(shown) < 700
    assert (shown[0].get_text(), shown[-1].get_text()) == ("0", "699")
    for text in shown:
        box = text.get_window_extent()
        assert body.y0 - 3 <= box.y0
        assert box.y1 <= body.y1 + 3
    (lines,) = (each for each in g.ax_heatmap.collections if hasattr(each, "get_segments"))
    assert len(lines.get_segments()) == len(shown)


def test_marks_grow_again_when_there_is_room() -> None:
    values = np.random.default_rng(0).normal(size=(300, 5))
    g = clustermap(values, figsize=(4, 2), row_mark=list(range(60)), **NO_TREES)
    asked = g.ax_heatmap.get_xticklabels()[0].get_fontsize()
    assert _texts(g)[0].get_fontsize() < asked / 3
    g.figure.set_size_inches(4, 30)
    g.tight_layout()
    assert _texts(g)[0].get_fontsize() == asked


def test_the_name_of_the_axis_stands_beyond_the_marks(table: pd.DataFrame) -> None:
    g = clustermap(table, row_mark=["gene 3", "gene 11"], col_mark=["s1"], figsize=(5, 5))
    g.figure.canvas.draw()
    rightmost = max(text.get_window_extent().x1 for text in _texts(g)[:2])
    assert g.ax_heatmap.yaxis.label.get_window_extent().x0 >= rightmost
    lowest = min(text.get_window_extent().y0 for text in _texts(g)[2:])
    assert g.ax_heatmap.xaxis.label.get_window_extent().y1 <= lowest


def test_of_ten_thousand_rows_only_marks_are_laid_out(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).normal(size=(10_000, 20)).astype(np.float32)
    table = pd.DataFrame(values, index=[f"gene {i}" for i in range(10_000)])
    marks = list(table.index[::250])
    measured: list[Text] = []
    window_extent = Text.get_window_extent

    def measure(text: Text, *args: Any, **kws: Any) -> Any:
        measured.append(text)
        return window_extent(text, *args, **kws)

    monkeypatch.setattr(Text, "get_window_extent", measure)
    counts = {}
    for name, kws in (("plain", {"yticklabels": False}), ("marks", {"row_mark": marks})):
        measured.clear()
        clustermap(table, **kws, **NO_TREES).figure.canvas.draw()
        counts[name] = len(measured)
    assert len(marks) <= counts["marks"] - counts["plain"] < 20 * len(marks)


def test_numbers_that_no_float_label_is_are_refused() -> None:
    with pytest.raises(ValueError, match="row_mark has 7: no such label among the 3"):
        find_marked([7], pd.Index([0.0, 1, 2]), "row_mark")


def test_a_dollar_in_a_label_is_a_dollar(table: pd.DataFrame) -> None:
    g = clustermap(table.rename(index={"gene 3": r"$\frac{1$"}), row_mark=[3], **NO_TREES)
    (text,) = (each for each in g.ax_heatmap.texts if "frac" in each.get_text())
    assert not text.get_parse_math()
