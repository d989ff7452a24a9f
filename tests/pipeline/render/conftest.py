from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import seaborn as sns
from sklearn.datasets import load_iris

from clustergrid.pipeline.render import ClusterGrid, clustermap

AXES = (
    "ax_heatmap",
    "ax_row_dendrogram",
    "ax_col_dendrogram",
    "ax_row_colors",
    "ax_col_colors",
    "ax_cbar",
)


@pytest.fixture(autouse=True)
def _close_figures() -> Iterator[None]:
    yield
    plt.close("all")


@pytest.fixture(scope="session")
def iris_bunch() -> Any:
    return load_iris(as_frame=True)


@pytest.fixture
def iris(iris_bunch: Any) -> pd.DataFrame:
    frame = iris_bunch.data.copy()
    frame.columns = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
    return frame


@pytest.fixture
def species_colors(iris_bunch: Any) -> pd.Series:
    species = iris_bunch.target.map(dict(enumerate(iris_bunch.target_names))).rename("species")
    return species.map({"setosa": "r", "versicolor": "b", "virginica": "g"})


@pytest.fixture
def table() -> pd.DataFrame:
    values = np.random.default_rng(7).normal(size=(12, 8)).round(6)
    return pd.DataFrame(
        values,
        index=pd.Index([f"gene {i}" for i in range(12)], name="gene"),
        columns=pd.Index([f"s{j}" for j in range(8)], name="sample"),
    )


def _seaborn_clustermap(data: Any, **kws: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what seaborn still calls is not ours to answer for
        return sns.clustermap(data, **kws)


@pytest.fixture
def seaborn_clustermap() -> Callable[..., Any]:
    return _seaborn_clustermap


@pytest.fixture
def draw_both() -> Callable[..., tuple[ClusterGrid, Any]]:
    """Draw with seaborn and with ours, from the same trees where rounding could tell them apart."""

    def draw(data: Any, **kws: Any) -> tuple[ClusterGrid, Any]:
        theirs = _seaborn_clustermap(data, **kws)
        trees = {}
        if theirs.dendrogram_row is not None:
            trees["row_linkage"] = theirs.dendrogram_row.linkage
        if theirs.dendrogram_col is not None:
            trees["col_linkage"] = theirs.dendrogram_col.linkage
        return clustermap(data, **(trees | kws)), theirs

    return draw


@pytest.fixture
def assert_same_picture() -> Callable[[ClusterGrid, Any], None]:
    return _assert_same_picture


def _assert_same_picture(ours: ClusterGrid, theirs: Any) -> None:
    for name in AXES:
        ax, other = getattr(ours, name), getattr(theirs, name)
        assert (ax is None) == (other is None), name
        if ax is not None:
            _assert_same_axes(name, ax, other)
    # The last word: every pixel on the screen.
    pixels, expected = (_rendered(grid.figure) for grid in (ours, theirs))
    assert pixels.shape == expected.shape
    difference = np.abs(pixels.astype(int) - expected.astype(int))
    assert difference.max() <= 1, f"{(difference > 1).sum()} channels differ"


def _assert_same_axes(name: str, ax: Any, other: Any) -> None:
    position, expected = ax.get_position().bounds, other.get_position().bounds
    np.testing.assert_allclose(position, expected, atol=1e-6, err_msg=name)
    np.testing.assert_allclose(ax.get_xlim(), other.get_xlim(), err_msg=name)
    np.testing.assert_allclose(ax.get_ylim(), other.get_ylim(), err_msg=name)
    for axis in ("x", "y"):
        labels, wanted = (getattr(a, f"get_{axis}ticklabels")() for a in (ax, other))
        assert [t.get_text() for t in labels] == [t.get_text() for t in wanted], name
        assert [t.get_rotation() for t in labels] == [t.get_rotation() for t in wanted], name
        ticks, places = (getattr(a, f"get_{axis}ticks")() for a in (ax, other))
        np.testing.assert_allclose(ticks, places, err_msg=name)
        assert getattr(ax, f"get_{axis}label")() == getattr(other, f"get_{axis}label")(), name
    assert len(ax.collections) == len(other.collections), name
    for mine, their in zip(ax.collections, other.collections, strict=True):
        _assert_same_collection(name, mine, their)


def _assert_same_collection(name: str, mine: Any, their: Any) -> None:
    assert type(mine) is type(their), name
    for collection in (mine, their):
        collection.update_scalarmappable()
    np.testing.assert_allclose(mine.get_facecolor(), their.get_facecolor(), atol=2e-5, err_msg=name)
    np.testing.assert_allclose(mine.get_edgecolor(), their.get_edgecolor(), atol=2e-5)
    np.testing.assert_allclose(mine.get_linewidth(), their.get_linewidth())
    if mine.get_array() is not None:
        np.testing.assert_allclose(mine.get_clim(), their.get_clim(), err_msg=name)
    if hasattr(mine, "get_segments"):
        np.testing.assert_allclose(mine.get_segments(), their.get_segments(), err_msg=name)


def _rendered(figure: Any) -> np.ndarray:
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())
