"""Driver: from distances in memory to SciPy's linkage matrix, by the engine that was chosen."""

from __future__ import annotations

import numpy as np

from clustergrid.pipeline.distance import read_square
from clustergrid.pipeline.errors import MemoryLimitError
from clustergrid.pipeline.execution import available_cores
from clustergrid.pipeline.hierarchy import (
    REDUCIBLE_METHODS,
    Duplicates,
    cluster_condensed,
    cluster_square,
    linkage_matrix,
    small_linkage,
    weigh_identical,
)
from clustergrid.pipeline.hierarchy._square import n_observations
from clustergrid.pipeline.hierarchy.certified import Limits, cluster_certified
from clustergrid.pipeline.hierarchy.condensed import CondensedSource
from clustergrid.pipeline.hierarchy.proved import NegativeDistanceError
from clustergrid.pipeline.hierarchy.small import condensed_of, scipy_bytes
from clustergrid.pipeline.monitor import Progress
from clustergrid.pipeline.ordering import order_leaves
from clustergrid.pipeline.sizes import format_bytes
from clustergrid.pipeline.tree.optimal import ordering_bytes
from clustergrid.pipeline.tree_engine import (
    condensed_engine,
    linkage_choice,
    refuse_ordered_tiles,
    tiles_choice,
    tiles_engines,
)
from clustergrid.pipeline.tree_progress import tell_merges, tell_reached
from clustergrid.storage.condensed import CondensedDistances

__all__ = ["condensed_tree", "merge_square", "tiles_tree"]

_BESIDE_SHARE = 1.15
"""Memory beside a condensed matrix, by its bytes: lists, and the square of what rounds leave."""


def merge_square(
    square: np.ndarray,
    method: str,
    duplicates: Duplicates | None,
    n: int,
    *,
    engine: str,
    progress: Progress,
    name: str,
) -> np.ndarray:
    """Cluster a square matrix of distances, which is worked on in place and destroyed.

    Parameters
    ----------
    square
        ``(m, m)`` distances between the observations that are kept.
    method
        The linkage method.
    duplicates
        Which observations are kept, and what the others are identical to; None where all are.
    n
        Number of observations, duplicates included.
    engine
        ``scipy``, which takes all observations, or ``square``.
    progress, name
        Who is told, and as which stage.

    Returns
    -------
    numpy.ndarray
        ``(n - 1, 4)`` float64.
    """
    why = linkage_choice(engine, method, square.nbytes)
    with progress.stage(name, total=len(square) - 1, unit="merges", why=why) as stage:
        if engine == "scipy":
            return small_linkage(square, method)
        start = None if duplicates is None else duplicates.start
        if start is not None:
            weigh_identical(square, method, start.sizes)
        merges = cluster_square(
            square,
            method,
            start=start,
            threads=available_cores(),
            progress=tell_merges(stage),
        )
    return linkage_matrix(merges, n, duplicates=duplicates, monotonic=method in REDUCIBLE_METHODS)


def condensed_tree(
    condensed: np.ndarray,
    method: str,
    *,
    engine: str | None,
    memory_bytes: int,
    progress: Progress,
    name: str,
) -> np.ndarray:
    """Cluster a condensed distance matrix, which is left as it is.

    Parameters
    ----------
    condensed
        ``(n (n - 1) / 2,)`` float32 or float64, C-contiguous.
    method
        The linkage method.
    engine
        The user's choice: ``scipy``, ``condensed``, ``square``, or None.
    memory_bytes
        What may be used beside the matrix. Rounds on it take no more than it takes itself, and
        some 15 % on top.
    progress, name
        Who is told, and as which stage.

    Returns
    -------
    numpy.ndarray
        ``(n - 1, 4)`` float64.

    Raises
    ------
    DataValueError
        No number of observations has that many distances, or one is not finite; or, of ward with
        ``engine="condensed"``, negative.
    MemoryLimitError
        The square, what SciPy takes, or lists of near observations, do not fit.
    """
    n = n_observations(condensed)
    chosen = condensed_engine(engine, method, n)
    _refuse_large(chosen, condensed, memory_bytes, method)
    why = linkage_choice(chosen, method, n * n * condensed.itemsize)
    with progress.stage(name, total=max(1, n - 1), unit="merges", why=why) as stage:
        if chosen == "scipy":
            return small_linkage(condensed, method)
        if chosen == "condensed":
            try:
                merges = cluster_certified(
                    CondensedSource(condensed, threads=available_cores()),
                    method,
                    limits=_limits_beside(condensed.nbytes, n, memory_bytes),
                    progress=tell_reached(stage, n),
                )
            except NegativeDistanceError:
                if engine is not None:
                    raise
                # As SciPy takes them, in its order; which a square does.
                chosen = "square"
                _refuse_large(chosen, condensed, memory_bytes, method)
                instead = linkage_choice(chosen, method, n * n * condensed.itemsize)
                stage.tell("running", f"a distance is negative: {instead}", is_news=True)
        if chosen == "square":
            merges = cluster_condensed(
                condensed, method, threads=available_cores(), progress=tell_merges(stage)
            )
    return linkage_matrix(merges, n, monotonic=method in REDUCIBLE_METHODS)


