"""Annotations as they are drawn: places, colours, pixels of many leaves, axes and legends."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.collections import PolyCollection

from clustergrid.pipeline.render import Bars, Boxes, Points, Strip, clustermap
from clustergrid.pipeline.render.annotations import Categories, Numbers, read_annotations
from clustergrid.pipeline.render.palettes import make_scales
from clustergrid.pipeline.render.slices import Slices
from clustergrid.pipeline.render.tracks import Along, FittedAnnotation
from clustergrid.storage.errors import ClustergridError

NO_TREES = {"row_cluster": False, "col_cluster": False}


def _cells(ax: Any) -> Any:
    mesh = ax.collections[0]
    mesh.update_scalarmappable()
    return mesh


def test_a_strip_is_in_leaf_order(table: pd.DataFrame) -> None:
    stage = pd.Series(list("xyzzyxxyzzyx"), index=table.index, name="stage")
    batch = pd.Series(list("ppqqppqq"), index=table.columns, name="batch")
    g = clustermap(table, row_annotations=stage[::-1], col_annotations=batch)
    for ax, series, tree, axis in (
        (g.ax_row_annotations["stage"], stage, g.dendrogram_row, 0),
        (g.ax_col_annotations["batch"], batch, g.dendrogram_col, 1),
    ):
        colors = _cells(ax).get_facecolor()[:, :3]
        legend = next(
            each for each in g.figure.legends if each.get_title().get_text() == series.name
        )
        by_label = {
            text.get_text(): patch.get_facecolor()[:3]
            for text, patch in zip(legend.get_texts(), legend.legend_handles, strict=True)
        }
        assert list(by_label) == sorted(set(series))
        expected = [by_label[series.iloc[leaf]] for leaf in tree.reordered_ind]
        np.testing.assert_allclose(colors, expected)
        corners = _cells(ax).get_coordinates()
        assert corners[..., 1 - axis].max() == len(series)
        body = g.ax_heatmap.get_position()
        place = ax.get_position()
        assert (place.y0, place.y1) == (body.y0, body.y1) if axis == 0 else True
        assert (place.x0, place.x1) == (body.x0, body.x1) if axis == 1 else True


def test_titles_stand_beside_strips_and_tracks(table: pd.DataFrame) -> None:
    numbers = np.arange(12.0)
    g = clustermap(table, row_annotations={"a strip": numbers, "a track": Bars(numbers)})
    strip, track = g.ax_row_annotations.values()
    assert [text.get_text() for text in strip.get_xticklabels()] == ["a strip"]
    assert track.get_xlabel() == "a track"
    assert strip.get_position().x1 <= track.get_position().x0
    assert track.get_position().x1 <= g.ax_heatmap.get_position().x0


def _annotation(values: Any, n: int) -> tuple[Any, Any]:
    (annotation,) = read_annotations({"it": values}, None, n, "row_annotations")
    return annotation, make_scales([annotation], None).get("it")


def _drawn(values: Any, n: int, slices: Slices | None = None, axis: int = 1) -> Any:
    """Draw on an axes of 100 pixels along the leaves, in the data's order."""
    figure = mpl.figure.Figure(figsize=(1, 1), dpi=100)
    ax = figure.add_axes((0, 0, 1, 1))
    along = Along(axis=axis, order=np.arange(n), slices=slices or Slices.whole(n))
    annotation, scale = _annotation(values, n)
    return ax, FittedAnnotation(ax, annotation, along, scale, 100)


def test_many_leaves_a_pixel_show_the_majority() -> None:
    codes = np.repeat(["b", "a", "c"], [500, 400, 100])
    shuffled = np.random.default_rng(0).permutation(1000)
    blocks = np.concatenate([codes[shuffled], ["c"] * 1000])
    ax, _ = _drawn(blocks, 2000)
    cells = _cells(ax).get_array().ravel()
    assert len(cells) == 100
    values, scale = _annotation(blocks, 2000)
    for pixel in range(100):
        part = list(blocks[pixel * 20 : (pixel + 1) * 20])
        best = min(set(part), key=lambda label: (-part.count(label), label))
        assert scale.labels[int(cells[pixel])] == best
    assert isinstance(values.values, Categories)


