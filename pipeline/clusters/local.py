"""Driver: a Dask cluster of worker processes on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from clustergrid.pipeline.clusters.choice import ClusterChoice
from clustergrid.pipeline.clusters.settings import (
    WORKER_VARIABLES,
    environment,
    free_port,
    private_directory,
    scheduler_settings,
    worker_settings,
)
from clustergrid.pipeline.footprint import TERMINATE_SHARE, worker_memory_limit
from clustergrid.pipeline.resources import Resources
from clustergrid.pipeline.security import local_security

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["local_client"]

_NO_WORKERS_TIMEOUT = "300s"


@contextmanager
def local_client(choice: ClusterChoice, resources: Resources) -> Iterator[Client]:
    """Start worker processes of a few threads each: one Zarr I/O loop serves a few threads well.

    Parameters
    ----------
    choice
        What was asked for.
    resources
        Memory and threads that the run may use.
    """
    import dask
    from distributed import Client, LocalCluster

    from clustergrid.pipeline.worker import DeafToCtrlC

    resources = resources.with_local_workers()
    n_workers = resources.worker_processes
    port = free_port(choice.dashboard_port)
    settings = {
        **scheduler_settings(port, _NO_WORKERS_TIMEOUT, loses_nodes=False),
        **worker_settings(TERMINATE_SHARE),
        "distributed.worker.memory.max-spill": f"{resources.memory_bytes}B",
    }
    with (
        dask.config.set(settings),
        environment(WORKER_VARIABLES),
        LocalCluster(
            n_workers=n_workers,
            threads_per_worker=resources.threads_per_worker,
            memory_limit=worker_memory_limit(resources.memory_bytes, n_workers),
            host="127.0.0.1",
            dashboard_address=f"127.0.0.1:{port}",
            local_directory=private_directory(),
            security=local_security(),
            silence_logs=40,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        client.register_plugin(DeafToCtrlC())
        yield client
