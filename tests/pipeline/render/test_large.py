"""Matrices with more cells than pixels: reduced, never read by the picture, and still exact."""

from __future__ import annotations

import dataclasses
import io
import time
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.collections import QuadMesh
from matplotlib.colors import LogNorm
from matplotlib.image import PcolorImage
from xarray.backends import BackendArray
from xarray.core import indexing

from clustergrid.pipeline.opening import open_stages
from clustergrid.pipeline.render import ClusterGrid, clustermap
from clustergrid.pipeline.render.body import MESH_CELLS
from clustergrid.storage.errors import DataValueError

pytestmark = pytest.mark.quick_cases(one_in=16)

NO_TREES = {"row_cluster": False, "col_cluster": False}


def _matrix(n: int, m: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, m))


def _body(g: ClusterGrid) -> Any:
    (image,) = g.ax_heatmap.images
    assert isinstance(image, PcolorImage)
    return image


def _oracle(values: np.ndarray, row_edges: np.ndarray, column_edges: np.ndarray) -> np.ndarray:
    """Means of the cells of every pixel, one pixel after another."""
    means = np.full((len(row_edges) - 1, len(column_edges) - 1), np.nan)
    for a, b in np.ndindex(means.shape):
        cells = values[row_edges[a] : row_edges[a + 1], column_edges[b] : column_edges[b + 1]]
        if not np.isnan(cells).all():
            means[a, b] = np.nanmean(cells)
    return means


def _shown(g: ClusterGrid) -> np.ndarray:
    """Pixels of the body on the screen, top row first."""
    g.figure.canvas.draw()
    screen = np.asarray(g.figure.canvas.buffer_rgba())[..., :3]
    left, bottom, right, top = (g.ax_heatmap.bbox.extents + 0.5).astype(int)
    height = screen.shape[0]
    return screen[height - top : height - bottom, left:right]


def test_a_reduced_body_shows_the_means_of_its_cells() -> None:
    values = _matrix(2000, 150)
    values[np.random.default_rng(1).random(values.shape) < 0.1] = np.nan
    g = clustermap(values, figsize=(4, 4), **NO_TREES)
    image = _body(g)
    n_pixels = int(g.ax_heatmap.bbox.height + 1e-6)
    assert image.get_array().shape == (n_pixels, 150)
    rows, columns = image._Ay.astype(int), image._Ax.astype(int)
    np.testing.assert_allclose(
        image.get_array(), _oracle(values, rows, columns), rtol=1e-12, atol=1e-15
    )
    np.testing.assert_allclose(image.get_clim(), (np.nanmin(values), np.nanmax(values)))
    assert g.ax_heatmap.get_xlim() == (0, 150)
    assert g.ax_heatmap.get_ylim() == (2000, 0)


def _chain(order: np.ndarray) -> np.ndarray:
    """A tree whose leaves stand in a given order."""
    n = len(order)
    merged = np.r_[order[0], np.arange(n, 2 * n - 2)]
    return np.column_stack([merged, order[1:], np.arange(1.0, n), np.arange(2, n + 1)])


def test_what_is_on_the_screen_is_the_reduced_matrix_in_leaf_order() -> None:
    values = np.add.outer(np.arange(1000.0), np.arange(500.0) / 10)
    shuffled = np.random.default_rng(0).permutation(1000)
    Z = _chain(np.argsort(shuffled))
    g = clustermap(values[shuffled], figsize=(4, 4), col_cluster=False, row_linkage=Z)
    screen = _shown(g)
    order = np.asarray(g.dendrogram_row.reordered_ind)
    in_order = values[shuffled][order]
    height, width = screen.shape[:2]
    rows = ((np.arange(height) + 0.5) / height * 1000).astype(int)
    columns = ((np.arange(width) + 0.5) / width * 500).astype(int)
    scale = mpl.colors.Normalize(values.min(), values.max())
    expected = _body(g).cmap(scale(in_order[np.ix_(rows, columns)]), bytes=True)[..., :3]
    # A pixel is a mean of a few neighbours: a shade away from the cell in its middle. The frame
    # of the picture may share its pixels with the background.
    difference = np.abs(screen.astype(int) - expected.astype(int))[1:-1, 1:-1]
    assert difference.max() <= 8
    assert difference.mean() < 1


