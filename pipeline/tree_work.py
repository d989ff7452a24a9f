"""Plan: what trees and the orders of their leaves have to do, for the estimate of their seconds."""

from __future__ import annotations

from dataclasses import replace

from clustergrid.pipeline.estimate import StageWork
from clustergrid.pipeline.hierarchy.methods import REDUCIBLE_METHODS
from clustergrid.pipeline.metrics import SMALL_OBSERVATIONS
from clustergrid.pipeline.spec import AxisSpec
from clustergrid.pipeline.tree.optimal import leaves_ordered_at_once, ordering_bytes

__all__ = [
    "centroid_work",
    "linkage_work",
    "ordering_work",
    "resting_work",
    "row_tree_work",
    "tile_tree_work",
]

# Steps of one value, pair or row, measured where a step took 0.17 ns; see ``estimate.py``.
_DIGEST_STEPS = 60
_FILL_STEPS = 40
_CHAIN_STEPS = 40
_SPANNING_STEPS = 8
_MINIMA_STEPS = 40
_CENTROID_STEPS = 2
_SIFT_STEPS, _DIFFERENCE_STEPS = 8, 0.5
"""Of a product that says what is not near, and of a feature of a pair's squared distance."""
_ROUNDS_STEPS = 400_000
"""Of a row whose list is merged and rewritten, in all rounds."""
_SMALL_TREE_STEPS = 130
_ORDERING_STEPS = 130
"""Of optimal ordering, a leaf times a leaf of its problem; more where trees are like chains."""


def linkage_work(
    spec: AxisSpec, n: int, k: int, *, itemsize: int, tiles_bytes: int, matrix_bytes: int
) -> StageWork:
    """Of a tree: duplicates are looked for, tiles become a square, and that is merged.

    Parameters
    ----------
    spec, n, k
        What is computed.
    itemsize
        Bytes of a distance.
    tiles_bytes, matrix_bytes
        From the store; 0 where they are in memory.
    """
    is_small = n <= SMALL_OBSERVATIONS
    if is_small:
        merging = _SMALL_TREE_STEPS
    elif spec.method == "single":
        merging = _SPANNING_STEPS
    else:
        merging = _CHAIN_STEPS if spec.method in REDUCIBLE_METHODS else _MINIMA_STEPS
    return StageWork(
        steps=0 if is_small else _DIGEST_STEPS * n * k,
        decoded_bytes=0 if is_small else matrix_bytes,
        again_bytes=0 if is_small else matrix_bytes,
        matrix_bytes=matrix_bytes,
        driver_decoded_bytes=tiles_bytes,
        driver_shared_steps=_FILL_STEPS * n * n / 2,
        disk_read_bytes=tiles_bytes,
        fresh_bytes=n * n * itemsize if tiles_bytes else 0,
        driver_steps=merging * float(n) * n,
    )


def ordering_work(n: int) -> StageWork:
    """Of the best order of the leaves, by the threads of the driver's process."""
    at_once = leaves_ordered_at_once(n)
    return StageWork(
        driver_shared_steps=_ORDERING_STEPS * float(n) * at_once,
        fresh_bytes=ordering_bytes(n),
    )


def centroid_work(n: int, k: int) -> StageWork:
    """Of a tree of centroids: every merge looks at what is near, from panels of all points."""
    return StageWork(steps=_CENTROID_STEPS * float(n) * n * k)


def row_tree_work(
    distances: StageWork,
    n: int,
    k: int,
    *,
    is_by_products: bool,
    passes: float,
    most_clusters: int,
) -> StageWork:
    """Of a tree by rounds: lists compare all rows with all, the square each pair once more.

    Parameters
    ----------
    distances
        Of the distances of each pair, none of them kept.
    n, k
        Observations and features.
    is_by_products
        Whether products in single precision say what is not near: one for the lists of both.
    passes
        How often all distances are computed; lists are one of them.
    most_clusters
        How many clusters may be left for the square of their distances.
    """
    driver_steps = distances.driver_steps + _ROUNDS_STEPS * n + _square_steps(n, most_clusters)
    if is_by_products:
        pairs = float(n) * n / 2
        return replace(
            distances,
            product_operations=2.0 * pairs * k,
            product_itemsize=4,
            steps=pairs * (_SIFT_STEPS + _DIFFERENCE_STEPS * k * (passes - 1.0)),
            fresh_bytes=0,
            driver_steps=driver_steps,
        )
    # Rows are gathered anew for each block, and lists take what is near.
    times = passes + 1.0
    return replace(
        distances,
        product_operations=times * distances.product_operations,
        steps=times * distances.steps,
        fresh_bytes=0,
        driver_steps=driver_steps,
    )


def resting_work(work: StageWork, *, rest_bytes: int, read_bytes: int) -> StageWork:
    """Of the same tree, whose rows are put at rest, and read from there.

    Parameters
    ----------
    work
        Of the tree.
    rest_bytes, read_bytes
        That are written, and that are read of them, again and again.
    """
    return replace(
        work,
        raw_bytes=work.raw_bytes + rest_bytes,
        disk_written_bytes=work.disk_written_bytes + rest_bytes,
        decoded_bytes=work.decoded_bytes + read_bytes,
        again_bytes=work.again_bytes + read_bytes,
        matrix_bytes=max(work.matrix_bytes, float(rest_bytes)),
    )


def tile_tree_work(n: int, *, passes: float, tiles_bytes: int, most_clusters: int) -> StageWork:
    """Of a tree by rounds on tiles, which the driver's process reads a few times.

    Parameters
    ----------
    n
        Observations.
    passes
        How often all tiles are read.
    tiles_bytes
        Of all of them in the store; 0 where they are in memory.
    most_clusters
        As of `row_tree_work`.
    """
    read = passes * tiles_bytes
    return StageWork(
        driver_shared_steps=passes * _FILL_STEPS * float(n) * n / 2,
        driver_decoded_bytes=read,
        again_bytes=read,
        matrix_bytes=tiles_bytes,
        driver_steps=_ROUNDS_STEPS * float(n) + _square_steps(n, most_clusters),
    )


def _square_steps(n: int, most_clusters: int) -> float:
    """Of the square of the clusters that are left: so many, or half of all."""
    left = min(most_clusters, n / 2)
    return _CHAIN_STEPS * left * left
