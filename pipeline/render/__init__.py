"""The picture: a ClusterGrid drawn with matplotlib, for matrices of any size.

``api.py`` is the function `clustermap`, ``cluster_grid.py`` the object it returns. A picture is a
figure (``figure.py``, ``region.py``, ``legends.py``) around a matrix (``matrix.py``): the trees
(``axis_trees.py``, ``dendrogram.py``, ``tree_style.py``, ``tree_lines.py``), also of slices that
were clustered one by one (``splits.py``, ``slice_trees.py``, ``forest.py``), the strips of colours
(``strips.py``), annotations (``annotations.py``, ``palettes.py``, ``annotation_panels.py``,
``tracks.py``), the cells (``body.py``, ``heatmap.py``) and their labels (``labels.py``,
``ticks.py``, ``marks.py``). Plain arithmetic is in ``layout.py``, ``slices.py``, ``thinning.py``,
``grouped.py``, ``tables.py``, ``colors.py`` and ``colormaps.py``.
Nothing is computed here: every question about the matrix goes to `clustergrid.pipeline.stages`.
"""

from clustergrid.pipeline.render.annotations import Bars, Boxes, Points, Strip
from clustergrid.pipeline.render.api import clustermap
from clustergrid.pipeline.render.cluster_grid import ClusterGrid
from clustergrid.pipeline.render.colormaps import get_colormap
from clustergrid.pipeline.render.tree_style import TreeStyle

__all__ = [
    "Bars",
    "Boxes",
    "ClusterGrid",
    "Points",
    "Strip",
    "TreeStyle",
    "clustermap",
    "get_colormap",
]
