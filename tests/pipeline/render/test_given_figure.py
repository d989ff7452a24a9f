"""Grids in figures and subfigures that are there."""

from __future__ import annotations

import gc
import io
import weakref
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from clustergrid.pipeline.render import ClusterGrid, clustermap
from clustergrid.pipeline.stages import Stages
from clustergrid.storage.errors import ClustergridError

pytestmark = pytest.mark.quick_cases(one_in=16)

EVERYTHING: dict[str, Any] = {
    "row_annotations": {"kind": list("abc") * 4, "value": np.arange(12.0)},
    "col_colors": list("rgbcmykw"),
    "cbar_kws": {"label": "expression"},
}


def _places(g: ClusterGrid) -> dict[str, Any]:
    names = ("ax_heatmap", "ax_row_dendrogram", "ax_col_dendrogram", "ax_cbar", "ax_row_colors")
    return {name: getattr(g, name).get_window_extent().extents for name in names}


def test_a_figure_that_is_there_looks_as_one_of_its_own(table: pd.DataFrame) -> None:
    colors = list("rgb") * 4
    own = clustermap(table, figsize=(5, 4), row_colors=colors)
    page = plt.figure(figsize=(5, 4))
    given = clustermap(table, figure=page, row_colors=colors)
    assert given.figure is given.fig is page
    expected = _places(own)
    for name, extents in _places(given).items():
        np.testing.assert_allclose(extents, expected[name], atol=1e-6, err_msg=name)
    for figure in (page, own.figure):
        figure.canvas.draw()
    np.testing.assert_array_equal(*(np.asarray(f.canvas.buffer_rgba()) for f in (page, own.figure)))
    assert given.tight_layout() is given
    np.testing.assert_allclose(_places(given)["ax_heatmap"], expected["ax_heatmap"], atol=1e-6)


@pytest.mark.parametrize("layout", ["none", "constrained"])
def test_two_grids_share_a_page(table: pd.DataFrame, tmp_path: Path, layout: str) -> None:
    page = plt.figure(figsize=(12, 6), layout=layout)
    left, right = page.subfigures(1, 2, width_ratios=[2, 1])
    one = clustermap(table, figure=left, **EVERYTHING)
    two = clustermap(np.random.default_rng(0).normal(size=(3000, 20)), figure=right,
                     row_cluster=False)  # fmt: skip
    page.canvas.draw()
    for grid, region in ((one, left), (two, right)):
        assert grid.figure is region
        for ax in region.axes:
            box = ax.get_tightbbox()
            if not ax.axison or box is None:
                continue
            assert region.bbox.x0 - 1 <= box.x0 < box.x1 <= region.bbox.x1 + 1
            assert region.bbox.y0 - 1 <= box.y0 < box.y1 <= region.bbox.y1 + 1
        for legend in region.legends:
            box = legend.get_window_extent()
            assert grid.ax_heatmap.get_tightbbox().x1 <= box.x0
            assert box.x1 <= region.bbox.x1
    assert tuple(page.get_size_inches()) == (12, 6)
    # Any of them saves the whole page, the bodies of both for the resolution of the file.
    shapes = []
    image = two.ax_heatmap.images[0]
    before = image.get_array().shape
    original = mpl.figure.Figure.savefig
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            mpl.figure.Figure,
            "savefig",
            lambda self, *a, **k: (shapes.append(image.get_array().shape), original(self, *a, **k)),
        )
        one.savefig(tmp_path / "page.png", dpi=200)
    assert shapes[0][0] > 1.8 * before[0]
    assert image.get_array().shape == before
    width, height = plt.imread(tmp_path / "page.png").shape[1::-1]
    assert width > 1.7 * height


def test_legends_take_their_room_from_the_body(table: pd.DataFrame) -> None:
    page = plt.figure(figsize=(5, 5))
    g = clustermap(table, figure=page)
    before = g.ax_heatmap.get_window_extent().frozen()
    g.add_legend({"setosa": "r", "virginica": "g"}, title="species")
    after = g.ax_heatmap.get_window_extent()
    assert after.width < before.width - 50
    box = g.legend.get_window_extent()
    assert g.ax_heatmap.get_tightbbox().x1 <= box.x0
    assert box.x1 <= page.bbox.x1
    place = g.legend.get_window_extent().extents
    g.tight_layout()
    np.testing.assert_allclose(g.legend.get_window_extent().extents, place)
    np.testing.assert_allclose(g.ax_cbar.get_position().bounds, (0.02, 0.8, 0.05, 0.18))


def test_other_axes_of_the_page_stay(table: pd.DataFrame) -> None:
    page = plt.figure(figsize=(10, 5))
    left, right = page.subfigures(1, 2)
    ax = left.add_subplot()
    ax.plot([1, 2])
    before = ax.get_window_extent().extents
    g = clustermap(table, figure=right)
    np.testing.assert_array_equal(ax.get_window_extent().extents, before)
    assert ax not in g.figure.axes
    g.tick_params(labelsize=3)
    assert ax.get_xticklabels()[0].get_fontsize() > 3