def test_many_leaves_a_pixel_show_means_of_what_is_there() -> None:
    values = np.arange(400.0)
    values[:3] = np.nan
    values[4:8] = np.nan
    ax, _ = _drawn(values, 400)
    cells = np.ma.filled(_cells(ax).get_array().ravel(), np.nan)
    np.testing.assert_allclose(cells[:3], [3, np.nan, 9.5])
    np.testing.assert_allclose(cells[2:], values[8:].reshape(-1, 4).mean(axis=1))
    (missing,) = [each for each in ax.collections if isinstance(each, PolyCollection)]
    (path,) = missing.get_paths()
    np.testing.assert_allclose(path.get_extents().extents, [4, 0, 8, 1])
    assert missing.get_hatch()


@pytest.mark.parametrize("axis", [0, 1])
def test_runs_of_missing_values_end_at_gaps(axis: int) -> None:
    values = np.array([1, np.nan, np.nan, np.nan, 2, np.nan])
    ax, _ = _drawn(values, 6, Slices(lengths=(3, 3), gap=2), axis)
    (missing,) = [each for each in ax.collections if isinstance(each, PolyCollection)]
    places = [path.get_extents() for path in missing.get_paths()]
    ends = [(b.x0, b.x1) if axis else (b.y0, b.y1) for b in places]
    assert sorted(ends) == [(1, 3), (5, 6), (7, 8)]
    cells = _cells(ax).get_array().ravel()
    assert len(cells) == 7  # one of them the gap
    assert bool(np.ma.getmaskarray(cells)[3])


def test_drawn_again_for_another_resolution(tmp_path: Path) -> None:
    ax, fitted = _drawn(np.arange(1000.0), 1000)
    before = _cells(ax).get_array().copy()
    restore = fitted.snapshot()
    fitted.fit(300)
    assert _cells(ax).get_array().size == 300
    restore()
    np.testing.assert_array_equal(_cells(ax).get_array(), before)
    assert len(ax.collections) == 1
    values = np.random.default_rng(0).normal(size=(2000, 20))
    g = clustermap(values, figsize=(3, 3), row_annotations={"x": np.arange(2000)}, **NO_TREES)
    cells = _cells(g.ax_row_annotations["x"]).get_array().size
    g.savefig(tmp_path / "fine.png", dpi=300)
    assert _cells(g.ax_row_annotations["x"]).get_array().size == cells


def test_bars_points_and_boxes_stand_at_their_leaves(table: pd.DataFrame) -> None:
    heights = pd.Series(np.arange(12.0) - 3, index=table.index)
    g = clustermap(
        table,
        row_annotations={"bars": Bars(heights), "points": Points(heights), "boxes": Boxes()},
        figsize=(8, 8),
    )
    order = g.dendrogram_row.reordered_ind
    (bars,) = g.ax_row_annotations["bars"].collections
    for place, path in enumerate(bars.get_paths()):
        box = path.get_extents()
        assert place <= box.y0 < box.y1 <= place + 1
        assert sorted([box.x0, box.x1]) == sorted([0, heights.iloc[order[place]]])
    (points,) = g.ax_row_annotations["points"].lines
    np.testing.assert_allclose(points.get_xdata(), heights.iloc[order])
    np.testing.assert_allclose(points.get_ydata(), np.arange(12) + 0.5)
    _, solid, medians = g.ax_row_annotations["boxes"].collections
    quartiles = np.percentile(g.data2d, [25, 50, 75], axis=1)
    found = [path.get_extents() for path in solid.get_paths()]
    np.testing.assert_allclose([[b.x0, b.x1] for b in found], quartiles[[0, 2]].T)
    np.testing.assert_allclose([line[0, 0] for line in medians.get_segments()], quartiles[1])


def test_bars_of_many_leaves_are_means_and_boxes_of_all_values() -> None:
    values = np.random.default_rng(0).normal(size=1000)
    ax, _ = _drawn(Bars(values), 1000)
    (bars,) = ax.collections
    tops = [max(path.get_extents().y1, path.get_extents().y0, key=abs) for path in bars.get_paths()]
    np.testing.assert_allclose(tops, values.reshape(100, 10).mean(axis=1))
    table = np.random.default_rng(1).normal(size=(1000, 3))
    ax, _ = _drawn(Boxes(table), 1000)
    medians = ax.collections[2]
    found = [line[0, 1] for line in medians.get_segments()]
    np.testing.assert_allclose(found, np.median(table.reshape(20, -1), axis=1))  # 5 pixels each


