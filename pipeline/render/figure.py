"""Driver: the figure of a cluster map - its axes, their places, legends and saving.

Axes are laid out with matplotlib's tight layout, which measures text and draws nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeVar

import matplotlib as mpl
from matplotlib.gridspec import GridSpec

from clustergrid.pipeline.render.body import FittedImage
from clustergrid.pipeline.render.legends import LegendColumns, legend_entries

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend

__all__ = ["FigureGrid"]

LAYOUT_PAD = 0.02
"""Space between axes, as a fraction of the font size."""

P = ParamSpec("P")
R = TypeVar("R")


class FigureGrid:
    """A figure with axes for trees, colour strips, body and colour bar.

    Parameters
    ----------
    figsize
        Width and height in inches.
    width_ratios, height_ratios
        Proportions of the columns and rows of the grid: tree, strips if any, body.
    cbar_pos
        ``(left, bottom, width, height)`` of the colour bar in the figure; None for no colour bar.
    """

    def __init__(
        self,
        *,
        figsize: tuple[float, float] | None,
        width_ratios: Sequence[float],
        height_ratios: Sequence[float],
        cbar_pos: Sequence[float] | None,
    ) -> None:
        # pyplot knows the figure, as users of seaborn expect: plt.show() shows it and plt.close()
        # closes it. No layout engine: one would move the colour bar at every draw.
        import matplotlib.pyplot as plt

        self._figure: Figure = plt.figure(figsize=figsize, layout="none")
        self.gs = GridSpec(
            len(height_ratios),
            len(width_ratios),
            width_ratios=list(width_ratios),
            height_ratios=list(height_ratios),
        )
        self.ax_row_dendrogram: Axes = self._figure.add_subplot(self.gs[-1, 0])
        self.ax_col_dendrogram: Axes = self._figure.add_subplot(self.gs[0, -1])
        self.ax_row_dendrogram.set_axis_off()
        self.ax_col_dendrogram.set_axis_off()
        self.ax_row_colors: Axes | None = None
        self.ax_col_colors: Axes | None = None
        if len(width_ratios) > 2:
            self.ax_row_colors = self._figure.add_subplot(self.gs[-1, 1])
        if len(height_ratios) > 2:
            self.ax_col_colors = self._figure.add_subplot(self.gs[1, -1])
        self.ax_heatmap: Axes = self._figure.add_subplot(self.gs[-1, -1])
        # The colour bar takes part in the layout in the corner, then moves to its place.
        self.ax_cbar: Axes | None = None
        if cbar_pos is not None:
            self.ax_cbar = self._figure.add_subplot(self.gs[0, 0])
        self.cax = self.ax_cbar
        self.cbar_pos = cbar_pos
        self.legend: Legend | None = None
        self._legends = LegendColumns()
        self._width_used = 1.0
        self._images: list[FittedImage] = []

    @property
    def fig(self) -> Figure:
        """The figure, under its old name."""
        return self._figure

    @property
    def figure(self) -> Figure:
        """The figure."""
        return self._figure

    @property
    def _dpi(self) -> float:
        """The resolution images are made for: the figure's own, or that it will be saved with."""
        saved = mpl.rcParams["savefig.dpi"]
        own = float(self._figure.dpi)
        return own if isinstance(saved, str) else max(own, float(saved))

    def set(self, **kwargs: Any) -> Self:
        """Set properties of the body's axes, e.g. ``g.set(xlabel="sample", title="Iris")``."""
        self.ax_heatmap.set(**kwargs)
        return self

    def tick_params(self, axis: str = "both", **kwargs: Any) -> Self:
        """Change ticks and tick labels of every axes; see `matplotlib.axes.Axes.tick_params`."""
        for ax in self._figure.axes:
            ax.tick_params(axis=axis, **kwargs)  # type: ignore[arg-type]
        return self

    def apply(
        self, func: Callable[Concatenate[Self, P], Any], *args: P.args, **kwargs: P.kwargs
    ) -> Self:
        """Call a function with the grid and return the grid."""
        func(self, *args, **kwargs)
        return self

    def pipe(self, func: Callable[Concatenate[Self, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call a function with the grid and return what it returns."""
        return func(self, *args, **kwargs)

    def tight_layout(self, **kwargs: Any) -> Self:
        """Lay the axes out so that labels just fit; the colour bar stays at `cbar_pos`.

        Parameters
        ----------
        **kwargs
            For `matplotlib.figure.Figure.tight_layout`: pad, h_pad, w_pad, rect.
        """
        kwargs.setdefault("h_pad", LAYOUT_PAD)
        kwargs.setdefault("w_pad", LAYOUT_PAD)
        if self._width_used < 1:  # beside a legend
            kwargs.setdefault("rect", (0, 0, self._width_used, 1))
        # From the same start, so that laying out twice is laying out once.
        sides = ("left", "right", "bottom", "top", "wspace", "hspace")
        defaults: Mapping[str, Any] = mpl.rcParams  # type: ignore[assignment]
        start = {side: float(defaults[f"figure.subplot.{side}"]) for side in sides}
        self._figure.subplots_adjust(**start)
        if self.ax_cbar is not None:  # its tick labels must not push the other axes about
            self.ax_cbar.set_axis_off()
        self._figure.tight_layout(**kwargs)
        if self.ax_cbar is not None and self.cbar_pos is not None:
            self.ax_cbar.set_axis_on()
            self.ax_cbar.set_position(tuple(self.cbar_pos))  # type: ignore[arg-type]
        for image in self._images:
            image.fit(self._dpi)
        return self

    def add_legend(
        self,
        legend_data: Mapping[Any, Any] | Sequence[Any],
        title: str | None = None,
        **kwargs: Any,
    ) -> Self:
        """Draw a legend of the figure, e.g. of what the colours beside the rows mean.

        Unless a place is given, the legend stands to the right of the body, under those drawn
        before. The figure grows to make room; everything that is in it keeps its size and place.

        Parameters
        ----------
        legend_data
            Label to colour, label to artist, or a list of artists that have labels.
        title
            Title of the legend.
        **kwargs
            For `matplotlib.figure.Figure.legend`; `loc` or `bbox_to_anchor` places it yourself.
        """
        handles, labels = legend_entries(legend_data)
        is_placed = "loc" in kwargs or "bbox_to_anchor" in kwargs
        if not is_placed:
            kwargs |= {"loc": "upper left", "borderaxespad": 0}
        kwargs.setdefault("frameon", False)
        kwargs.setdefault("alignment", "left")
        self.legend = self._figure.legend(handles, labels, title=title, **kwargs)
        if not is_placed:
            top = self.ax_heatmap.get_position().y1
            self._widen(self._legends.add(self._figure, self.legend, top))
            self._legends.hang(self._figure)
        return self

    def _widen(self, new_width: float) -> None:
        """Add space at the right of the figure; everything in it keeps its size and place."""
        width, height = self._figure.get_size_inches()
        factor = width / new_width
        pars = self._figure.subplotpars
        left, right = pars.left * factor, pars.right * factor
        self._figure.set_size_inches(new_width, height)
        # Spaces between axes are fractions of their widths, so they scale by themselves.
        self._figure.subplots_adjust(left=left, right=right)
        self._width_used *= factor
        if self.ax_cbar is not None and self.cbar_pos is not None:
            x, y, bar_width, bar_height = self.cbar_pos
            self.cbar_pos = (x * factor, y, bar_width * factor, bar_height)
            self.ax_cbar.set_position(self.cbar_pos)

    def savefig(self, *args: Any, **kwargs: Any) -> None:
        """Save the picture, cut to what is drawn (``bbox_inches="tight"``) unless told otherwise.

        A body of more cells than pixels is made again for the resolution of the file.

        Parameters
        ----------
        *args, **kwargs
            For `matplotlib.figure.Figure.savefig`.
        """
        kwargs.setdefault("bbox_inches", "tight")
        dpi = kwargs.get("dpi")
        if dpi is None:
            dpi = mpl.rcParams["savefig.dpi"]
        dpi = self._figure.dpi if dpi == "figure" else dpi
        restores = [image.snapshot() for image in self._images]
        try:
            for image in self._images:
                image.fit(float(dpi))
            self._figure.savefig(*args, **kwargs)
        finally:
            for restore in restores:
                restore()
