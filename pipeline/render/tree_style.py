"""Kernel: how a tree is drawn: clusters in colours, and the scale of its heights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from numbers import Integral
from typing import Any

import numpy as np
from matplotlib.colors import is_color_like, to_hex
from numpy.typing import NDArray

from clustergrid.storage.errors import DataTypeError, DataValueError

__all__ = [
    "CLUSTER_COLORS",
    "TREE_SCALES",
    "TreeStyle",
    "drawn_heights",
    "height_limits",
    "own_color",
]

TREE_SCALES = ("linear", "log", "sqrt")

CLUSTER_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito's colours, which people with any colour vision tell apart
(https://jfly.uni-koeln.de/color/), but for black and yellow: the first is the tree's own, thin
lines of the second are hard to see."""

HEADROOM = 1.05
"""Length of the height axis over the greatest height, as in SciPy's own plot."""
_ROOM = 0.05
"""Share of a logarithmic axis below the least height, and above the greatest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeStyle:
    """Colours of a tree's clusters, and the scale of its heights.

    Attributes
    ----------
    color_threshold
        Height from which on links are above the cut, as in `scipy.cluster.hierarchy.dendrogram`.
        What is linked below it gets a colour of the palette, one cluster after another.
    k
        Colour this many clusters instead; those of one leaf have no links.
    palette
        Colours of clusters, used again when there are more clusters.
    above_color
        Colour of links above the cut; by default that of the tree.
    scale
        ``"linear"``, ``"log"`` or ``"sqrt"``. The logarithm of 0 is nowhere: on that scale leaves,
        and merges of height 0, stand a little below the least height that is greater.
    axis
        Whether the heights are written beside the tree.

    Raises
    ------
    DataValueError
        A value makes no sense, or both `color_threshold` and `k` are given.

    Examples
    --------
    >>> TreeStyle.of({"k": 3, "scale": "sqrt"}).k
    3
    """

    color_threshold: float | None = None
    k: int | None = None
    palette: Sequence[Any] = CLUSTER_COLORS
    above_color: Any = None
    scale: str = "linear"
    axis: bool = False

    def __post_init__(self) -> None:
        if self.color_threshold is not None and self.k is not None:
            raise DataValueError("colour clusters below a color_threshold or k of them, not both")
        if self.color_threshold is not None and np.isnan(self.color_threshold):
            raise DataValueError("color_threshold must be a number, got nan")
        if self.k is not None and (not isinstance(self.k, Integral) or self.k < 1):
            raise DataValueError(f"k must be a whole number of clusters, 1 or more, got {self.k}")
        if self.scale not in TREE_SCALES:
            raise DataValueError(
                f"scale of a tree must be one of {', '.join(TREE_SCALES)}, got {self.scale!r}"
            )
        if isinstance(self.palette, str) or not len(self.palette):
            raise DataValueError(f"palette must be a list of colours, got {self.palette!r}")
        for color in (*self.palette, self.above_color):
            if color is not None and not is_color_like(color):
                raise DataValueError(f"palette or above_color has {color!r}, which is not a colour")

    @classmethod
    def of(cls, style: TreeStyle | Mapping[str, Any] | None) -> TreeStyle:
        """Read a style as users give it.

        Raises
        ------
        DataTypeError
            It is neither a style nor a mapping of what a style has.
        """
        if style is None:
            return cls()
        if isinstance(style, TreeStyle):
            return style
        names = [field.name for field in fields(cls)]
        if not isinstance(style, Mapping) or set(style) - set(names):
            raise DataTypeError(
                f"the style of a tree is a TreeStyle or a dict of {', '.join(names)}, got {style!r}"
            )
        return cls(**style)

    @property
    def has_clusters(self) -> bool:
        """Whether clusters have colours."""
        return self.color_threshold is not None or self.k is not None

    def check(self, n: int | None) -> None:
        """Refuse what cannot be done with a tree of n leaves; None where there is no tree.

        Raises
        ------
        DataValueError
            `k` is more than there are leaves.
        """
        if self.k is not None and n is not None and self.k > n:
            raise DataValueError(f"k is {self.k} clusters to colour, of a tree of {n} leaves")

    def above(self, Z: NDArray[np.float64]) -> NDArray[np.bool_]:
        """``(n - 1,)``: which merges are above the cut."""
        n = len(Z) + 1
        if self.k is not None:
            self.check(n)
            return np.arange(n - 1) >= n - self.k
        assert self.color_threshold is not None
        # As SciPy does it.
        return (Z[:, 2] >= self.color_threshold) | (self.color_threshold <= 0)

    def colors(self, clusters: NDArray[np.int64], own: Any) -> list[str]:
        """Colours of links, by their clusters.

        Parameters
        ----------
        clusters
            As `clustergrid.pipeline.tree.orders.link_clusters` numbers them.
        own
            Colour of the tree.
        """
        above = own if self.above_color is None else self.above_color
        # As SciPy has them: names.
        named = [each if isinstance(each, str) else to_hex(each) for each in (*self.palette, above)]
        numbers = np.where(clusters < 0, len(self.palette), clusters % len(self.palette))
        return [named[number] for number in numbers]


def own_color(colors: Any, default: Any) -> Any:
    """Return the one colour of a tree, or a default where its links have several in turn."""
    return colors if is_color_like(colors) else default


def drawn_heights(heights: NDArray[np.float64], scale: str) -> NDArray[np.float64]:
    """Heights as an axis of this scale can show them.

    Examples
    --------
    >>> drawn_heights(np.array([0.0, 1, 4]), "sqrt").tolist()
    [0.0, 1.0, 4.0]
    >>> drawn_heights(np.array([0.0, 1, 100]), "log").round(2).tolist()
    [0.79, 1.0, 100.0]
    """
    if scale != "log":
        return heights
    low, _ = height_limits(heights, scale)
    return np.maximum(heights, low)


def height_limits(heights: NDArray[np.float64], scale: str) -> tuple[float, float]:
    """Return the ends of the height axis: leaves, and a little above the greatest height.

    Examples
    --------
    >>> height_limits(np.array([0.0, 2.0]), "linear")
    (0.0, 2.1)
    >>> height_limits(np.array([0.0, 0.0]), "linear")
    (0.0, 1.0)
    """
    greatest = float(heights.max(initial=0.0))
    if scale != "log":
        # A tree of identical leaves has no height, and an axis needs some.
        return 0.0, greatest * HEADROOM or 1.0
    if greatest <= 0:
        return 0.1, 1.0
    least = float(heights.min(initial=greatest, where=heights > 0))
    room = max((greatest / least) ** _ROOM, HEADROOM)
    return least / room, greatest * room
