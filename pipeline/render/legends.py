"""Driver: legends to the right of a cluster map, one under the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from clustergrid.storage.errors import DataTypeError

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend

__all__ = ["LegendColumns", "legend_entries"]

RIGHT_MARGIN_INCHES = 0.1


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


class LegendColumns:
    """Columns of legends; the first starts where the figure ended, the next beside it."""

    def __init__(self) -> None:
        self._placed: list[tuple[Legend, float, float]] = []  # left in inches, top as a fraction
        self._left_inches = 0.0
        self._width_inches = 0.0
        self._bottom = 0.0

    def add(self, figure: Figure, legend: Legend, top: float) -> float:
        """Find the place of one more legend, and the width in inches the figure must have.

        Parameters
        ----------
        figure
            The figure, as wide as it is.
        legend
            The legend, to be hung up by its upper left corner.
        top
            Where columns start, as a fraction of the figure's height.
        """
        figure_width, figure_height = figure.get_size_inches()
        box = legend.get_window_extent()
        width, height = box.width / figure.dpi, box.height / figure.dpi / figure_height
        if not self._placed or self._bottom < height:
            self._left_inches, self._width_inches, self._bottom = figure_width, 0.0, top
        self._placed.append((legend, self._left_inches, self._bottom))
        self._bottom -= height
        self._width_inches = max(self._width_inches, width)
        right = self._left_inches + self._width_inches + RIGHT_MARGIN_INCHES
        return float(max(figure_width, right))

    def hang(self, figure: Figure) -> None:
        """Bring every legend to its place in a figure whose width may have changed."""
        figure_width, _ = figure.get_size_inches()
        for legend, left_inches, top in self._placed:
            legend.set_bbox_to_anchor((left_inches / figure_width, top))