def test_a_body_of_many_cells_that_fits_is_exact() -> None:
    values = _matrix(500, 500)
    assert values.size > MESH_CELLS
    g = clustermap(values, figsize=(10, 10))
    np.testing.assert_array_equal(_body(g).get_array(), g.data2d.to_numpy())


def test_a_body_of_few_cells_is_a_mesh_if_it_fits() -> None:
    assert isinstance(clustermap(_matrix(300, 20), **NO_TREES).ax_heatmap.collections[0], QuadMesh)
    g = clustermap(_matrix(1500, 20), **NO_TREES)
    assert _body(g).get_array().shape[1] == 20
    assert not g.ax_heatmap.collections


@pytest.mark.slow
def test_lines_ask_for_a_mesh_up_to_a_limit() -> None:
    g = clustermap(_matrix(1500, 20), linewidths=0.1, **NO_TREES)
    assert g.ax_heatmap.collections[0].get_array().size == 30_000
    for kws in ({"linewidths": 1}, {"annot": True}, {"edgecolors": "k"}):
        with pytest.warns(UserWarning, match="annot, linewidths and edgecolors are ignored"):
            g = clustermap(_matrix(1500, 200), **kws, **NO_TREES)
        assert not g.ax_heatmap.collections
        assert not g.ax_heatmap.texts


def test_saving_at_another_resolution_makes_the_body_again(tmp_path: Path) -> None:
    g = clustermap(
        _matrix(3000, 100), figsize=(4, 4), row_colors=["r", "g", "b"] * 1000, **NO_TREES
    )
    before = _body(g).get_array().copy()
    strip = g.ax_row_colors.images[0]
    shapes: list[tuple[int, int]] = []
    original = PcolorImage.make_image

    def spy(self: Any, *args: Any, **kws: Any) -> Any:
        shapes.append((self._A.shape[0], round(self.axes.bbox.height)))
        return original(self, *args, **kws)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PcolorImage, "make_image", spy)
        g.savefig(tmp_path / "a.png", dpi=300)
    assert len(shapes) >= 2
    for made, shown in shapes:
        assert abs(made - shown) <= 1
        assert made > 2.5 * len(before)
    np.testing.assert_array_equal(_body(g).get_array(), before)
    assert strip.get_array().shape[0] == len(before)


def test_the_body_is_made_for_the_resolution_it_will_be_saved_with() -> None:
    values = _matrix(3000, 100)
    screen = _body(clustermap(values, figsize=(4, 4), **NO_TREES)).get_array()
    with plt.rc_context({"savefig.dpi": 200}):
        printed = _body(clustermap(values, figsize=(4, 4), **NO_TREES)).get_array()
    assert abs(len(printed) - 2 * len(screen)) <= 1


@pytest.mark.parametrize("kind", ["png", "pdf", "svg"])
def test_every_format_is_small(kind: str) -> None:
    g = clustermap(_matrix(20_000, 100), row_colors=list("rgbk") * 5000, figsize=(5, 5), **NO_TREES)
    file = io.BytesIO()
    g.savefig(file, format=kind)
    assert 10_000 < len(file.getvalue()) < 1_000_000


def test_a_masked_reduced_body() -> None:
    values = _matrix(2000, 50)
    mask = np.zeros(values.shape, bool)
    mask[:1000] = True
    g = clustermap(values, mask=mask, figsize=(4, 4), **NO_TREES)
    shown = ~np.ma.getmaskarray(_body(g).get_array())
    half = len(shown) // 2
    assert not shown[: half - 1].any()
    assert shown[half + 1 :].all()
    np.testing.assert_allclose(_body(g).get_clim(), (values[1000:].min(), values[1000:].max()))


