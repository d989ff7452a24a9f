"""Driver: the leaves of a tree put into the best order, as a stage of its own."""

from __future__ import annotations

import numpy as np

from clustergrid.pipeline.execution import available_cores
from clustergrid.pipeline.hierarchy import Duplicates
from clustergrid.pipeline.monitor import Progress
from clustergrid.pipeline.reasons import ordering_reason
from clustergrid.pipeline.tree._distances import Blocks
from clustergrid.pipeline.tree._identical import distinct_tree, turned_like
from clustergrid.pipeline.tree.optimal import optimal_leaf_ordering

__all__ = ["order_leaves"]

_STEPS_A_UNIT = 10**6


def order_leaves(
    linkage: np.ndarray,
    distances: np.ndarray | Blocks,
    duplicates: Duplicates | None = None,
    *,
    threads: int | None = None,
    progress: Progress,
    name: str,
) -> np.ndarray:
    """Swap children of a tree so that neighbouring leaves are nearest in sum.

    Parameters
    ----------
    linkage
        ``(n - 1, 4)``.
    distances
        Those between the observations that are kept, m of them, as `optimal_leaf_ordering` takes
        them: condensed, square, or a function.
    duplicates
        Which of the n observations are kept, and what the others are identical to; None where all
        are. They take neither time nor memory.
    threads
        How many threads of this process work; by default one a core.
    progress, name
        Who is told, and as which stage.

    Returns
    -------
    numpy.ndarray
        ``(n - 1, 4)`` float64: the same tree. The order is the best of all up to
        `MAX_LEAVES_ORDERED_EXACTLY` leaves that differ; of more, see `optimal_leaf_ordering`. It is
        never worse than that of `linkage`.

    Raises
    ------
    DataValueError
        As in `optimal_leaf_ordering`.
    """
    tree = linkage if duplicates is None else distinct_tree(linkage, duplicates)
    why = ordering_reason(len(tree) + 1)
    with progress.stage(name, total=0, unit="million steps", why=why) as stage:

        def tell(done: int, total: int) -> None:
            stage.total = max(1, total // _STEPS_A_UNIT)
            stage.advance(min(done // _STEPS_A_UNIT, stage.total) - stage.done)

        ordered = optimal_leaf_ordering(
            tree, distances, threads=threads or available_cores(), progress=tell
        )
    return ordered if duplicates is None else turned_like(linkage, tree, ordered)
