"""seaborn is the oracle: the same trees, and the same picture to the pixel."""

from __future__ import annotations

import inspect
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import seaborn as sns
from matplotlib.artist import ArtistInspector
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import LogNorm
from scipy.cluster.hierarchy import cophenet
from scipy.cluster.hierarchy import dendrogram as scipy_dendrogram

from clustergrid.pipeline.render import ClusterGrid, clustermap
from clustergrid.pipeline.tree.orders import leaf_order

pytestmark = pytest.mark.quick_cases(one_in=16)


def heatmap_keywords() -> set[str]:
    """Keywords of seaborn's heatmap."""
    return {name for name, _ in _parameters(sns.heatmap)}


def pcolormesh_keywords() -> set[str]:
    """Keywords of matplotlib's pcolormesh, and properties of what it draws."""
    return {name for name, _ in _parameters(Axes.pcolormesh)} | set(
        ArtistInspector(QuadMesh).get_setters()
    )


DOCUMENTED = {
    "plain": {},
    "correlation": {"metric": "correlation"},
    "single": {"method": "single"},
    "mako robust": {"cmap": "mako", "robust": True},
    "figsize": {
        "figsize": (6, 7),
        "row_cluster": True,
        "dendrogram_ratio": (0.1, 0.2),
        "cbar_pos": (0, 0.2, 0.03, 0.4),
    },
    "figsize only": {"figsize": (6, 7)},
    "col_cluster": {"col_cluster": False},
    "standard_scale": {"standard_scale": 1},
    "z_score": {"z_score": 0, "cmap": "vlag", "center": 0},
    "z_score plain": {"z_score": 0},
}


@pytest.mark.parametrize("kws", DOCUMENTED.values(), ids=DOCUMENTED.keys())
def test_documented_examples_look_the_same(
    iris: pd.DataFrame, kws: dict[str, Any], draw_both: Any, assert_same_picture: Any
) -> None:
    ours, theirs = draw_both(iris, **kws)
    assert_same_picture(ours, theirs)
    for name in ("dendrogram_row", "dendrogram_col"):
        tree, expected = getattr(ours, name), getattr(theirs, name)
        if expected is None:
            assert tree is None
            continue
        # The picture was drawn from seaborn's tree; this is our own.
        Z = tree.calculated_linkage
        # Of one minus a correlation SciPy leaves a rounding.
        np.testing.assert_allclose(Z[:, 2], expected.linkage[:, 2], rtol=1e-10, atol=1e-15)
        # Iris has equal rows and tied distances: there the tree is a choice, and so is its order.
        if len(np.unique(Z[:, 2].round(12))) == len(Z):
            np.testing.assert_array_equal(leaf_order(Z), expected.reordered_ind)
            np.testing.assert_allclose(cophenet(Z), cophenet(expected.linkage))


def test_documented_row_colors_look_the_same(
    iris: pd.DataFrame, species_colors: pd.Series, draw_both: Any, assert_same_picture: Any
) -> None:
    assert_same_picture(*draw_both(iris, row_colors=species_colors))


def test_trees_without_ties_are_in_the_same_order(
    table: pd.DataFrame, seaborn_clustermap: Any
) -> None:
    for kws in ({}, {"method": "ward"}, {"metric": "cityblock", "method": "complete"}):
        ours, theirs = clustermap(table, **kws), seaborn_clustermap(table, **kws)
        assert ours.dendrogram_row.reordered_ind == theirs.dendrogram_row.reordered_ind
        assert ours.dendrogram_col.reordered_ind == theirs.dendrogram_col.reordered_ind
        pd.testing.assert_frame_equal(ours.data2d, theirs.data2d)
        pd.testing.assert_frame_equal(ours.mask, theirs.mask)


def _row_frame(table: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {"pathway": ["r", "g", "b"] * 4, "stage": ["0.2", "0.8"] * 6}, index=table.index
    )