def test_what_fails_leaves_nothing_in_the_figure(table: pd.DataFrame) -> None:
    page = plt.figure()
    table.iloc[3, 2] = np.nan
    with pytest.raises(ValueError, match="finite"):
        clustermap(table, figure=page)
    assert not page.axes
    assert plt.fignum_exists(page.number)


def test_what_fails_takes_its_legends_along(
    table: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **kws: Any) -> None:
        raise MemoryError("no room for the body")

    page = plt.figure(figsize=(8, 5))
    ax = page.add_axes((0.9, 0.9, 0.1, 0.1))
    legend = page.legend([ax.plot([1, 2])[0]], ["mine"])
    monkeypatch.setattr(ClusterGrid, "_draw_body", fail)
    with pytest.raises(MemoryError):
        clustermap(table, figure=page, **EVERYTHING)
    assert page.axes == [ax]
    assert page.legends == [legend]


def test_legends_that_leave_no_room_are_refused_before_the_computing(
    table: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Stages, "linkage", None)
    page = plt.figure(figsize=(2, 4))
    words = {"x": ["a label of many words, and more"] * 12}
    with pytest.raises(ValueError, match=r"legends need .* of the 2.0 inches"):
        clustermap(table, figure=page, row_annotations=words)
    assert not page.axes
    assert not page.legends


def test_legends_are_where_they_would_be_without_a_trial(
    table: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    def drawn() -> np.ndarray:
        page = plt.figure(figsize=(8, 5))
        clustermap(table, figure=page, **EVERYTHING)
        page.canvas.draw()
        assert len(page.legends) == 1
        return np.asarray(page.canvas.buffer_rgba())

    tried = drawn()
    monkeypatch.setattr(ClusterGrid, "try_legends", lambda grid, hang: None)
    np.testing.assert_array_equal(tried, drawn())


def test_ticks_of_other_axes_on_the_page_stay(table: pd.DataFrame) -> None:
    page = plt.figure(figsize=(10, 5))
    ax = page.add_axes((0.9, 0.9, 0.1, 0.1))
    g = clustermap(table, figure=page, **EVERYTHING)
    g.tick_params(labelsize=3)
    page.canvas.draw()
    assert ax.get_xticklabels()[0].get_fontsize() > 3
    assert g.ax_heatmap.get_xticklabels()[0].get_fontsize() == 3
    (bar,) = (each for each in page.axes if "legend of" in str(each.get_label()))
    assert bar.get_yticklabels()[0].get_fontsize() == 3


@pytest.mark.parametrize("way", ["axes", "subfigure"])
def test_a_page_forgets_grids_whose_axes_were_removed(way: str) -> None:
    page = plt.figure(figsize=(10, 5))
    left, right = page.subfigures(1, 2)
    values = np.random.default_rng(0).normal(size=(3000, 20))
    gone = clustermap(values, figure=left, row_cluster=False)
    kept = clustermap(values, figure=right, row_cluster=False)
    reduced = []
    image = gone._fitted[-1]
    image._reduce = lambda edges: reduced.append(edges)
    held = weakref.ref(gone._matrix)
    if way == "axes":
        for ax in left.axes:
            ax.remove()
    else:
        left.clear()
    kept.savefig(io.BytesIO(), dpi=200)
    assert not reduced
    del gone, image
    gc.collect()
    assert held() is None


REFUSED: dict[str, tuple[type[Exception], str, dict[str, Any], dict[str, Any]]] = {
    "figsize": (ValueError, r"figsize=\(3, 3\) can't be had", {}, {"figsize": (3, 3)}),
    "tight": (ValueError, 'layout="tight" of the figure', {"layout": "tight"}, {}),
    "narrow": (
        ValueError,
        "legends need .* of the 2.0 inches",
        {"figsize": (2, 4)},
        {"row_annotations": {"x": ["a label of many words, and more"] * 12}},
    ),
}


@pytest.mark.parametrize(("error", "message", "page", "kws"), REFUSED.values(), ids=REFUSED)
def test_refused(
    table: pd.DataFrame,
    error: type[Exception],
    message: str,
    page: dict[str, Any],
    kws: dict[str, Any],
) -> None:
    figure = plt.figure(**page)
    with pytest.raises(error, match=message) as caught:
        clustermap(table, figure=figure, **kws)
    assert isinstance(caught.value, ClustergridError)
    assert not figure.axes


def test_no_figure(table: pd.DataFrame) -> None:
    with pytest.raises(
        TypeError, match="figure must be a matplotlib Figure or SubFigure, got Axes"
    ):
        clustermap(table, figure=plt.figure().add_subplot())
