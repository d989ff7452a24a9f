"""Driver: how far an engine has come with a tree, told as the note of a stage.

Engines say at every step how many merges are done and how high; a stage makes words of it only
when its listeners are told, a few times a second.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

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


def tell_merges(stage: Stage) -> Report:
    """Return what an engine calls with its merges done, of how many, and the greatest height."""

    def tell(done: int, total: int, height: float) -> None:
        # An engine may begin again after another one gave up.
        stage.advance(max(0, done - stage.done), partial(tree_note, total + 1 - done, height))

    return tell


def tell_reached(stage: Stage, n: int) -> Callable[[Reached], None]:
    """Return what rounds of proved merges on `n` clusters call with where they are."""

    def tell(reached: Reached) -> None:
        where = (reached.phase, reached.share, reached.passes)
        note = partial(tree_note, reached.clusters_left, reached.height, *where)
        stage.advance(n - reached.clusters_left - stage.done, note)

    return tell
