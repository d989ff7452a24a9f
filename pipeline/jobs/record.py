"""Driver: what is kept of a run's job in its folder: who submitted it, and how attempts went.

Two files, since two write: ``jobs/driver.json`` whoever submits, ``jobs/attempt.json`` the job.
Each appears whole. A directory may come from somebody else, or be a copy: what is noted there of a
job counts only where it is of this very directory, or `cancel` would be of another's job.

Of a run in a bucket the folder is at home. A copy of ``driver.json`` is left in the bucket, for
whoever asks from another home: they are told where the job was submitted, and nothing else of it.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from clustergrid.pipeline.jobs.folder import JOBS, jobs_folder, place_of
from clustergrid.pipeline.jobs.names import driver_job_name, workers_of
from clustergrid.storage.errors import RunDirectoryError, StorageError
from clustergrid.storage.object_path import ObjectPath
from clustergrid.storage.places import StorePath

__all__ = ["Attempt", "DriverRecord"]

_NUMBER = re.compile(r"[0-9][\w.\[\]-]*")  # no option of a command of the queue
_HELP = "Nothing depends on it but what is known of the run's job: delete it"

Kept = TypeVar("Kept")


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverRecord:
    """The job that was submitted last.

    Attributes
    ----------
    queue
        As `--cluster` has it.
    number
        Of the job.
    name
        Of the job.
    host
        Where it was submitted.
    submitted
        Unix time of that.
    script, log
        Absolute paths.
    cancelled
        Unix time at which its jobs were cancelled by command; None where they were not.
    """

    queue: str
    number: str
    name: str
    host: str
    submitted: float
    script: str
    log: str
    cancelled: float | None = None

    @property
    def worker_name(self) -> str:
        """Of the jobs of its workers."""
        return workers_of(self.name)

    @staticmethod
    def read(directory: StorePath) -> DriverRecord | None:
        """Read the record of a run directory; None of one that nobody submitted from there.

        Raises
        ------
        RunDirectoryError
            It is damaged.
        """
        file = jobs_folder(directory) / "driver.json"
        record = _read_of(directory, file)
        if record is None:
            return None
        if not _NUMBER.fullmatch(record.number):
            raise RunDirectoryError(
                f"{file} has no number of a job, but {record.number!r}: {_HELP}"
            )
        return record

    def write(self, directory: StorePath) -> None:
        """Keep the record in a run directory.

        Raises
        ------
        StorageError
            It cannot be written.
        """
        _write(self, jobs_folder(directory) / "driver.json")

    @staticmethod
    def read_left(directory: ObjectPath) -> DriverRecord | None:
        """Read what was left in the bucket; None of a run that nobody submitted.

        Raises
        ------
        RunDirectoryError
            It is damaged.
        ObjectStoreError
            The bucket cannot be asked.
        """
        return _read_of(directory, directory / JOBS / "driver.json")

    def leave(self, directory: ObjectPath) -> None:
        """Leave a copy in the bucket.

        Raises
        ------
        ObjectStoreError
            It cannot be written.
        """
        (directory / JOBS / "driver.json").write_text(_text(self))


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """The latest time that the job ran; a queue may start one several times.

    Attributes
    ----------
    attempt
        1, 2, ... of this run directory.
    job
        Its number.
    host, pid
        Where the driver runs, and its process number there.
    started
        Unix time.
    state
        ``"running"``, ``"ended"``, or ``"requeued"``: it ended, and asked to start again.
    ended
        Unix time; None while it runs.
    exit_status
        Of the driver, 128 and the number of a signal that ended it; None while it runs.
    why
        Why it ended, where there is something to say.
    fruitless
        How many attempts in a row were stopped by the walltime and left nothing new.
    """

    attempt: int
    job: str
    host: str
    pid: int
    started: float
    state: Literal["running", "ended", "requeued"] = "running"
    ended: float | None = None
    exit_status: int | None = None
    why: str = ""
    fruitless: int = 0

    @staticmethod
    def read(directory: StorePath) -> Attempt | None:
        """Read the record of a run directory; None where no attempt was made.

        Raises
        ------
        RunDirectoryError
            It is damaged.
        """
        return _read(Attempt, jobs_folder(directory) / "attempt.json")

    def write(self, directory: StorePath) -> None:
        """Keep the record in a run directory.

        Raises
        ------
        StorageError
            It cannot be written.
        """
        _write(self, jobs_folder(directory) / "attempt.json")


def _read_of(directory: StorePath, file: StorePath) -> DriverRecord | None:
    """Read a record; None of one that is of another run directory."""
    record = _read(DriverRecord, file)
    is_ours = record is not None and record.name == driver_job_name(place_of(directory))
    return record if is_ours else None


def _read(kind: type[Kept], file: StorePath) -> Kept | None:
    try:
        entry: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return kind(**entry)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, TypeError) as error:
        raise RunDirectoryError(
            f"{file} cannot be read: {type(error).__name__}: {error}. {_HELP}"
        ) from error


def _write(record: DriverRecord | Attempt, file: Path) -> None:
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with temporary.open("w", encoding="utf-8") as stream:
            stream.write(_text(record))
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(file)
    except OSError as error:
        raise StorageError(f"cannot write {file}: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def _text(record: DriverRecord | Attempt) -> str:
    return json.dumps(asdict(record), indent=2) + "\n"
