"""Kernel: trees of slices that were clustered one by one, as one tree of all leaves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline.tree.cuts import cut
from clustergrid.pipeline.tree.orders import link_rows

__all__ = ["Parents", "join_trees", "parents_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parents:
    """The merges of whole slices, which are the last of a tree.

    Attributes
    ----------
    count
        How many there are.
    are_drawn
        Whether they are the tree over the slices; else they only hold the slices together.
    height
        Height that was added to theirs: the greatest in any slice.
    """

    count: int = 0
    are_drawn: bool = True
    height: float = 0.0

    def shown(self, Z: NDArray[np.float64]) -> NDArray[np.bool_]:
        """``(n - 1,)``: which links are drawn, in the order of `dendrogram_coordinates`."""
        shown = np.ones(len(Z), dtype=bool)
        if self.count and not self.are_drawn:
            shown[link_rows(Z)[-self.count :]] = False
        return shown


def parents_of(Z: NDArray[np.float64], codes: NDArray[np.int64]) -> Parents:
    """Find the merges of whole slices in a tree that was made before.

    Parameters
    ----------
    Z
        ``(n - 1, 4)``: linkage matrix.
    codes : (n,) int64
        Slice of each leaf, 0 to s - 1.

    Returns
    -------
    Parents
        The last s - 1 merges, if these are of whole slices; else none.

    Examples
    --------
    >>> Z = np.array([[0, 2, 1.0, 2], [1, 3, 2.0, 2], [4, 5, 5.0, 4]])
    >>> parents_of(Z, np.array([0, 1, 0, 1]))
    Parents(count=1, are_drawn=True, height=2.0)
    >>> parents_of(Z, np.array([0, 1, 1, 1])).count
    0
    """
    count = int(codes.max(initial=0))
    if not count:
        return Parents()
    pairs = np.unique(np.column_stack([cut(Z, k=count + 1), codes]), axis=0)
    if len(pairs) > count + 1:
        return Parents()
    return Parents(count=count, height=float(Z[:-count, 2].max(initial=0.0)))


def join_trees(
    members: Sequence[NDArray[np.int64]],
    trees: Sequence[NDArray[np.float64]],
    over: NDArray[np.float64] | None,
) -> tuple[NDArray[np.float64], Parents]:
    """Join the trees of slices to one linkage matrix, whose last merges are of whole slices.

    Parameters
    ----------
    members
        Which leaves are in each slice, s of them.
    trees
        Linkage matrix of each slice, ``(m - 1, 4)``.
    over
        ``(s - 1, 4)``: linkage matrix of the slices; None: they stay in the order given, and are
        merged one after another at the greatest height in any of them.

    Returns
    -------
    Z, parents
        ``(n - 1, 4)``, by height. The tree over the slices stands on the highest slice: that
        height is added to its own, so that no branch goes down.

    Examples
    --------
    >>> pair = np.array([[0, 1, 2.0, 2]])
    >>> Z, parents = join_trees([np.array([0, 2]), np.array([1, 3])], [pair, pair * [1, 1, 2, 1]],
    ...                         np.array([[1, 0, 5.0, 2]]))
    >>> Z.tolist(), parents.height
    ([[0.0, 2.0, 2.0, 2.0], [1.0, 3.0, 4.0, 2.0], [5.0, 4.0, 9.0, 4.0]], 4.0)
    """
    n, count = sum(map(len, members)), len(members)
    offsets = np.concatenate([[0], np.cumsum([len(tree) for tree in trees])])
    # Where heights invert, a merge comes after those below it all the same.
    reached = np.concatenate([np.maximum.accumulate(tree[:, 2]) for tree in trees])
    rank = np.empty(len(reached), dtype=np.int64)
    rank[np.argsort(reached, kind="stable")] = np.arange(len(reached))
    joined = np.empty((n - 1, 4))
    roots = np.empty(2 * count - 1)
    for number, (leaves, tree) in enumerate(zip(members, trees, strict=True)):
        rows = rank[offsets[number] : offsets[number + 1]]
        names = np.concatenate([leaves, n + rows])
        joined[rows, :2] = names[tree[:, :2].astype(np.int64)]
        joined[rows, 2:] = tree[:, 2:]
        roots[number] = names[-1]
    roots[count:] = n + len(reached) + np.arange(count - 1)
    height = float(reached.max(initial=0.0))
    is_chain = over is None
    if over is None:
        step = np.arange(count - 1)
        first = np.where(step == 0, 0, count + step - 1)
        over = np.column_stack([first, step + 1, np.zeros(count - 1), step + 2.0])
    top = joined[len(reached) :]
    top[:, :2] = roots[over[:, :2].astype(np.int64)]
    top[:, 2] = height + over[:, 2]
    sizes = np.concatenate([[len(leaves) for leaves in members], np.zeros(count - 1)])
    for merge, (left, right) in enumerate(over[:, :2].astype(np.int64)):
        sizes[count + merge] = sizes[left] + sizes[right]
    top[:, 3] = sizes[count:]
    return joined, Parents(count=count - 1, are_drawn=not is_chain, height=height)
