"""Driver: the folder of what belongs to the jobs of a run: scripts, logs, what is noted of them.

It is in the run directory. Of a run in a bucket it is at home: a queue submits from a folder, and
appends to logs, and a bucket has neither.
"""

from __future__ import annotations

import os
from pathlib import Path

from clustergrid.pipeline.jobs.names import folder_name
from clustergrid.storage.errors import DataValueError, StorageError
from clustergrid.storage.object_path import ObjectPath
from clustergrid.storage.places import StorePath

__all__ = [
    "JOBS",
    "JOBS_VARIABLE",
    "cannot_make",
    "jobs_folder",
    "make_jobs_folder",
    "place_of",
]

JOBS = "jobs"
"""Folder of a run directory with scripts, logs and records of its jobs."""

JOBS_VARIABLE = "CLUSTERGRID_JOBS"
"""Variable of the environment that names the folder which has those of runs in buckets."""


def place_of(directory: StorePath) -> str:
    """Say which run directory it is: its absolute path without links, or its URL."""
    return str(directory) if isinstance(directory, ObjectPath) else os.path.realpath(directory)


def jobs_folder(directory: StorePath) -> Path:
    """Say where is kept what belongs to the jobs of a run.

    Raises
    ------
    DataValueError
        The run directory is in a bucket, and the environment names no absolute path.
    StorageError
        It is in a bucket, and this user has no home.
    """
    if isinstance(directory, ObjectPath):
        return _folder_of_all(directory) / folder_name(str(directory))
    return directory / JOBS


def make_jobs_folder(directory: StorePath) -> Path:
    """Make the folder, if it is not there; of a run in a bucket, for this user alone.

    Raises
    ------
    StorageError
        It cannot be made, or is somebody else's.
    """
    folder = jobs_folder(directory)
    try:
        if isinstance(directory, ObjectPath):
            _make_private(folder)
        else:
            folder.mkdir(exist_ok=True)
    except OSError as error:
        raise cannot_make(directory, error) from error
    return folder


def cannot_make(directory: StorePath, error: OSError) -> StorageError:
    """Make the error of a folder that cannot be made."""
    return StorageError(f"cannot make {jobs_folder(directory)}: {error}{_hint(directory)}")


def _make_private(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    # What it is in may be open to others, and who owns a folder can change the scripts in it.
    if folder.is_symlink() or folder.stat().st_uid != os.geteuid():
        raise PermissionError("it is there, and a link or another user's")
    folder.chmod(0o700)


def _folder_of_all(directory: ObjectPath) -> Path:
    """Say what the folders of all runs in buckets are in."""
    named = os.environ.get(JOBS_VARIABLE)
    if named and os.path.isabs(named):
        return Path(named)
    if named:
        raise DataValueError(
            f"{JOBS_VARIABLE} is {named!r}, and has to be an absolute path: name a folder of yours "
            "that all nodes see, or unset it and ~/.clustergrid/jobs is taken"
        )
    try:
        return Path.home() / ".clustergrid" / JOBS
    except RuntimeError as error:  # a user whom the machine does not know
        raise StorageError(
            f"there is no home directory to keep jobs of {directory} in{_hint(directory)}"
        ) from error


def _hint(directory: StorePath) -> str:
    if not isinstance(directory, ObjectPath):
        return ""
    return f". Let {JOBS_VARIABLE} name a folder of yours that all nodes see"
