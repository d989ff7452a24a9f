"""Driver: the tree of an axis whose slices are clustered one by one, and then by their means."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from clustergrid.pipeline.keywords import MetricKeywords
from clustergrid.pipeline.render.forest import Parents, join_trees
from clustergrid.pipeline.render.matrix import DrawnMatrix, TableMatrix
from clustergrid.pipeline.render.splits import Split
from clustergrid.pipeline.square import is_precomputed

if TYPE_CHECKING:
    from clustergrid.pipeline.spec import AxisSpec

__all__ = ["tree_of_slices"]


def tree_of_slices(
    matrix: DrawnMatrix, axis: int, split: Split, spec: AxisSpec, *, are_clustered: bool
) -> tuple[NDArray[np.float64], Parents]:
    """Cluster each slice of an axis by itself, and the slices by the means of their rows.

    Parameters
    ----------
    matrix
        What is clustered, of any size.
    axis
        Rows (0) or columns (1).
    split
        The categories.
    spec
        How slices are clustered. Their means are clustered in the same way; by Euclidean distance
        where the metric compares booleans, which means are not. Of given distances slices have the
        mean of those between their rows.
    are_clustered
        Whether there is a tree over the slices; else they stay in their order.

    Returns
    -------
    Z, parents
        As of `join_trees`.
    """
    members = split.members
    if len(members) == 1:
        return matrix.linkage(axis, spec), Parents()
    matrix.refuse_normalization(spec)
    parts = matrix.slices(axis, members, both=is_precomputed(spec.metric))
    with closing(parts):  # what is at rest for them goes, also where one of them is refused
        trees = [_slice_tree(part, axis, spec) for part in parts]
    over = _tree_over(matrix, axis, split, spec) if are_clustered else None
    return join_trees(members, trees, over)


def _slice_tree(part: DrawnMatrix, axis: int, spec: AxisSpec) -> NDArray[np.float64]:
    """Linkage matrix of a slice; empty for a single row."""
    return np.empty((0, 4)) if part.shape[axis] == 1 else part.linkage(axis, spec)


def _tree_over(matrix: DrawnMatrix, axis: int, split: Split, spec: AxisSpec) -> NDArray[np.float64]:
    """Linkage matrix of the slices."""
    if is_precomputed(spec.metric):
        means = _distances_of_slices(matrix, split.members)
    else:
        means = _means_of_slices(matrix, axis, split.members)
    if spec.found_metric.is_boolean:
        spec = replace(spec, metric="euclidean", metric_kws=MetricKeywords())
    table = pd.DataFrame(means, index=list(split.titles))
    return TableMatrix.of(table, {}).linkage(0, replace(spec, engine=None))


def _means_of_slices(
    matrix: DrawnMatrix, axis: int, members: Sequence[NDArray[np.int64]]
) -> NDArray[np.float64]:
    """``(slices, features)``: the means of each slice, from one pass."""
    features = np.arange(matrix.shape[1 - axis])
    bounds = np.concatenate([[0], np.cumsum([len(each) for each in members])])
    whole = np.arange(len(features) + 1)
    order = np.concatenate(members)
    if axis == 0:
        return matrix.means(order, features, (bounds, whole))
    means: NDArray[np.float64] = matrix.means(features, order, (whole, bounds)).T
    return means


def _distances_of_slices(
    matrix: DrawnMatrix, members: Sequence[NDArray[np.int64]]
) -> NDArray[np.float64]:
    """``(slices, slices)``: the mean of the distances between the rows of two slices."""
    order = np.concatenate(members)
    bounds = np.concatenate([[0], np.cumsum([len(each) for each in members])])
    means = matrix.means(order, order, (bounds, bounds))
    distances: NDArray[np.float64] = (means + means.T) / 2
    np.fill_diagonal(distances, 0.0)
    return distances
