"""Kernel: exact hierarchical clustering, from distances to SciPy's linkage matrix."""

from clustergrid.pipeline.hierarchy.engine import (
    cluster_condensed,
    cluster_square,
    weigh_identical,
)
from clustergrid.pipeline.hierarchy.labels import Duplicates, linkage_matrix
from clustergrid.pipeline.hierarchy.methods import (
    METHODS,
    REDUCIBLE_METHODS,
    Merges,
    Start,
    check_method,
)
from clustergrid.pipeline.hierarchy.small import small_linkage

__all__ = [
    "METHODS",
    "REDUCIBLE_METHODS",
    "Duplicates",
    "Merges",
    "Start",
    "check_method",
    "cluster_condensed",
    "cluster_square",
    "linkage_matrix",
    "small_linkage",
    "weigh_identical",
]