def test_small_axes(table: pd.DataFrame) -> None:
    heights = np.linspace(0, 37, 12)
    g = clustermap(
        table,
        row_annotations={"bars": Bars(heights), "limited": Points(heights, limits=(0, 100))},
    )
    bars, limited = g.ax_row_annotations.values()
    low, high = bars.spines["bottom"].get_bounds()
    assert low == 0
    assert 37 < high < 45
    assert limited.spines["bottom"].get_bounds() == (0, 100)
    assert limited.get_xlim() == (-10, 110)
    labels = [float(text.get_text()) for text in bars.get_xticklabels()]
    np.testing.assert_allclose(labels, bars.get_xticks())
    assert 2 <= len(labels) <= 4
    assert len(bars.get_yticks()) == 0


def test_numbers_have_bars_with_their_values_and_dates_have_dates(table: pd.DataFrame) -> None:
    days = pd.date_range("2019-05-01", periods=8, freq="90D")
    g = clustermap(
        table, col_annotations={"age": [30.0, 40, 50, 60, 70, 80, 90, 100], "day": days.array}
    )
    bars = {ax.get_title(loc="left"): ax for ax in g.figure.axes if ax.get_title(loc="left")}
    assert bars["age"].get_ylim() == (30, 100)
    g.figure.canvas.draw()
    dates = [text.get_text() for text in bars["day"].get_yticklabels()]
    assert "2020" in dates or "2020-01" in dates
    assert not bars["day"].yaxis.get_offset_text().get_text()
    low, high = (np.datetime64("1970-01-01") + int(end) for end in bars["day"].get_ylim())
    assert (low, high) == (np.datetime64("2019-05-01"), days[-1].to_datetime64().astype("M8[D]"))


def test_missing_values_have_one_entry(table: pd.DataFrame) -> None:
    g = clustermap(
        table, row_annotations={"x": ["a", None] * 6, "y": [1, np.nan] * 6, "z": [0.0] * 12}
    )
    entries = [[text.get_text() for text in legend.get_texts()] for legend in g.figure.legends]
    assert entries == [["a"], ["missing"]]
    assert g.figure.legends[-1].legend_handles[0].get_hatch()
    assert g.legend is None
    g = clustermap(table, row_annotations={"x": ["a", "b"] * 6})
    assert len(g.figure.legends) == 1
    g = clustermap(table, row_annotations={"x": ["a", "b"] * 6}, annotation_legend=False)
    assert not g.figure.legends


def test_the_same_title_on_both_axes_has_one_legend(table: pd.DataFrame) -> None:
    square = pd.DataFrame(np.corrcoef(table), index=table.index, columns=table.index)
    kind = pd.Series(["a", "b", "c"] * 4, index=table.index, name="kind")
    g = clustermap(square, row_annotations=kind, col_annotations=kind)
    assert len(g.figure.legends) == 1
    rows, columns = (_cells(axes["kind"]) for axes in (g.ax_row_annotations, g.ax_col_annotations))
    np.testing.assert_array_equal(rows.get_facecolor(), columns.get_facecolor())


def test_seaborns_layout_is_kept_without_annotations_and_body_shrinks_with(
    table: pd.DataFrame,
) -> None:
    colors = ["r", "g", "b"] * 4
    plain = clustermap(table, row_colors=colors)
    assert plain.gs.get_width_ratios() == [0.2, 0.03, 0.77]
    assert plain.ax_row_annotations == {}
    g = clustermap(table, row_colors=colors, row_annotations={"x": colors, "y": Bars([1] * 12)})
    np.testing.assert_allclose(g.gs.get_width_ratios(), [0.2, 0.03, 0.03, 0.08, 0.66])
    assert g.ax_row_colors.get_position().x1 <= g.ax_row_annotations["x"].get_position().x0
    with pytest.raises(ValueError, match=r"of the rows take 120% of the figure") as caught:
        clustermap(
            table, row_annotations={"y": Strip([1] * 12, size=0.6), "z": Bars([1] * 12, size=0.4)}
        )
    assert isinstance(caught.value, ClustergridError)


def test_boxes_of_a_lazy_body_are_refused(table: pd.DataFrame) -> None:
    dask_array = pytest.importorskip("dask.array")
    boxes = {"boxes": Boxes()}
    in_memory = clustermap(xr.DataArray(table), row_annotations=boxes, z_score=0)
    expected = clustermap(table, row_annotations=boxes, z_score=0)
    for g in (in_memory, expected):
        segments = g.ax_row_annotations["boxes"].collections[2].get_segments()
        np.testing.assert_allclose(
            np.asarray(segments)[:, 0, 0], np.median(expected.data2d, axis=1)
        )
    lazy = dask_array.from_array(table.to_numpy(), chunks=(4, 4))
    with pytest.raises(
        ValueError, match="sort all of its 12 x 8 values, which have to be in memory"
    ):
        clustermap(lazy, row_annotations=boxes)


