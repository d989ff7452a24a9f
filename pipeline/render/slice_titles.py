"""Driver: the titles of slices, to the left of the row tree and above the column tree."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from clustergrid.pipeline.render.dendrogram import LEAF_SPACING
from clustergrid.pipeline.render.slices import Slices

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Annotation

__all__ = ["SliceTitles"]

_OFFSET_POINTS = 4
"""Space between titles and tree."""
_SPACE_POINTS = 6
"""Space between two titles that follow one another."""


class SliceTitles:
    """Titles at the middles of slices, along the axis if there is room for all, else across.

    Where titles would overlap all the same, those of the largest slices are shown.

    Parameters
    ----------
    ax
        The axes of the tree, its limits set.
    axis
        0: slices of rows; 1: of columns.
    slices
        Where they stand.
    titles
        One a slice.
    """

    def __init__(self, ax: Axes, axis: int, slices: Slices, titles: Sequence[str]) -> None:
        self.ax = ax
        self.axis = axis
        self._slices = slices
        span = slices.length * LEAF_SPACING  # where there is no tree, nobody has set them
        ax.set(**({"ylim": (span, 0)} if axis == 0 else {"xlim": (0, span)}))
        middles = (slices.starts + slices.stops) / 2 * LEAF_SPACING
        self._texts = [
            self._write(title, middle) for title, middle in zip(titles, middles, strict=True)
        ]
        if not self._fit_along():
            for text in self._texts:
                text.set_rotation(0 if axis == 0 else 90)

    def _write(self, title: str, middle: float) -> Annotation:
        is_row = self.axis == 0
        return self.ax.annotate(
            title,
            xy=(0, middle) if is_row else (middle, 1),
            xycoords=("axes fraction", "data") if is_row else ("data", "axes fraction"),
            xytext=(-_OFFSET_POINTS, 0) if is_row else (0, _OFFSET_POINTS),
            textcoords="offset points",
            ha="right" if is_row else "center",
            va="center" if is_row else "bottom",
            rotation=90 if is_row else 0,
            rotation_mode="default",
            annotation_clip=False,
            parse_math=False,  # it is data
        )

    def _pixels(self) -> tuple[np.ndarray, np.ndarray]:
        """Where titles begin and end along the axis, and how long their slices are."""
        boxes = [text.get_window_extent() for text in self._texts]
        spans = np.array(
            [(box.y0, box.y1) if self.axis == 0 else (box.x0, box.x1) for box in boxes]
        )
        extent = self.ax.get_window_extent()
        length = extent.height if self.axis == 0 else extent.width
        return spans, np.array(self._slices.lengths) * length / self._slices.length

    def _fit_along(self) -> bool:
        spans, _ = self._pixels()
        spans = spans[np.argsort(spans[:, 0])]
        space = _SPACE_POINTS / 72 * self.ax.figure.dpi
        return bool(np.all(spans[1:, 0] - spans[:-1, 1] >= space))

    def fit(self, dpi: float) -> None:
        """Hide titles that would be written over those of larger slices."""
        del dpi  # text and axes grow alike
        for text in self._texts:  # matplotlib knows no extent of what is hidden
            text.set_visible(True)
        spans, lengths = self._pixels()
        shown: list[int] = []
        for number in np.argsort(-lengths, kind="stable"):
            begin, end = spans[number]
            is_free = all(end <= spans[other, 0] or begin >= spans[other, 1] for other in shown)
            self._texts[number].set_visible(is_free)
            if is_free:
                shown.append(int(number))

    def snapshot(self) -> Callable[[], None]:
        """Remember nothing: at any resolution the same titles are shown."""
        return lambda: None
