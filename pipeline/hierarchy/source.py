"""Kernel: what rounds of merges ask of distances, wherever these are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline.hierarchy._clusters import Clusters
from clustergrid.pipeline.hierarchy._neighbors import Neighbors

__all__ = ["DistanceSource"]


class DistanceSource(Protocol):
    """Distances between clusters of n points, wherever these are.

    A source holds no state of the tree: it is given the clusters with every call. `pause` is to be
    called between bounded pieces of the work with the share of it that is done; what it raises
    ends the call.
    """

    @property
    def n(self) -> int:
        """How many points there are."""
        ...

    def nearest_points(
        self, clusters: Clusters, method: str, n_neighbors: int, pause: Callable[[float], None]
    ) -> Neighbors:
        """List the K nearest of every point by (distance, id), with their certificates."""
        ...

    def nearest_clusters(
        self,
        clusters: Clusters,
        method: str,
        n_neighbors: int,
        owners: NDArray[np.int64],
        pause: Callable[[float], None],
    ) -> Neighbors:
        """List the K nearest of some clusters, ``(len(owners), 2 K)``."""
        ...

    def distances(
        self,
        clusters: Clusters,
        method: str,
        first: NDArray[np.int64],
        second: NDArray[np.int64],
        pause: Callable[[float], None],
    ) -> NDArray[np.float64]:
        """Compute the distances between clusters in slots `first` and `second`, one a pair."""
        ...

    def rows(
        self,
        clusters: Clusters,
        method: str,
        owners: NDArray[np.int64],
        pause: Callable[[float], None],
    ) -> NDArray[np.float64]:
        """Compute the distances of some clusters to all, ``(len(owners), m)``.

        Columns are the m live clusters by slot, ``np.flatnonzero(clusters.live)``; the distance of
        a cluster to itself is infinite. The bits of a row do not depend on which others are asked
        for with it.
        """
        ...

    def square(
        self, clusters: Clusters, method: str, pause: Callable[[float], None]
    ) -> NDArray[np.float64]:
        """Make the symmetric ``(m, m)`` distances of the clusters that are live, by slot."""
        ...
