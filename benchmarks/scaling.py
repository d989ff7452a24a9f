"""One worker process beside two, on Dask: measured here, and then predicted for a thousand.

    python benchmarks/scaling.py [--quick] [--readme PAGE] [NAME ...]

The names are those of `GROUPS`: workers efficiency. What clusters of more workers would do is
predicted by `scaling_model.py`, from what `scaling_calibration.py` measures.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from distance_jobs import WARM_ROWS, grouped
from paired import Pairs, Wanted, attempt, in_turn, row, say, seconds
from table import Group, run_command

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


def efficiency(quick: bool) -> Iterator[str]:
    """Two workers beside one: distances to the store, then a tree from summaries of the rows.

    Twice as fast would be 2x, an efficiency of 1. What is wanted is 0.85 of the two together.
    """
    n, k = (10_000 if quick else 30_000), 1_000
    found: dict[int, list[dict[str, float]]] = {1: [], 2: []}

    def run(count: int, matrix: str, few: str) -> float:
        def both(client: Any, data: str) -> float:
            taken = _distances_and_tree(client, data)
            found[count].append(taken)
            return sum(taken.values())

        return on_workers(count, both, matrix, few)

    def measure() -> str:
        with tempfile.TemporaryDirectory(prefix="clustergrid-bench-") as folder:
            matrix = at_rest(Path(folder), grouped(n, k, "float32"))
            few = at_rest(Path(folder, "few"), grouped(2 * WARM_ROWS, k, "float32"))
            whole = in_turn(
                lambda: run(2, matrix, few),
                lambda: run(1, matrix, few),
                repeats=1 if quick else 3,
            )
        shape = f"{n:,} x {k:,} float32"
        rows = [
            row(
                f"two worker processes, {shape}, distances and ward from summaries",
                "one",
                whole,
                Wanted(bound=2 * 0.85),
            )
        ]
        for part in ("distances", "tree"):
            # The first of every two is the call on few rows.
            ours, theirs = ([each[part] for each in found[count][1::2]] for count in (2, 1))
            say(f"    {part}: {ours} s, {theirs} s")
            pairs = Pairs(ours=ours, theirs=theirs)
            name = f"two worker processes, {shape}: the {part} of these"
            rows.append(row(name, "one", pairs, Wanted(bound=2 * 0.85)))
        return "\n".join(rows)

    yield attempt("two worker processes, distances and linkage", measure)


def _distances_and_tree(client: Any, data: str) -> dict[str, float]:
    from clustergrid.pipeline import linkage, pdist

    with tempfile.TemporaryDirectory(prefix="clustergrid-bench-") as store:
        return {
            "distances": seconds(lambda: pdist(data, "euclidean", client=client, store=store)),
            "tree": seconds(
                lambda: linkage(data, "ward", engine="data", client=client, store=store)
            ),
        }


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


GROUPS: dict[str, Group] = {"workers": workers, "efficiency": efficiency}

NOTE = (
    "Fresh clusters in turn, medians; starting them is not counted, nor is a call on few rows that "
    "loads libraries and compiles. "
)

if __name__ == "__main__":
    run_command(str(__doc__), "scaling", GROUPS, {}, note=NOTE)
