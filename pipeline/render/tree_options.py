"""Driver: what a cluster map's keywords ask of its trees, beyond seaborn's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clustergrid.pipeline.keywords import MetricKeywords
from clustergrid.pipeline.render.layout import ratio_pair
from clustergrid.pipeline.render.matrix import Metric
from clustergrid.pipeline.render.slices import Slices
from clustergrid.pipeline.render.tree_style import TreeStyle
from clustergrid.pipeline.spec import AxisSpec
from clustergrid.storage.errors import DataValueError

__all__ = ["TREE_KEYWORDS", "TreeOptions"]

SPLIT_GAP = 0.01
"""Width of a gap, as a fraction of the body."""
MOST_GAPS = 0.25
"""Of the body, all gaps together, unless others are asked for."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TreeOptions:
    """Keywords of the trees of both axes, named as in `clustermap`."""

    row_metric: Metric | None = None
    row_method: str | None = None
    col_metric: Metric | None = None
    col_method: str | None = None
    optimal_ordering: bool = False
    metric_kws: Mapping[str, Any] | None = None
    row_metric_kws: Mapping[str, Any] | None = None
    col_metric_kws: Mapping[str, Any] | None = None
    engine: str | None = None
    row_engine: str | None = None
    col_engine: str | None = None
    tree_style: TreeStyle | Mapping[str, Any] | None = None
    row_tree_style: TreeStyle | Mapping[str, Any] | None = None
    col_tree_style: TreeStyle | Mapping[str, Any] | None = None
    row_split: Any = None
    col_split: Any = None
    split_gap: float | Sequence[float] | None = None
    cluster_slices: bool | Sequence[bool] = True

    def metric(self, axis: int, both: Metric) -> Metric:
        """Return the metric of an axis, or that of both."""
        return (self.col_metric if axis else self.row_metric) or both

    def method(self, axis: int, both: str) -> str:
        """Return the method of an axis, or that of both."""
        return (self.col_method if axis else self.row_method) or both

    def spec(self, axis: int, metric: Metric, method: str) -> AxisSpec:
        """How an axis is clustered.

        Parameters
        ----------
        axis
            Rows (0) or columns (1).
        metric, method
            Those of both axes.
        """
        own = self.col_metric_kws if axis else self.row_metric_kws
        return AxisSpec(
            method=self.method(axis, method),
            metric=self.metric(axis, metric),
            metric_kws=MetricKeywords.from_mapping(self.metric_kws if own is None else own),
            optimal_ordering=self.optimal_ordering,
            engine=(self.col_engine if axis else self.row_engine) or self.engine,
        )

    def style(self, axis: int) -> TreeStyle:
        """How the tree of an axis is drawn."""
        own = self.col_tree_style if axis else self.row_tree_style
        return TreeStyle.of(self.tree_style if own is None else own)

    def slices(self, axis: int, lengths: tuple[int, ...]) -> Slices:
        """Where slices of an axis stand, in the order of their lengths.

        Raises
        ------
        DataValueError
            The gaps that were asked for leave no room for leaves.
        """
        widest = MOST_GAPS / max(1, len(lengths) - 1)
        gap = ratio_pair(self.split_gap, min(SPLIT_GAP, widest), "split_gap")[axis]
        return Slices.spaced(lengths, gap)

    def are_slices_clustered(self, axis: int) -> bool:
        """Whether there is a tree over the slices of an axis."""
        asked = self.cluster_slices
        if not isinstance(asked, Sequence):
            return bool(asked)
        if len(asked) != 2:
            raise DataValueError(
                f"cluster_slices must be a bool or a (row, column) pair, got {asked!r}"
            )
        return bool(asked[axis])


TREE_KEYWORDS = frozenset(TreeOptions.__dataclass_fields__)
"""Names of the keywords."""
