"""Driver: the stages of a run, which keep what they made in its directory and find it again."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from clustergrid.pipeline.distance import write_distances
from clustergrid.pipeline.downsample import ReducedImage
from clustergrid.pipeline.execution import available_cores
from clustergrid.pipeline.spec import AXIS_NAMES
from clustergrid.pipeline.stages import Stages
from clustergrid.pipeline.tiles import DistanceInput
from clustergrid.storage.arrays import create_array, open_array, write_block
from clustergrid.storage.chunks import damaged_chunks
from clustergrid.storage.condensed import CondensedDistances, create_condensed, open_condensed
from clustergrid.storage.errors import StorageError
from clustergrid.storage.grid import TriangleGrid
from clustergrid.storage.rundir import RunDirectory, stage_key

__all__ = ["RunStages", "array_digest"]


_IMAGE = ("image", "image_row_edges", "image_column_edges")


def array_digest(*arrays: np.ndarray | None) -> str:
    """Digest of some arrays' bytes, to make keys of.

    Examples
    --------
    >>> array_digest(np.arange(3)) == array_digest(np.arange(3), None)
    False
    """
    digest = hashlib.sha256()
    for array in arrays:
        if array is None:
            digest.update(b"none")
        else:
            digest.update(f"{array.dtype.str}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


class RunStages(Stages):
    """Stages whose distances, limits and image are kept in a run directory.

    Parameters
    ----------
    directory
        The run directory, locked.
    key
        Of the matrix and its normalization.
    *args, **kwargs
        As of `Stages`; the store is the run directory's.
    """

    def __init__(self, directory: RunDirectory, key: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, store=directory.arrays, **kwargs)
        self.key = key
        self._directory = directory

    def _stored_distances(
        self, axis: int, given: DistanceInput, grid: TriangleGrid
    ) -> CondensedDistances:
        """Compute the tiles that no earlier run left whole."""
        name = AXIS_NAMES[axis]
        stage, path = f"distance-{name}", f"condensed_{name}"
        key = stage_key(
            matrix=self.key, axis=name, metric=given.metric, engine=given.engine, dtype=given.dtype
        )
        condensed, kept = self._kept_tiles(stage, key, path, grid)
        if condensed is not None and len(kept) == condensed.grid.n_tiles:
            self._progress.kept(stage)
        else:
            self._directory.begin_pieces(stage, key, kept)
            if condensed is None or not kept:
                condensed = create_condensed(
                    self._directory.arrays,
                    path,
                    n=grid.n,
                    tile_edge=grid.tile_edge,
                    dtype=self.dtype,
                    overwrite=True,
                )
            write_distances(
                given,
                condensed,
                self._directory.arrays,
                path,
                finished=kept,
                on_tile=lambda piece: self._directory.record_piece(stage, key, piece),
                executor=self.executor,
                progress=self._progress,
                name=stage,
            )
        self._directory.finish(stage, key, arrays=[("arrays.zarr", path)])
        return open_condensed(self._directory.arrays, path)

    def _kept_tiles(
        self, stage: str, key: str, path: str, grid: TriangleGrid
    ) -> tuple[CondensedDistances | None, frozenset[int]]:
        """Tiles of an earlier run that are whole; values do not depend on how they were cut."""
        entry = self._directory.state["stages"].get(stage)
        is_finished = entry is not None and entry["key"] == key
        noted = self._directory.pieces(stage, key)
        if not (is_finished or noted):
            return None, frozenset()
        try:
            condensed = open_condensed(self._directory.arrays, path, mode="r+")
        except StorageError:
            return None, frozenset()
        # Tiles that were cut for more memory than there is now could not be finished.
        if condensed.n != grid.n or condensed.dtype != self.dtype:
            return None, frozenset()
        if not is_finished and condensed.grid.tile_edge > grid.tile_edge:
            return None, frozenset()
        tiles = range(condensed.grid.n_tiles) if is_finished else sorted(noted)
        with self._progress.stage(
            f"verify-{AXIS_NAMES[path.endswith('col')]}", total=len(tiles), unit="tiles"
        ) as verified:
            damaged = damaged_chunks(
                self._directory.arrays,
                path,
                [(tile, 0, 0) for tile in tiles],
                threads=available_cores(),
                progress=verified.advance,
            )
        whole = frozenset(tiles) - {tile for tile, _, _ in damaged}
        if damaged and condensed.grid.tile_edge > grid.tile_edge:
            return None, frozenset()
        return condensed, whole

    def limits(self, *, robust: bool = False, mask: Any = None) -> tuple[float, float]:
        """As in `Stages`; kept where there is no mask."""
        if mask is not None:
            return super().limits(robust=robust, mask=mask)
        stage = "limits-robust" if robust else "limits"
        key = stage_key(matrix=self.key, stage=stage)
        if self._directory.is_finished(stage, key):
            low, high = self._directory.state["stages"][stage]["limits"]
        else:
            low, high = (
                None if np.isnan(limit) else float(limit) for limit in super().limits(robust=robust)
            )
            self._directory.finish(stage, key, limits=[low, high])
        return np.nan if low is None else low, np.nan if high is None else high

    def reduced_image(
        self,
        row_order: np.ndarray,
        column_order: np.ndarray,
        shape: tuple[int, int],
        mask: Any = None,
    ) -> ReducedImage:
        """As in `Stages`; kept where there is no mask."""
        if mask is not None:
            return super().reduced_image(row_order, column_order, shape, mask)
        orders = array_digest(*(np.asarray(order, np.int64) for order in (row_order, column_order)))
        key = stage_key(matrix=self.key, stage="image", shape=list(shape), orders=orders)
        kept = self._kept_image(key)
        if kept is not None:
            self._progress.kept("downsample")
            return kept
        image = super().reduced_image(row_order, column_order, shape)
        self._directory.begin("image")
        parts = (image.values, image.row_edges, image.column_edges)
        for path, values in zip(_IMAGE, parts, strict=True):
            array = create_array(
                self._directory.arrays,
                path,
                shape=values.shape,
                dtype=values.dtype,
                chunks=values.shape,
                overwrite=True,
            )
            write_block(array, (0,) * values.ndim, values)
        self._directory.finish("image", key, arrays=[("arrays.zarr", path) for path in _IMAGE])
        return image

    def _kept_image(self, key: str) -> ReducedImage | None:
        if not self._directory.is_finished("image", key):
            return None
        try:
            values, row_edges, column_edges = (
                np.asarray(open_array(self._directory.arrays, path)[:]) for path in _IMAGE
            )
        except (OSError, ValueError):  # a checksum
            return None
        return ReducedImage(values=values, row_edges=row_edges, column_edges=column_edges)
