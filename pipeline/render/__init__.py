"""The picture: a ClusterGrid drawn with matplotlib, for matrices of any size.

``api.py`` is the function `clustermap`, ``cluster_grid.py`` the object it returns. A picture is a
figure (``figure.py``, ``legends.py``) around a matrix (``matrix.py``): the trees
(``dendrogram.py``), the strips of colours (``strips.py``), the cells (``body.py``,
``heatmap.py``) and their labels (``ticks.py``). Plain arithmetic is in ``layout.py``,
``tables.py``, ``colors.py`` and ``colormaps.py``. Nothing is computed here:
every question about the matrix goes to `clustergrid.pipeline.stages`.
"""

from clustergrid.pipeline.render.api import clustermap
from clustergrid.pipeline.render.cluster_grid import ClusterGrid
from clustergrid.pipeline.render.colormaps import get_colormap

__all__ = ["ClusterGrid", "clustermap", "get_colormap"]
