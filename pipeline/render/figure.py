"""Driver: the figure of a cluster map - its axes, their places, legends and saving.

Axes are laid out with matplotlib's tight layout, which measures text and draws nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeVar

import matplotlib as mpl
from matplotlib.gridspec import GridSpec

from clustergrid.pipeline.render.legends import (
    BarLegend,
    Hanging,
    LegendColumns,
    TextLegend,
    legend_entries,
)
from clustergrid.pipeline.render.page import Fitted, Page
from clustergrid.pipeline.render.region import own_region, region_in
from clustergrid.storage.errors import DataValueError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.legend import Legend

    from clustergrid.pipeline.render.palettes import NumberScale

__all__ = ["AxesRatios", "FigureGrid"]

LAYOUT_PAD = 0.02
"""Space between axes, as a fraction of the font size."""
TEXT_IS_TEXT = {"pdf.fonttype": 42, "svg.fonttype": "none"}
"""Fonts are embedded whole and text is text: it can be searched, and edited."""

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class AxesRatios:
    """Proportions of the figure along one of its sides, from the tree to the body.

    Attributes
    ----------
    ratios
        Tree, strips of given colours if any, annotations, body.
    annotations
        Titles of the annotations.
    """

    ratios: Sequence[float]
    annotations: tuple[str, ...] = ()

    @property
    def has_colors(self) -> bool:
        """Whether there are strips of given colours."""
        return len(self.ratios) - len(self.annotations) > 2

    @property
    def first_annotation(self) -> int:
        """Place of the first annotation in `ratios`."""
        return len(self.ratios) - 1 - len(self.annotations)


class FigureGrid:
    """A figure with axes for trees, colour strips, annotations, body and colour bar.

    Parameters
    ----------
    figsize
        Width and height in inches.
    widths, heights
        Proportions of the columns and rows of the grid.
    cbar_pos
        ``(left, bottom, width, height)`` of the colour bar in the figure; None for no colour bar.
    figure
        A Figure or SubFigure to draw into; None for a new one.
    """

    def __init__(
        self,
        *,
        figsize: tuple[float, float] | None,
        widths: AxesRatios,
        heights: AxesRatios,
        cbar_pos: Sequence[float] | None,
        figure: Figure | SubFigure | None = None,
    ) -> None:
        self._region = own_region(figsize) if figure is None else region_in(figure, figsize)
        self._figure: Any = self._region.figure
        self._page = Page.of(self._figure.figure)
        self._fitted: list[Fitted] = []
        self.gs = GridSpec(
            len(heights.ratios),
            len(widths.ratios),
            width_ratios=list(widths.ratios),
            height_ratios=list(heights.ratios),
        )
        self.ax_row_dendrogram = self._add_axes(-1, 0)
        self.ax_col_dendrogram = self._add_axes(0, -1)
        self.ax_row_dendrogram.set_axis_off()
        self.ax_col_dendrogram.set_axis_off()
        self.ax_row_colors = self._add_axes(-1, 1) if widths.has_colors else None
        self.ax_col_colors = self._add_axes(1, -1) if heights.has_colors else None
        self.ax_row_annotations = {
            title: self._add_axes(-1, place)
            for place, title in enumerate(widths.annotations, widths.first_annotation)
        }
        self.ax_col_annotations = {
            title: self._add_axes(place, -1)
            for place, title in enumerate(heights.annotations, heights.first_annotation)
        }
        self.ax_heatmap = self._add_axes(-1, -1)
        # The colour bar takes part in the layout in the corner, then moves to its place.
        self.ax_cbar = self._add_axes(0, 0) if cbar_pos is not None else None
        self.cax = self.ax_cbar
        self.cbar_pos = cbar_pos
        self.legend: Legend | None = None
        self._legend_top = self.ax_heatmap
        self._legends = LegendColumns()
        self._placed: list[Legend] = []

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what is made again for other resolutions: a pickle is a picture as it is."""
        return self.__dict__ | {"_fitted": []}

    def _add_axes(self, row: int, column: int) -> Axes:
        return self._region.add_axes(self.gs[row, column])

    def _keep(self, *fitted: Fitted) -> None:
        """Fit something of this grid to the pixels of the page whenever it is laid out or saved."""
        self._fitted += fitted
        self._page.add(*fitted)

    @property
    def fig(self) -> Any:
        """The figure, under its old name."""
        return self._figure

    @property
    def figure(self) -> Any:
        """The Figure, or the SubFigure that was given."""
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
        """Change ticks and tick labels of every axes; see `matplotlib.axes.Axes.tick_params`.

        In a figure that was given, of the axes that belong to this grid.
        """
        axes: list[Any] = [*self._region.axes, *self._legends.axes]
        for ax in self._figure.axes if self._region.is_own else axes:
            ax.tick_params(axis=axis, **kwargs)
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
        if self.ax_cbar is not None:  # its tick labels must not push the other axes about
            self.ax_cbar.set_axis_off()
        self._region.tight_layout(**kwargs)
        if self.ax_cbar is not None and self.cbar_pos is not None:
            self.ax_cbar.set_axis_on()
            self.ax_cbar.set_position(tuple(self.cbar_pos))  # type: ignore[arg-type]
        self._hang_legends()
        self._page.fit(self._dpi)
        return self

    def add_legend(
        self,
        legend_data: Mapping[Any, Any] | Sequence[Any],
        title: str | None = None,
        label_order: Sequence[Any] | None = None,
        **kwargs: Any,
    ) -> Self:
        """Draw a legend of the figure, e.g. of what the colours beside the rows mean.

        Unless a place is given, the legend stands to the right of the body, under those drawn
        before. The figure grows to make room; everything that is in it keeps its size and place.
        In a figure that was given the body becomes narrower instead.

        Parameters
        ----------
        legend_data
            Label to colour, label to artist, or a list of artists that have labels.
        title
            Title of the legend.
        label_order
            Which labels of a mapping are shown, in their order; None: all.
        **kwargs
            For `matplotlib.figure.Figure.legend`; `loc` or `bbox_to_anchor` places it yourself.
        """
        if label_order is not None and isinstance(legend_data, Mapping):
            if unknown := [label for label in label_order if label not in legend_data]:
                raise DataValueError(f"label_order has {unknown[0]!r}, which has no legend entry")
            legend_data = {label: legend_data[label] for label in label_order}
        self.legend = self.hang_legend(*legend_entries(legend_data), title, **kwargs)
        return self

    def hang_legend(
        self,
        handles: Sequence[Any],
        labels: Sequence[str],
        title: str | None,
        *,
        parse_math: bool = True,
        **kwargs: Any,
    ) -> Legend:
        """Draw a legend as `add_legend` does; `legend` stays what the user added last."""
        is_placed = "loc" in kwargs or "bbox_to_anchor" in kwargs
        if not is_placed:
            kwargs |= {"loc": "upper left", "borderaxespad": 0}
        kwargs.setdefault("frameon", False)
        kwargs.setdefault("alignment", "left")

        def draw(**more: Any) -> Legend:
            legend: Legend = self._figure.legend(handles, labels, title=title, **kwargs, **more)
            for text in (legend.get_title(), *legend.get_texts()):
                text.set_parse_math(parse_math)
            return legend

        legend = draw()
        if is_placed:
            self._placed.append(legend)
            return legend
        hanging = TextLegend(self._figure, legend)
        n_columns = ceil(hanging.size_inches()[1] / self._room_inches())
        if n_columns > 1 and "ncols" not in kwargs:  # longer than the figure is high
            legend.remove()
            legend = draw(ncols=n_columns)
            hanging = TextLegend(self._figure, legend)
        self._hang(hanging)
        return legend

    def hang_legends_from(self, ax: Axes) -> None:
        """Let the columns of legends begin at the top of an axes; it is the body's at first."""
        self._legend_top = ax
        self._hang_legends()

    def hang_bar(self, title: str, scale: NumberScale) -> None:
        """Draw the colour bar of an annotation among the legends."""
        self._hang(BarLegend(self._figure, title, scale))

    def try_legends(self, hang: Callable[[Self], None]) -> None:
        """Draw legends and take them away again, to refuse what has no room in a given figure.

        Parameters
        ----------
        hang
            Draws the legends. Those that are there already leave as much room as they will.

        Raises
        ------
        DataValueError
            A ValueError: too little of the figure that was given would be left to the grid.
        """
        if self._region.is_own or self._legends.width_inches:
            return
        top = self._legend_top
        try:
            self.tight_layout()
            hang(self)
        finally:
            self._legends.remove()
            self._legend_top = top
            self._region.width_used = 1.0

    def _hang(self, item: Hanging) -> None:
        """Put a legend into the columns at the right, and make room for it."""
        before = self._legends.width_inches
        self._legends.add(item, self._room_inches())
        more = self._legends.width_inches - before
        if more <= 0:
            self._hang_legends()
            return
        factor = self._region.make_room(more)
        if not self._region.is_own:
            self.tight_layout()
            return
        if self.ax_cbar is not None and self.cbar_pos is not None:
            x, y, bar_width, bar_height = self.cbar_pos
            self.cbar_pos = (x * factor, y, bar_width * factor, bar_height)
            self.ax_cbar.set_position(self.cbar_pos)
        self._hang_legends()

    def _room_inches(self) -> float:
        """How far columns of legends reach down."""
        _, height = self._region.get_size_inches()
        return float(height * self._legend_top.get_position().y1)

    def _hang_legends(self) -> None:
        size = self._region.get_size_inches()
        start = size[0] * self._region.width_used
        self._legends.hang(size, start, self._legend_top.get_position().y1)

    def discard(self) -> None:
        """Close the figure, or take everything out of one that was given."""
        self._page.remove(self._fitted)
        self._fitted.clear()
        self._region.discard()
        if self._region.is_own:
            return
        self._legends.remove()
        for legend in self._placed:
            legend.remove()
        self._placed.clear()

    def savefig(self, *args: Any, **kwargs: Any) -> None:
        """Save the picture, cut to what is drawn (``bbox_inches="tight"``) unless told otherwise.

        A body of more cells than pixels is made again for the resolution of the file. In PDF and
        SVG text stays text, in its font. Of a subfigure the whole page is saved.

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
        restore = self._page.snapshot()
        try:
            self._page.fit(float(dpi))
            with mpl.rc_context(TEXT_IS_TEXT):  # type: ignore[arg-type]
                self._figure.figure.savefig(*args, **kwargs)
        finally:
            restore()
