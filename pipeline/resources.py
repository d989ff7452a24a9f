"""Plan: what a run may use - memory, threads, worker processes - here or on a cluster."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DescribedCluster", "Resources", "local_worker_processes"]

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
    task_bytes
        Most that one task may take, where tasks run on other machines; None where they run here
        and share `memory_bytes`.
    """

    memory_bytes: int
    threads: int
    worker_processes: int = 0
    task_bytes: int | None = None

    def __post_init__(self) -> None:
        if self.memory_bytes <= 0 or self.threads <= 0:
            raise ValueError(
                f"memory and threads must be positive, got {self.memory_bytes} bytes and "
                f"{self.threads} threads"
            )
        if self.task_bytes is not None and self.task_bytes <= 0:
            raise ValueError(f"memory of a task must be positive, got {self.task_bytes} bytes")
        if self.worker_processes < 0:
            raise ValueError(f"there cannot be {self.worker_processes} worker processes")

    @property
    def local_threads(self) -> int:
        """Tasks that run at once in the memory of this machine."""
        return self.threads if self.task_bytes is None else 0

    @property
    def copy_bytes(self) -> int:
        """Values of the matrix that may be under way at once while it is copied.

        As much again and more is held beside them: blocks as they are read, chunks as they are
        written.
        """
        if self.task_bytes is None:
            # A tenth of what the processes leave, so that more memory is never too little.
            return max(_LEAST_COPY_BYTES, (self.memory_bytes - _PROCESSES_BYTES) // 10)
        return max(_LEAST_COPY_BYTES, self.task_bytes * self.threads // 4)

    @property
    def local_workers(self) -> int:
        """Worker processes in the memory of this machine."""
        return self.worker_processes if self.task_bytes is None else 0

    @property
    def threads_per_worker(self) -> int:
        """Tasks that run at once in one worker process; 0 where there is none."""
        if self.worker_processes:
            return -(-self.threads // self.worker_processes)
        # Workers elsewhere whose number nobody said.
        return 0 if self.task_bytes is None else 1


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

        A task gets its part of half of a worker's memory, as on a cluster that is there: the rest
        is the worker's own, and slack.
        """
        return Resources(
            memory_bytes=driver_memory_bytes,
            threads=self.workers * self.cores,
            worker_processes=self.workers,
            task_bytes=max(1, self.memory_bytes // 2 // self.cores),
        )
