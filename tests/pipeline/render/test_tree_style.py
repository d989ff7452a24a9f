"""Colours of clusters, scales of heights and what is written beside a tree."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba, to_rgba_array
from scipy.cluster import hierarchy

from clustergrid.pipeline.render import clustermap
from clustergrid.pipeline.render.dendrogram import DendrogramPlotter
from clustergrid.pipeline.render.tree_style import CLUSTER_COLORS, TreeStyle
from clustergrid.pipeline.tree.cuts import cut
from clustergrid.pipeline.tree.orders import link_clusters
from clustergrid.storage.errors import DataTypeError, DataValueError
from tests.pipeline.tree.trees import METHODS, chain, tree


def plotter(Z: np.ndarray, **style: Any) -> DendrogramPlotter:
    data = pd.DataFrame(np.zeros((len(Z) + 1, 2)))
    return DendrogramPlotter(
        data, axis=0, compute_linkage=lambda: Z, linkage=Z, style=TreeStyle(**style)
    )


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n", [2, 3, 150])
def test_colors_are_scipys(n: int, method: str, ties: bool) -> None:
    Z = tree(n, method, ties)
    palette = ["r", "g", "b"]
    hierarchy.set_link_color_palette(palette)
    try:
        for height in (*np.quantile(Z[:, 2], [0, 0.3, 0.7, 0.95, 1]), -1.0, 0.0, np.inf):
            drawn = hierarchy.dendrogram(
                Z, no_plot=True, color_threshold=height, above_threshold_color="k"
            )
            style = {"color_threshold": height, "palette": palette, "above_color": "k"}
            assert plotter(Z, **style).dendrogram == drawn
    finally:
        hierarchy.set_link_color_palette(None)


@pytest.mark.parametrize("method", METHODS)
def test_k_clusters_are_those_of_the_cut(method: str) -> None:
    Z = tree(60, method, ties=True)
    for k in (1, 2, 7, 60):
        groups = link_clusters(Z, TreeStyle(k=k).above(Z))
        assert (groups == -1).sum() == k - 1
        # Every cluster of two or more leaves has a number, from left to right.
        assert groups.max(initial=-1) + 1 == (np.bincount(cut(Z, k=k)) > 1).sum()


def test_a_chain_of_many_leaves_is_colored() -> None:
    Z = chain(200_000)
    groups = link_clusters(Z, Z[:, 2] >= 1000.0)
    assert (groups == 0).sum() == 1000
    assert (groups == -1).sum() == len(Z) - 1000


def test_lines_have_the_colors_of_the_dictionary(table: pd.DataFrame) -> None:
    g = clustermap(table, row_tree_style={"k": 3}, tree_kws={"colors": "0.5"})
    lines = g.ax_row_dendrogram.collections[0]
    expected = to_rgba_array(g.dendrogram_row.dendrogram["color_list"])
    np.testing.assert_array_equal(lines.get_edgecolor(), expected)
    used = {tuple(color) for color in expected}
    assert used <= {to_rgba(color) for color in (*CLUSTER_COLORS[:3], "0.5")}
    assert to_rgba("0.5") in used
    assert len(used) > 2
    assert len(g.ax_col_dendrogram.collections[0].get_edgecolor()) == 1


def test_colors_of_both_axes_or_of_one(table: pd.DataFrame) -> None:
    g = clustermap(table, tree_style=TreeStyle(k=2), col_tree_style={"color_threshold": 1e9})
    assert len(set(g.dendrogram_row.dendrogram["color_list"])) > 1
    assert set(g.dendrogram_col.dendrogram["color_list"]) == {CLUSTER_COLORS[0]}


@pytest.mark.parametrize("scale", ["linear", "log", "sqrt"])
def test_scales_of_heights(table: pd.DataFrame, scale: str) -> None:
    g = clustermap(table, tree_style={"scale": scale, "axis": True})
    for ax, axis, drawn_tree in (
        (g.ax_row_dendrogram, "x", g.dendrogram_row),
        (g.ax_col_dendrogram, "y", g.dendrogram_col),
    ):
        limits = sorted(getattr(ax, f"get_{axis}lim")())
        heights = drawn_tree.linkage[:, 2]
        assert (0 if scale != "log" else 0.5 * heights.min()) <= limits[0] < heights.min()
        assert heights.max() < limits[1] < 1.6 * heights.max()
        points = np.concatenate(ax.collections[0].get_segments())
        drawn = points[:, 0 if axis == "x" else 1]
        assert limits[0] <= drawn.min()
        assert drawn.max() == heights.max()
        # Halfway between the ends is the middle of the scale.
        function = {"linear": float, "log": np.log, "sqrt": np.sqrt}[scale]
        ends = [function(limit) for limit in limits]
        height = heights[3]
        share = (function(height) - ends[0]) / (ends[1] - ends[0])
        place = ax.transAxes.inverted().transform(ax.transData.transform([height, height]))
        found = place[0 if axis == "x" else 1]
        assert (1 - found if axis == "x" else found) == pytest.approx(share)


def test_heights_of_zero_stand_at_the_end_of_a_logarithmic_axis() -> None:
    values = np.repeat(np.arange(5.0)[:, None], 3, axis=1)
    g = clustermap(np.concatenate([values, values]), tree_style={"scale": "log"}, col_cluster=False)
    assert (g.dendrogram_row.linkage[:5, 2] == 0).all()
    low = min(g.ax_row_dendrogram.get_xlim())
    segments = np.array(g.ax_row_dendrogram.collections[0].get_segments())
    assert (segments[..., 0] >= low).all()
    assert (segments[..., 0] == low).sum() >= 20
    np.testing.assert_array_equal(np.min(g.dendrogram_row.dependent_coord), 0)
    same = clustermap(np.ones((4, 3)), tree_style={"scale": "log"}, col_cluster=False)
    same.figure.canvas.draw()


@pytest.mark.parametrize("power", [1, 6])
@pytest.mark.parametrize("scale", ["linear", "log", "sqrt"])
def test_heights_are_written_outside_and_nothing_overlaps(
    table: pd.DataFrame, scale: str, power: int
) -> None:
    g = clustermap(np.sign(table) * abs(table) ** power, tree_style={"axis": True, "scale": scale})
    figure = g.figure
    figure.canvas.draw()
    boxes = []
    for axis in (g.ax_row_dendrogram.xaxis, g.ax_col_dendrogram.yaxis):
        low, high = sorted(axis.get_view_interval())
        ticks = zip(axis.get_ticklabels(), axis.get_ticklocs(), strict=True)
        shown = [text for text, at in ticks if low <= at <= high and text.get_text()]
        assert len(shown) >= 2
        boxes += [text.get_window_extent() for text in shown]
    body = g.ax_heatmap.get_window_extent()
    others = [text.get_window_extent() for text in g.ax_heatmap.get_yticklabels()]
    for number, box in enumerate(boxes):
        assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1
        assert not any(box.overlaps(other) for other in (body, *others, *boxes[:number]))
    # The trees touch the body all the same.
    assert body.x0 - g.ax_row_dendrogram.get_window_extent().x1 < 14


REFUSED: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"k": 2, "color_threshold": 1.0}, DataValueError, "not both"),
    ({"k": 0}, DataValueError, "1 or more, got 0"),
    ({"k": 2.5}, DataValueError, "1 or more, got 2.5"),
    ({"color_threshold": np.nan}, DataValueError, "got nan"),
    ({"scale": "cubic"}, DataValueError, "linear, log, sqrt, got 'cubic'"),
    ({"palette": []}, DataValueError, "list of colours"),
    ({"palette": ["r", "blurple"]}, DataValueError, "'blurple', which is not a colour"),
    ({"threshold": 1}, DataTypeError, "color_threshold, k, palette"),
    ({"k": 13}, DataValueError, "13 clusters to colour, of a tree of 12 leaves"),
]


@pytest.mark.parametrize(("style", "error", "message"), REFUSED)
def test_styles_that_make_no_sense(
    table: pd.DataFrame, style: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        clustermap(table, row_tree_style=style)
    assert not mpl.pyplot.get_fignums()
