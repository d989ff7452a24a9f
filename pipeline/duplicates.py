"""Driver: identical observations, found before the linkage so that it need not merge them.

Real expression matrices hold thousands of rows that are zero everywhere. They merge at height 0
whatever the method, and cost the square of their number if nobody takes them out.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from clustergrid.pipeline.execution import Executor
from clustergrid.pipeline.hierarchy import Duplicates
from clustergrid.pipeline.monitor import Progress
from clustergrid.storage.grid import pass_block, slabs
from clustergrid.storage.source import MatrixSource

__all__ = ["find_duplicates"]

_DIGEST_BYTES = 16


@dataclass(frozen=True, slots=True)
class _Digests:
    source: MatrixSource
    features_at_once: int

    def of(self, rows: slice) -> tuple[slice, np.ndarray]:
        """Return one digest a row, ``(rows, 2)`` uint64."""
        hashes = [blake2b(digest_size=_DIGEST_BYTES) for _ in range(rows.stop - rows.start)]
        for features in slabs(self.source.shape[1], self.features_at_once):
            # Adding zero makes -0.0 the same bytes as 0.0.
            values = np.add(self.source.read(rows, features), 0, order="C")
            for row, digest in zip(values, hashes, strict=True):
                digest.update(row)
        joined = b"".join(digest.digest() for digest in hashes)
        return rows, np.frombuffer(joined, dtype=np.uint64).reshape(-1, 2)


def find_duplicates(
    source: MatrixSource, executor: Executor, progress: Progress, *, name: str
) -> Duplicates | None:
    """Find rows that are identical to an earlier one.

    Rows are compared by a 128-bit digest: two different rows share one with probability
    ``n ** 2 / 2 ** 129``.

    Parameters
    ----------
    source
        The matrix, ``(n, k)``: observations in rows.
    executor, progress, name
        Where the pass runs, who is told, and as which stage.

    Returns
    -------
    Duplicates or None
        None where all rows differ.
    """
    n, k = source.shape
    digests = np.empty((n, 2), dtype=np.uint64)
    rows_at_once, features_at_once = pass_block((n, k), source.chunks)
    row_bytes = k * source.dtype.itemsize
    with progress.stage(name, total=n, unit="rows", unit_bytes=row_bytes) as stage:
        for rows, part in executor.map(
            _Digests.of,
            executor.share(_Digests(source, features_at_once)),
            slabs(n, rows_at_once),
            name="duplicates",
        ):
            digests[rows] = part
            stage.advance(len(part))
    _, first, inverse = np.unique(digests, axis=0, return_index=True, return_inverse=True)
    earliest = first[inverse.ravel()]
    duplicate = np.flatnonzero(earliest != np.arange(n))
    if not len(duplicate):
        return None
    return Duplicates(
        kept=np.flatnonzero(earliest == np.arange(n)),
        duplicate_of=earliest[duplicate],
        row=duplicate,
    )
