"""Measure what the model of `scaling_model.py` is calibrated with, on this machine.

    python benchmarks/scaling_calibration.py [--quick | --short] [FILE]

Stages run one task after another in this process, on an executor that takes the processor time of
each and counts what it returns, as if it had to travel; what is in no task is the driver's.
Then thousands of tasks that do nothing, and some that return much, go through a real scheduler.
Writes JSON; without FILE to `scaling_calibration.json` beside this script. Inputs are seeded: 30
groups of rows and noise. A few minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from distance_jobs import grouped
from paired import say
from run import machine
from scaling import at_rest

from clustergrid.pipeline.calibration import measure_rates
from clustergrid.pipeline.execution import DaskExecutor, SerialExecutor, available_cores
from clustergrid.pipeline.hierarchy import certified
from clustergrid.pipeline.opening import open_stages

OUTPUT = Path(__file__).with_name("scaling_calibration.json")
SIZES = (
    *((n, 50) for n in (10_000, 20_000, 40_000)),
    *((n, 500) for n in (10_000, 20_000)),
)
LARGE = ((80_000, 50), (40_000, 500))
TREES = (("ward", "euclidean"), ("average", "euclidean"), ("single", "euclidean"))
WARM_ROWS = 9_000


@dataclass(kw_only=True)
class Kind:
    """What all tasks of one name did."""

    tasks: int = 0
    cpu_seconds: float = 0.0
    returned_bytes: int = 0


@dataclass(kw_only=True)
class Counted(SerialExecutor):
    """Runs tasks one after another as if they were elsewhere, and counts."""

    in_process = False
    threads = 1
    kinds: dict[str, Kind] = field(default_factory=dict)
    shared_bytes: int = 0

    def share(self, value: Any) -> Any:
        self.shared_bytes += travelling_bytes(value)
        return value

    def map(
        self, function: Callable[..., Any], shared: Any, items: Iterable[Any], *, name: str
    ) -> Iterator[Any]:
        kind = self.kinds.setdefault(name, Kind())

        def counted(shared: Any, item: Any) -> Any:
            started = time.process_time()
            result = function(shared, item)
            kind.cpu_seconds += time.process_time() - started
            kind.tasks += 1
            kind.returned_bytes += travelling_bytes(result)
            return result

        yield from super().map(counted, shared, items, name=name)


def travelling_bytes(value: Any) -> int:
    """Bytes of a value as Dask sends it: arrays apart from the rest."""
    buffers: list[pickle.PickleBuffer] = []
    try:
        rest = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    except (TypeError, AttributeError, pickle.PicklingError):
        return 0  # of a process: what travels of it is where it is
    return len(rest) + sum(buffer.raw().nbytes for buffer in buffers)


@contextmanager
def square_counted(found: dict[str, float]) -> Iterator[None]:
    """Take the processor time of the square that rounds leave, which the driver makes a tree of."""
    plain = certified.cluster_square

    def counted(square: np.ndarray, *args: Any, **kwargs: Any) -> Any:
        started = time.process_time()
        merges = plain(square, *args, **kwargs)
        found["square_rows"] = float(len(square))
        found["square_cpu_seconds"] = time.process_time() - started
        return merges

    certified.cluster_square = counted  # type: ignore[assignment]
    try:
        yield
    finally:
        certified.cluster_square = plain


def measure_tree(n: int, k: int, method: str, metric: str) -> dict[str, Any]:
    """One tree from rows at rest: every kind of task, and the driver."""
    with tempfile.TemporaryDirectory(prefix="clustergrid-bench-") as folder:
        stages = open_stages(at_rest(Path(folder), grouped(n, k, "float64")), store=folder)
        statistics = counted_by(stages, lambda: stages.statistics)
        square: dict[str, float] = {}
        with square_counted(square):
            tree = counted_by(
                stages, lambda: stages.linkage(0, method=method, metric=metric, engine="data")
            )
        order = np.arange(n), np.arange(k)
        image = counted_by(stages, lambda: stages.reduced_image(*order, (1000, min(k, 1000))))
    say(f"  {method} {metric} {n:,} x {k}: {tree['cpu_seconds']:.1f} s")
    return {
        "method": method,
        "metric": metric,
        "n": n,
        "k": k,
        "statistics": statistics,
        "tree": tree | square,
        "downsample": image,
    }


def counted_by(stages: Any, work: Callable[[], object]) -> dict[str, Any]:
    """Do some work of stages on an executor of its own, and say what it counted."""
    stages.executor = executor = Counted()
    started, worked = time.perf_counter(), time.process_time()
    work()
    cpu_seconds = time.process_time() - worked
    in_tasks = sum(kind.cpu_seconds for kind in executor.kinds.values())
    return {
        "cpu_seconds": cpu_seconds,
        "wall_seconds": time.perf_counter() - started,
        "driver_cpu_seconds": cpu_seconds - in_tasks,
        "shared_bytes": executor.shared_bytes,
        "kinds": {name: asdict(kind) for name, kind in executor.kinds.items()},
    }


def nothing(shared: Any, item: int) -> tuple[int, float]:
    """A task that returns a record, as those do that write a tile."""
    return item, 0.0


def much(shared: int, item: int) -> np.ndarray:
    """A task that returns so many bytes."""
    return np.full(shared // 8, float(item))


def measure_dask(tasks: int) -> dict[str, float]:
    """What a task costs the scheduler and the driver, and a byte that comes back."""
    from distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=2, threads_per_worker=2, dashboard_address=None, memory_limit="2GB"
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        executor = DaskExecutor(client)
        list(executor.map(nothing, executor.share(0), range(200), name="warm"))
        started, worked = time.perf_counter(), time.process_time()
        list(executor.map(nothing, executor.share(0), range(tasks), name="nothing"))
        seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - worked
        size, count = 2**23, 64
        started = time.process_time()
        for _ in executor.map(much, executor.share(size), range(count), name="much"):
            pass
        received = time.process_time() - started
    return {
        "tasks": tasks,
        "task_seconds": seconds / tasks,
        # The scheduler and the client are threads of this process.
        "task_cpu_seconds": cpu_seconds / tasks,
        "received_byte_cpu_seconds": received / (size * count),
    }


def is_busy() -> bool:
    """Whether others work on this machine, as its load says of the last quarter of an hour."""
    return os.getloadavg()[2] > available_cores()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few rows: whether it works")
    parser.add_argument("--short", action="store_true", help="without the largest trees")
    parser.add_argument("file", nargs="?", type=Path, default=OUTPUT)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    sizes = SIZES if arguments.short else (*SIZES, *LARGE)
    if arguments.quick:
        sizes = tuple((n, k) for k in (20, 40) for n in (9_000, 10_000))
    busy = is_busy()
    for method, metric in TREES:  # libraries are loaded, functions compiled
        measure_tree(WARM_ROWS, 50, method, metric)
    with tempfile.TemporaryDirectory() as folder:
        rates = asdict(measure_rates(Path(folder), threads=available_cores()))
    found = {
        "machine": machine(),
        "note": "processor seconds, while other work ran" if busy else "on a quiet machine",
        "rates": rates,
        "dask": measure_dask(500 if arguments.quick else 5_000),
        "stages": [measure_tree(n, k, *tree) for tree in TREES for n, k in sizes],
    }
    arguments.file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
