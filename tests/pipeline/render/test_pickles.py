"""A grid can be pickled, as seaborn's can: its figure as it is, the trees, and what was found."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from clustergrid.pipeline.render import Bars, Boxes, ClusterGrid, clustermap
from clustergrid.pipeline.render.region import Region

OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "everything": {
        "row_annotations": {"kind": list("abc") * 4, "x": Bars(range(12)), "all": Boxes()},
        "col_annotations": {"value": np.arange(8.0)},
        "row_split": list("ab") * 6,
        "col_split": 2,
        "row_mark": [0, 3],
        "row_colors": list("rgb") * 4,
        "annot": True,
        "progress": lambda event: None,
        "z_score": 0,
    },
}


def _pixels(figure: Any) -> np.ndarray:
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())


@pytest.mark.parametrize("kws", OPTIONS.values(), ids=OPTIONS)
def test_a_pickle_is_the_picture_and_what_was_found(
    table: pd.DataFrame, kws: dict[str, Any]
) -> None:
    g = clustermap(table, figsize=(5, 5), **kws)
    again: ClusterGrid = pickle.loads(pickle.dumps(g))
    np.testing.assert_array_equal(_pixels(again.figure), _pixels(g.figure))
    pd.testing.assert_frame_equal(again.data2d, g.data2d)
    pd.testing.assert_series_equal(again.clusters(k=3), g.clusters(k=3))
    xr.testing.assert_identical(again.to_dataset(row_k=2), g.to_dataset(row_k=2))
    np.testing.assert_array_equal(again.dendrogram_row.linkage, g.dendrogram_row.linkage)
    assert again.ax_heatmap in again.figure.axes
    again.add_legend({"one": "r"})
    again.tight_layout()
    again.savefig(io.BytesIO(), dpi=50)
    assert not g._legends.width_inches or g._legends.width_inches < again._legends.width_inches


@pytest.mark.parametrize("kind", ["in memory", "lazy"])
def test_a_pickle_of_a_large_body_is_its_image(kind: str) -> None:
    values = np.random.default_rng(0).normal(size=(3000, 100))
    data: Any = xr.DataArray(values, dims=("row", "column"))
    data = data.chunk({"row": 1000}) if kind == "lazy" else data
    g = clustermap(data, row_cluster=False, figsize=(4, 4))
    content = pickle.dumps(g)
    again = pickle.loads(content)
    np.testing.assert_array_equal(_pixels(again.figure), _pixels(g.figure))
    again.savefig(io.BytesIO(), dpi=200)  # as it is
    np.testing.assert_array_equal(
        again.stages.linkage(1, method="single", metric="euclidean"),
        g.stages.linkage(1, method="single", metric="euclidean"),
    )


def test_a_pickle_in_a_given_figure(table: pd.DataFrame) -> None:
    page = plt.figure(figsize=(8, 4))
    left, _ = page.subfigures(1, 2)
    again = pickle.loads(pickle.dumps(clustermap(table, figure=left)))
    np.testing.assert_array_equal(_pixels(again.figure.figure), _pixels(page))


def test_a_region_without_its_figure_has_no_attributes() -> None:
    with pytest.raises(AttributeError, match="figure"):
        _ = Region.__new__(Region).dpi
    assert copy.copy(Region(plt.figure(), is_own=True)).is_own
