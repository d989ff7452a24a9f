"""Driver: what a reordered matrix and its pyramid mean, compared with the matrix in samples."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from clustergrid.pipeline.pyramids import pyramid_levels
from clustergrid.pipeline.reordered_store import REORDERED
from clustergrid.pipeline.reordering import MATRIX, reordered_dtype
from clustergrid.pipeline.stages import Stages
from clustergrid.storage.arrays import open_array
from clustergrid.storage.pyramid import PARTS, below, halved, level_path
from clustergrid.storage.rundir import RunDirectory
from clustergrid.storage.verify import Damage

__all__ = ["wrong_levels", "wrong_rows"]

_ROWS = 8
_EDGE = 64
_MOST_CELLS = 2**22


def wrong_rows(
    directory: RunDirectory,
    stages: Stages,
    orders: tuple[np.ndarray, np.ndarray],
    random: np.random.Generator,
) -> Iterator[Damage]:
    """Compare some rows with those of the matrix, normalized, which have to be the same bits.

    Parameters
    ----------
    directory, stages
        Of the run.
    orders
        Of the rows and columns, as the trees have them.
    random
        Chooses the rows.
    """
    array = open_array(directory.file(REORDERED), MATRIX)
    n, k = stages.shape
    dtype = reordered_dtype(stages.source.dtype, stages.normalization)
    columns = slice(0, min(k, _MOST_CELLS))
    what = None if (array.shape, array.dtype) == ((n, k), dtype) else "has another shape or type"
    for row in () if what else random.choice(n, size=min(n, _ROWS), replace=False):
        source = slice(int(orders[0][row]), int(orders[0][row]) + 1)
        values = stages.source.read(source, slice(0, k))
        if stages.normalization.axis is not None:
            values = stages.normalization.apply(values, source, slice(0, k))
        expected = values.astype(dtype, copy=False)[0, orders[1][columns]]
        if not np.array_equal(array[int(row), columns], expected, equal_nan=dtype.kind == "f"):
            what = f"row {row} is not that of the matrix in the order of the trees"
            break
    if what:
        file = f"{REORDERED}/{MATRIX}"
        yield Damage(file=file, what=what, stage="reordered", by_meaning=True)


def wrong_levels(directory: RunDirectory, random: np.random.Generator) -> Iterator[Damage]:
    """Make some cells of every level again of the level below it.

    Parameters
    ----------
    directory
        Of the run.
    random
        Chooses the cells.
    """
    group = str(directory.file(REORDERED))
    for level in pyramid_levels(group, MATRIX):
        starts = [int(random.integers(0, max(1, length - _EDGE + 1))) for length in level.shape]
        region = (
            slice(starts[0], min(level.shape[0], starts[0] + _EDGE)),
            slice(starts[1], min(level.shape[1], starts[1] + _EDGE)),
        )
        expected = halved(below(level, region), level.dtype)
        for part in PARTS:
            name = f"{level_path(level.number)}/{part}"
            if not np.array_equal(open_array(group, name)[region], expected[part], equal_nan=True):
                what = "is not what two by two cells of the level below are"
                yield Damage(
                    file=f"{REORDERED}/{name}", what=what, stage="pyramid", by_meaning=True
                )
