"""One worker process beside two, on Dask."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from distance_jobs import WARM_ROWS, grouped
from paired import Wanted, in_turn, missing_row, row, seconds

WORKER_MEMORY = "4GB"


def workers(quick: bool) -> Iterator[str]:
    """Row 8: euclidean from a matrix at rest to a store at rest; starting clusters is not counted.

    Both clusters are there all the time: one that has nothing to do takes next to nothing.
    """
    n, k = (8_000 if quick else 30_000), 1_000
    name = f"two worker processes, {n:,} x {k:,} float32, euclidean, to the store"
    try:
        with ExitStack() as stack:
            yield _compare(stack, name, n, k, repeats=1 if quick else 5)
    except Exception as error:
        yield missing_row(name, error)


def _compare(stack: ExitStack, name: str, n: int, k: int, *, repeats: int) -> str:
    from distributed import Client, LocalCluster

    from clustergrid.pipeline import pdist

    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="clustergrid-bench-")))
    matrix = _at_rest(folder, grouped(n, k, "float32"))
    few = _at_rest(folder / "few", grouped(WARM_ROWS, k, "float32"))

    def client_of(count: int) -> Any:
        cluster = stack.enter_context(
            LocalCluster(
                n_workers=count,
                threads_per_worker=1,
                memory_limit=WORKER_MEMORY,
                dashboard_address=None,
            )
        )
        return stack.enter_context(Client(cluster, set_as_default=False))

    def measure(client: Any, data: str = matrix) -> float:
        with tempfile.TemporaryDirectory(prefix="clustergrid-bench-") as store:
            return seconds(lambda: pdist(data, "euclidean", client=client, store=store))

    one, two = client_of(1), client_of(2)
    for client in (one, two):
        measure(client, few)
    pairs = in_turn(lambda: measure(two), lambda: measure(one), repeats)
    return row(name, "one", pairs, Wanted(bound=1.8))


def _at_rest(folder: Path, values: Any) -> str:
    """Put the matrix into a Zarr array, as a run would find it."""
    import zarr

    store = folder / "matrix.zarr"
    array = zarr.create_array(store, shape=values.shape, dtype=values.dtype, chunks=(1024, 1024))
    array[:] = values
    return str(store)
