"""Driver: keywords that matplotlib's artists would refuse, tried on small ones at the beginning.

matplotlib looks at keywords when it makes an artist, and those of a cluster map are made last,
after trees that may have taken hours.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from clustergrid.pipeline.render.body import ColorScale, draw_mesh
from clustergrid.pipeline.render.colormaps import default_colormap
from clustergrid.pipeline.render.heatmap import HeatmapOptions, draw_color_bar, written
from clustergrid.pipeline.render.slices import Slices

__all__ = ["try_keywords"]

_VALUES = np.array([[0.25, 0.75]])
"""Of a small body; every norm there is can show them."""


def try_keywords(
    options: HeatmapOptions,
    cbar_kws: Mapping[str, Any] | None,
    tree_kws: Mapping[str, Any] | None,
    *,
    has_bar: bool,
) -> None:
    """Make a small artist of each kind with the keywords that are for matplotlib.

    Parameters
    ----------
    options
        Of the body.
    cbar_kws, tree_kws
        Of the colour bar and of the trees.
    has_bar
        Whether there are axes for the colour bar.

    Raises
    ------
    AttributeError, TypeError, ValueError
        matplotlib's own: it knows no such keyword, or no such value of it.
    """
    if tree_kws:
        from matplotlib.collections import LineCollection

        LineCollection([[(0.0, 0.0), (1.0, 1.0)]], **_without_alias(tree_kws))
    is_plain = not (options.artist or options.edges or options.norm is not None)
    if is_plain and not cbar_kws and not options.has_annotations:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is warned of is, when it is drawn
        _try_body(options, cbar_kws or {}, has_bar)


def _without_alias(tree_kws: Mapping[str, Any]) -> dict[str, Any]:
    """As trees take them: one colour is colours, too."""
    kws = dict(tree_kws)
    if "color" in kws:
        kws.setdefault("colors", kws.pop("color"))
    return kws


def _try_body(options: HeatmapOptions, cbar_kws: Mapping[str, Any], has_bar: bool) -> None:
    from matplotlib.figure import Figure

    figure = Figure()
    ax, cax = figure.add_subplot(), figure.add_axes((0, 0, 0.1, 0.5)) if has_bar else None
    # A norm with limits of its own need not show these values.
    norm = options.norm if isinstance(options.norm, str) else None
    low, high = (None, None) if norm else _VALUES[0].tolist()
    scale = ColorScale(cmap=default_colormap(options.center), norm=norm, vmin=low, vmax=high)
    slices = Slices.whole(1), Slices.whole(2)
    mesh = draw_mesh(ax, _VALUES, scale, options.mesh_keywords(), slices)
    draw_color_bar(ax, cax, mesh, cbar_kws, is_raster=False)
    if options.has_annotations:
        value = 0.25 if options.annot is True else np.asarray(options.annot).flat[0]
        ax.text(0.5, 0.5, written(value, options), **(options.annot_kws or {}))
