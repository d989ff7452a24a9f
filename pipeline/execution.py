"""Driver: where tasks run. A plain loop, threads of this process, or a Dask cluster.

Every stage hands its work to an `Executor` as one function and many small items, and takes the
results as they come, in any order. The plain loop is the reference that the others must agree
with to the bit.
"""

from __future__ import annotations

import itertools
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import (
    FIRST_COMPLETED,
    CancelledError,
    Future,
    ThreadPoolExecutor,
    wait,
)
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from clustergrid.pipeline._blas import single_blas_thread
from clustergrid.pipeline._malloc import keep_memory, release_memory
from clustergrid.pipeline.cgroup import control_group_free_bytes
from clustergrid.pipeline.clusters.surroundings import slurm_cores, slurm_memory_bytes
from clustergrid.pipeline.errors import is_lasting
from clustergrid.pipeline.footprint import WORKER_BYTES
from clustergrid.pipeline.grouped import GroupedWork, merge_in_process, merge_on_workers
from clustergrid.pipeline.resources import Resources
from clustergrid.pipeline.window import Window
from clustergrid.storage.grid import slabs

if TYPE_CHECKING:
    from distributed import Client

__all__ = [
    "DaskExecutor",
    "Executor",
    "Failure",
    "SerialExecutor",
    "ThreadsExecutor",
    "active_client",
    "available_cores",
    "available_memory_bytes",
    "end_if_stopped",
    "resources_of",
]

_FETCHED_TOGETHER = 4
"""Results that the driver fetches, and holds, at once."""

_THIS_TASK = threading.local()


def end_if_stopped() -> None:
    """End the calling task if nobody waits for it any more: long ones ask between their pieces.

    Raises
    ------
    concurrent.futures.CancelledError
        The threads of an executor are ending, as on Ctrl-C.
    """
    stopped: threading.Event | None = getattr(_THIS_TASK, "stopped", None)
    if stopped is not None and stopped.is_set():
        raise CancelledError


def _begin_thread(stopped: threading.Event) -> None:
    _THIS_TASK.stopped = stopped


Item = TypeVar("Item")
Shared = TypeVar("Shared")
Result = TypeVar("Result")


class Executor(Protocol):
    """Runs one function over many items."""

    @property
    def threads(self) -> int:
        """Tasks that run at once."""
        ...

    @property
    def in_process(self) -> bool:
        """Whether tasks share the memory of this process."""
        ...

    def active(self) -> AbstractContextManager[Any]:
        """Let lazy arrays that are computed inside the context run here."""
        ...

    def share(self, value: Shared) -> Shared:
        """Prepare a value that every task of a `map` reads; pass what it returns to `map`."""
        ...

    def map(
        self,
        function: Callable[[Shared, Item], Result],
        shared: Shared,
        items: Iterable[Item],
        *,
        name: str,
    ) -> Iterator[Result]:
        """Yield ``function(shared, item)`` of every item, in any order.

        A bounded number of items is taken at a time, so that results need not fit in memory, and
        so many at most beyond the first that is not finished.
        """
        ...

    def merge_groups(self, work: GroupedWork[Shared, Item, Result]) -> Iterator[tuple[int, Result]]:
        """Yield of every group, in any order, its number and the results of its items merged.

        They are merged in the order of the items, where the tasks run.
        """
        ...


class _InProcess:
    """What executors share whose tasks run in this process."""

    def merge_groups(self, work: GroupedWork[Shared, Item, Result]) -> Iterator[tuple[int, Result]]:
        """Merge results in this thread, as they come."""
        executor: Any = self
        return merge_in_process(executor, work)


class SerialExecutor(_InProcess):
    """A plain loop: the oracle of the others."""

    threads = 1
    in_process = True

    def active(self) -> AbstractContextManager[Any]:
        """Leave lazy arrays to Dask's own choice."""
        return nullcontext()

    def share(self, value: Shared) -> Shared:
        """Return the value."""
        return value

    def map(
        self,
        function: Callable[[Shared, Item], Result],
        shared: Shared,
        items: Iterable[Item],
        *,
        name: str,
    ) -> Iterator[Result]:
        """Call the function for one item after another."""
        del name
        with single_blas_thread():
            for item in items:
                yield function(shared, item)


