"""One worker process beside two, on Dask."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from distance_jobs import WARM_ROWS, grouped
from paired import Wanted, attempt, in_turn, row, seconds

WORKER_MEMORY = "4GB"


def workers(quick: bool) -> Iterator[str]:
    """Row 8: euclidean from a matrix at rest to a store at rest; starting clusters is not counted.

    One cluster is there at a time: the processes of another, though idle, take their share of two
    cores.
    """
    n, k = (8_000 if quick else 30_000), 1_000
    name = f"two worker processes, {n:,} x {k:,} float32, euclidean, to the store"

    def stored(client: Any, data: str) -> float:
        from clustergrid.pipeline import pdist

        with tempfile.TemporaryDirectory(prefix="clustergrid-bench-") as store:
            return seconds(lambda: pdist(data, "euclidean", client=client, store=store))

    def measure() -> str:
        with tempfile.TemporaryDirectory(prefix="clustergrid-bench-") as folder:
            matrix = at_rest(Path(folder), grouped(n, k, "float32"))
            few = at_rest(Path(folder, "few"), grouped(WARM_ROWS, k, "float32"))
            pairs = in_turn(
                lambda: on_workers(2, stored, matrix, few),
                lambda: on_workers(1, stored, matrix, few),
                repeats=1 if quick else 5,
            )
        return row(name, "one", pairs, Wanted(bound=1.8))

    yield attempt(name, measure)


def on_workers(count: int, measure: Callable[[Any, str], float], matrix: str, few: str) -> float:
    """Measure on a fresh cluster, after a call on few rows that loads and compiles."""
    from distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=count,
            threads_per_worker=1,
            memory_limit=WORKER_MEMORY,
            dashboard_address=None,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        measure(client, few)
        return measure(client, matrix)


def at_rest(folder: Path, values: Any) -> str:
    """Put the matrix into a Zarr array, as a run would find it."""
    import zarr

    store = folder / "matrix.zarr"
    array = zarr.create_array(store, shape=values.shape, dtype=values.dtype, chunks=(1024, 1024))
    array[:] = values
    return str(store)
