"""Driver: a cluster of the processes that ``mpirun`` started, by dask-mpi.

All run the same command. The first becomes the scheduler, the second goes on and drives the run,
and the others become workers until it ends. Nothing is written to disk for that: certificates
travel by MPI.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from clustergrid.pipeline.clusters.choice import ClusterChoice
from clustergrid.pipeline.clusters.settings import (
    WORKER_VARIABLES,
    free_port,
    import_back_end,
    private_directory,
    scheduler_settings,
    worker_settings,
)
from clustergrid.pipeline.security import allows_plain, configured_certificates
from clustergrid.storage.errors import DataValueError, MissingExtraError, StorageError

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["mpi_client", "taking_part"]

_NO_WORKERS_TIMEOUT = "300s"
_CONNECT_SECONDS = 60
_TERMINATE_SHARE = 0.95
_FEWEST_PROCESSES = 3


@contextmanager
def taking_part(choice: ClusterChoice) -> Iterator[bool]:
    """Play the part of this process among those that ``mpirun`` started.

    Parameters
    ----------
    choice
        With the cluster ``mpi``.

    Yields
    ------
    bool
        Whether this process drives the run. Of the others it is False when the run has ended.

    Raises
    ------
    DataValueError
        There are too few processes.
    MissingExtraError
        dask-mpi, or what makes certificates, is not installed.
    """
    dask_mpi = import_back_end("dask_mpi", "mpi", "mpi")
    mpi = import_back_end("mpi4py.MPI", "mpi", "mpi")
    world = mpi.COMM_WORLD
    size = world.Get_size()
    if size < _FEWEST_PROCESSES:
        raise DataValueError(
            f"--cluster mpi needs {_FEWEST_PROCESSES} processes at least (a scheduler, the driver "
            f"and a worker), and there are {size}: mpirun -n 4 clustergrid run ... --cluster mpi"
        )
    here = world.Split_type(mpi.COMM_TYPE_SHARED)
    import dask

    port = free_port(choice.dashboard_port) if world.Get_rank() == 0 else choice.dashboard_port
    protocol, network = _network(choice, world, is_one_host=here.Get_size() == size)
    os.environ.update({name: str(value) for name, value in WORKER_VARIABLES.items()})
    dask.config.set(scheduler_settings(port, _NO_WORKERS_TIMEOUT))
    dask.config.set(worker_settings(_TERMINATE_SHARE))
    drives = dask_mpi.initialize(
        interface=network,
        protocol=protocol,
        nthreads=choice.cores or _cores_of_each(here.Get_size()),
        memory_limit=choice.memory_per_worker_bytes or "auto",
        local_directory=private_directory(),
        dashboard_address=f"127.0.0.1:{port}",
        exit=False,
    )
    try:
        yield bool(drives)
    finally:
        if drives:
            with suppress(OSError, RuntimeError):  # the scheduler is gone already
                dask_mpi.send_close_signal()


def _cores_of_each(processes_here: int) -> int:
    """Cores of a worker: those that ``mpirun`` bound it to, or its part of the machine's."""
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    if found < (os.cpu_count() or 1):
        return found
    return max(1, found // processes_here)


def _network(choice: ClusterChoice, world: Any, *, is_one_host: bool) -> tuple[str, str | None]:
    """Choose protocol and interface; give all processes the same certificates."""
    import dask

    if is_one_host and choice.interface is None:
        return "tcp://", _loopback()
    if allows_plain(choice):
        return "tcp://", choice.interface
    if configured_certificates() is None:
        # The first makes them, and what went wrong with that goes to all: nobody may wait.
        made = _temporary_certificates() if world.Get_rank() == 0 else None
        made = world.bcast(made, root=0)
        if made is None:
            raise MissingExtraError(
                "--cluster mpi on several hosts makes certificates, which needs cryptography: "
                "pip install 'clustergrid[tls]', or --insecure if nobody else is on that network"
            )
        dask.config.set(made)
    dask.config.set({"distributed.comm.require-encryption": True})
    return "tls://", choice.interface


def _temporary_certificates() -> dict[str, str] | None:
    """Make certificates in memory; None where no library does."""
    from distributed import Security

    try:
        made: Any = Security.temporary()
    except ImportError:
        return None
    tls = "distributed.comm.tls"
    found = {f"{tls}.ca-file": str(made.tls_ca_file)}
    for role in ("scheduler", "worker", "client"):
        for part in ("cert", "key"):
            found[f"{tls}.{role}.{part}"] = str(getattr(made, f"tls_{role}_{part}"))
    return found


def _loopback() -> str | None:
    """Name of the interface that only this machine can reach."""
    import psutil

    for name, addresses in psutil.net_if_addrs().items():
        if any(each.address == "127.0.0.1" for each in addresses):
            return str(name)
    return None


@contextmanager
def mpi_client(tell: Callable[[str], None]) -> Iterator[Client]:
    """Connect the driver to the scheduler that the first process became.

    Parameters
    ----------
    tell
        Called with lines for people.

    Raises
    ------
    StorageError
        This process was not started by `taking_part`, or no worker came.
    """
    import dask
    from distributed import Client

    address = dask.config.get("scheduler-address", None)
    if address is None:
        raise StorageError(
            "--cluster mpi needs mpirun: mpirun -n 4 clustergrid run ... --cluster mpi"
        )
    with Client(address, timeout=_CONNECT_SECONDS, set_as_default=False) as client:
        try:
            client.wait_for_workers(1, timeout=_CONNECT_SECONDS)
        except TimeoutError as error:
            raise StorageError(f"no process became a worker in {_CONNECT_SECONDS} s") from error
        tell(f"the scheduler of the first process is at {address}")
        yield client
