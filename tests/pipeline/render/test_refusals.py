"""What is refused, in words that say what to do, and what is warned of."""

from __future__ import annotations

import re
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.colors import BoundaryNorm, LogNorm, TwoSlopeNorm
from matplotlib.ticker import LogLocator
from scipy.cluster.hierarchy import linkage

from clustergrid.pipeline.render import (
    Bars,
    Boxes,
    ClusterGrid,
    Points,
    clustermap,
    get_colormap,
)
from clustergrid.pipeline.stages import Stages
from clustergrid.storage.errors import ClustergridError


def _refused(
    error: type[Exception], message: str, data: Any, *, leaves_figure: bool = False, **kws: Any
) -> None:
    before = set(plt.get_fignums())  # of whatever test ran in this process
    with pytest.raises(error, match=message) as caught:
        clustermap(data, **kws)
    assert isinstance(caught.value, ClustergridError)
    opened = set(plt.get_fignums()) - before
    assert bool(opened) == leaves_figure, "half a picture stays open"


def test_both_normalizations(table: pd.DataFrame) -> None:
    message = "Cannot perform both z-scoring and standard-scaling on data"
    _refused(ValueError, message, table, z_score=0, standard_scale=1)


@pytest.mark.parametrize("name", ["z_score", "standard_scale"])
def test_an_axis_that_does_not_exist(table: pd.DataFrame, name: str) -> None:
    _refused(ValueError, f"{name} must be 0 .* got 2", table, **{name: 2})


def test_missing_values_while_clustering(table: pd.DataFrame) -> None:
    table.iloc[3, 2] = np.nan
    message = "The condensed distance matrix must contain only finite values.*gene 3"
    _refused(ValueError, message, table)
    assert clustermap(table, row_cluster=False, col_cluster=False).mask.to_numpy().sum() == 1


@pytest.mark.parametrize("data_kind", ["table", "array"])
def test_a_constant_row_after_z_score(table: pd.DataFrame, data_kind: str) -> None:
    table.iloc[[3, 5]] = 1.5
    message = "must contain only finite values.*2 of 12 rows.*constant.*gene 3"
    data: Any = table if data_kind == "table" else xr.DataArray(table)
    _refused(ValueError, message, data, z_score=0)


@pytest.mark.parametrize("method", ["ward", "centroid", "median"])
def test_methods_that_need_euclidean(table: pd.DataFrame, method: str) -> None:
    message = f"`method={method}` requires the distance metric to be Euclidean"
    _refused(ValueError, message, table, method=method, metric="cityblock")


def test_unknown_method(table: pd.DataFrame) -> None:
    _refused(ValueError, "Invalid method: foo", table, method="foo")


def test_unknown_metric(table: pd.DataFrame) -> None:
    _refused(ValueError, "foo.*euclidean", table, metric="foo")


def test_one_row(table: pd.DataFrame) -> None:
    message = "The number of observations cannot be determined on an empty distance matrix."
    _refused(ValueError, message, table[:1])


def test_mask_of_another_shape(table: pd.DataFrame) -> None:
    message = re.escape("Mask must have the same shape as data.")
    _refused(ValueError, message, table, mask=np.zeros((3, 3), bool))
    _refused(ValueError, message, xr.DataArray(table), mask=np.zeros((3, 3), bool))


def test_mask_of_another_index(table: pd.DataFrame) -> None:
    message = re.escape("Mask must have the same index and columns as data.")
    mask = table > 0
    for other in (mask.add_prefix("x"), mask.rename(index={"gene 1": "x"}), mask.iloc[:, :3]):
        _refused(ValueError, message, table, mask=other)
        _refused(ValueError, message, xr.DataArray(table), mask=other)


def test_lazy_mask_of_other_labels(table: pd.DataFrame) -> None:
    mask = xr.DataArray(table.rename(index={"gene 1": "x"}) > 0)
    message = "Mask must have the same index and columns as data.*'gene'"
    _refused(ValueError, message, xr.DataArray(table), mask=mask)
    message = re.escape("Mask must have the same shape as data: its dimensions are")
    _refused(ValueError, message, xr.DataArray(table), mask=mask.rename(gene="other"))


def test_annotations_of_another_shape(table: pd.DataFrame) -> None:
    message = re.escape("`data` and `annot` must have same shape.")
    _refused(ValueError, message, table, annot=np.zeros((8, 12)))


