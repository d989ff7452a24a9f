"""Driver: a worker of a job: ``python -m clustergrid.pipeline.clusters.worker_process ADDRESS``.

It takes the options of ``dask worker``. What the stages need besides is set here, in Python, so
that the scripts of all queues are alike, and none of it is lost between them.
"""

from __future__ import annotations

import os
import sys

from clustergrid.pipeline.clusters.settings import (
    WORKER_VARIABLES,
    private_directory,
    worker_settings,
)

__all__ = ["main"]

_TERMINATE_SHARE = 0.95
"""Of a worker's limit. The queue counts the nanny's memory, too, and ends the whole job."""


def main(arguments: list[str] | None = None) -> None:
    """Run a worker until its scheduler ends."""
    arguments = sys.argv[1:] if arguments is None else arguments
    import dask

    # Read by the worker process, which the nanny starts from this one. Modules of a site often set
    # the number of BLAS threads to that of all cores, each of which is busy with a tile of its own.
    os.environ.update({name: str(value) for name, value in WORKER_VARIABLES.items()})
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    dask.config.set(worker_settings(_TERMINATE_SHARE))
    # A file server that is busy at the start of a hundred workers makes them slow to answer.
    for name in ("connect", "tcp"):
        dask.config.set({f"distributed.comm.timeouts.{name}": "60s"})
    if "--local-directory" not in arguments:
        arguments = [*arguments, "--local-directory", private_directory()]
    from distributed.cli.dask_worker import main as dask_worker

    dask_worker(args=arguments, prog_name="clustergrid worker")


if __name__ == "__main__":
    main()