def test_annotations_have_the_gaps_of_splits(table: pd.DataFrame) -> None:
    kinds = pd.Series(["b", "a", "c"] * 4, index=table.index, name="kind")
    heights = pd.Series(np.arange(1.0, 13), index=table.index)
    g = clustermap(
        table,
        row_split=kinds,
        row_annotations={"kind": kinds, "bars": Bars(heights)},
        split_gap=0.1,
    )
    slices = g._slices[0]
    assert slices.count == 3
    order = g._orders[0]
    # Every bar is within its leaf, and of the value of what stands there.
    (bars,) = g.ax_row_annotations["bars"].collections
    for place, path in enumerate(bars.get_paths()):
        start = float(slices.position(place))
        box = path.get_extents()
        assert start <= box.y0 < box.y1 <= start + 1
        assert box.x1 == heights.iloc[order[place]]
    cells = _cells(g.ax_row_annotations["kind"]).get_array().ravel()
    assert (
        np.ma.getmaskarray(cells).tolist()
        == [False] * 4 + [True] + [False] * 4 + [True] + [False] * 4
    )
    assert len(set(cells[:4].tolist())) == 1
    assert g.ax_row_annotations["kind"].get_ylim() == g.ax_heatmap.get_ylim()


def test_masked_cells_are_in_no_box(table: pd.DataFrame) -> None:
    mask = np.zeros(table.shape, bool)
    mask[:, 4:] = True
    g = clustermap(table, mask=mask, row_annotations={"boxes": Boxes()}, **NO_TREES)
    segments = g.ax_row_annotations["boxes"].collections[2].get_segments()
    np.testing.assert_allclose(
        np.asarray(segments)[:, 0, 0], np.median(table.to_numpy()[:, :4], axis=1)
    )


def test_a_million_annotated_rows_are_drawn_by_pixels() -> None:
    n = 1_000_000
    annotation, scale = _annotation(np.arange(n) % 7 == 0, n)
    assert not isinstance(annotation.values, Numbers)
    order = np.random.default_rng(0).permutation(n)
    ax = mpl.figure.Figure().add_subplot()
    FittedAnnotation(ax, annotation, Along(axis=0, order=order, slices=Slices.whole(n)), scale, 300)
    assert len(ax.get_children()) < 20
    assert 100 < _cells(ax).get_array().size < 10_000


def test_a_constant_has_one_tick(table: pd.DataFrame) -> None:
    day = pd.Timestamp("2020-01-05")
    g = clustermap(table, row_annotations={"n": [3.5] * 12, "day": [day] * 12})
    g.figure.canvas.draw()
    bars = {ax.get_title(loc="left"): ax for ax in g.figure.axes}
    for title, written in (("n", "3.5"), ("day", "2020-01-05")):
        assert [text.get_text() for text in bars[title].get_yticklabels()] == [written]


def test_large_numbers_are_written_whole(table: pd.DataFrame) -> None:
    numbers = np.linspace(0, 2.5e6, 12)
    g = clustermap(table, row_annotations={"strip": numbers, "track": Bars(numbers)})
    g.figure.canvas.draw()
    bar = next(ax for ax in g.figure.axes if ax.get_title(loc="left") == "strip")
    for ax, axis in ((bar, bar.yaxis), (None, g.ax_row_annotations["track"].xaxis)):
        labels = [text.get_text().replace("\N{MINUS SIGN}", "-") for text in axis.get_ticklabels()]
        np.testing.assert_allclose([float(label) for label in labels], axis.get_ticklocs())
        assert not axis.get_offset_text().get_text(), ax


def test_a_legend_longer_than_the_figure_has_columns(table: pd.DataFrame) -> None:
    values = np.random.default_rng(0).normal(size=(60, 6))
    kinds = [f"kind {i % 30}" for i in range(60)]
    g = clustermap(values, figsize=(4, 3), row_annotations={"kind": kinds})
    (legend,) = g.figure.legends
    box = legend.get_window_extent()
    assert box.y0 >= g.figure.bbox.y0
    assert box.x1 <= g.figure.bbox.x1
    assert len(legend.get_texts()) == 30


