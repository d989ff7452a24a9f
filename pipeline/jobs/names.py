"""Plan: what the jobs of a run are called, so that a queue finds them without their numbers.

A name has only characters that every queue takes, begins with a letter, and is that of one run
directory: a number may be lost when the process that submitted is killed before it notes it.
"""

from __future__ import annotations

import hashlib

__all__ = ["driver_job_name", "worker_job_name", "workers_of"]

_DIGITS = 8


def driver_job_name(directory: str) -> str:
    """Name the job that drives a run.

    Parameters
    ----------
    directory
        Absolute path of the run directory, without links.

    Examples
    --------
    >>> driver_job_name("/scratch/ann/run")
    'clustergrid-979e15a5'
    """
    digest = hashlib.sha256(directory.encode("utf-8", "surrogateescape")).hexdigest()
    return f"clustergrid-{digest[:_DIGITS]}"


def worker_job_name(directory: str) -> str:
    """Name every job of the workers of a run; parameters as in `driver_job_name`.

    Examples
    --------
    >>> worker_job_name("/scratch/ann/run")
    'clustergrid-979e15a5-worker'
    """
    return workers_of(driver_job_name(directory))


def workers_of(name: str) -> str:
    """Name the jobs of the workers of a driver's job.

    Examples
    --------
    >>> workers_of("clustergrid-979e15a5")
    'clustergrid-979e15a5-worker'
    """
    return f"{name}-worker"
