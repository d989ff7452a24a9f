"""Driver: the distances of one tile, by the engine that `engine_for` chose.

A task reads two slabs of rows, makes operands of them, and walks the features in slabs and the
pairs in blocks of `BLOCK_ROWS`, both counted from the matrix's corner. Tiles are multiples of a
block, so a distance is computed by the very same calls whichever tile it falls into.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from clustergrid.pipeline.engines.base import BlockEngine, Place, UndefinedPairError
from clustergrid.pipeline.engines.counts import Counts
from clustergrid.pipeline.engines.direct import Direct
from clustergrid.pipeline.engines.given import DistanceInput, RecentOperands, blocks_of, loaded
from clustergrid.pipeline.engines.missing import missing_tile
from clustergrid.pipeline.engines.pairwise import function_tile, scipy_tile
from clustergrid.pipeline.engines.product import Products
from clustergrid.pipeline.engines.sparse import sparse_tile
from clustergrid.pipeline.execution import end_if_stopped
from clustergrid.storage.grid import BLOCK_ROWS, slabs

__all__ = ["DistanceInput", "tile_distances"]

_BLOCK_ENGINES: dict[str, type[BlockEngine]] = {
    "product": Products,
    "counts": Counts,
    "direct": Direct,
}


_WHOLE_TILES = {
    "scipy": scipy_tile,
    "missing": missing_tile,
    "function": function_tile,
}


def tile_distances(
    given: DistanceInput, rows: slice, columns: slice, out: np.ndarray | None = None
) -> np.ndarray:
    """Distances between two ranges of observations.

    Parameters
    ----------
    given
        The matrix and the metric.
    rows, columns
        Ranges that start at multiples of `BLOCK_ROWS`, with ``rows`` equal to ``columns`` or
        before it.
    out
        Where to write them: C-contiguous, of the input's dtype, at least as large as the tile.

    Returns
    -------
    numpy.ndarray
        ``(rows, columns)``, in the input's dtype; symmetric where both are the same range. A view
        of `out`, if that is given.

    Raises
    ------
    UndefinedPairError
        A ValueError: a distance is not finite.
    """
    height, width = rows.stop - rows.start, columns.stop - columns.start
    if out is None:
        out = np.empty((height, width), dtype=given.dtype)
    recent = given.recent
    if given.sparse is None and (given.is_whole or given.compressed is not None):
        given = loaded(given, rows, columns)
    distances = out[:height, :width]
    if given.sparse is not None:
        sparse_tile(given.sparse, rows, columns, out)
        is_finite = bool(np.isfinite(distances).all())
    elif given.engine in _WHOLE_TILES:
        distances[:] = _WHOLE_TILES[given.engine](given, rows, columns)
        is_finite = bool(np.isfinite(distances).all())
    else:
        is_finite = _by_blocks(_BLOCK_ENGINES[given.engine](given), recent, rows, columns, out)
    if rows == columns:
        _mirror(distances)
    if not is_finite:
        _refuse_not_finite(given, distances, rows, columns)
    return distances


def _by_blocks(
    engine: BlockEngine, recent: RecentOperands, rows: slice, columns: slice, out: np.ndarray
) -> bool:
    """Walk the slabs of features and the blocks of pairs; say whether all distances are finite."""
    places = list(_places(rows, columns, out))
    all_features = engine.given.slabs()
    accumulators: dict[tuple[int, int], np.ndarray] = {}
    is_finite = True
    for features in all_features:
        make = partial(engine.operand, features=features)
        is_kept = engine.given.is_whole and engine.has_pure_operands
        kept = recent if is_kept else RecentOperands()
        left, right = kept.of_tile(rows, columns, make)
        turned = None
        for place in places:
            end_if_stopped()
            if turned is None or place.columns.start != turned[0]:
                turned = place.columns.start, engine.turned(right[place.columns.start])
            corner = place.top, place.left
            if features.start == 0:
                accumulators[corner] = engine.accumulators(*place.block.shape)
            engine.add(left[place.rows.start], turned[1], accumulators[corner], features)
            if features is all_features[-1]:
                # Where all features are held at once, so that blocks share their accumulators.
                is_finite &= engine.finish(accumulators.pop(corner), place)
    return is_finite


def _places(rows: slice, columns: slice, out: np.ndarray) -> Iterator[Place]:
    """Blocks of a tile, column by column; of a diagonal tile those on and above the diagonal."""
    for right in blocks_of(columns):
        for left in blocks_of(rows):
            if rows != columns or left.start <= right.start:
                yield Place(
                    rows=left,
                    columns=right,
                    out=out,
                    top=left.start - rows.start,
                    left=right.start - columns.start,
                )


def _mirror(square: np.ndarray) -> None:
    """Copy the upper triangle to the lower one, and put zeros on the diagonal."""
    n = len(square)
    for block in slabs(n, BLOCK_ROWS):
        square[block.stop :, block] = square[block, block.stop :].T
        corner = square[block, block]
        upper = np.triu(corner, 1)
        corner[:] = upper + upper.T


def _refuse_not_finite(
    given: DistanceInput, distances: np.ndarray, rows: slice, columns: slice
) -> None:
    bad = np.argwhere(~np.isfinite(distances))
    if len(bad):
        i, j = (int(index) for index in bad[0])
        raise UndefinedPairError(
            (rows.start + i, columns.start + j),
            f"are at distance {distances[i, j]}, and the condensed distance matrix must contain "
            f"only finite values: {given.metric.name} is not defined there, or overflows "
            f"{given.dtype}. Drop one of them, or choose another metric",
        )