class ThreadsExecutor(_InProcess):
    """Threads of this process; no scheduler is started.

    Parameters
    ----------
    threads
        Tasks that run at once; by default one a core this process may use.
    """

    in_process = True

    def __init__(self, threads: int | None = None) -> None:
        self.threads = threads or available_cores()

    def active(self) -> AbstractContextManager[Any]:
        """Leave lazy arrays to Dask's own choice."""
        return nullcontext()

    def share(self, value: Shared) -> Shared:
        """Return the value."""
        return value

    def map(
        self,
        function: Callable[[Shared, Item], Result],
        shared: Shared,
        items: Iterable[Item],
        *,
        name: str,
    ) -> Iterator[Result]:
        """Keep two items a thread under way."""
        window, stopped = Window(items, 2 * self.threads), threading.Event()
        threads = ThreadPoolExecutor(
            self.threads, f"clustergrid-{name}", initializer=_begin_thread, initargs=(stopped,)
        )
        with single_blas_thread(), threads as pool:
            under_way: dict[Future[Result], int] = {}
            try:
                while True:
                    for position, item in window.take():
                        under_way[pool.submit(function, shared, item)] = position
                    if not under_way:
                        break
                    done, _ = wait(under_way, return_when=FIRST_COMPLETED)
                    for future in done:
                        position = under_way.pop(future)
                        yield future.result()
                        window.finish(position)
            finally:
                stopped.set()
                for future in under_way:
                    future.cancel()
        release_memory()


class DaskExecutor:
    """Tasks on a Dask client, submitted in waves.

    Parameters
    ----------
    client
        A connected `distributed.Client`.
    retries
        How often a task that raised is tried again, unless `is_lasting` says that it is no use.
        Lost workers are Dask's business: tasks are pure, or write whole chunks, so they may run
        twice.
    expected_threads
        Of workers that were asked for and are still to come: as many tasks are kept under way.
    """

    in_process = False

    def __init__(self, client: Client, *, retries: int = 2, expected_threads: int = 0) -> None:
        self.client = client
        self.retries = retries
        self._expected_threads = expected_threads
        self._run = os.urandom(4).hex()
        self._maps = itertools.count()
        # Where this process surely reaches the workers; else results pass through the scheduler.
        self._is_direct = _is_started_here(client) or None

    @property
    def threads(self) -> int:
        """Threads of all workers, or of those that are expected; at least one."""
        there = sum(int(threads) for threads in self.client.nthreads().values())
        return max(1, self._expected_threads, there)

    def active(self) -> AbstractContextManager[Any]:
        """Make the client Dask's scheduler."""
        # Not `dask.config.set(scheduler=client)`: a nanny sends the whole configuration to the
        # worker it starts in place of a dead one, a client cannot be sent, and the nanny gives up.
        context: AbstractContextManager[Any] = self.client.as_current()
        return context

    def share(self, value: Shared) -> Shared:
        """Put a value on the cluster as the result of a task, so that a lost worker costs nothing.

        Scattered data would be gone with the worker that holds it.
        """
        import dask

        key = f"shared-{self._run}-{next(self._maps)}"
        # A few megabytes of row totals are meant to travel once, here, not with every task.
        with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1GB"}):
            future: Any = self.client.submit(_identity, value, key=key, pure=False)
        return future  # type: ignore[no-any-return]

    def map(
        self,
        function: Callable[[Shared, Item], Result],
        shared: Shared,
        items: Iterable[Item],
        *,
        name: str,
    ) -> Iterator[Result]:
        """Keep a few items a thread under way; results come back as they are ready."""
        from distributed import as_completed

        wave = self.next_wave(name)
        window = Window(items, 4 * self.threads)

        def submit(position: int, item: Item) -> Any:
            return self.submit(function, shared, item, key=(wave, position))

        # Without its loop, it would look for a current client, which this one need not be.
        running = as_completed([submit(*pair) for pair in window.take()], loop=self.client.loop)
        try:
            for ended in running.batches():
                # Of many short tasks each would wait for the network alone.
                for part in slabs(len(ended), _FETCHED_TOGETHER):
                    some = ended[part]
                    results = self.client.gather(some, direct=self._is_direct)
                    for future, found in zip(some, results, strict=True):
                        yield self.checked(found)
                        window.finish(future.key[1])
                        future.release()
                        for pair in window.take():
                            running.add(submit(*pair))
        finally:
            self.client.cancel(list(running.futures))
        self.release_memory()

    def merge_groups(self, work: GroupedWork[Shared, Item, Result]) -> Iterator[tuple[int, Result]]:
        """Merge results on the workers; those of groups come back as they are ready."""
        return merge_on_workers(self, work)

    def next_wave(self, name: str) -> str:
        """Name the tasks of one pass, unlike those of all others."""
        return f"{name}-{self._run}-{next(self._maps)}"

    def submit(
        self,
        function: Callable[[Shared, Item], Result],
        shared: Shared,
        item: Item,
        *,
        key: tuple[Any, ...],
        priority: int = 0,
    ) -> Any:
        """Submit a task; `result_of` its future gives what it returned."""
        return self.client.submit(
            _call, function, shared, item, key=key, priority=priority, retries=self.retries
        )

    def result_of(self, future: Any) -> Any:
        """Return what a finished task returned, or raise what it raised."""
        return self.checked(future.result())

    @staticmethod
    def checked(found: Any) -> Any:
        """Return what a task returned, or raise what it raised in place of that."""
        if isinstance(found, Failure):
            raise found.error from _TaskError(found.traceback)
        return found

    def release_memory(self) -> None:
        """Give memory back: the next stage may need other amounts, and that of the driver."""
        self.client.run(release_memory, on_error="ignore")
        release_memory()

    def resources(self, memory_bytes: int) -> Resources:
        """Say what tasks may use of this machine's memory, and of their workers'."""
        workers = list(self.client.scheduler_info(n_workers=-1)["workers"].values())
        here = _own_addresses()
        elsewhere = any(worker["host"] not in here for worker in workers)
        unlimited = _UNLIMITED_BYTES if elsewhere else 0
        limits = [
            (int(worker["memory_limit"] or unlimited), int(worker["nthreads"]))
            for worker in workers
        ]
        # Those without a limit share this machine's memory.
        limits = [(limit, threads) for limit, threads in limits if limit]
        tightest = min(
            limits, key=lambda each: (each[0] - WORKER_BYTES) / each[1], default=(None, None)
        )
        return Resources(
            memory_bytes=memory_bytes,
            threads=self.threads,
            worker_processes=max(1, len(workers)),
            elsewhere=elsewhere,
            worker_memory_bytes=tightest[0],
            worker_threads=tightest[1],
            driver_cores=available_cores(),
        )


