"""Driver: what a batch queue can be asked for, in the same words for all of them.

A queue is asked in the form it has for programs (formats, JSON, XML), never in tables for people,
which change with its version and cut long names.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from clustergrid.storage.credentials import hide_credentials
from clustergrid.storage.errors import StorageError

__all__ = [
    "CLOCK_SIGNAL",
    "REQUEUE_STATUS",
    "DriverJob",
    "Queue",
    "QueueError",
    "QueuedJob",
    "is_active",
]

CLOCK_SIGNAL = "USR1"
"""What a queue sends before the walltime is over. Not TERM, which is what it sends to a job that
somebody cancelled, and which must not go back into the queue."""

REQUEUE_STATUS = 99
"""Exit status that sends a job back, of queues that look at it: Grid Engine's own number."""

_ANSWER_SECONDS = 60.0

State = Literal["pending", "running", "ended"]


class QueueError(StorageError):
    """A queue does not do what it was asked, or is not there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverJob:
    """What the job of a driver asks its queue for.

    Attributes
    ----------
    name
        Of the job (`clustergrid.pipeline.jobs.names.driver_job_name`).
    cores
        Of one node.
    memory_bytes
        Of that node.
    walltime_seconds
        Its longest time; None: what the queue has.
    warning_seconds
        How long before its end it is told of it.
    queue, account
        Queue (partition) and account (project); None: the user's own.
    extra
        More directives, as the queue has them.
    variables
        Names of variables that are taken from the environment of the submission, and whose values
        stand in no script.
    """

    name: str
    cores: int
    memory_bytes: int
    walltime_seconds: int | None = None
    warning_seconds: int = 120
    queue: str | None = None
    account: str | None = None
    extra: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()

    @property
    def memory_megabytes(self) -> int:
        """Memory in 2**20 bytes, rounded up: what queues call MB."""
        return -(-self.memory_bytes // 2**20)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuedJob:
    """What a queue says of a job.

    Attributes
    ----------
    number
        As the queue has it: ``"123"``, ``"123.server"``.
    name
        Of the job.
    state
        ``"pending"``, ``"running"`` or ``"ended"``.
    word
        The queue's own word for that, as ``"OUT_OF_MEMORY"``.
    reason
        Why it waits, or why it ended; empty where the queue does not tell.
    node
        Where it runs or ran.
    since
        When it started, as the queue writes times.
    exit_status
        Of a job that ended; None where the queue does not tell.
    """

    number: str
    name: str
    state: State
    word: str
    reason: str = ""
    node: str = ""
    since: str = ""
    exit_status: int | None = None


def is_active(job: QueuedJob) -> bool:
    """Whether a job waits or runs."""
    return job.state != "ended"


class Queue(ABC):
    """A batch queue."""

    word: ClassVar[str]
    """As `--cluster` has it."""
    suffix: ClassVar[str] = "sh"
    """Of the file that is submitted."""
    goes_back: ClassVar[Literal["asks", "status", "submits"]]
    """How a job returns to the queue: it asks (`requeue_words`), it ends with `REQUEUE_STATUS`, or
    it submits itself again."""
    has_warning: ClassVar[bool]
    """Whether the queue sends `CLOCK_SIGNAL` in time; otherwise the job looks at the clock."""
    number_variable: ClassVar[str]
    """Variable of the environment in which a job finds its number."""
    hands_on: ClassVar[bool] = False
    """Whether a job has the environment it was submitted from, without being told which of it."""
    is_read: ClassVar[bool] = False
    """Whether the command that submits reads the script from its standard input."""
    appends_live: ClassVar[bool] = False
    """Whether what a job prints is in its log at once, after that of an earlier attempt."""

    @abstractmethod
    def directives(self, job: DriverJob) -> list[str]:
        """Lines at the top of the script. Paths are relative to where it is submitted."""

    @abstractmethod
    def submit_words(self, script: str) -> list[str]:
        """Words of the command that submits a script."""

    @abstractmethod
    def read_number(self, answer: str) -> str:
        """Read the number of the job in what that command prints."""

    @abstractmethod
    def find(self, numbers: Collection[str], names: Collection[str]) -> list[QueuedJob]:
        """Find jobs by number or by name, and those that ended, as long as the queue knows them.

        Raises
        ------
        QueueError
            The queue does not answer.
        """

    @abstractmethod
    def cancel(self, numbers: Sequence[str]) -> None:
        """Cancel jobs; one that is gone already is no error."""

    def submission_file(self, job: DriverJob, script: str) -> str | None:
        """Make what is submitted, where it is not the script itself."""
        return None

    def submit(self, script: Path) -> str:
        """Submit a script from its own folder; return the job's number.

        Raises
        ------
        QueueError
            The queue refuses it, or is not there.
        """
        words = self.submit_words(script.name)
        answer = self.ask(words, folder=script.parent, read=script if self.is_read else None)
        number = self.read_number(answer)
        if not number:
            raise QueueError(f"{self.word} gave no number of a job: {answer.strip()!r}")
        return number

    def requeue_words(self, number: str) -> list[str]:
        """Words of the command by which a running job asks to be queued again."""
        raise NotImplementedError(self.word)

    def ask(
        self,
        words: Sequence[str],
        *,
        folder: Path | None = None,
        read: Path | None = None,
        harmless: Sequence[str] = (),
    ) -> str:
        """Run a command of the queue.

        Parameters
        ----------
        words
            The command.
        folder
            Where; None: here.
        read
            What it reads from its standard input; None: nothing.
        harmless
            Parts of complaints that mean that there is no such job: the answer is then empty.

        Returns
        -------
        str
            What it prints.

        Raises
        ------
        QueueError
            It is not there, fails, or does not answer.
        """
        command = shlex.join(words)
        if shutil.which(words[0]) is None:
            raise QueueError(
                f"{words[0]} of {self.word} is not on this machine: go where jobs of {self.word} "
                "are submitted"
            )
        try:
            with open(read or os.devnull, encoding="utf-8") as given:
                done = subprocess.run(
                    list(words),
                    cwd=folder,
                    stdin=given,
                    capture_output=True,
                    text=True,
                    errors="replace",
                    timeout=_ANSWER_SECONDS,
                    check=False,
                )
        except subprocess.TimeoutExpired as error:
            raise QueueError(
                f"{self.word} does not answer within {_ANSWER_SECONDS:.0f} s: {command}"
            ) from error
        if done.returncode == 0:
            return done.stdout
        said = " ".join((done.stderr or done.stdout).split())
        if any(part in said for part in harmless):
            return done.stdout
        raise QueueError(
            hide_credentials(
                f"{self.word} refuses {command} (exit status {done.returncode}): {said}"
            )
        )
