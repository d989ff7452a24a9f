"""Plan: the stages of a matrix that is written in clustered order, and of its pyramid."""

from __future__ import annotations

from collections.abc import Iterator

from clustergrid.pipeline.estimate import StageWork
from clustergrid.pipeline.footprint import Ground
from clustergrid.pipeline.picture_memory import pyramid_footprint, reorder_footprint, reorder_plan
from clustergrid.pipeline.planned import StagePlan
from clustergrid.storage.pyramid_plan import TILE, levels, pyramid_cells

__all__ = ["reordered_stages"]

_MOVE_STEPS = 30
"""Of a value: it is taken apart and put together, from where it lies to where it belongs."""
_HALVE_STEPS = 60
"""Of a value that is put together with three others."""
_ARRAYS = 3
"""Of a level, with values like those of the matrix; the fourth are counts."""
_COUNT_BYTES = 8


def reordered_stages(
    ground: Ground, stored_bytes: int, itemsize: int, *, level_itemsize: int, pyramid: bool
) -> Iterator[StagePlan]:
    """Plan the writing of the reordered matrix.

    Parameters
    ----------
    ground
        What is there in every stage.
    stored_bytes
        Of the matrix, where it is read from the store.
    itemsize, level_itemsize
        Bytes of a value that is written, of the matrix and of the levels above it.
    pyramid
        Whether levels of lower resolution follow.
    """
    plan = reorder_plan(ground, itemsize)
    size, cells = plan.scratch_bytes, ground.matrix.values
    yield StagePlan(
        name="reordered",
        engine="two passes",
        reason="blocks are taken apart into pieces, and these put together as chunks",
        tasks=plan.n_blocks + plan.n_regions,
        bytes_read=stored_bytes + size,
        bytes_written=2 * size,
        scratch_bytes=size,
        footprint=reorder_footprint(ground, itemsize),
        work=StageWork(
            steps=_MOVE_STEPS * cells,
            decoded_bytes=stored_bytes,
            again_bytes=stored_bytes + size,
            matrix_bytes=max(stored_bytes, size),
            raw_bytes=size,
            encoded_bytes=size,
            disk_written_bytes=2 * size,
        ),
    )
    if not pyramid:
        return
    above = pyramid_cells(ground.matrix.shape)
    written = above * (_ARRAYS * level_itemsize + _COUNT_BYTES)
    yield StagePlan(
        name="pyramid",
        engine="levels",
        reason="mean, minimum, maximum and count of two by two cells, level by level",
        tasks=sum(
            -(-rows // TILE) * -(-columns // TILE) for rows, columns in levels(ground.matrix.shape)
        ),
        bytes_read=size + written,
        bytes_written=written,
        footprint=pyramid_footprint(ground, itemsize),
        work=StageWork(
            steps=_HALVE_STEPS * (cells + above),
            decoded_bytes=size + written,
            again_bytes=size + written,
            matrix_bytes=size,
            encoded_bytes=written,
            disk_written_bytes=written,
        ),
    )
