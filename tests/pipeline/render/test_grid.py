"""What can be done with a grid after it is drawn."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.lines import Line2D
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import pdist

from clustergrid.pipeline.render import clustermap
from clustergrid.pipeline.tree.optimal import neighbor_sum
from clustergrid.storage.errors import DataTypeError

CBAR = (0.02, 0.8, 0.05, 0.18)


def test_pyplot_knows_the_figure(table: pd.DataFrame) -> None:
    g = clustermap(table)
    assert plt.gcf() is g.figure is g.fig
    plt.close(g.figure)
    assert not plt.get_fignums()


def test_set_sets_the_body(table: pd.DataFrame) -> None:
    g = clustermap(table)
    assert g.set(xlabel="patients", title="Iris") is g
    assert g.ax_heatmap.get_xlabel() == "patients"
    assert g.ax_heatmap.get_title() == "Iris"


def test_apply_and_pipe(table: pd.DataFrame) -> None:
    g = clustermap(table)
    seen: list[Any] = []
    assert g.apply(lambda grid, value: seen.append((grid, value)), 3) is g
    assert seen == [(g, 3)]
    assert g.pipe(lambda grid, *, value: (grid, value), value=4) == (g, 4)


def test_tick_params(table: pd.DataFrame) -> None:
    g = clustermap(table)
    assert g.tick_params(axis="y", labelsize=3) is g
    assert {text.get_fontsize() for text in g.ax_heatmap.get_yticklabels()} == {3}


def test_tight_layout_keeps_the_color_bar_and_is_idempotent(table: pd.DataFrame) -> None:
    g = clustermap(table)
    before = g.ax_heatmap.get_position().bounds
    assert g.tight_layout() is g
    np.testing.assert_allclose(g.ax_heatmap.get_position().bounds, before, atol=1e-9)
    g.set(ylabel="a label\nof several\nlines").tight_layout()
    assert g.ax_heatmap.get_position().width < before[2]
    np.testing.assert_allclose(g.ax_cbar.get_position().bounds, CBAR)
    assert g.ax_cbar.axison
    clustermap(table, cbar_pos=None).tight_layout()


def test_a_legend_widens_the_figure_and_moves_nothing(table: pd.DataFrame) -> None:
    g = clustermap(table, figsize=(5, 5))
    inches = {ax: _inches(g, ax) for ax in g.figure.axes}
    assert g.legend is None
    assert g.add_legend({"setosa": "r", "virginica": "#00ff00"}, title="species") is g
    for ax, expected in inches.items():
        np.testing.assert_allclose(_inches(g, ax), expected, atol=1e-9)
    assert [text.get_text() for text in g.legend.get_texts()] == ["setosa", "virginica"]
    assert g.legend.get_title().get_text() == "species"
    assert [handle.get_facecolor()[:3] for handle in g.legend.legend_handles] == [
        (1, 0, 0),
        (0, 1, 0),
    ]
    # Beside the labels, inside the figure, and still there after another layout.
    for _ in range(2):
        box = g.legend.get_window_extent()
        assert box.x0 >= g.ax_heatmap.get_tightbbox().x1
        assert box.x1 <= g.figure.bbox.x1
        g.tight_layout()


def test_legends_hang_in_columns(table: pd.DataFrame) -> None:
    g = clustermap(table, figsize=(5, 5))
    legends = [g.add_legend({f"label {i}": "r"}, title="kind").legend for i in range(12)]
    assert g.figure.legends == legends
    boxes = [legend.get_window_extent() for legend in legends]
    top = g.ax_heatmap.get_window_extent().y1
    columns = sorted({round(box.x0) for box in boxes})
    assert len(columns) == 2
    for box, above in zip(boxes[1:], boxes, strict=False):
        is_below = round(box.x0) == round(above.x0)
        np.testing.assert_allclose(box.y1, above.y0 if is_below else top, atol=1)
        assert is_below or box.x0 >= above.x1
    assert min(box.y0 for box in boxes) >= 0
    assert max(box.x1 for box in boxes) <= g.figure.bbox.x1


def test_legend_entries(table: pd.DataFrame) -> None:
    g = clustermap(table)
    size = tuple(g.figure.get_size_inches())
    handles = [Line2D([], [], label="one"), Line2D([], [], label="two")]
    g.add_legend(handles, loc="upper left")
    assert [text.get_text() for text in g.legend.get_texts()] == ["one", "two"]
    assert tuple(g.figure.get_size_inches()) == size
    g.add_legend({"line": handles[0]}, loc="upper left")
    with pytest.raises(DataTypeError, match="'x' is 12: neither a colour nor an artist"):
        g.add_legend({"x": 12})


def test_axes_that_a_user_removed_are_no_longer_laid_out(
    table: pd.DataFrame, tmp_path: Path
) -> None:
    g = clustermap(
        table,
        figsize=(4, 4),
        row_annotations={"x": ["a", "b"] * 6},
        col_annotations={"y": range(8), "z": range(8)},
    )
    for ax in (
        g.ax_row_dendrogram,
        g.ax_row_annotations["x"],
        g.ax_col_annotations["y"],
        g.ax_cbar,
    ):
        ax.remove()
    g.ax_cbar = None
    g.tight_layout().savefig(tmp_path / "a.png", dpi=170)
    assert len(g.figure.axes) == 5  # the body, a tree, an annotation and two colour bars


def test_legend_entries_in_an_order(table: pd.DataFrame) -> None:
    g = clustermap(table).add_legend({"a": "r", "b": "g", "c": "b"}, label_order=["c", "a"])
    assert [text.get_text() for text in g.legend.get_texts()] == ["c", "a"]
    with pytest.raises(ValueError, match="label_order has 'd', which has no legend entry"):
        g.add_legend({"a": "r"}, label_order=["d"])


def _inches(g: Any, ax: Any) -> np.ndarray:
    return np.multiply(ax.get_position().bounds, np.tile(g.figure.get_size_inches(), 2))


def test_savefig_cuts_to_what_is_drawn(table: pd.DataFrame, tmp_path: Path) -> None:
    g = clustermap(table, figsize=(4, 4))
    g.savefig(tmp_path / "cut.png")
    g.savefig(tmp_path / "whole.png", bbox_inches=None)
    cut, whole = (plt.imread(tmp_path / name).shape for name in ("cut.png", "whole.png"))
    assert whole[:2] == (400, 400)
    assert cut != whole


@pytest.mark.parametrize("kind", ["pdf", "svg"])
def test_vector_formats(table: pd.DataFrame, kind: str) -> None:
    file = io.BytesIO()
    clustermap(table, row_colors=["r", "g", "b"] * 4).savefig(file, format=kind)
    assert len(file.getvalue()) > 5000


def test_no_color_bar_is_drawn_without_one(table: pd.DataFrame) -> None:
    g = clustermap(table, cbar=False, row_colors=["r", "g", "b"] * 4)
    assert not g.ax_cbar.get_visible()
    g = clustermap(table, cbar_pos=None, cbar=True)
    assert g.ax_cbar is None
    assert len(g.figure.axes) == 4


def test_metrics_and_methods_of_one_axis(table: pd.DataFrame) -> None:
    g = clustermap(table, col_metric="correlation", row_method="complete")
    rows, columns = g.dendrogram_row, g.dendrogram_col
    assert (rows.metric, rows.method) == ("euclidean", "complete")
    assert (columns.metric, columns.method) == ("correlation", "average")
    np.testing.assert_allclose(rows.linkage, linkage(table, "complete"))
    np.testing.assert_allclose(columns.linkage, linkage(table.T, "average", "correlation"))


def test_optimal_ordering(table: pd.DataFrame) -> None:
    g = clustermap(table, optimal_ordering=True)
    found, distances = g.dendrogram_row.linkage, pdist(table)
    np.testing.assert_allclose(found[:, 2:], linkage(table, "average")[:, 2:])
    # SciPy's orders are not always the best (scipy#11227).
    expected = linkage(table, "average", optimal_ordering=True)
    assert neighbor_sum(found, distances) <= neighbor_sum(expected, distances) * (1 + 1e-12)
    assert neighbor_sum(found, distances) < neighbor_sum(linkage(table, "average"), distances)


def test_pivoted_data_match_colors_by_the_pivoted_index(table: pd.DataFrame) -> None:
    tidy = table.stack().rename("value").reset_index()
    colors = pd.Series(["r", "g", "b"] * 4, index=table.index, name="kind")
    pivot = {"index": "gene", "columns": "sample", "values": "value"}
    g = clustermap(tidy, pivot_kws=pivot, row_colors=colors[::-1])
    assert g.row_colors == clustermap(table.sort_index(), row_colors=colors).row_colors


def test_missing_colors_are_white(table: pd.DataFrame) -> None:
    colors = ["r"] * 10 + [None, np.nan]
    for given in (colors, pd.Series(colors[:10], index=table.index[:10]), [colors, colors[::-1]]):
        g = clustermap(table, row_colors=given)
        rgb = np.asarray(g.row_colors).reshape(-1, 12, 3)
        np.testing.assert_array_equal(rgb[0, 10:], np.ones((2, 3)))


def test_equal_rows_have_a_flat_tree() -> None:
    g = clustermap(np.tile(np.arange(4.0), (6, 1)))
    assert g.ax_row_dendrogram.get_xlim() == (1, 0)
    assert sorted(g.dendrogram_row.reordered_ind) == list(range(6))


def test_a_labelled_tree(table: pd.DataFrame) -> None:
    from clustergrid.pipeline.render.dendrogram import DendrogramPlotter

    for rotate in (False, True):
        tree = DendrogramPlotter(
            table,
            axis=0,
            compute_linkage=lambda: linkage(table, "average"),
            label=True,
            rotate=rotate,
        )
        _, ax = plt.subplots()
        tree.plot(ax, None)
        axis = ax.yaxis if rotate else ax.xaxis
        assert axis.get_label_text() == "gene"
        labels = [text.get_text() for text in axis.get_ticklabels()]
        assert labels == list(table.index[tree.reordered_ind])


def test_global_layout_settings_do_not_move_the_color_bar(table: pd.DataFrame) -> None:
    for setting in ("figure.autolayout", "figure.constrained_layout.use"):
        with plt.rc_context({setting: True}):
            g = clustermap(table)
            g.figure.canvas.draw()
            np.testing.assert_allclose(g.ax_cbar.get_position().bounds, CBAR)


def test_a_label_as_long_as_a_book_is_shortened(table: pd.DataFrame) -> None:
    longest = "g" * 100_000
    g = clustermap(table.iloc[:3].set_axis(["a", longest, "c"]), yticklabels=1, figsize=(40, 5))
    texts = {text.get_text() for text in g.ax_heatmap.get_yticklabels()}
    assert texts == {"a", "c", "g" * 199 + "…"}
    assert longest in g.data2d.index


def test_colors_with_labels_are_matched_by_them(table: pd.DataFrame) -> None:
    colors = pd.Series(["r", "g", "b", "k"] * 3, index=table.index)
    expected = clustermap(table, row_colors=colors).row_colors
    shuffled = colors.sample(frac=1, random_state=0)
    for given in (shuffled.to_dict(), xr.DataArray(shuffled), xr.DataArray(shuffled.to_frame("k"))):
        g = clustermap(table, row_colors=given)
        assert np.reshape(g.row_colors, (12, 3)).tolist() == np.asarray(expected).tolist()


def test_labels_that_come_twice_in_data_and_colors_alike(table: pd.DataFrame) -> None:
    table.index = pd.Index(["gene"] * 12)
    colors = pd.Series(["r", "g", "b"] * 4, index=table.index)
    assert clustermap(table, row_colors=colors).row_colors[:2] == [(1, 0, 0), (0, 0.5, 0)]
