"""One measured process of the picture: a pass to pixels, or a reordered matrix.

    python benchmarks/picture_jobs.py JOB [ARGUMENT ...]

Prints a JSON object with seconds and the peak memory of the process. What is compiled and loaded
was so before, on a small matrix of as many columns.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PIXELS = (2_000, 1_000)
Seconds = tuple[float, float]
"""Of the clock, and of processors."""

_WARM_ROWS = 1_024


def timed(call: Callable[[], Any]) -> Seconds:
    started = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - started[0], time.process_time() - started[1]


def stages(path: str, memory: str | None = None) -> Any:
    from clustergrid.pipeline.opening import open_stages

    return open_stages(path, memory=memory)


def orders(shape: tuple[int, int]) -> Any:
    import numpy as np

    random = np.random.default_rng(1)
    return [random.permutation(length) for length in shape]


def take_pass(path: str, warm: str, aggregate: str, memory: str) -> Seconds:
    """One pass over a stored matrix in a random order of rows and columns."""

    def reduce(where: str) -> Seconds:
        opened = stages(where, memory)
        rows, columns = orders(opened.shape)
        return timed(lambda: opened.reduced_image(rows, columns, PIXELS, aggregate=aggregate))

    reduce(warm)
    return reduce(path)


def read(path: str, warm: str) -> Seconds:
    """Read every chunk, in as many threads, and look at no value: what a pass cannot do without."""
    from clustergrid.pipeline.execution import ThreadsExecutor
    from clustergrid.storage.grid import slabs

    def every(where: str) -> Seconds:
        source = stages(where).source
        (n, k), rows = source.shape, source.chunks[0]
        return timed(
            lambda: list(
                ThreadsExecutor().map(
                    lambda source, part: source.read(part, slice(0, k)).nbytes,
                    source,
                    slabs(n, rows),
                    name="read",
                )
            )
        )

    every(warm)
    return every(path)


def reorder(path: str, warm: str, target: str, memory: str) -> Seconds:
    """Write the matrix in another order."""

    def write(where: str, to: str) -> Seconds:
        opened = stages(where, memory)
        rows, columns = orders(opened.shape)
        return timed(lambda: opened.write_reordered(to, rows, columns))

    write(warm, f"{target}.warm")
    return write(path, target)


def copy(path: str, warm: str, target: str, memory: str) -> Seconds:
    """Copy the matrix, decoded and encoded, as a run copies its input."""
    from clustergrid.storage import open_matrix
    from clustergrid.storage.ingest import ingest

    ingest(open_matrix(warm), f"{target}.warm")
    return timed(lambda: ingest(open_matrix(path), target, memory_bytes=2**27))


JOBS: dict[str, Callable[..., Seconds]] = {
    "pass": take_pass,
    "read": read,
    "reorder": reorder,
    "copy": copy,
}


def make_matrix(path: Path, n: int, k: int) -> None:
    """Put random float32 values at rest, as `clustergrid run` does; zstd finds little in them."""
    import numpy as np

    from clustergrid.storage.arrays import create_array, write_block
    from clustergrid.storage.readers.chunking import storage_chunks

    random = np.random.default_rng(0)
    chunks = storage_chunks((n, k), 4)
    array = create_array(
        str(path),
        "matrix",
        shape=(n, k),
        dtype="float32",
        chunks=chunks,
        dimension_names=("row", "column"),
    )
    for start in range(0, n, 8 * chunks[0]):
        rows = min(8 * chunks[0], n - start)
        write_block(array, (start, 0), random.standard_normal((rows, k), dtype=np.float32))


def make_warm(path: Path, k: int) -> None:
    make_matrix(path, _WARM_ROWS, k)


def main() -> None:
    from distance_jobs import peak_bytes

    job, *arguments = sys.argv[1:]
    wall, cpu = JOBS[job](*arguments)
    print(json.dumps({"seconds": wall, "cpu_seconds": cpu, "peak_bytes": peak_bytes()}))


if __name__ == "__main__":
    main()