@pytest.mark.parametrize("name", ["row_colors", "col_colors"])
def test_indexed_colors_for_data_without_index(table: pd.DataFrame, name: str) -> None:
    message = f"{name} indices can't be matched with data indices. Provide {name} as a non-indexed"
    colors = pd.Series(["r"] * 12)
    _refused(TypeError, message, table.to_numpy(), **{name: colors})
    _refused(TypeError, message, table.to_numpy().tolist(), **{name: colors})
    _refused(TypeError, message, xr.DataArray(table.to_numpy()), **{name: colors})


@pytest.mark.parametrize("n", [11, 13])
def test_colors_of_another_length(table: pd.DataFrame, n: int) -> None:
    _refused(ValueError, f"row_colors has {n} colours for 12 rows", table, row_colors=["r"] * n)
    nested = [["r"] * 8, ["g"] * n]
    _refused(ValueError, f"Strip 1 of col_colors has {n} colours", table, col_colors=nested)


def test_what_is_no_color(table: pd.DataFrame) -> None:
    _refused(ValueError, "'no colour', which is not a colour", table, row_colors=["no colour"] * 12)
    _refused(ValueError, "'x', which is not a colour", table, row_colors=["r"] * 11 + ["x"])
    _refused(TypeError, "row_colors must be a list of colours", table, row_colors="red")


def test_labels_of_colors_that_come_twice(table: pd.DataFrame) -> None:
    colors = pd.Series("r", index=[*table.index, "gene 3"])
    _refused(ValueError, "row_colors has labels more than once: 'gene 3'", table, row_colors=colors)
    _refused(
        *(ValueError, "col_colors has labels more than once: 's1'", table),
        col_colors=pd.DataFrame({"kind": "r"}, index=["s0", "s1", "s1"]),
    )


def test_a_mapping_of_colors_for_data_without_index(table: pd.DataFrame) -> None:
    colors = dict.fromkeys(range(12), "r")
    message = "row_colors indices can't be matched with data indices"
    _refused(TypeError, message, table.to_numpy(), row_colors=colors)


def test_colors_that_match_no_label_are_warned_of(table: pd.DataFrame) -> None:
    with pytest.warns(UserWarning, match="None of the labels of row_colors"):
        clustermap(table, row_colors=pd.Series(["r"] * 12))


@pytest.mark.parametrize("n", [5, 20])
def test_a_linkage_of_other_leaves(table: pd.DataFrame, n: int) -> None:
    Z = linkage(np.random.default_rng(0).normal(size=(n, 3)))
    _refused(ValueError, "row_linkage", table, row_linkage=Z)
    _refused(ValueError, "col_linkage", table, col_linkage=Z)


def test_axes_of_ones_own(table: pd.DataFrame) -> None:
    _refused(TypeError, r"ax= can't be used.*g\.ax_heatmap", table, ax=object())
    _refused(TypeError, "cbar_ax= can't be used.*cbar_pos", table, cbar_ax=object())


def test_square_is_warned_of_and_ignored(table: pd.DataFrame) -> None:
    with pytest.warns(UserWarning, match="``square=True`` ignored in clustermap"):
        g = clustermap(table, square=True)
    assert g.ax_heatmap.get_aspect() == "auto"
    clustermap(table, square=False)


@pytest.mark.parametrize("labels", [list("abc"), "some"])
def test_tick_labels_that_do_not_fit(table: pd.DataFrame, labels: Any) -> None:
    _refused(ValueError, "yticklabels", table, yticklabels=labels)