def test_norm_alpha_and_rasterized_of_a_reduced_body() -> None:
    values = np.exp(_matrix(2000, 50))
    norm = LogNorm()
    image = _body(clustermap(values, norm=norm, alpha=0.5, rasterized=True, **NO_TREES))
    assert (image.norm.vmin, image.norm.vmax) == (values.min(), values.max())
    assert image.get_alpha() == 0.5
    assert image.get_rasterized()
    values[0, 0] = 0  # has no logarithm
    image = _body(clustermap(values, norm="log", **NO_TREES))
    assert 0 < image.norm.vmin < image.norm.vmax == values.max()


def test_robust_limits_are_those_of_the_whole_matrix() -> None:
    values = _matrix(2000, 150)
    image = _body(clustermap(values, robust=True, **NO_TREES))
    np.testing.assert_allclose(image.get_clim(), np.percentile(values, [2, 98]), rtol=1e-4)


def test_strips_average_the_colors_of_a_pixel() -> None:
    colors = ["r"] * 1000 + ["b", "w"] * 500
    g = clustermap(_matrix(2000, 30), row_colors=colors, figsize=(4, 4), **NO_TREES)
    (image,) = g.ax_row_colors.images
    rgb = np.asarray(image.get_array())[:, 0]
    np.testing.assert_allclose(rgb[: len(rgb) // 2 - 1], [[1, 0, 0]] * (len(rgb) // 2 - 1))
    assert (rgb[-1, :2] < 1).all()
    assert rgb[-1, 2] == 1


class _Unreadable(BackendArray):
    """A matrix at rest that the picture has no business reading."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self.shape = shape
        self.dtype = np.dtype(np.float64)

    def __getitem__(self, key: Any) -> Any:
        raise AssertionError(f"the matrix was read: {key}")


@dataclasses.dataclass
class _Unread:
    """Stages that compute on one matrix and show another, which can't be read."""

    real: Any

    def __post_init__(self) -> None:
        self.shape = self.real.shape
        self.in_memory = False
        self.matrix = self.reordered(None, None)

    def reordered(self, row_order: Any, column_order: Any) -> xr.DataArray:
        lazy = indexing.LazilyIndexedArray(_Unreadable(self.shape))
        return xr.DataArray(xr.Variable(("gene", "sample"), lazy))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


@pytest.mark.parametrize("shape", [(3000, 200), (50, 20)])
def test_the_picture_never_reads_a_lazy_matrix(shape: tuple[int, int], tmp_path: Path) -> None:
    stages = _Unread(open_stages(_matrix(*shape)))
    g = ClusterGrid(
        None, stages=stages, cbar_pos=(0.02, 0.8, 0.05, 0.18), row_colors=["r"] * shape[0]
    )
    g.plot("euclidean", "average", None, shape[0] < 100, True, None, None, None)
    g.savefig(tmp_path / "lazy.png", dpi=150)
    assert g.mask is None
    assert g.data is stages.matrix
    assert g.data2d.shape == g.dendrogram_col.data.T.shape == shape
    assert g.dendrogram_col.shape == shape[::-1]
    with pytest.raises(AssertionError, match="the matrix was read"):
        g.data2d.to_numpy()


def test_a_data_array_looks_like_its_table(table: pd.DataFrame, assert_same_picture: Any) -> None:
    colors = {"row_colors": pd.Series(["r", "g", "b"] * 4, index=table.index[::-1], name="kind")}
    mask = table > 1
    ours = clustermap(xr.DataArray(table), mask=xr.DataArray(mask)[::-1], annot=True, **colors)
    expected = clustermap(table, mask=mask, annot=True, **colors)
    assert_same_picture(ours, expected)
    assert isinstance(ours.data2d, xr.DataArray)
    xr.testing.assert_allclose(ours.data2d, xr.DataArray(expected.data2d))
    np.testing.assert_array_equal(ours.mask, expected.mask)


@pytest.mark.parametrize("as_data_array", [False, True])
def test_a_lazy_mask(as_data_array: bool) -> None:
    dask_array = pytest.importorskip("dask.array")
    values = _matrix(1000, 60)
    lazy = xr.DataArray(dask_array.from_array(values, chunks=(250, 20)), dims=("gene", "sample"))
    mask: Any = (lazy > 1).T if as_data_array else (lazy > 1).data
    ours = clustermap(lazy, mask=mask, figsize=(4, 4), **NO_TREES)
    expected = clustermap(values, mask=values > 1, figsize=(4, 4), **NO_TREES)
    np.testing.assert_allclose(
        _body(ours).get_array().filled(9), _body(expected).get_array().filled(9)
    )
    assert isinstance(ours.mask, xr.DataArray)
    assert ours.mask.chunks is not None


def test_a_zarr_mask_is_read_in_chunks() -> None:
    zarr = pytest.importorskip("zarr")
    dask_array = pytest.importorskip("dask.array")
    values = _matrix(1000, 60)
    lazy = dask_array.from_array(values, chunks=(250, 20))
    mask = zarr.create_array({}, shape=values.shape, chunks=(100, 30), dtype=bool)
    mask[:] = values > 1
    ours = clustermap(lazy, mask=mask, figsize=(4, 4), **NO_TREES)
    expected = clustermap(values, mask=values > 1, figsize=(4, 4), **NO_TREES)
    np.testing.assert_allclose(
        _body(ours).get_array().filled(9), _body(expected).get_array().filled(9)
    )
    assert ours.mask.chunks is not None
    other = zarr.create_array({}, shape=(3, 3), chunks=(3, 3), dtype=bool)
    for wrong in (other, dask_array.zeros((3, 3), dtype=bool)):
        with pytest.raises(DataValueError, match="Mask must have the same shape as data"):
            clustermap(lazy, mask=wrong, **NO_TREES)


@pytest.mark.parametrize("normalized", [{}, {"z_score": 0}, {"standard_scale": 1}])
def test_a_dask_array_looks_like_its_table(
    normalized: dict[str, int], assert_same_picture: Any
) -> None:
    dask_array = pytest.importorskip("dask.array")
    values = _matrix(600, 400)
    mask = values > 2
    lazy = dask_array.from_array(values, chunks=(100, 100))
    ours = clustermap(lazy, mask=mask, figsize=(5, 5), **normalized)
    expected = clustermap(values, mask=mask, figsize=(5, 5), **normalized)
    assert isinstance(ours.data2d, xr.DataArray)
    np.testing.assert_array_equal(
        np.asarray(ours.mask),
        mask[np.ix_(ours.dendrogram_row.leaf_order, ours.dendrogram_col.leaf_order)],
    )
    assert_same_picture(ours, expected)


@pytest.mark.slow
def test_a_chain_of_100_000_leaves_draws_in_seconds(tmp_path: Path) -> None:
    n = 100_000
    Z = _chain(np.arange(n))
    values = _matrix(n, 3).astype(np.float32)
    start = time.perf_counter()
    g = clustermap(values, row_linkage=Z, figsize=(4, 4))
    g.savefig(tmp_path / "chain.png")
    assert time.perf_counter() - start < 20
    assert g.dendrogram_row.reordered_ind == list(range(n))
    g.savefig(tmp_path / "chain.pdf")
    assert (tmp_path / "chain.pdf").stat().st_size < 2_000_000


@pytest.mark.slow
def test_ten_million_cells_draw_in_about_a_second(tmp_path: Path) -> None:
    values = _matrix(10_000, 1000).astype(np.float32)
    clustermap(values[:2000], **NO_TREES)  # what is compiled once, is
    start = time.perf_counter()
    clustermap(values, **NO_TREES).savefig(tmp_path / "a.png")
    assert time.perf_counter() - start < 6  # on a busy machine
