"""Driver: the trees of both axes of a picture, and where their leaves stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline.render.dendrogram import DendrogramPlotter
from clustergrid.pipeline.render.forest import Parents, parents_of
from clustergrid.pipeline.render.matrix import DrawnMatrix, Metric
from clustergrid.pipeline.render.slice_trees import tree_of_slices
from clustergrid.pipeline.render.slices import Slices
from clustergrid.pipeline.render.splits import Split, read_split
from clustergrid.pipeline.render.tree_options import TreeOptions
from clustergrid.pipeline.spec import AXIS_NAMES, AxisSpec, RunSpec
from clustergrid.pipeline.tree.cuts import cut
from clustergrid.pipeline.tree.validity import check_linkage
from clustergrid.storage.errors import DataValueError

__all__ = ["AxisTrees", "DrawnAxis"]

GIVEN = "given"
"""In place of the engine of a tree that was made before."""
SLICE_BY_SLICE = "slices"
"""In place of that of a tree whose slices were clustered by themselves."""
_AXES = (0, 1)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DrawnAxis:
    """The rows or the columns of a picture.

    Attributes
    ----------
    tree
        None where they are not clustered.
    order : (n,) int64
        Which of them stands where.
    slices
        Where they stand.
    titles
        Of the slices; empty where there is only one.
    made_from
        Engine of the tree; `GIVEN` or `SLICE_BY_SLICE` where it is of none.
    """

    tree: DendrogramPlotter | None
    order: NDArray[np.int64]
    slices: Slices
    titles: Sequence[str] = ()
    made_from: str = ""


class AxisTrees:
    """The trees that a picture was asked for; whatever makes no sense is refused at once.

    Parameters
    ----------
    matrix
        What is clustered.
    options
        Keywords beyond seaborn's.
    metric, method
        Of both axes, unless options say otherwise.
    are_clustered
        Whether rows and columns are.
    linkages
        Trees that were made before, or None.

    Raises
    ------
    DataValueError, DataTypeError
        A ValueError or TypeError: keywords that do not go together, or with the matrix.
    """

    def __init__(
        self,
        matrix: DrawnMatrix,
        options: TreeOptions,
        *,
        metric: Metric,
        method: str,
        are_clustered: tuple[bool, bool],
        linkages: tuple[Any, Any],
    ) -> None:
        self._matrix = matrix
        self._options = options
        self._metric, self._method = metric, method
        self._are_clustered = are_clustered
        self._linkages = linkages
        # Both axes before either is clustered. Where a tree is given, nothing else need be right.
        row, column = (
            self._spec(axis)
            if are_clustered[axis] and linkages[axis] is None
            else AxisSpec(cluster=False)
            for axis in _AXES
        )
        self.specs = RunSpec(row=row, column=column)
        self.specs.check_features(matrix.shape)
        self._splits = tuple(
            read_split(
                (options.row_split, options.col_split)[axis],
                matrix.match_index(axis),
                matrix.shape[axis],
                f"{AXIS_NAMES[axis]}_split",
            )
            for axis in _AXES
        )
        for axis in _AXES:
            self._check(axis)

    def _spec(self, axis: int) -> AxisSpec:
        return self._options.spec(axis, self._metric, self._method)

    def _check(self, axis: int) -> None:
        n, split, given = self._matrix.shape[axis], self._splits[axis], self._linkages[axis]
        is_clustered, name = self._are_clustered[axis], AXIS_NAMES[axis]
        self._options.style(axis).check(n if is_clustered else None)
        self._options.are_slices_clustered(axis)
        if is_clustered and given is not None:
            check_linkage(given, n, f"{name}_linkage")
        if split is None:
            return
        if split.cut and not is_clustered:
            raise DataValueError(
                f"{name}_split is where a tree is cut, and the {('rows', 'columns')[axis]} are not "
                "clustered: give categories"
            )
        # Whether their gaps leave room.
        if split.codes is not None:
            self._options.slices(axis, tuple(map(len, split.members)))
        elif split.cut and split.cut.k is not None:
            self._options.slices(axis, (1,) * split.cut.k)

    def make(self, axis: int) -> DrawnAxis:
        """Compute the tree of the rows (0) or the columns (1), and say where they stand."""
        split = self._splits[axis]
        if not self._are_clustered[axis]:
            return self._unclustered(axis, split)
        given, parents = self._linkages[axis], Parents()
        made_from = GIVEN
        if split is not None and split.codes is not None and given is not None:
            parents = parents_of(np.asarray(given, np.float64), split.codes)
        elif split is not None and split.codes is not None:
            made_from = SLICE_BY_SLICE
            given, parents = tree_of_slices(
                self._matrix,
                axis,
                split,
                self._spec(axis),
                are_clustered=self._options.are_slices_clustered(axis),
            )
        tree = self._plotter(axis, given, parents)
        if given is None:
            # Now: whoever computes it once more, for comparison, may use another.
            made_from = self._matrix.stages.made_from[axis]
        if split is None:
            return DrawnAxis(
                tree=tree, order=tree.leaf_order, slices=tree.slices, made_from=made_from
            )
        if split.cut:
            codes = cut(tree.linkage, k=split.cut.k, height=split.cut.height) - 1
            titles: Sequence[str] = [str(number + 1) for number in range(codes.max() + 1)]
        else:
            assert split.codes is not None
            codes, titles = split.codes, split.titles
        return replace(self._sliced(axis, tree, codes, titles), made_from=made_from)

    def _unclustered(self, axis: int, split: Split | None) -> DrawnAxis:
        n = self._matrix.shape[axis]
        if split is None:
            return DrawnAxis(tree=None, order=np.arange(n), slices=Slices.whole(n))
        members = split.members
        return DrawnAxis(
            tree=None,
            order=np.concatenate(members),
            slices=self._options.slices(axis, tuple(map(len, members))),
            titles=split.titles,
        )

    def _sliced(
        self, axis: int, tree: DendrogramPlotter, codes: NDArray[np.int64], titles: Sequence[str]
    ) -> DrawnAxis:
        """Find the slices along the leaf order, in which each has to be whole."""
        along = codes[tree.leaf_order]
        begins = np.concatenate([[0], np.flatnonzero(np.diff(along)) + 1])
        if len(begins) > len(titles):
            name = AXIS_NAMES[axis]
            raise DataValueError(
                f"{name}_linkage mixes the categories of {name}_split: along its leaves are "
                f"{len(begins)} runs of {len(titles)} categories. Split into a number of slices, "
                f"or give no {name}_linkage"
            )
        lengths = np.diff([*begins, len(along)])
        slices = self._options.slices(axis, tuple(lengths.tolist()))
        tree.set_slices(slices)
        return DrawnAxis(
            tree=tree,
            order=tree.leaf_order,
            slices=slices,
            titles=[titles[code] for code in along[begins]],
        )

    def _compute(self, axis: int) -> NDArray[np.float64]:
        return self._matrix.linkage(axis, self._spec(axis))

    def _plotter(self, axis: int, given: Any, parents: Parents) -> DendrogramPlotter:
        return DendrogramPlotter(
            self._matrix.normalized,
            axis=axis,
            compute_linkage=partial(self._compute, axis),
            linkage=given,
            metric=self._options.metric(axis, self._metric),
            method=self._options.method(axis, self._method),
            rotate=axis == 0,
            style=self._options.style(axis),
            parents=parents,
        )
