"""Driver: what is fitted to the pixels of a page, on which there may be several cluster maps."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Fitted", "Page"]


class Fitted(Protocol):
    """What is made for a number of pixels, and made again where the figure is saved with more."""

    @property
    def ax(self) -> Axes:
        """The axes it is drawn on; whoever removes these wants no more of it."""

    def fit(self, dpi: float) -> None:
        """Make it for this resolution, unless it is."""

    def snapshot(self) -> Callable[[], None]:
        """Remember it as it is; the function returned brings it back."""


class Page:
    """What is fitted to pixels in a figure, so that any grid of it saves the others' fitted too.

    It is no part of the pickle of a figure, which is a picture as it is.
    """

    def __init__(self) -> None:
        self._fitted: list[Fitted] = []

    def __reduce__(self) -> tuple[type[Page], tuple[()]]:
        return Page, ()

    @classmethod
    def of(cls, figure: Figure) -> Page:
        """Return that of a figure; a new one of a figure that is new, or was cleared."""
        if not figure.axes:
            figure.__dict__["_clustergrid_page"] = cls()
        page: Page = figure.__dict__.setdefault("_clustergrid_page", cls())
        return page

    def add(self, *fitted: Fitted) -> None:
        """Keep what is drawn on the page."""
        self._fitted += fitted

    def remove(self, fitted: Iterable[Fitted]) -> None:
        """Forget what is drawn no more."""
        gone = set(map(id, fitted))
        self._fitted = [each for each in self._fitted if id(each) not in gone]

    def fit(self, dpi: float) -> None:
        """Make all of it for a resolution."""
        for each in self._there():
            each.fit(dpi)

    def snapshot(self) -> Callable[[], None]:
        """Remember all of it; the function returned brings it back."""
        restores = [each.snapshot() for each in self._there()]

        def restore() -> None:
            for one in restores:
                one()

        return restore

    def _there(self) -> list[Fitted]:
        """Of axes that nobody removed; matrices that only the others show are let go."""
        self._fitted = [each for each in self._fitted if _is_drawn(each.ax)]
        return self._fitted


def _is_drawn(ax: Axes) -> bool:
    return ax.figure is not None and ax in ax.figure.axes
