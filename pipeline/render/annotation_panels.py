"""Driver: all annotations of a figure - their axes' proportions, titles, small axes and legends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from clustergrid.pipeline.escapes import drawable
from clustergrid.pipeline.render.annotations import (
    Annotation,
    BodyNumbers,
    Boxes,
    Strip,
    read_annotations,
)
from clustergrid.pipeline.render.figure import AxesRatios, FigureGrid
from clustergrid.pipeline.render.matrix import DrawnMatrix, TableMatrix
from clustergrid.pipeline.render.palettes import CategoryScale, make_scales
from clustergrid.pipeline.render.slices import Slices
from clustergrid.pipeline.render.small_axes import name_strip, name_track
from clustergrid.pipeline.render.tracks import MISSING_LOOK, Along, FittedAnnotation
from clustergrid.storage.errors import DataValueError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["AnnotationPanels"]

MOST_BODY_VALUES = 2**26
"""Of the body, for boxes of it: they are sorted in some seconds."""
LEAST_BODY = 0.1
"""Share of the figure that annotations must leave to the body."""
MISSING_LABEL = "missing"


class AnnotationPanels:
    """The annotations of a figure.

    Parameters
    ----------
    rows, columns
        As `read_annotations` takes them.
    palettes
        Palettes by title.
    has_legend
        Whether legends are drawn.
    matrix
        What is annotated.
    """

    def __init__(
        self,
        rows: Any,
        columns: Any,
        palettes: Mapping[str, Any] | None,
        has_legend: bool,
        matrix: DrawnMatrix,
    ) -> None:
        self._axes = tuple(
            [
                _with_body(annotation, matrix, axis)
                for annotation in read_annotations(
                    given, matrix.match_index(axis), matrix.shape[axis], name
                )
            ]
            for axis, (given, name) in enumerate(
                ((rows, "row_annotations"), (columns, "col_annotations"))
            )
        )
        self._scales = make_scales([*self._axes[0], *self._axes[1]], palettes)
        self._has_legend = has_legend

    def between(self, axis: int, ratios: Sequence[float], strip_ratio: float) -> AxesRatios:
        """Put annotations between the tree (and given colours) and the body, which gets the rest.

        Raises
        ------
        DataValueError
            A ValueError: they leave nothing to the body.
        """
        sizes = [
            strip_ratio if annotation.kind.size is None else annotation.kind.size
            for annotation in self._axes[axis]
        ]
        body = ratios[-1] - sum(sizes)
        if sizes and body < LEAST_BODY:
            raise DataValueError(
                f"tree, colours and annotations of the {('rows', 'columns')[axis]} take "
                f"{1 - body:.0%} of the figure: leave some out, or make them smaller "
                "(dendrogram_ratio, colors_ratio, size)"
            )
        titles = tuple(annotation.title for annotation in self._axes[axis])
        return AxesRatios(ratios=[*ratios[:-1], *sizes, body], annotations=titles)

    def draw(
        self,
        axis: int,
        axes: Mapping[str, Axes],
        order: np.ndarray,
        slices: Slices,
        dpi: float,
    ) -> list[FittedAnnotation]:
        """Draw the annotations of rows (0) or columns (1), with their titles.

        Parameters
        ----------
        axis
            Which.
        axes
            By title.
        order : (n,) int
            Leaf order.
        slices
            Where leaves stand.
        dpi
            Resolution to draw for.
        """
        along = Along(axis=axis, order=np.asarray(order), slices=slices)
        drawn = []
        for annotation in self._axes[axis]:
            ax = axes[annotation.title]
            scale = self._scales.get(annotation.title)
            scale = scale if isinstance(annotation.kind, Strip) else None
            name = None
            if scale is None:
                name_track(ax, axis, annotation.title)
            else:
                name = name_strip(ax, axis, annotation.title)
            drawn.append(FittedAnnotation(ax, annotation, along, scale, dpi, name))
        return drawn

    def hang_legends(self, grid: FigureGrid) -> None:
        """Draw a legend or a colour bar for each scale, and one entry for what is missing."""
        has_missing = any(one.has_missing for axis in self._axes for one in axis)
        if not self._has_legend or not (self._scales or has_missing):
            return
        from matplotlib.patches import Patch

        grid.hang_legends_from(grid.ax_col_dendrogram)
        for title, scale in self._scales.items():
            if isinstance(scale, CategoryScale):
                # Lists, no mapping: two categories may read the same.
                patches = [Patch(facecolor=color) for color in scale.colors]
                labels = [drawable(str(label)) for label in scale.labels]
                if labels:
                    grid.hang_legend(patches, labels, drawable(title), parse_math=False)
            else:
                grid.hang_bar(drawable(title), scale)
        if has_missing:
            missing = Patch(**(MISSING_LOOK | {"linewidth": 0.5}))
            grid.hang_legend([missing], [MISSING_LABEL], None)


def _with_body(annotation: Annotation, matrix: DrawnMatrix, axis: int) -> Annotation:
    """Give boxes without values those of the body."""
    if not isinstance(annotation.kind, Boxes) or annotation.values is not None:
        return annotation
    n_rows, n_columns = matrix.shape
    in_memory = isinstance(matrix, TableMatrix) or matrix.stages.in_memory
    if n_rows * n_columns > MOST_BODY_VALUES or not in_memory:
        raise DataValueError(
            f"boxes of the body sort all of its {n_rows:,} x {n_columns:,} values, which have to "
            f"be in memory, and {MOST_BODY_VALUES:,} are the most: give Boxes the values to show, "
            "e.g. quantiles of each row"
        )
    return replace(annotation, values=BodyNumbers(of=partial(matrix.shown_values, axis)))
