"""Plan: what the jobs of a run are called, so that a queue finds them without their numbers.

A name has only characters that every queue takes, begins with a letter, and is that of one run
directory: a number may be lost when the process that submitted is killed before it notes it.
"""

from __future__ import annotations

import hashlib
import re

__all__ = ["driver_job_name", "folder_name", "worker_job_name", "workers_of"]

_DIGITS = 8
_FOLDER_DIGITS = 16
_LONGEST_PART = 40


def driver_job_name(directory: str) -> str:
    """Name the job that drives a run.

    Parameters
    ----------
    directory
        Absolute path of the run directory, without links, or its URL.

    Examples
    --------
    >>> driver_job_name("/scratch/ann/run")
    'clustergrid-979e15a5'
    """
    return f"clustergrid-{_digest(directory)[:_DIGITS]}"


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


def folder_name(url: str) -> str:
    """Name the folder of the jobs of a run in a bucket, so that people and directives read it.

    Its digits begin with those in the names of the jobs. There are more of them, since a folder is
    of one run alone, while of jobs that share a name the numbers are known.

    Examples
    --------
    >>> folder_name("s3://lab/runs/spleen, 2nd")
    'spleen-2nd-f8cc61370f9ca879'
    """
    last = re.sub(r"[^A-Za-z0-9_.]+", "-", url.rpartition("/")[2]).strip("-.")
    return f"{last[:_LONGEST_PART] or 'run'}-{_digest(url)[:_FOLDER_DIGITS]}"


def _digest(place: str) -> str:
    return hashlib.sha256(place.encode("utf-8", "surrogateescape")).hexdigest()