OPTIONS: dict[str, dict[str, Any]] = {
    "vmin vmax": {"vmin": -1, "vmax": 0.5},
    "center": {"center": 0},
    "center off middle": {"center": 1.2, "vmin": -1, "cmap": "icefire_r"},
    "cmap of matplotlib": {"cmap": "viridis"},
    "cmap list": {"cmap": ["red", "white", "#0000ff"]},
    "robust and vmin": {"robust": True, "vmin": -1},
    "annot": {"annot": True, "fmt": ".1f", "annot_kws": {"size": 7}},
    "annot array": {"annot": np.arange(96).reshape(12, 8), "fmt": "d"},
    "lines": {"linewidths": 0.75, "linecolor": "yellow"},
    "lines and strips": {"linewidths": 1, "col_colors": list("rgbcmykw")},
    "no colour bar": {"cbar_pos": None},
    "colour bar keywords": {"cbar_kws": {"label": "expression", "ticks": [-1, 0, 1]}},
    "colour bar extended": {"cbar_kws": {"extend": "both"}, "vmin": -1, "vmax": 1},
    "colour bar lying": {
        "cbar_kws": {"orientation": "horizontal"},
        "cbar_pos": (0.1, 0.9, 0.3, 0.03),
    },
    "ratios": {"dendrogram_ratio": (0.1, 0.3), "colors_ratio": (0.05, 0.02)},
    "tree lines": {"tree_kws": {"linewidths": 2, "color": "red"}},
    "tree colours": {"tree_kws": {"colors": ["b", "k"]}},
    "no trees": {"row_cluster": False, "col_cluster": False},
    "rows only": {"col_cluster": False, "col_colors": list("rgbcmykw")},
    "no tick labels": {"xticklabels": False, "yticklabels": False},
    "all tick labels": {"yticklabels": True, "figsize": (4, 2.5)},
    "every third": {"yticklabels": 3, "xticklabels": 2},
    "lists of tick labels": {"yticklabels": list("abcdefghijkl"), "xticklabels": range(8)},
    "long x labels": {"xticklabels": ["a rather long label"] * 8},
    "small": {"figsize": (3, 3)},
    "alpha": {"alpha": 0.5},
    "rasterized": {"rasterized": True},
    "row colours in a list": {"row_colors": ["r", "g", "b"] * 4},
    "nested colours": {"row_colors": [["r", "g", "b"] * 4, ["k", "w"] * 6]},
    "rgb colours": {"row_colors": np.linspace(0, 1, 36).reshape(12, 3)},
    "standard_scale rows": {"standard_scale": 0},
    "z_score columns": {"z_score": 1},
}


@pytest.mark.parametrize("kws", OPTIONS.values(), ids=OPTIONS.keys())
def test_options_look_the_same(
    table: pd.DataFrame, kws: dict[str, Any], draw_both: Any, assert_same_picture: Any
) -> None:
    if "figsize" not in kws:
        kws = kws | {"figsize": (4, 4)}
    assert_same_picture(*draw_both(table, **kws))


def test_colors_by_label_look_the_same(
    table: pd.DataFrame, draw_both: Any, assert_same_picture: Any
) -> None:
    shuffled = _row_frame(table).sample(frac=1, random_state=1).iloc[:-2]
    columns = pd.Series(list("rgbcmykw"), index=table.columns, name="batch")[::-1]
    ours, theirs = draw_both(table, row_colors=shuffled, col_colors=columns)
    assert_same_picture(ours, theirs)
    assert ours.row_color_labels == theirs.row_color_labels == ["pathway", "stage"]
    assert ours.col_color_labels == theirs.col_color_labels == ["batch"]
    assert ours.row_colors == theirs.row_colors
    assert ours.col_colors == theirs.col_colors


def test_unnamed_colors_get_an_empty_label(
    table: pd.DataFrame, draw_both: Any, assert_same_picture: Any
) -> None:
    colors = pd.Series(["r", "g", "b"] * 4, index=table.index)
    assert_same_picture(*draw_both(table, row_colors=colors))


@pytest.mark.parametrize("as_frame", [False, True])
def test_masks_look_the_same(
    table: pd.DataFrame, as_frame: bool, draw_both: Any, assert_same_picture: Any
) -> None:
    mask: Any = table.to_numpy() > 1
    if as_frame:
        mask = pd.DataFrame(mask, index=table.index, columns=table.columns)
    ours, theirs = draw_both(table, mask=mask, annot=True)
    assert_same_picture(ours, theirs)
    pd.testing.assert_frame_equal(ours.mask, theirs.mask)


def test_missing_values_look_the_same(
    table: pd.DataFrame, draw_both: Any, assert_same_picture: Any
) -> None:
    table.iloc[3, 2:5] = np.nan
    assert_same_picture(*draw_both(table, row_cluster=False, col_cluster=False))


def test_norm_looks_the_same(iris: pd.DataFrame, draw_both: Any, assert_same_picture: Any) -> None:
    ours, theirs = draw_both(iris[::5], norm=LogNorm())
    assert_same_picture(ours, theirs)


@pytest.mark.parametrize("kind", ["array", "lists", "ints", "bools", "multiindex", "dates"])
def test_kinds_of_data_look_the_same(
    table: pd.DataFrame, kind: str, draw_both: Any, assert_same_picture: Any
) -> None:
    data: Any = {
        "array": table.to_numpy(),
        "lists": table.to_numpy().tolist(),
        "ints": (table * 100).astype(int),
        "bools": table > 0,
        "dates": table.set_axis(pd.date_range("2020-02-01", periods=8), axis=1),
        "multiindex": table.set_axis(pd.MultiIndex.from_product([["a", "b"], range(6)])),
    }[kind]
    if kind == "multiindex":
        data.index.names = ["letter", "number"]
    ours, theirs = draw_both(data)
    assert_same_picture(ours, theirs)
    pd.testing.assert_frame_equal(ours.data, theirs.data)
    pd.testing.assert_frame_equal(ours.data2d, theirs.data2d)


