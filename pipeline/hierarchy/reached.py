"""Kernel helper: how far a tree has come, and who is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

__all__ = ["Progress", "Reached", "Report"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """How far rounds, and what comes after them, have come.

    Attributes
    ----------
    phase
        ``"lists"``, ``"rounds"``, ``"rescan"``, ``"chain"``, ``"contraction"`` or ``"square"``.
    share
        Of the phase, between 0 and 1; that of rounds is not known, and 0.
    clusters_left
        Clusters not merged yet.
    height
        Whatever is lower in the tree is done; in the chain and in the square, where merges are in
        no order, the greatest height so far.
    passes
        Distances between points that the source was asked for, in units of all there are.
    why
        Of ``"rescan"``, ``"chain"`` and ``"contraction"``: why rounds ended, in words that follow
        "because".
    """

    phase: str
    share: float
    clusters_left: int
    height: float
    passes: float
    why: str = ""


Progress: TypeAlias = Callable[[Reached], None]


class Report:
    """Tells how far the work has come; remembers what the next call does not say.

    Parameters
    ----------
    progress
        Who is told. What it raises ends the work.
    n
        Points of the source.

    Attributes
    ----------
    clusters_left, height
        As in `Reached`.
    distances
        Between points, that the source was asked for.
    why
        Why rounds ended, once they did.
    """

    def __init__(self, progress: Progress | None, n: int) -> None:
        self._progress = progress
        self._pass = max(1, n * (n - 1) // 2)
        self.clusters_left = n
        self.height = 0.0
        self.distances = 0
        self.why = ""

    @property
    def passes(self) -> float:
        """`distances`, in passes over all that there are."""
        return self.distances / self._pass

    def __call__(self, phase: str, share: float) -> None:
        """Tell of a phase, and how much of it is done."""
        if self._progress is not None:
            self._progress(
                Reached(
                    phase=phase,
                    share=share,
                    clusters_left=self.clusters_left,
                    height=self.height,
                    passes=self.passes,
                    why=self.why,
                )
            )

    def tell_square(self, done: int, total: int, height: float) -> None:
        """Tell of the square's engine, whose clusters end in one."""
        self.height = max(self.height, height)
        self.clusters_left = total + 1 - done
        self("square", done / total)
