"""Driver: how far an engine has come with a tree, told as the note of a stage.

Engines say at every step how many merges are done and how high; a stage makes words of it only
when its listeners are told, a few times a second.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from clustergrid.pipeline import monitor
from clustergrid.pipeline.monitor import Stage

if TYPE_CHECKING:
    from clustergrid.pipeline.hierarchy._record import Report
    from clustergrid.pipeline.hierarchy.reached import Reached

__all__ = ["tell_merges", "tell_reached", "tree_note"]


def tree_note(
    clusters_left: int, height: float, phase: str = "", share: float = 0.0, passes: float = 0.0
) -> str:
    """Say how far a tree is, always in this form.

    Parameters
    ----------
    clusters_left
        That are not merged yet.
    height
        That was reached; 0 where nothing was merged.
    phase, share
        Which part of the work it is, where there are several; how much of it is done, between 0
        and 1, where that is known.
    passes
        How many distances between points were asked for, in units of all there are; 0 where
        they are not counted.

    Examples
    --------
    >>> tree_note(1234, 3.2149)
    '1,234 clusters left, height 3.215'
    >>> tree_note(20_000, 0.0, "lists", 0.375), tree_note(1, 7.0, "square")
    ('lists 38 %: 20,000 clusters left', 'square: 1 cluster left, height 7')
    >>> tree_note(5678, 2.0, "rounds", passes=1.04)
    'rounds: 5,678 clusters left, height 2, 1.0 passes'
    """
    where = f"{phase} {100 * share:.0f} %: " if share else f"{phase}: " if phase else ""
    left = f"{clusters_left:,} cluster{'' if clusters_left == 1 else 's'} left"
    reached = f", height {height:.4g}" if height else ""
    return where + left + reached + (f", {passes:.1f} passes" if passes >= 0.05 else "")


def _reached(clusters_left: int, height: float, *rest: Any) -> monitor.Reached:
    """Say it in words and in numbers."""
    return monitor.Reached(
        note=tree_note(clusters_left, height, *rest),
        clusters_left=int(clusters_left),
        height=float(height),
    )


def tell_merges(stage: Stage) -> Report:
    """Return what an engine calls with its merges done, of how many, and the greatest height."""

    def tell(done: int, total: int, height: float) -> None:
        # An engine may begin again after another one gave up.
        stage.advance(max(0, done - stage.done), partial(_reached, total + 1 - done, height))

    return tell


_NEXT = {
    "rescan": "new lists, of clusters that others wait for",
    "chain": "a chain of nearest neighbours on rows of distances, until a square fits",
    "contraction": "the square of the distances between the clusters that are left",
}
_FEWEST_DONE = 0.02
"""Share of a phase from which on its pace says something."""


class _Clock:
    """Reckons how long a tree by rounds will take yet, as far as that is known.

    Of the phase that it is in what its pace says; and of the square that follows, whose distances
    are a pass as the lists were, as long as these took. Whether lists will be made anew nobody
    knows before.
    """

    def __init__(self) -> None:
        self._phase, self._began = "", time.monotonic()
        self._pass_seconds: float | None = None
        self._share = 0.0

    def enter(self, phase: str, share: float) -> bool:
        """Note where the tree is; return whether that is another phase."""
        self._share = share
        if phase == self._phase:
            return False
        now = time.monotonic()
        if self._phase == "lists":
            self._pass_seconds = now - self._began
        self._phase, self._began = phase, now
        return True

    def seconds_left(self) -> float | None:
        """Say how many seconds are left; None where nobody knows."""
        elapsed, share = time.monotonic() - self._began, self._share
        is_paced = share >= _FEWEST_DONE
        of_phase = elapsed * (1 - share) / share if is_paced else None
        if self._phase == "lists":
            return None if of_phase is None else of_phase + elapsed / share
        if self._phase == "rounds":
            return self._pass_seconds
        if self._phase in ("contraction", "square"):
            return of_phase if is_paced else self._pass_seconds
        if of_phase is None or self._pass_seconds is None:
            return None
        return of_phase + self._pass_seconds


def tell_reached(stage: Stage, n: int) -> Callable[[Reached], None]:
    """Return what rounds of proved merges on `n` clusters call with where they are.

    Where lists make no more progress it tells what comes next, and why, as news.
    """
    clock = _Clock()

    def tell(reached: Reached) -> None:
        where = (reached.phase, reached.share, reached.passes)
        note = partial(_reached, reached.clusters_left, reached.height, *where)
        is_other = clock.enter(reached.phase, reached.share)
        stage.advance(n - reached.clusters_left - stage.done, note, clock.seconds_left)
        if is_other and reached.phase in _NEXT:
            stage.tell("running", _news(reached), is_news=True)

    return tell


def _news(reached: Reached) -> str:
    """Say what comes next, and why."""
    return (
        f"{reached.clusters_left:,} clusters left; next: {_NEXT[reached.phase]}, because "
        f"{reached.why}"
    )
