"""What a pixel of the body shows of its cells, from `clustermap` on."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr

from clustergrid.pipeline import clustermap
from clustergrid.pipeline.errors import MemoryLimitError
from clustergrid.pipeline.stages import Stages

pytestmark = pytest.mark.quick_cases(one_in=16)

VALUES = np.random.default_rng(0).normal(size=(900, 700)).astype(np.float32)


def drawn(**options):
    with plt.rc_context({"backend": "agg", "figure.dpi": 30}):
        return clustermap(
            xr.DataArray(VALUES), row_cluster=False, col_cluster=False, figsize=(5, 5), **options
        )


def pixels(grid):
    (image,) = grid.ax_heatmap.images
    return np.ma.filled(image.get_array().astype(float), np.nan)


def edges(length, count):
    return [-(-i * length // count) for i in range(count + 1)]


@pytest.mark.parametrize(
    ("aggregate", "of"),
    [
        ("mean", np.mean),
        ("min", np.min),
        ("max", np.max),
        ("median", np.median),
        ("max_abs", lambda cells: max(cells.ravel(), key=lambda value: (abs(value), value))),
    ],
)
def test_pixels_show_what_was_asked_for(aggregate, of):
    found = pixels(drawn(aggregate=aggregate))
    rows, columns = edges(900, found.shape[0]), edges(700, found.shape[1])
    assert 2 < found.shape[0] < 200
    values = VALUES.astype(np.float64)
    for a in range(0, found.shape[0], 7):
        for b in range(0, found.shape[1], 7):
            cells = values[rows[a] : rows[a + 1], columns[b] : columns[b + 1]]
            np.testing.assert_allclose(found[a, b], of(cells), rtol=1e-12)


def test_what_there_is_not_is_refused_before_anything_is_computed(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a tree was made")

    monkeypatch.setattr(Stages, "linkage", refuse)
    with pytest.raises(ValueError, match="aggregate must be one of"):
        clustermap(xr.DataArray(VALUES), aggregate="mode")
    with pytest.raises(MemoryLimitError, match="aggregate='median' holds the cells"):
        clustermap(xr.DataArray(VALUES), aggregate="median", memory=415_000_000)
    assert not plt.get_fignums()