def test_labels_that_begin_with_an_underscore_are_in_the_legend(table: pd.DataFrame) -> None:
    g = clustermap(table, row_annotations={"_x": ["_a", "b"] * 6})
    assert [text.get_text() for text in g.figure.legends[0].get_texts()] == ["_a", "b"]


def test_an_annotated_figure_can_be_pickled(table: pd.DataFrame) -> None:
    g = clustermap(table, row_annotations={"x": ["a", None] * 6, "y": Boxes()}, row_mark=["gene 1"])
    again = pickle.loads(pickle.dumps(g.figure))
    assert len(again.axes) == len(g.figure.axes)


def test_dollars_in_metadata_are_dollars(table: pd.DataFrame) -> None:
    odd, priced = r"$\frac{1$", "from $5 to $9"  # no mathematics, and what would be eaten as such
    g = clustermap(
        table,
        row_annotations={odd: [odd, priced] * 6, priced: Bars([1] * 12), "n$^$": [1, 2] * 6},
        col_annotations={odd: [odd, priced] * 4, f"{priced} ": Points([1, 2] * 4)},
        row_split=[odd, priced] * 6,
        col_split=[priced, odd] * 4,
        row_mark=["gene 1"],
    )
    g.figure.canvas.draw()
    written = [text for text in g.figure.findobj(mpl.text.Text) if "$" in text.get_text()]
    assert not [text.get_text() for text in written if text.get_parse_math()]
    assert len(written) >= 2 + 3 + 2 + 4  # the legend's, titles and those of its bar, slices


def test_mathematics_of_a_legend_that_the_user_wrote_stays(table: pd.DataFrame) -> None:
    g = clustermap(table, **NO_TREES).add_legend({r"$\alpha$": "r"})
    assert g.legend.get_texts()[0].get_parse_math()


def test_categories_that_read_the_same_are_all_in_the_legend(table: pd.DataFrame) -> None:
    g = clustermap(table, row_annotations={"x": pd.Series([1, "1", "a"] * 4, table.index)})
    (legend,) = g.figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["1", "1", "a"]
    assert len({patch.get_facecolor() for patch in legend.legend_handles}) == 3


@pytest.mark.parametrize("axis", [0, 1])
def test_a_missing_bar_is_no_bar_of_zero(axis: int) -> None:
    ax, _ = _drawn(Bars([3.0, np.nan, np.nan, 0.0]), 4, axis=axis)
    bars, missing = ax.collections
    assert len(bars.get_paths()) == 2
    (box,) = (path.get_extents() for path in missing.get_paths())
    assert ((box.x0, box.x1) if axis else (box.y0, box.y1)) == (1, 3)
    low, high = (ax.spines["right" if axis else "bottom"]).get_bounds()
    assert ((box.y0, box.y1) if axis else (box.x0, box.x1)) == (low, high)
    assert missing.get_hatch()


def test_missing_bars_have_an_entry_in_the_legend(table: pd.DataFrame) -> None:
    g = clustermap(table, row_annotations={"x": Bars([1, np.nan] * 6)})
    (legend,) = g.figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["missing"]
    for kind in (Bars([1, 0] * 6), Points([1, np.nan] * 6)):  # of which nothing is hatched
        assert not clustermap(table, row_annotations={"x": kind}).figure.legends


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_bars_without_a_height(table: pd.DataFrame, value: float) -> None:
    g = clustermap(table, row_annotations={"x": Bars([value] * 12)})
    low, high = g.ax_row_annotations["x"].get_xlim()
    assert low < 0 < high


@pytest.mark.parametrize("kind", [Bars, Points])
def test_the_axis_of_a_track_is_the_same_at_every_resolution(kind: Any) -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(20_000, 2)).astype(np.float32)
    tracks = {"x": kind(rng.normal(size=20_000))}
    g = clustermap(values, row_cluster=False, col_cluster=False, row_annotations=tracks,
                   figsize=(4, 4))  # fmt: skip
    ax = g.ax_row_annotations["x"]
    seen = []
    original = mpl.figure.Figure.savefig

    def noted(figure: Any, *args: Any, **kws: Any) -> None:
        drawn = [*ax.collections, *ax.lines]
        seen.append((ax.get_xlim(), list(ax.get_xticks()), drawn))
        original(figure, *args, **kws)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mpl.figure.Figure, "savefig", noted)
        for dpi in (50, 100, 400):
            g.savefig(io.BytesIO(), dpi=dpi)
    assert seen[0] == seen[1] == seen[2]
