"""Driver: where a grid is drawn - a figure of its own, or a figure or subfigure that is there.

matplotlib lays out the axes of whole figures. A `Region` looks like one to its layout engine, and
is only what belongs to the grid: other axes of a page are left alone, and so are legends' bars.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.gridspec import SubplotParams, SubplotSpec

from clustergrid.storage.errors import DataTypeError, DataValueError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

__all__ = ["Region", "own_region", "region_in"]

_SIDES = ("left", "right", "bottom", "top", "wspace", "hspace")
LEAST_WIDTH = 0.3
"""Share of a figure that was given which legends leave to the grid, at least."""


class Region:
    """A figure, as matplotlib's layout engines see it, of which they lay out some axes.

    Parameters
    ----------
    figure
        Where axes are added.
    is_own
        Whether the figure is the grid's alone: it may grow, and its subplot parameters are used.
    """

    def __init__(self, figure: Figure | SubFigure, *, is_own: bool) -> None:
        self.figure = figure
        self.is_own = is_own
        self._added: list[Axes] = []
        self._pars = SubplotParams()
        self.width_used = 1.0
        """Share of the width that legends beside the grid leave."""

    def add_axes(self, place: SubplotSpec) -> Axes:
        """Add axes at a place of the grid."""
        ax: Axes = self.figure.add_subplot(place)
        self._added.append(ax)
        return ax

    @property
    def axes(self) -> list[Axes]:
        """The grid's axes that nobody removed."""
        there = set(self.figure.axes)
        return [ax for ax in self._added if ax in there]

    def __getattr__(self, name: str) -> Any:
        """Whatever else the layout engine asks a figure for."""
        if name == "figure" or name.startswith("__"):  # of a region that is being unpickled
            raise AttributeError(name)
        return getattr(self.figure, name)

    @property
    def transFigure(self) -> Any:  # noqa: N802
        """From fractions of the region to pixels."""
        return self.figure.transSubfigure

    @property
    def subplotpars(self) -> SubplotParams:
        """Margins of the axes and spaces between them."""
        return self.figure.subplotpars if self.is_own else self._pars

    def get_size_inches(self) -> tuple[float, float]:
        """Width and height."""
        box = self.figure.bbox
        return float(box.width / self.figure.dpi), float(box.height / self.figure.dpi)

    def subplots_adjust(self, **pars: float) -> None:
        """Move the axes to their places under other parameters."""
        if self.is_own:
            self.figure.subplots_adjust(**pars)
            return
        self._pars.update(**pars)
        for ax in self.axes:
            place = ax.get_subplotspec()
            assert place is not None
            # This also tells another layout engine of the page to leave them where they are.
            ax.set_position(place.get_position(self))  # type: ignore[arg-type]

    def tight_layout(self, **kwargs: Any) -> None:
        """Lay the axes out so that labels just fit, from the same start every time.

        Parameters
        ----------
        **kwargs
            For `matplotlib.figure.Figure.tight_layout`: pad, h_pad, w_pad, rect.
        """
        from matplotlib.layout_engine import TightLayoutEngine

        if self.width_used < 1:
            kwargs.setdefault("rect", (0, 0, self.width_used, 1))
        defaults: Any = mpl.rcParams
        self.subplots_adjust(**{side: float(defaults[f"figure.subplot.{side}"]) for side in _SIDES})
        for ax in self.axes:
            ax.set_in_layout(True)
        TightLayoutEngine(**kwargs).execute(self)  # type: ignore[arg-type]

    def make_room(self, inches: float) -> float:
        """Make room for legends at the right; return by what factor all else becomes narrower.

        A figure of its own grows, and everything in it keeps its size and place. In one that was
        given the grid becomes narrower, when it is laid out next.

        Parameters
        ----------
        inches
            How much more room than before.

        Raises
        ------
        DataValueError
            A ValueError: too little of the figure that was given would be left.
        """
        width, height = self.get_size_inches()
        if not self.is_own:
            left = self.width_used - inches / width
            if left < LEAST_WIDTH:
                raise DataValueError(
                    f"legends need {(1 - left) * width:.1f} of the {width:.1f} inches of the "
                    f"figure that was given, and more than {1 - LEAST_WIDTH:.0%} of it is refused: "
                    "give a wider one, or annotation_legend=False"
                )
            self.width_used = left
            return 1.0
        factor = width / (width + inches)
        pars = self.figure.subplotpars
        left, right = pars.left * factor, pars.right * factor
        self.figure.set_size_inches(width + inches, height)  # type: ignore[union-attr]
        # Spaces between axes are fractions of their widths, so they scale by themselves.
        self.figure.subplots_adjust(left=left, right=right)
        self.width_used *= factor
        return factor

    def discard(self) -> None:
        """Leave nothing behind: no figure of its own, no axes in one that was given."""
        import matplotlib.pyplot as plt

        if self.is_own:
            plt.close(self.figure)  # type: ignore[arg-type]
            return
        for ax in self.axes:
            ax.remove()


def own_region(figsize: tuple[float, float] | None) -> Region:
    """Make a figure that is the grid's alone."""
    # pyplot knows the figure, as users of seaborn expect: plt.show() shows it and plt.close()
    # closes it. No layout engine: one would move the colour bar at every draw.
    import matplotlib.pyplot as plt

    return Region(plt.figure(figsize=figsize, layout="none"), is_own=True)


def region_in(figure: object, figsize: object) -> Region:
    """Take a figure or subfigure that is there.

    Raises
    ------
    DataTypeError
        A TypeError: it is neither.
    DataValueError
        A ValueError: `figsize` is given too, which a figure that is there has already, or the page
        has a tight layout, which would lay out all grids of a page as one.
    """
    from matplotlib.figure import FigureBase
    from matplotlib.layout_engine import TightLayoutEngine

    if not isinstance(figure, FigureBase):
        raise DataTypeError(
            f"figure must be a matplotlib Figure or SubFigure, got {type(figure).__name__}"
        )
    if figsize is not None:
        raise DataValueError(
            f"figsize={figsize} can't be had in a figure that is there: give figsize to it, and "
            "none here"
        )
    region = Region(figure, is_own=False)  # type: ignore[arg-type]
    if isinstance(region.get_layout_engine(), TightLayoutEngine):
        raise DataValueError(
            'layout="tight" of the figure that was given would move the axes of a cluster map '
            'whenever it is drawn: make it with layout="none" or "constrained"'
        )
    return region
