"""Driver: the tree of distances at rest that do not fit the memory.

Rounds of merges that lists of near clusters prove, then one square of what is left: see
``docs/method.md``. The distances are read a few times, tile by tile, and nothing is written.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from clustergrid.pipeline.execution import Executor, ThreadsExecutor, available_cores
from clustergrid.pipeline.hierarchy import REDUCIBLE_METHODS, check_method, linkage_matrix
from clustergrid.pipeline.hierarchy.certified import cluster_certified
from clustergrid.pipeline.hierarchy.limits import Limits
from clustergrid.pipeline.hierarchy.source import DistanceSource
from clustergrid.pipeline.monitor import Progress
from clustergrid.pipeline.sizes import format_bytes
from clustergrid.pipeline.stored.memory import StoredMemory
from clustergrid.pipeline.stored.source import StoredSource
from clustergrid.pipeline.tree_progress import tell_reached
from clustergrid.storage.condensed import CondensedDistances
from clustergrid.storage.errors import DataValueError

__all__ = ["refuse_irreducible", "stored_tree"]


def stored_tree(
    distances: CondensedDistances,
    method: str,
    *,
    memory_bytes: int,
    n_neighbors: int | None = None,
    executor: Executor | None = None,
    threads: int | None = None,
    progress: Progress,
    name: str,
    why: str = "",
    recorded: Callable[[DistanceSource], DistanceSource] | None = None,
) -> np.ndarray:
    """Cluster distances at rest, which are read tile by tile.

    Parameters
    ----------
    distances
        At rest, as a store holds them or read from a square or a vector; in memory too.
    method
        Single, complete, average, weighted or ward.
    memory_bytes
        What may be used beside what the process holds already; of more than `useful_bytes` of
        `StoredMemory` nothing follows.
    n_neighbors
        K, how many near clusters are listed; by default 256, or fewer where the memory is small.
        The tree is the same; heights may differ in their last digits.
    executor
        Where lists are made: one task a tile. By default threads of this process.
    threads
        Of this process, that work on tiles, and as many of them as there is room for read them; by
        default one a core. The tree is the same to the bit for any number.
    progress, name, why
        Who is told, as which stage, and why so.
    recorded
        Makes a source of which answers are kept, so that a later run can go on; None: none are.

    Returns
    -------
    numpy.ndarray
        ``(n - 1, 4)`` float64: decisions and heights are in float64, whatever the distances are.

    Raises
    ------
    DataValueError
        The method is centroid or median, or a distance is not finite.
    MemoryLimitError
        It cannot be done in so much memory.
    TileError
        A tile is missing or damaged.

    Examples
    --------
    >>> from clustergrid.pipeline import pdist
    >>> d = pdist([[0.0], [1.0], [5.0]])
    >>> Z = stored_tree(d, "single", memory_bytes=10**8, progress=Progress(), name="linkage")
    >>> Z.tolist()
    [[0.0, 1.0, 1.0, 2.0], [2.0, 3.0, 4.0, 3.0]]
    """
    n = distances.n
    refuse_irreducible(method, n, distances.dtype.itemsize)
    threads = threads or available_cores()
    memory = StoredMemory(
        n=n,
        tile_edge=distances.grid.tile_edge,
        itemsize=distances.dtype.itemsize,
    )
    memory_bytes = min(memory_bytes, memory.useful_bytes)
    if n_neighbors is None:
        memory = memory.shortened(memory_bytes)
    else:
        memory = replace(memory, n_neighbors=n_neighbors).with_fewer_readers(memory_bytes)
    listing_bytes = memory.listing_bytes(memory_bytes)
    limits = Limits(
        most_clusters=memory.most_clusters(memory_bytes),
        n_neighbors=memory.n_neighbors,
        rows_bytes=memory.rows_bytes(memory_bytes),
        listing_bytes=listing_bytes,
        threads=threads,
    )
    source = StoredSource(
        distances,
        executor=executor or ThreadsExecutor(min(threads, memory.tasks(memory_bytes))),
        threads=threads,
        readers=memory.readers,
        listing_bytes=listing_bytes,
    )
    with progress.stage(name, total=max(1, n - 1), unit="merges", why=why) as stage:
        merges = cluster_certified(
            source if recorded is None else recorded(source),
            method,
            limits=limits,
            progress=tell_reached(stage, n),
        )
    return linkage_matrix(merges, n)


def refuse_irreducible(method: str, n: int, itemsize: int) -> None:
    """Refuse the methods that need all distances in memory.

    Raises
    ------
    DataValueError
        The method is centroid or median, or there is none of that name.

    Examples
    --------
    >>> refuse_irreducible("centroid", 60_000, 4)
    Traceback (most recent call last):
    ...
    clustergrid.storage.errors.DataValueError: centroid linkage of 60,000 observations needs the ...
    """
    if check_method(method) not in REDUCIBLE_METHODS:
        raise DataValueError(
            f"{method} linkage of {n:,} observations needs the square of their distances in memory "
            f"({format_bytes(n * n * itemsize)}), because a merge may bring its cluster nearer to "
            "others, so that no list of near ones proves anything. Give so much memory; or, of "
            "Euclidean distances, the rows with engine='data'; or use one of "
            f"{', '.join(REDUCIBLE_METHODS)}"
        )
