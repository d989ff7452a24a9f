"""Driver: what a source asks of points, however their distances are computed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline.execution import Executor
from clustergrid.pipeline.hierarchy._clusters import Clusters
from clustergrid.pipeline.hierarchy._neighbors import Neighbors
from clustergrid.pipeline.points.layout import Layout

__all__ = ["Pause", "Points"]

Pause = Callable[[float], None]


class Points(Protocol):
    """Observations between which distances are computed whenever they are wanted.

    Tasks get them as they are; what a process can make again is left behind, and made once there.
    """

    @property
    def n(self) -> int:
        """How many."""
        ...

    @property
    def edge(self) -> int:
        """How many at each side are compared at once."""
        ...

    @property
    def order(self) -> NDArray[np.int64] | None:
        """The points, near ones mostly side by side, ``(n,)``; None: as they are numbered."""
        ...

    @property
    def window(self) -> int:
        """How many may be held in memory by a task, beside those at the left."""
        ...

    @property
    def form(self) -> int:
        """How distances follow from the totals of complete and single; see ``_squares.py``."""
        ...

    def nearest(
        self,
        shared: Any,
        clusters: Clusters,
        method: str,
        n_neighbors: int,
        executor: Executor,
        pause: Pause,
    ) -> Neighbors:
        """List the K nearest of every point; `shared` is what the executor made of the points."""
        ...

    def close(self) -> None:
        """Remove what was put at rest."""
        ...

    def hold(self, points: NDArray[np.int64]) -> Any:
        """Bring points into memory, where they are not there already."""
        ...

    def left(self, points: NDArray[np.int64], *, by_products: bool = False) -> Any:
        """Prepare points at the left, no more than `edge`.

        Parameters
        ----------
        points
            Which.
        by_products
            Whether distances may be made of products, which rounds them otherwise: within 1e-14 of
            themselves. Which are at the left must follow from the clusters alone then.
        """
        ...

    def add(
        self,
        left: Any,
        left_weights: NDArray[np.float64],
        left_units: NDArray[np.int64],
        held: Any,
        points: NDArray[np.int64],
        right_weights: NDArray[np.float64],
        right_units: NDArray[np.int64],
        method: int,
        totals: NDArray[np.float64],
    ) -> None:
        """Reduce the distances of points at the left to others into totals of their clusters.

        Parameters
        ----------
        left, left_weights, left_units
            What `left` made; the weight of each point, and the row of its total.
        held
            What `hold` made of these points and perhaps others.
        points, right_weights, right_units
            No more than `edge`; the weight of each, and the column of its total, not descending.
        method
            How distances are reduced.
        totals
            ``(rows, columns)``.
        """
        ...

    def listed(self, layout: Layout, method: int) -> int:
        """Return how many points the owners of `list_clusters` have, at most."""
        ...

    def side_by_side(
        self, layout: Layout, method: int, owners: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Order the owners of `list_clusters`, given by place, so that near ones are together."""
        ...

    def list_clusters(
        self, layout: Layout, method: int, n_neighbors: int, owners: NDArray[np.int64]
    ) -> tuple[Neighbors, NDArray[np.bool_]] | None:
        """List the K nearest clusters of some owners, each of no more than `edge` points.

        Returns
        -------
        tuple or None
            The lists, and which of them nobody should rely on, ``(len(owners),)``. None where
            nothing is quicker than to compare all of their points with all others.
        """
        ...

    def pair_totals(
        self,
        shared: Any,
        layout: Layout,
        method: int,
        first: NDArray[np.int64],
        second: NDArray[np.int64],
        executor: Executor,
        pause: Pause,
    ) -> NDArray[np.float64]:
        """Reduce the distances between the members of pairs of clusters, one total a pair."""
        ...