def _limits_beside(condensed_bytes: int, n: int, memory_bytes: int) -> Limits:
    """Let rounds on a condensed matrix take about as much as that; lists of few points take more.

    Of enough memory they know nothing, so that the tree does not.
    """
    wanted = int(_BESIDE_SHARE * condensed_bytes)
    useful = max(wanted, Limits.least_bytes(n))
    return Limits.within(min(useful, memory_bytes), n=n, threads=available_cores())


def tiles_tree(
    distances: CondensedDistances,
    method: str,
    *,
    engine: str | None,
    optimal_ordering: bool,
    memory_bytes: int,
    progress: Progress,
    name: str,
) -> np.ndarray:
    """Cluster the tiles of a condensed distance matrix.

    Parameters
    ----------
    distances
        In memory or at rest; left as they are.
    method
        The linkage method.
    engine
        The user's choice: ``scipy``; ``square``, into which tiles are read; ``tiles``, which are
        read a few times, and no square is made of all; or None, for what `tiles_engines` says.
    optimal_ordering
        Whether leaves are turned so that neighbours are near.
    memory_bytes
        What may be used beside what the process holds already.
    progress, name
        Who is told, and as which stage; ordering is one of its own, ``"ordering"``.

    Returns
    -------
    numpy.ndarray
        ``(n - 1, 4)`` float64.

    Raises
    ------
    MemoryLimitError
        The square, or what ordering takes, does not fit.
    DataValueError
        The engine works on something else.
    """
    n, itemsize = distances.n, distances.dtype.itemsize
    chosen, *others = tiles_engines(engine, method, n, is_ordered=optimal_ordering)
    if chosen == "square" and "tiles" in others and n * n * itemsize > memory_bytes:
        chosen = "tiles"
    if chosen == "tiles":
        if optimal_ordering:
            refuse_ordered_tiles()
        from clustergrid.pipeline.stored.tree import stored_tree

        return stored_tree(
            distances,
            method,
            memory_bytes=memory_bytes,
            progress=progress,
            name=name,
            why=tiles_choice(),
        )
    square_bytes = n * n * itemsize
    if chosen == "scipy":
        _refuse_large_scipy(n, square_bytes, memory_bytes, is_copied=True)
    _refuse_large_square(n, itemsize, memory_bytes, optimal_ordering, method)
    square = read_square(distances, np.arange(n), progress=progress, name="read")
    condensed = condensed_of(square, square.dtype) if optimal_ordering else None
    tree = merge_square(square, method, None, n, engine=chosen, progress=progress, name=name)
    del square  # which is as large as what ordering takes
    if condensed is None:
        return tree
    return order_leaves(tree, condensed, progress=progress, name="ordering")


def _refuse_large(engine: str, condensed: np.ndarray, limit_bytes: int, method: str) -> None:
    """Refuse what an engine takes beside a condensed matrix, where it does not fit."""
    n = n_observations(condensed)
    if engine == "square":
        _refuse_large_square(n, condensed.itemsize, limit_bytes, False, method)
    if engine == "scipy":
        _refuse_large_scipy(n, 0, limit_bytes, is_copied=condensed.dtype != np.float64)


def _refuse_large_scipy(n: int, held_bytes: int, limit_bytes: int, *, is_copied: bool) -> None:
    needed = held_bytes + scipy_bytes(n, is_copied=is_copied)
    if needed > limit_bytes:
        raise MemoryLimitError(
            f"SciPy's tree of {n:,} observations takes {format_bytes(needed)} of memory, and "
            f"{format_bytes(limit_bytes)} may be used. Give that much, or take engine='square'.",
            needed_bytes=needed,
            limit_bytes=limit_bytes,
        )


def _refuse_large_square(
    n: int, itemsize: int, limit_bytes: int, optimal_ordering: bool, method: str
) -> None:
    square = n * n * itemsize
    needed, what, instead = square, f"the square matrix of {n:,} observations takes", "use float32"
    if optimal_ordering:
        needed = square // 2 + max(square, ordering_bytes(n))
        what = f"the square matrix of {n:,} observations, and ordering them optimally, take"
        instead = "leave optimal_ordering off"
    if method in REDUCIBLE_METHODS and not optimal_ordering:
        instead += ", or give tiles (of pdist) and engine='tiles', or the rows and engine='data'"
    if needed > limit_bytes:
        raise MemoryLimitError(
            f"{what} {format_bytes(needed)} of memory, and {format_bytes(limit_bytes)} may be used."
            f" Give that much, or {instead}.",
            needed_bytes=needed,
            limit_bytes=limit_bytes,
        )
