from __future__ import annotations

import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pytest
import seaborn.cm
from matplotlib.colors import ListedColormap

from clustergrid.pipeline.render.colormaps import get_colormap, recentred

NAMES = [name + end for name in ("mako", "rocket", "vlag", "icefire") for end in ("", "_r")]


@pytest.mark.parametrize("name", NAMES)
def test_every_color_on_the_screen_is_seaborns(name: str) -> None:
    theirs = getattr(seaborn.cm, name)
    steps = np.arange(256)
    np.testing.assert_array_equal(get_colormap(name)(steps, bytes=True), theirs(steps, bytes=True))
    np.testing.assert_allclose(get_colormap(name)(steps), theirs(steps), atol=2e-5)


def test_other_colormaps_are_matplotlibs() -> None:
    assert get_colormap("viridis_r") == mpl.colormaps["viridis_r"]
    np.testing.assert_array_equal(get_colormap(["r", "k"])([0, 1]), [(1, 0, 0, 1), (0, 0, 0, 1)])


def test_the_centre_gets_the_middle_color() -> None:
    cmap = recentred(get_colormap("vlag"), vmin=-1, vmax=3, center=0)
    middle = get_colormap("vlag")(0.5)
    np.testing.assert_allclose(cmap(0.25), middle, atol=0.02)


def test_set_extremes_survive_recentring() -> None:
    given = ListedColormap(["b", "w", "r"]).with_extremes(bad="lime", under="k", over="y")
    cmap = recentred(given, vmin=-1, vmax=3, center=0)
    for value in (np.nan, -np.inf, np.inf):
        assert cmap(value) == given(value)


def test_importing_registers_nothing() -> None:
    # In a process of its own: this one has imported seaborn, which does register.
    code = (
        "import sys, matplotlib as mpl; before = set(mpl.colormaps); "
        "import clustergrid.pipeline.render as render; render.get_colormap('mako'); "
        "assert set(mpl.colormaps) == before; "
        "assert not {'seaborn', 'dask', 'zarr', 'distributed'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_a_small_picture_loads_nothing_of_large_trees() -> None:
    code = (
        "import sys, matplotlib; matplotlib.use('Agg'); "
        "from clustergrid.pipeline import clustermap; clustermap([[0, 1], [9, 8], [1, 1]]); "
        "late = ('row_trees', 'stored.tree', 'points.euclidean', 'summaries.tree', 'jobs'); "
        "loaded = {f'clustergrid.pipeline.{name}' for name in late} & set(sys.modules); "
        "assert not loaded, loaded; "
        "assert not {'numba', 'dask', 'zarr', 'distributed', 'obstore'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
