"""Driver: which Dask cluster a command runs on."""

from __future__ import annotations

import json
import os
import socket
import stat
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from clustergrid.pipeline.footprint import TERMINATE_SHARE, worker_memory_limit
from clustergrid.pipeline.request import ClusterChoice
from clustergrid.pipeline.resources import Resources
from clustergrid.pipeline.security import (
    check_hosts,
    dashboard_origins,
    local_security,
    make_security,
    refuse_plain,
    why_closed,
    wrong_certificate,
)
from clustergrid.storage.errors import ClustergridError, StorageError

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["connect"]

_RESUMABLE = "the same command goes on from here"
_KEPT_BYTES = 2**28
_CONNECT_SECONDS = 30
_WORKERS_SECONDS = 300


@contextmanager
def connect(choice: ClusterChoice, resources: Resources) -> Iterator[Client | None]:
    """Start or join a Dask cluster; None where everything runs in this process.

    Raises
    ------
    StorageError
        The named scheduler cannot be reached, is not trusted or does not trust us, or would be
        joined in the open; or it is lost, or all workers are, while the run lasts.
    """
    if choice.is_remote:
        with _join(choice) as client, _losses_said_plainly(client):
            yield client
    elif choice.cluster == "none":
        yield None
    else:
        with _start(choice, resources) as client, _losses_said_plainly(client):
            yield client


@contextmanager
def _losses_said_plainly(client: Client) -> Iterator[None]:
    """Turn what Dask raises when workers or the scheduler are gone into one line about that.

    A client that lost its scheduler raises whatever the call stumbles over, also AttributeError.
    """
    from distributed.scheduler import NoWorkerError

    try:
        yield
    except ClustergridError:
        raise
    except NoWorkerError as error:
        raise StorageError(
            f"no Dask worker was left for {error.timeout:.0f} s. Start workers; {_RESUMABLE}"
        ) from error
    except Exception as error:
        if client.status == "running":
            raise
        raise StorageError(f"the Dask cluster was lost; {_RESUMABLE}") from error


@contextmanager
def _join(choice: ClusterChoice) -> Iterator[Client]:
    from distributed import Client

    where = choice.scheduler or str(choice.scheduler_file)
    address = choice.scheduler or _read_address(where)
    refuse_plain(address, choice)
    security = make_security(address, choice)
    try:
        wrong = security and wrong_certificate(address, security, _CONNECT_SECONDS)
        if wrong:
            raise StorageError(f"cannot join the Dask scheduler {where}: {wrong}")
        client = Client(address, timeout=_CONNECT_SECONDS, security=security, set_as_default=False)
    except StorageError:
        raise
    except (OSError, ValueError, RuntimeError) as error:
        raise StorageError(
            f"cannot reach the Dask scheduler {where}: {why_closed(address, error)}"
        ) from error
    with client:
        refuse_plain(str(client.scheduler_info(n_workers=0)["address"]), choice)
        try:
            client.wait_for_workers(1, timeout=_WORKERS_SECONDS)
        except TimeoutError as error:
            raise StorageError(
                f"no worker joined the Dask scheduler {where} within {_WORKERS_SECONDS} s"
            ) from error
        check_hosts(client.scheduler_info(n_workers=-1)["workers"], choice)
        _warn_of_endless_waiting(client, where)
        yield client


def _warn_of_endless_waiting(client: Client, where: str) -> None:
    """Say so where a run could hang: the settings of a scheduler are its owner's."""
    import dask

    name = "distributed.scheduler.no-workers-timeout"
    try:
        timeout = client.run_on_scheduler(dask.config.get, name, None)
    except ValueError:  # a scheduler that unpickles nothing
        return
    if timeout is None:
        warnings.warn(
            f"the Dask scheduler {where} lets a run wait for ever when its workers are gone: "
            f"start it with {name} set, as in deploy/dask.yaml",
            stacklevel=2,
        )


def _read_address(scheduler_file: str) -> str:
    """Read what ``dask scheduler --scheduler-file`` wrote."""
    try:
        with open(scheduler_file, encoding="utf-8") as file:
            content = json.load(file)
    except (OSError, ValueError) as error:
        raise StorageError(f"cannot read the scheduler file {scheduler_file}: {error}") from error
    if not (isinstance(content, dict) and isinstance(content.get("address"), str)):
        raise StorageError(f"there is no address in the scheduler file {scheduler_file}")
    return str(content["address"])


@contextmanager
def _environment(**variables: int) -> Iterator[None]:
    """Give variables to the worker processes that start inside.

    Tasks of one stage take the same amounts of memory again and again. Giving them back to the
    system in between costs more time than the distances themselves; it is given back after every
    stage. One arena serves all threads: each of many would keep up to 64 MB that nobody uses.
    Dask's setting for this yields to variables that are there already, and an earlier cluster of
    this process leaves its own.
    """
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update({name: str(value) for name, value in variables.items()})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _start(choice: ClusterChoice, resources: Resources) -> Iterator[Client]:
    """Worker processes of a few threads each: one Zarr I/O loop serves a few threads well."""
    import dask
    from distributed import Client, LocalCluster

    from clustergrid.pipeline.worker import DeafToCtrlC

    resources = resources.with_local_workers()
    n_workers = resources.worker_processes
    port = _free_port(choice.dashboard_port)
    settings = {
        # A run that waits for workers which never come is worse than one that stops.
        "distributed.scheduler.no-workers-timeout": "300s",
        "distributed.worker.memory.max-spill": f"{resources.memory_bytes}B",
        # The plan fills the limit, so that being near it is no reason to stop: a worker that
        # pauses for want of memory would wait for ever. One that is beyond it is ended, and its
        # task tried again.
        "distributed.worker.memory.spill": False,
        "distributed.worker.memory.pause": False,
        "distributed.worker.memory.terminate": TERMINATE_SHARE,
        "distributed.scheduler.dashboard.bokeh-application.allow_websocket_origin": (
            dashboard_origins(port)
        ),
    }
    with (
        dask.config.set(settings),
        _environment(
            MALLOC_ARENA_MAX=1,
            MALLOC_TRIM_THRESHOLD_=_KEPT_BYTES,
            MALLOC_MMAP_THRESHOLD_=_KEPT_BYTES,
        ),
        LocalCluster(
            n_workers=n_workers,
            threads_per_worker=resources.threads_per_worker,
            memory_limit=worker_memory_limit(resources.memory_bytes, n_workers),
            host="127.0.0.1",
            dashboard_address=f"127.0.0.1:{port}",
            local_directory=_private_directory(),
            security=local_security(),
            silence_logs=40,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        client.register_plugin(DeafToCtrlC())
        yield client


def _private_directory() -> str:
    """Make the directory where workers spill; nobody else may look in, or put something there.

    What is spilled is pickled, and unpickled when it is wanted again. The name is the same for
    every run, so that Dask finds there, and removes, what a killed one left.
    """
    import dask

    parent = dask.config.get("temporary-directory") or tempfile.gettempdir()
    path = os.path.join(parent, f"clustergrid-{os.geteuid()}")
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
        found = os.lstat(path)
        is_ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
        if is_ours and not found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            return path
    except FileExistsError:
        pass  # a file, or a link to nowhere
    return tempfile.mkdtemp(prefix="clustergrid-", dir=parent)


def _free_port(wanted: int) -> int:
    """Return the wanted port, or another one when somebody listens there (or 0 is wanted)."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    return 0