@pytest.mark.parametrize(
    "kws",
    [
        {"annot": np.zeros((2, 2))},
        {"yticklabels": list("abc")},
        {"cmap": "makko"},
        {"col_linkage": np.zeros((3, 4))},
        {"row_colors": ["r"]},
        {"mask": np.zeros((2, 2), bool)},
        {"ax": 1},
        {"row_annotations": {"x": Bars(range(12), color="no colour")}},
        {"row_annotations": {"x": Points(range(12), limits=(2, 1))}},
        {"col_annotations": {"x": Boxes(size=2)}},
    ],
    ids=lambda kws: str(next(iter(kws.items())))[:60],
)
def test_refusals_come_before_the_computing(
    table: pd.DataFrame, kws: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def linkage_that_takes_hours(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("computed")

    monkeypatch.setattr(Stages, "linkage", linkage_that_takes_hours)
    with pytest.raises(ClustergridError):
        clustermap(table, **kws)


@pytest.mark.parametrize(
    ("error", "message", "kws"),
    [
        (AttributeError, "no_such_keyword", {"no_such_keyword": 1}),
        (AttributeError, "no_such_keyword", {"tree_kws": {"no_such_keyword": 1}}),
        (TypeError, "no_such_keyword", {"cbar_kws": {"no_such_keyword": 1}}),
        (AttributeError, "no_such_keyword", {"annot": True, "annot_kws": {"no_such_keyword": 1}}),
        (ValueError, "Unknown format code", {"annot": True, "fmt": "d"}),
        (ValueError, "no such norm", {"norm": "no such norm"}),
        (ValueError, "no such colour", {"edgecolor": "no such colour"}),
    ],
    ids=lambda each: str(each)[:40],
)
def test_what_matplotlib_refuses_is_tried_before_the_computing(
    table: pd.DataFrame,
    error: type[Exception],
    message: str,
    kws: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Stages, "linkage", None)
    with pytest.raises(error, match=message):
        clustermap(table, **kws)
    assert not plt.get_fignums()


@pytest.mark.parametrize(
    "kws",
    [
        {"norm": LogNorm(), "cbar_kws": {"ticks": LogLocator()}},
        {"norm": TwoSlopeNorm(3), "cmap": "vlag"},
        {"norm": BoundaryNorm([0, 1, 2, 5], 256), "cbar_kws": {"spacing": "proportional"}},
        {"norm": "log", "vmin": 1, "vmax": 2},
        {"cbar_kws": {"orientation": "horizontal", "shrink": 0.5, "format": "%.1f"}},
        {"cbar_kws": {"location": "left"}, "cbar_pos": None, "cbar": True},
        {"tree_kws": {"color": ["r", "b"], "linestyles": ":"}},
        {"alpha": 0.5, "rasterized": True, "shading": "flat", "antialiased": True, "hatch": "/"},
    ],
    ids=lambda kws: str(kws)[:40],
)
@pytest.mark.quick_cases(one_in=8)
@pytest.mark.parametrize("shape", [(12, 8), (2500, 100)], ids=["mesh", "image"])
def test_what_matplotlib_can_do_is_not_refused(kws: dict[str, Any], shape: tuple[int, int]) -> None:
    values = np.random.default_rng(0).lognormal(1, 1, shape)
    trees = {"row_cluster": False, "col_cluster": "tree_kws" in kws}
    clustermap(values, figsize=(3, 3), **trees, **kws).figure.canvas.draw()


def test_ratios_that_are_no_pair(table: pd.DataFrame) -> None:
    _refused(ValueError, "dendrogram_ratio must be", table, dendrogram_ratio=(0.1, 0.2, 0.3))


def test_data_that_is_no_matrix() -> None:
    _refused(ValueError, "rows and columns", np.zeros((2, 2, 2)))


def test_unknown_colormap(table: pd.DataFrame) -> None:
    _refused(
        ValueError, "Unknown colormap 'makko': neither one of icefire, mako", table, cmap="makko"
    )


def test_two_rows_are_enough(table: pd.DataFrame) -> None:
    assert clustermap(table[:2]).dendrogram_row.reordered_ind == [0, 1]


def test_the_bare_grid_has_default_ratios(table: pd.DataFrame) -> None:
    grid = ClusterGrid(table)
    assert grid.gs.get_width_ratios() == [0.2, 0.8]
    assert grid.ax_cbar is None
    assert grid.data2d is table
    assert not grid.mask.to_numpy().any()


def test_a_colormap_is_given_away_as_a_copy() -> None:
    assert get_colormap("rocket") == get_colormap("rocket")
    assert get_colormap("rocket") is not get_colormap("rocket")


@pytest.mark.parametrize(("value", "n_columns"), [(0.3, 10), (7.7, 115), (0.1, 1000)])
def test_a_constant_row_whose_mean_is_rounded(value: float, n_columns: int) -> None:
    values = np.random.default_rng(0).normal(size=(5, n_columns))
    values[2] = value
    with pytest.raises(ValueError, match="must contain only finite values"):
        clustermap(values, z_score=0)
