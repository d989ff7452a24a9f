"""Plan: what a run may use - memory, threads, worker processes - here or on a cluster."""

from __future__ import annotations

from dataclasses import dataclass, replace

__all__ = ["READ_THREADS", "DescribedCluster", "Resources", "local_worker_processes"]

READ_THREADS = 8
"""Most threads of the driver that read tiles into a square at once."""

_THREADS_A_WORKER = 4
_LEAST_COPY_BYTES = 2**25
_PROCESSES_BYTES = 10**9


def local_worker_processes(threads: int) -> int:
    """Worker processes of a local cluster: one Zarr I/O loop serves a few threads well.

    Examples
    --------
    >>> local_worker_processes(2), local_worker_processes(16)
    (1, 4)
    """
    return -(-threads // _THREADS_A_WORKER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What a run may use.

    Attributes
    ----------
    memory_bytes
        Of this machine, by the whole local process tree.
    threads
        Tasks that run at once.
    worker_processes
        Processes that tasks run in, here or elsewhere; 0: threads of the driver's process.
    elsewhere
        Whether tasks run on other machines, and take nothing of `memory_bytes`.
    worker_memory_bytes
        Limit of the worker with the least memory for each of its threads; None where it has none
        of its own, or nobody knows it yet.
    worker_threads
        Of that worker; None: as many as of every other.
    driver_cores
        Of the driver's machine; None: as many as tasks run at once.
    """

    memory_bytes: int
    threads: int
    worker_processes: int = 0
    elsewhere: bool = False
    worker_memory_bytes: int | None = None
    worker_threads: int | None = None
    driver_cores: int | None = None

    def __post_init__(self) -> None:
        if self.memory_bytes <= 0 or self.threads <= 0:
            raise ValueError(
                f"memory and threads must be positive, got {self.memory_bytes} bytes and "
                f"{self.threads} threads"
            )
        for name in ("worker_memory_bytes", "worker_threads", "driver_cores"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"{name} must be positive, got {value}")
        if self.worker_processes < 0:
            raise ValueError(f"there cannot be {self.worker_processes} worker processes")
        if not self.worker_processes and (self.elsewhere or self.worker_memory_bytes):
            raise ValueError("there are no worker processes that could be elsewhere or limited")

    def with_local_workers(self) -> Resources:
        """Return the same with the worker processes that a run starts, all of as many threads.

        Examples
        --------
        >>> five = Resources(memory_bytes=10**9, threads=5).with_local_workers()
        >>> five.worker_processes, five.threads_per_worker, five.threads, five.reading_threads
        (2, 3, 6, 5)
        """
        processes = local_worker_processes(self.threads)
        return replace(
            self,
            worker_processes=processes,
            threads=processes * -(-self.threads // processes),
            driver_cores=self.driver_cores or self.threads,
        )

    @property
    def task_bytes(self) -> int | None:
        """Most that one task may take of its worker's memory; None where that has no limit.

        Half of a worker's limit is for its tasks: the rest is the worker's own, and slack.
        """
        if self.worker_memory_bytes is None:
            return None
        return max(1, self.worker_memory_bytes // 2 // self.threads_per_worker)

    @property
    def local_threads(self) -> int:
        """Tasks that run at once in the memory of this machine."""
        if self.elsewhere:
            return 0
        return self.worker_processes * self.threads_per_worker or self.threads

    @property
    def reading_threads(self) -> int:
        """Threads of the driver that read tiles into a square at once."""
        return min(READ_THREADS, self.driver_cores or self.threads)

    @property
    def copy_bytes(self) -> int:
        """Values of the matrix that may be under way at once while it is copied.

        As much again and more is held beside them: blocks as they are read, chunks as they are
        written.
        """
        # A tenth of what the processes leave, so that more memory is never too little.
        of_machine = (self.memory_bytes - _PROCESSES_BYTES) // 10
        of_workers = of_machine
        if self.task_bytes is not None:
            of_workers = self.task_bytes * self.threads // 4
        size = of_workers if self.elsewhere else min(of_machine, of_workers)
        return max(_LEAST_COPY_BYTES, size)

    @property
    def local_workers(self) -> int:
        """Worker processes in the memory of this machine."""
        return 0 if self.elsewhere else self.worker_processes

    @property
    def threads_per_worker(self) -> int:
        """Tasks that run at once in one worker process; 0 where there is none."""
        if not self.worker_processes:
            return 0
        return self.worker_threads or -(-self.threads // self.worker_processes)


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribedCluster:
    """A cluster that a plan is made for, without its being there.

    Attributes
    ----------
    workers
        Worker processes.
    cores
        Of each worker; so many tasks run in it at once.
    memory_bytes
        Of each worker.

    Examples
    --------
    >>> cluster = DescribedCluster(workers=100, cores=16, memory_bytes=64 * 10**9)
    >>> resources = cluster.resources(driver_memory_bytes=8 * 10**9)
    >>> resources.threads, resources.task_bytes
    (1600, 2000000000)
    """

    workers: int
    cores: int
    memory_bytes: int

    def __post_init__(self) -> None:
        if min(self.workers, self.cores, self.memory_bytes) <= 0:
            raise ValueError(
                f"a cluster has workers, cores and memory, got {self.workers} workers of "
                f"{self.cores} cores and {self.memory_bytes} bytes"
            )

    def resources(self, driver_memory_bytes: int) -> Resources:
        """Resources of a run whose driver, elsewhere, has so much memory.

        That machine is taken to have as many cores as a worker's.
        """
        return Resources(
            memory_bytes=driver_memory_bytes,
            threads=self.workers * self.cores,
            worker_processes=self.workers,
            elsewhere=True,
            worker_memory_bytes=self.memory_bytes,
            driver_cores=self.cores,
        )
