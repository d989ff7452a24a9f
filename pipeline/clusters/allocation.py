"""Driver: workers on all nodes of the Slurm job that the driver is in, started by ``srun``.

Slurm ends the whole job when a node is lost, so nobody is replaced here; a worker process that dies
is started again by its nanny.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

from clustergrid.pipeline.clusters.choice import ClusterChoice
from clustergrid.pipeline.clusters.encryption import TlsFiles, encrypted
from clustergrid.pipeline.clusters.jobqueue import WORKER_COMMAND, JobFolder, tls_arguments
from clustergrid.pipeline.clusters.settings import free_port, scheduler_settings
from clustergrid.storage.errors import StorageError

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["allocation_client", "srun_words"]

_NO_WORKERS_TIMEOUT = "300s"
_WORKERS_SECONDS = 300.0
_LOOK_SECONDS = 0.5
_END_SECONDS = 10.0
_TAIL_BYTES = 2000


def srun_words(choice: ClusterChoice, address: str, tls: TlsFiles | None) -> list[str]:
    """Write the command that starts the workers.

    Parameters
    ----------
    choice
        With the workers and cores of `resolve_choice`.
    address
        Of the scheduler.
    tls
        Files of the workers; None: connections are not encrypted.

    Examples
    --------
    >>> choice = ClusterChoice(cluster="allocation", workers=2, cores=4)
    >>> " ".join(srun_words(choice, "tcp://n1:4000", None)[:5])
    'srun --overlap --kill-on-bad-exit=0 --ntasks=2 --cpus-per-task=4'
    """
    srun = [
        "srun",
        "--overlap",  # the driver is in this allocation, too
        "--kill-on-bad-exit=0",
        f"--ntasks={choice.workers}",
        f"--cpus-per-task={choice.cores}",
    ]
    worker = [sys.executable, "-m", WORKER_COMMAND, address, "--nthreads", str(choice.cores)]
    if choice.memory_per_worker_bytes is not None:
        worker += ["--memory-limit", str(choice.memory_per_worker_bytes)]
    if choice.interface is not None:
        worker += ["--interface", choice.interface]
    return [*srun, *worker, *(tls_arguments(*tls) if tls is not None else ())]


@contextmanager
def allocation_client(
    choice: ClusterChoice, folder: JobFolder, tell: Callable[[str], None]
) -> Iterator[Client]:
    """Start a scheduler here, and workers on all nodes of the Slurm job around us.

    Parameters
    ----------
    choice
        With the workers and cores of `resolve_choice`.
    folder
        A directory that all nodes see, for certificates.
    tell
        Called with lines for people.

    Raises
    ------
    StorageError
        There is no ``srun``, or no worker comes.
    MissingExtraError
        The library that makes certificates is not installed.
    """
    import dask
    from distributed import Client, LocalCluster

    from clustergrid.pipeline.worker import DeafToCtrlC

    if shutil.which("srun") is None:
        raise StorageError("--cluster allocation starts workers by srun, which is not in PATH")
    port = free_port(choice.dashboard_port)
    network = {} if choice.interface is None else {"interface": choice.interface}
    with (
        encrypted(choice, folder.path) as tls,
        dask.config.set(scheduler_settings(port, _NO_WORKERS_TIMEOUT)),
        # A scheduler without workers of its own, which other hosts can reach.
        LocalCluster(
            n_workers=0,
            host=None if network else "",
            protocol="tcp://" if tls is None else "tls://",
            dashboard_address=f"127.0.0.1:{port}",
            silence_logs=40,
            **network,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
        tempfile.TemporaryFile() as output,
        _running(srun_words(choice, cluster.scheduler_address, tls), output) as srun,
    ):
        client.register_plugin(DeafToCtrlC())
        _wait_for_first(client, srun, output)
        tell(f"workers start on the nodes of the allocation: {choice.workers} in all")
        yield client


@contextmanager
def _running(words: list[str], output: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command as long as the context lasts; Ctrl-C in a terminal is not for it."""
    process = subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for_first(client: Client, srun: subprocess.Popen[bytes], output: IO[bytes]) -> None:
    end = time.monotonic() + _WORKERS_SECONDS
    while not client.nthreads():
        status = srun.poll()
        if status is not None or time.monotonic() > end:
            what = f"ended with status {status} before a worker joined"
            if status is None:
                what = f"started no worker that joined within {_WORKERS_SECONDS:.0f} s"
            raise StorageError(f"srun {what}; it printed: {_tail(output) or 'nothing'}")
        time.sleep(_LOOK_SECONDS)


def _tail(output: IO[bytes]) -> str:
    size = output.seek(0, 2)
    output.seek(max(0, size - _TAIL_BYTES))
    return " ".join(output.read().decode("utf-8", "replace").split())
