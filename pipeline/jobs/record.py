"""Driver: what is kept of a run's job in its directory: who submitted it, and how attempts went.

Two files, since two write: ``jobs/driver.json`` whoever submits, ``jobs/attempt.json`` the job.
Each appears whole.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from clustergrid.storage.errors import RunDirectoryError, StorageError

__all__ = ["JOBS", "Attempt", "DriverRecord", "jobs_folder"]

JOBS = "jobs"
"""Folder of a run directory with scripts, logs and records of its jobs."""

Kept = TypeVar("Kept")


def jobs_folder(directory: Path) -> Path:
    """Say where a run directory keeps what belongs to jobs."""
    return directory / JOBS


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverRecord:
    """The job that was submitted last.

    Attributes
    ----------
    queue
        As `--cluster` has it.
    number
        Of the job.
    name, worker_name
        Of the job, and of those of its workers.
    host
        Where it was submitted.
    submitted
        Unix time of that.
    script, log
        Absolute paths.
    """

    queue: str
    number: str
    name: str
    worker_name: str
    host: str
    submitted: float
    script: str
    log: str

    @staticmethod
    def read(directory: Path) -> DriverRecord | None:
        """Read the record of a run directory; None of a run that nobody submitted.

        Raises
        ------
        RunDirectoryError
            It is damaged.
        """
        return _read(DriverRecord, jobs_folder(directory) / "driver.json")

    def write(self, directory: Path) -> None:
        """Keep the record in a run directory.

        Raises
        ------
        StorageError
            It cannot be written.
        """
        _write(self, jobs_folder(directory) / "driver.json")


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
    def read(directory: Path) -> Attempt | None:
        """Read the record of a run directory; None where no attempt was made.

        Raises
        ------
        RunDirectoryError
            It is damaged.
        """
        return _read(Attempt, jobs_folder(directory) / "attempt.json")

    def write(self, directory: Path) -> None:
        """Keep the record in a run directory.

        Raises
        ------
        StorageError
            It cannot be written.
        """
        _write(self, jobs_folder(directory) / "attempt.json")


def _read(kind: type[Kept], file: Path) -> Kept | None:
    try:
        entry: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return kind(**entry)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, TypeError) as error:
        raise RunDirectoryError(
            f"{file} cannot be read: {type(error).__name__}: {error}. Nothing depends on it but "
            "what is known of the run's job: delete it"
        ) from error


def _write(record: DriverRecord | Attempt, file: Path) -> None:
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with temporary.open("w", encoding="utf-8") as stream:
            stream.write(json.dumps(asdict(record), indent=2) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(file)
    except OSError as error:
        raise StorageError(f"cannot write {file}: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)
