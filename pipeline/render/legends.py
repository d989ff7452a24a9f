"""Driver: legends and colour bars of annotations, in columns to the right of a cluster map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from clustergrid.pipeline.render.layout import POINTS_PER_INCH
from clustergrid.pipeline.render.small_axes import NUMBER_FORMAT
from clustergrid.storage.errors import DataTypeError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.legend import Legend

    from clustergrid.pipeline.render.palettes import NumberScale

__all__ = ["BarLegend", "LegendColumns", "TextLegend", "legend_entries"]

RIGHT_MARGIN_INCHES = 0.1
BAR_INCHES = (0.17, 0.9)
"""Width and height of the colour bar of an annotation."""
TITLE_PAD_POINTS = 7
"""A label at the upper end of a bar reaches above it by half of its height."""
DATE = "%Y-%m-%d"
DATE_TICKS = 5
"""With fewer the locator finds no interval of some spans, e.g. of 20 months."""


def legend_entries(
    legend_data: Mapping[Any, Any] | Sequence[Any],
) -> tuple[list[Any], list[str]]:
    """Turn what a user calls a legend into matplotlib's handles and labels.

    Parameters
    ----------
    legend_data
        Label to colour, label to artist, or a list of artists that have labels.

    Raises
    ------
    DataTypeError
        When an entry is neither a colour nor an artist.
    """
    from matplotlib.artist import Artist
    from matplotlib.colors import is_color_like
    from matplotlib.patches import Patch

    if not isinstance(legend_data, Mapping):
        return list(legend_data), [str(handle.get_label()) for handle in legend_data]
    handles: list[Any] = []
    for label, entry in legend_data.items():
        if is_color_like(entry):
            handles.append(Patch(facecolor=entry))
        elif isinstance(entry, Artist | tuple):  # a tuple of artists is drawn one over the other
            handles.append(entry)
        else:
            raise DataTypeError(
                f"Legend entry {label!r} is {entry!r}: neither a colour nor an artist"
            )
    return handles, [str(label) for label in legend_data]


class Hanging(Protocol):
    """What hangs in a column by its upper left corner."""

    def size_inches(self) -> tuple[float, float]:
        """Width and height."""

    def move(self, left: float, top: float) -> None:
        """Hang it up at fractions of the figure."""

    def remove(self) -> None:
        """Take it out of the figure, if it is still there."""


class TextLegend:
    """A legend of matplotlib's in a figure or subfigure."""

    def __init__(self, figure: Figure | SubFigure, legend: Legend) -> None:
        self._figure = figure
        self.legend = legend

    def size_inches(self) -> tuple[float, float]:
        """Width and height."""
        box, dpi = self.legend.get_window_extent(), self._figure.dpi
        return box.width / dpi, box.height / dpi

    def move(self, left: float, top: float) -> None:
        """Hang it up at fractions of the figure."""
        # By this transform it also follows when the figure is cut to what is drawn in it.
        self.legend.set_bbox_to_anchor((left, top), self._figure.transSubfigure)

    def remove(self) -> None:
        """Take it out of the figure, if it is still there."""
        if self.legend in self._figure.legends:
            self.legend.remove()


