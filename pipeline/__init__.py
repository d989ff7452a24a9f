"""The stages of a clustered heatmap, in the order the data meets them.

::

    open ─▶ normalize ─▶ distance ─▶ hierarchy ─▶ order ─▶ reorder (lazy) ─▶ downsample ─▶ render
              │ one pass    │ tiles     │ tree                                  │ one pass
              ▼             ▼           ▼                                       ▼
          statistics    condensed    linkage                                  image

A stage reads what the one before left, in memory or in a store, and leaves something that has a
meaning of its own. ``stages.py`` binds them to one matrix; ``run.py`` drives them in a run
directory; ``render`` draws. Modules are of three kinds, and say which in their first line: *plan*
(pure integers), *kernel* (NumPy to NumPy) and *driver* (the only ones that touch Dask or Zarr).

Importing this package registers the ``clustergrid`` accessor of xarray; the rest is loaded when
it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from clustergrid.pipeline.accessor import ClustergridAccessor

if TYPE_CHECKING:
    from clustergrid.pipeline.api import linkage, pdist, plan
    from clustergrid.pipeline.render import ClusterGrid, clustermap

__all__ = ["ClusterGrid", "ClustergridAccessor", "clustermap", "linkage", "pdist", "plan"]

_HOME = {
    "ClusterGrid": "clustergrid.pipeline.render",
    "clustermap": "clustergrid.pipeline.render",
    "linkage": "clustergrid.pipeline.api",
    "pdist": "clustergrid.pipeline.api",
    "plan": "clustergrid.pipeline.api",
}


def __getattr__(name: str) -> Any:
    """Load a public name from its module (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
