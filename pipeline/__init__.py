"""The stages of a clustered heatmap, in the order the data meets them.

::

    open ─▶ normalize ─▶ distance ─▶ hierarchy ─▶ tree ──▶ reorder (lazy) ─▶ downsample ─▶ render
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
    from clustergrid.pipeline.render import (
        Bars,
        Boxes,
        ClusterGrid,
        Points,
        Strip,
        TreeStyle,
        clustermap,
    )
    from clustergrid.pipeline.tree.cophenetic import cophenetic_correlation, cophenetic_distances
    from clustergrid.pipeline.tree.cuts import cut
    from clustergrid.pipeline.tree.inconsistencies import inconsistency
    from clustergrid.pipeline.tree.newick import to_newick, write_newick
    from clustergrid.pipeline.tree.optimal import optimal_leaf_ordering
    from clustergrid.pipeline.tree.orders import leaf_order
    from clustergrid.pipeline.tree.validity import check_linkage, is_monotonic

__all__ = [
    "Bars",
    "Boxes",
    "ClusterGrid",
    "ClustergridAccessor",
    "Points",
    "Strip",
    "TreeStyle",
    "check_linkage",
    "clustermap",
    "cophenetic_correlation",
    "cophenetic_distances",
    "cut",
    "inconsistency",
    "is_monotonic",
    "leaf_order",
    "linkage",
    "optimal_leaf_ordering",
    "pdist",
    "plan",
    "to_newick",
    "write_newick",
]

_HOME = {
    "Bars": "clustergrid.pipeline.render",
    "Boxes": "clustergrid.pipeline.render",
    "Points": "clustergrid.pipeline.render",
    "Strip": "clustergrid.pipeline.render",
    "TreeStyle": "clustergrid.pipeline.render",
    "ClusterGrid": "clustergrid.pipeline.render",
    "clustermap": "clustergrid.pipeline.render",
    "linkage": "clustergrid.pipeline.api",
    "pdist": "clustergrid.pipeline.api",
    "plan": "clustergrid.pipeline.api",
    "check_linkage": "clustergrid.pipeline.tree.validity",
    "cophenetic_correlation": "clustergrid.pipeline.tree.cophenetic",
    "cophenetic_distances": "clustergrid.pipeline.tree.cophenetic",
    "cut": "clustergrid.pipeline.tree.cuts",
    "inconsistency": "clustergrid.pipeline.tree.inconsistencies",
    "is_monotonic": "clustergrid.pipeline.tree.validity",
    "leaf_order": "clustergrid.pipeline.tree.orders",
    "optimal_leaf_ordering": "clustergrid.pipeline.tree.optimal",
    "to_newick": "clustergrid.pipeline.tree.newick",
    "write_newick": "clustergrid.pipeline.tree.newick",
}


def __getattr__(name: str) -> Any:
    """Load a public name from its module (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