class BarLegend:
    """A small colour bar under a title, with dates at its ticks if it is of dates.

    Parameters
    ----------
    figure
        Where it is drawn.
    title
        Written above it.
    scale
        Its colours.
    """

    def __init__(self, figure: Figure | SubFigure, title: str, scale: NumberScale) -> None:
        from matplotlib.cm import ScalarMappable
        from matplotlib.colors import Normalize
        from matplotlib.ticker import StrMethodFormatter

        self._figure = figure
        self.ax = figure.add_axes((0, 0, 0.1, 0.1), label=f"legend of {title}")
        self.move(0, 1, offset=(0.0, 0.0))
        norm = Normalize(scale.vmin, scale.vmax)
        bar = figure.colorbar(ScalarMappable(norm, scale.colormap), self.ax)
        bar.outline.set_linewidth(0)
        self.ax.set_title(
            title, loc="left", fontsize=_title_size(), pad=TITLE_PAD_POINTS, parse_math=False
        )
        if scale.is_constant:
            self.ax.set_yticks([(scale.vmin + scale.vmax) / 2])
        if scale.is_date:
            _tick_dates(self.ax, is_constant=scale.is_constant)
        else:
            self.ax.yaxis.set_major_formatter(StrMethodFormatter(NUMBER_FORMAT))
        whole, solid = self.ax.get_tightbbox(), self.ax.get_window_extent()
        assert whole is not None
        dpi, pad = figure.dpi, _legend_pad_inches()
        self._size = whole.width / dpi + 2 * pad, whole.height / dpi + 2 * pad
        self._offset = (solid.x0 - whole.x0) / dpi + pad, (whole.y1 - solid.y1) / dpi + pad

    def size_inches(self) -> tuple[float, float]:
        """Width and height, the title and the tick labels included."""
        return self._size

    def move(self, left: float, top: float, *, offset: tuple[float, float] | None = None) -> None:
        """Hang it up at fractions of the figure."""
        right_of, below = self._offset if offset is None else offset
        box, dpi = self._figure.bbox, self._figure.dpi
        width, height = box.width / dpi, box.height / dpi
        bar_width, bar_height = BAR_INCHES
        self.ax.set_position(
            (
                left + right_of / width,
                top - (below + bar_height) / height,
                bar_width / width,
                bar_height / height,
            )
        )

    def remove(self) -> None:
        """Take it out of the figure, if it is still there."""
        if self.is_there:
            self.ax.remove()

    @property
    def is_there(self) -> bool:
        """Whether nobody removed it."""
        return self.ax in self._figure.axes


def _legend_pad_inches() -> float:
    """Space inside a legend's frame, so that titles of both kinds stand below one another."""
    import matplotlib as mpl
    from matplotlib.font_manager import FontProperties

    size = FontProperties(size=mpl.rcParams["legend.fontsize"]).get_size_in_points()
    return float(mpl.rcParams["legend.borderpad"] * size / POINTS_PER_INCH)


def _title_size() -> Any:
    import matplotlib as mpl

    size = mpl.rcParams["legend.title_fontsize"]
    return mpl.rcParams["legend.fontsize"] if size is None else size


def _tick_dates(ax: Any, *, is_constant: bool) -> None:
    from matplotlib import dates

    untyped: Any = dates
    if is_constant:
        ax.yaxis.set_major_formatter(untyped.DateFormatter(DATE))
        return
    locator = untyped.AutoDateLocator(minticks=2, maxticks=DATE_TICKS)
    ax.yaxis.set_major_locator(locator)
    # The offset that it writes beside an axis would be nobody's: every tick is a whole date.
    whole = ["%Y", "%Y-%m", DATE, f"{DATE} %H:%M", "%H:%M", "%H:%M:%S"]
    ax.yaxis.set_major_formatter(
        untyped.ConciseDateFormatter(locator, formats=whole, zero_formats=whole, show_offset=False)
    )


class LegendColumns:
    """Columns of legends; the first starts where the axes end, the next beside it."""

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._placed: list[tuple[Hanging, float, float]] = []  # left and drop, in inches
        self._left = 0.0
        self._width = 0.0
        self._drop = 0.0

    def remove(self) -> None:
        """Take all legends out of the figure."""
        for item, _, _ in self._placed:
            item.remove()
        self._begin()

    @property
    def axes(self) -> list[Axes]:
        """Those of colour bars that nobody removed."""
        bars = [item for item, _, _ in self._placed if isinstance(item, BarLegend)]
        return [bar.ax for bar in bars if bar.is_there]

    @property
    def width_inches(self) -> float:
        """Width of all columns and the margin at their right; 0 without any."""
        return self._left + self._width + RIGHT_MARGIN_INCHES if self._placed else 0.0

    def add(self, item: Hanging, room_inches: float) -> None:
        """Find the place of one more legend.

        Parameters
        ----------
        item
            The legend.
        room_inches
            How far columns reach down.
        """
        width, height = item.size_inches()
        if self._placed and self._drop + height > room_inches:
            self._left += self._width
            self._width = self._drop = 0.0
        self._placed.append((item, self._left, self._drop))
        self._drop += height
        self._width = max(self._width, width)

    def hang(self, size_inches: tuple[float, float], start_inches: float, top: float) -> None:
        """Bring every legend to its place in a figure whose size may have changed.

        Parameters
        ----------
        size_inches
            Width and height of the figure.
        start_inches
            Where the first column starts.
        top
            Where columns start, as a fraction of the figure's height.
        """
        width, height = size_inches
        for item, left, drop in self._placed:
            item.move((start_inches + left) / width, top - drop / height)
