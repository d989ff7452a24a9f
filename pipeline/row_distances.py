"""Driver: distances between any observations, computed from their rows when somebody asks."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

import numpy as np

from clustergrid.pipeline._blas import single_blas_thread
from clustergrid.pipeline.normalize import Normalization
from clustergrid.pipeline.tiles import DistanceInput, tile_distances
from clustergrid.storage.errors import DataValueError
from clustergrid.storage.grid import BLOCK_ROWS, pass_block, round_up, slabs
from clustergrid.storage.source import ArraySource

__all__ = ["RowDistances"]


class RowDistances:
    """Computes the distances between some observations and some others.

    The engine of the metric does it, on a matrix of just these rows, so that there need be no
    matrix of distances. A value may differ in its last digit from that of a tile, whose blocks are
    others; it is the same for the same question.

    Parameters
    ----------
    given
        The matrix and the metric. The engine ``sparse`` is none that this works with.
    kept
        ``(m,)``: the observations that are asked for, by their place in it; all by default.

    Raises
    ------
    DataValueError
        The engine is ``sparse``.

    Notes
    -----
    The rows of a matrix at rest are read, once, when it is first asked: the matrix is in memory
    from then on, in the type that it has.
    """

    def __init__(self, given: DistanceInput, kept: np.ndarray | None = None) -> None:
        if given.sparse is not None:
            raise DataValueError("distances of single sparse rows are not computed: use tiles")
        self._given = given
        self._kept = kept

    def __call__(self, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        """Return the distances ``(len(i), len(j))``, in the input's dtype.

        Parameters
        ----------
        i, j
            ``(r,) int64`` and ``(c,) int64``: observations, some of which may be the same.

        Raises
        ------
        UndefinedPairError
            A ValueError: a distance is not finite.
        """
        # Columns of a tile begin at a block.
        first = round_up(len(i), BLOCK_ROWS)
        places = np.concatenate([i, np.repeat(i[-1:], first - len(i)), j])
        if self._kept is not None:
            places = self._kept[places]
        with single_blas_thread():
            return tile_distances(
                self._of_rows(places), slice(0, len(i)), slice(first, first + len(j))
            )

    def _of_rows(self, places: np.ndarray) -> DistanceInput:
        """Return the input of a matrix of just these rows."""
        given, normalization = self._given, self._given.normalization
        if normalization.axis == 0 and normalization.shift is not None:
            assert normalization.scale is not None
            normalization = Normalization(
                axis=0,
                shift=normalization.shift[places],
                scale=normalization.scale[places],
                argument=normalization.argument,
            )
        return replace(
            given,
            source=ArraySource(self._rows[places]),
            normalization=normalization,
            totals=given.totals[places],
            squares=None if given.squares is None else given.squares[places],
        )

    @cached_property
    def _rows(self) -> np.ndarray:
        source = self._given.source
        if isinstance(source, ArraySource):
            return source.array
        n, k = source.shape
        rows = np.empty((n, k), source.dtype)
        rows_at_once, features_at_once = pass_block((n, k), source.chunks)
        for some in slabs(n, rows_at_once):
            for features in slabs(k, features_at_once):
                rows[some, features] = source.read(some, features)
        return rows