def test_tidy_data_look_the_same(
    table: pd.DataFrame, draw_both: Any, assert_same_picture: Any
) -> None:
    tidy = table.stack().rename("value").reset_index()
    pivot = {"index": "gene", "columns": "sample", "values": "value"}
    ours, theirs = draw_both(tidy, pivot_kws=pivot)
    assert_same_picture(ours, theirs)
    pd.testing.assert_frame_equal(ours.data2d, theirs.data2d)


def test_many_columns_look_the_same(draw_both: Any, assert_same_picture: Any) -> None:
    data = np.random.default_rng(3).normal(size=(90, 60))
    assert_same_picture(*draw_both(data, figsize=(5, 5), col_colors=["r", "k"] * 30))


def test_nullable_integers(table: pd.DataFrame) -> None:
    data = (table * 100).astype(int).astype("Int64")
    data.iloc[2, 3] = pd.NA
    g = clustermap(data, row_cluster=False, col_cluster=False)
    shown = g.ax_heatmap.collections[0].get_array()
    np.testing.assert_array_equal(np.argwhere(np.ma.getmaskarray(shown)), [(2, 3)])


@pytest.mark.parametrize("style", ["whitegrid", "ticks", "dark"])
def test_seaborn_styles_look_the_same(
    table: pd.DataFrame, style: str, draw_both: Any, assert_same_picture: Any
) -> None:
    with plt.rc_context({**sns.axes_style(style), **sns.plotting_context("talk")}):
        assert_same_picture(*draw_both(table, row_colors=["r", "g", "b"] * 4))


def test_attributes_are_seaborns(table: pd.DataFrame, seaborn_clustermap: Any) -> None:
    colors = ["r", "g", "b"] * 4
    ours = clustermap(table, row_colors=colors)
    theirs = seaborn_clustermap(table, row_colors=colors)
    public = {name for name in dir(theirs) if not name.startswith("_")}
    assert public - set(dir(ours)) == set()
    tree, expected = ours.dendrogram_col, theirs.dendrogram_col
    public = {name for name in dir(expected) if not name.startswith("_")}
    assert public - set(dir(tree)) == set()
    pd.testing.assert_frame_equal(tree.data, expected.data)
    np.testing.assert_array_equal(tree.array, expected.array)
    assert tree.shape == expected.shape
    assert tree.dendrogram == scipy_dendrogram(tree.linkage, no_plot=True, color_threshold=-np.inf)
    for name in ("axis", "metric", "method", "label", "rotate", "xticks", "yticks", "xlabel"):
        assert getattr(tree, name) == getattr(expected, name), name
    np.testing.assert_array_equal(tree.calculated_linkage, tree.linkage)


def _parameters(function: Any) -> list[tuple[str, Any]]:
    kept = inspect.signature(function).parameters.values()
    return [(each.name, each.default) for each in kept if each.kind is not each.VAR_KEYWORD]


def test_arguments_are_seaborns_with_its_defaults_and_ours_come_after() -> None:
    theirs = _parameters(sns.clustermap)
    ours = [
        (name, None if name == "cbar_kws" and default == {} else default)
        for name, default in _parameters(clustermap)
    ]
    assert ours[: len(theirs)] == theirs
    for method in ("__init__", "plot", "plot_dendrograms", "plot_matrix", "plot_colors"):
        mine, expected = (getattr(c, method) for c in (ClusterGrid, sns.matrix.ClusterGrid))
        assert _parameters(mine)[: len(_parameters(expected))] == _parameters(expected), method


@pytest.mark.parametrize("function", [heatmap_keywords, pcolormesh_keywords])
def test_our_arguments_collide_with_no_keyword_of_the_heatmap(function: Any) -> None:
    ours = {name for name, _ in _parameters(clustermap)[len(_parameters(sns.clustermap)) :]}
    assert "row_annotations" in ours
    # Every artist has a figure, and nobody sets that of a mesh.
    assert ours & function() <= {"figure"}


def test_static_methods_are_seaborns(table: pd.DataFrame) -> None:
    ours, theirs = type(clustermap(table)), sns.matrix.ClusterGrid
    for axis in (0, 1):
        for name in ("z_score", "standard_scale"):
            pd.testing.assert_frame_equal(
                getattr(ours, name)(table, axis), getattr(theirs, name)(table, axis)
            )
        for colors in (["r", "g", "r"], [["r", "g", "k"], ["g", "b", "b"]]):
            matrix, cmap = ours.color_list_to_matrix_and_cmap(colors, [2, 0, 1], axis)
            expected, other = theirs.color_list_to_matrix_and_cmap(colors, [2, 0, 1], axis)
            np.testing.assert_array_equal(matrix, expected)
            np.testing.assert_array_equal(cmap.colors, other.colors)


def test_ratios_are_seaborns(table: pd.DataFrame, seaborn_clustermap: Any) -> None:
    ours, theirs = clustermap(table), seaborn_clustermap(table)
    for colors in (None, [(1, 0, 0)] * 12, [[(1, 0, 0)] * 12] * 2):
        assert ours.dim_ratios(colors, 0.1, 0.05) == theirs.dim_ratios(colors, 0.1, 0.05)