def _is_started_here(client: Client) -> bool:
    """Whether this process runs the scheduler, to which all workers have connected."""
    from distributed import LocalCluster

    return isinstance(client.cluster, LocalCluster)


_UNLIMITED_BYTES = 4 * 10**9
"""What a worker elsewhere without a limit is taken to have."""


def resources_of(executor: Executor, memory_bytes: int) -> Resources:
    """Say what tasks may use, here and on the workers."""
    if isinstance(executor, DaskExecutor):
        return executor.resources(memory_bytes)
    return Resources(
        memory_bytes=memory_bytes, threads=executor.threads, driver_cores=available_cores()
    )


def _identity(value: Shared) -> Shared:
    return value


@dataclass(frozen=True, slots=True)
class Failure:
    """What a task gives back in place of a result, so that Dask does not try again."""

    error: Exception
    traceback: str


class _TaskError(Exception):
    """Where in a worker an error was raised, as text: frames do not travel."""


def _call(
    function: Callable[[Shared, Item], Result], shared: Shared, item: Item
) -> Result | Failure:
    keep_memory()
    with single_blas_thread():
        try:
            return function(shared, item)
        except Exception as error:
            if not is_lasting(error) or not _travels(error):
                raise
            where = "".join(traceback.format_exception(error))
            # Its frames hold the task's arrays, for as long as somebody has the result.
            return Failure(error.with_traceback(None), f"\n{where}")


def _travels(error: Exception) -> bool:
    """Whether an error survives the way to the driver; for others Dask has a makeshift."""
    from distributed.protocol import pickle

    try:
        return type(pickle.loads(pickle.dumps(error))) is type(error)
    except Exception:  # whatever its class raises
        return False


def available_cores() -> int:
    """Cores that this process may use, by its CPU affinity and its Slurm job, where there are."""
    given = slurm_cores(os.environ)
    if hasattr(os, "sched_getaffinity"):
        found = len(os.sched_getaffinity(0))
    else:
        found = os.cpu_count() or 1
    return found if given is None else max(1, min(found, given))


def available_memory_bytes(charged_bytes: int = 0) -> int:
    """Four fifths of the memory that this process can get now, its control groups included.

    Parameters
    ----------
    charged_bytes
        What a plan counts that may be here already, as libraries and the matrix: so much of what
        this process holds is not counted twice.
    """
    import psutil

    free = int(psutil.virtual_memory().available)
    group = control_group_free_bytes()
    free = free if group is None else min(free, group)
    given = slurm_memory_bytes(os.environ)
    # Where Slurm confines nobody by control groups, it ends the job that holds more.
    free = free if given is None else min(free, given)
    held = min(charged_bytes, int(psutil.Process().memory_info().rss)) if charged_bytes else 0
    return max(1, (free + held) * 4 // 5)


def _own_addresses() -> set[str]:
    """Network addresses of this machine."""
    import psutil

    found = {entry.address for entries in psutil.net_if_addrs().values() for entry in entries}
    return found | {"127.0.0.1", "::1", "localhost"}


def active_client() -> Client | None:
    """Return the Dask client that is current in this process, if there is one.

    Does not import distributed: where nobody has, there is no client.
    """
    if "distributed" not in sys.modules:
        return None
    from distributed import default_client

    try:
        client: Client = default_client()
    except ValueError:
        return None
    return client
