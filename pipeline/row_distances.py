"""Driver: distances between any observations, computed from their rows when somebody asks."""

from __future__ import annotations

from dataclasses import fields, replace
from functools import cached_property
from typing import Any

import numpy as np

from clustergrid.pipeline._blas import single_blas_thread
from clustergrid.pipeline.engines._centred import RowTerms
from clustergrid.pipeline.engines.sparse import SparseInput
from clustergrid.pipeline.hierarchy._threads import in_threads
from clustergrid.pipeline.normalize import Normalization
from clustergrid.pipeline.row_reader import RowPass
from clustergrid.pipeline.tiles import DistanceInput, tile_distances
from clustergrid.storage.grid import BLOCK_ROWS, round_up, slabs
from clustergrid.storage.source import ArraySource, MatrixSource
from clustergrid.storage.sparse import SparseArraySource, as_sparse, csr_parts

__all__ = ["RowDistances"]


class RowDistances:
    """Computes the distances between some observations and some others.

    The engine of the metric does it, on a matrix of just these rows, so that there need be no
    matrix of distances. A value may differ in its last digit from that of a tile, whose blocks are
    others; it is the same for the same question.

    Parameters
    ----------
    given
        The matrix and the metric.
    kept
        ``(m,)``: the observations that are asked for, by their place in it; all by default.
    threads
        How many threads of this process compute. No bit depends on it.

    Notes
    -----
    A matrix at rest is read, once, when it is first asked for something: from then on it is in
    memory, in the type and the form (dense, or compressed rows) that it has.
    """

    def __init__(
        self, given: DistanceInput, kept: np.ndarray | None = None, *, threads: int = 1
    ) -> None:
        self._given, self._kept, self._threads = given, kept, threads

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
        given, rows = self._of_rows(places), slice(0, len(i))
        found = np.empty((len(i), len(j)), given.dtype)

        def fill(columns: slice) -> None:
            asked = slice(first + columns.start, first + columns.stop)
            found[:, columns] = tile_distances(given, rows, asked)

        # In the blocks that tiles are made of.
        blocks = list(slabs(len(j), BLOCK_ROWS))
        threads = min(self._threads, len(blocks))
        with single_blas_thread():
            in_threads(fill, blocks, threads=threads, pause=lambda: None)
        return found

    def _of_rows(self, places: np.ndarray) -> DistanceInput:
        """Return the input of a matrix of just these rows."""
        given, normalization = self._given, self._given.normalization
        if normalization.axis == 0:
            normalization = Normalization(
                axis=0,
                shift=_taken(normalization.shift, places),
                scale=_taken(normalization.scale, places),
                argument=normalization.argument,
            )
        source: Any = self._source_of(places)
        return replace(
            given,
            source=source,
            normalization=normalization,
            totals=given.totals[places],
            squares=_taken(given.squares, places),
            sparse=None if given.sparse is None else _sparse_of(given.sparse, source, places),
        )

    def _source_of(self, places: np.ndarray) -> MatrixSource:
        if self._compressed is not None:
            return SparseArraySource(self._compressed[places])
        return ArraySource(self._rows[places])

    @cached_property
    def _compressed(self) -> Any:
        """The rows of a sparse matrix; None of a dense one."""
        source = as_sparse(self._given.source)
        if source is None:
            return None
        n, k = source.shape
        return csr_parts(*source.read_compressed(slice(0, n)), k)

    @cached_property
    def _rows(self) -> np.ndarray:
        source = self._given.source
        if isinstance(source, ArraySource):
            return source.array
        return RowPass(source=source, dtype=source.dtype).to_array()


def _taken(values: np.ndarray | None, places: np.ndarray) -> np.ndarray | None:
    return None if values is None else values[places]


def _sparse_of(sparse: SparseInput, source: Any, places: np.ndarray) -> SparseInput:
    """Take of what is known of every row that of some."""
    scaling, terms = sparse.scaling, sparse.terms
    if scaling is not None:
        scaling = replace(
            scaling,
            row_scale=_taken(scaling.row_scale, places),
            row_shift=_taken(scaling.row_shift, places),
        )
    if terms is not None:
        terms = RowTerms(**{each.name: getattr(terms, each.name)[places] for each in fields(terms)})
    return replace(sparse, source=source, scaling=scaling, terms=terms)
