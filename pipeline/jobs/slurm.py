"""Driver: jobs of Slurm (https://slurm.schedmd.com/sbatch.html, squeue.html)."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import ClassVar, Literal

from clustergrid.pipeline.clusters.choice import format_walltime
from clustergrid.pipeline.jobs.queues import (
    CLOCK_SIGNAL,
    DriverJob,
    Queue,
    QueuedJob,
    QueueError,
    State,
)

__all__ = ["Slurm"]

# The name last: of a job that is not ours it may hold the separator.
_FORMAT = "%i|%T|%N|%S|%r|%j"
_RUNNING = ("RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT")
_PENDING = ("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT",
            "RESV_DEL_HOLD")  # fmt: skip
_NO_SUCH_JOB = ("Invalid job id",)
_NOTHING = ("", "None", "N/A", "(null)", "Unknown")


class Slurm(Queue):
    """Slurm, from 20.11."""

    word: ClassVar[str] = "slurm"
    goes_back: ClassVar[Literal["asks", "status", "submits"]] = "asks"
    has_warning: ClassVar[bool] = True
    number_variable: ClassVar[str] = "SLURM_JOB_ID"
    hands_on: ClassVar[bool] = True
    appends_live: ClassVar[bool] = True

    def directives(self, job: DriverJob) -> list[str]:
        """Write ``#SBATCH`` lines.

        The signal goes to the script alone (``B:``). Slurm may send it up to a minute sooner.
        """
        options = [
            f"--job-name={job.name}",
            "--output=driver.log",
            "--open-mode=append",
            "--nodes=1",
            "--ntasks=1",
            f"--cpus-per-task={job.cores}",
            f"--mem={job.memory_megabytes}M",
            "--requeue",
            f"--signal=B:{CLOCK_SIGNAL}@{job.warning_seconds}",
        ]
        if job.walltime_seconds is not None:
            options.append(f"--time={format_walltime(job.walltime_seconds)}")
        if job.queue is not None:
            options.append(f"--partition={job.queue}")
        if job.account is not None:
            options.append(f"--account={job.account}")
        return [f"#SBATCH {option}" for option in (*options, *job.extra)]

    def submit_words(self, script: str) -> list[str]:
        """Have `sbatch` print the number alone."""
        return ["sbatch", "--parsable", script]

    def read_number(self, answer: str) -> str:
        r"""Read ``NUMBER`` or ``NUMBER;CLUSTER``, the last line: a site's plugin may print others.

        Examples
        --------
        >>> Slurm().read_number("sbatch: your quota is fine\n123;alps\n")
        '123'
        """
        lines = answer.split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        number = last.split(";")[0]
        return number if number.isdecimal() else ""

    def find(self, numbers: Collection[str], names: Collection[str]) -> list[QueuedJob]:
        """Ask `squeue`, and of a number that it forgot `sacct`, where a site has that."""
        query = ["squeue", "--noheader", "--states=all", f"--format={_FORMAT}"]
        found: dict[str, QueuedJob] = {}
        if names:
            by_name = [f"--user={os.getuid()}", f"--name={','.join(sorted(names))}"]
            found |= self.read_jobs(self.ask([*query, *by_name]))
        missing = sorted(set(numbers) - set(found))
        for number in missing:
            answer = self.ask([*query, f"--jobs={number}"], harmless=_NO_SUCH_JOB)
            found |= self.read_jobs(answer)
        for number in sorted(set(numbers) - set(found)):
            found |= self._of_accounting(number)
        return list(found.values())

    def read_jobs(self, answer: str) -> dict[str, QueuedJob]:
        r"""Read lines of `squeue` in our format.

        Examples
        --------
        >>> found = Slurm().read_jobs("7|PENDING||N/A|Resources|clustergrid-0a1b2c3d\n")
        >>> found["7"].state, found["7"].reason, found["7"].since
        ('pending', 'Resources', '')
        """
        jobs = {}
        for line in filter(None, answer.split("\n")):
            number, word, node, since, reason, name = line.split("|", 5)
            jobs[number] = _job(number, name, word, node, since, reason)
        return jobs

    def _of_accounting(self, number: str) -> dict[str, QueuedJob]:
        words = ["sacct", "--noheader", "--parsable2", "--allocations", f"--jobs={number}"]
        words.append("--format=JobID,State,NodeList,Start,ExitCode,JobName")
        answer = ""
        with suppress(QueueError):  # many sites keep no accounts
            answer = self.ask(words)
        jobs = {}
        for line in filter(None, answer.split("\n")):
            found, state, node, since, code, name = line.split("|", 5)
            # "CANCELLED by 1000"
            word, _, by = state.partition(" ")
            job = _job(found, name, word, node, since, by)
            status = code.split(":")[0]
            has_ended = status.isdecimal() and job.state == "ended"
            jobs[found] = replace(job, exit_status=int(status) if has_ended else None)
        return jobs

    def cancel(self, numbers: Sequence[str]) -> None:
        """Have `scancel` send TERM to all processes of the jobs, and KILL after a while."""
        self.ask(["scancel", *numbers], harmless=(*_NO_SUCH_JOB, "already completing"))

    def requeue_words(self, number: str) -> list[str]:
        """Have `scontrol` take the job from its node; it is eligible again after two minutes."""
        return ["scontrol", "requeue", number]


def _job(number: str, name: str, word: str, node: str, since: str, reason: str) -> QueuedJob:
    state: State = "ended"
    if word in _RUNNING:
        state = "running"
    elif word in _PENDING:
        state = "pending"
    return QueuedJob(
        number=number,
        name=name,
        state=state,
        word=word,
        reason="" if reason in _NOTHING or state == "running" else reason,
        node="" if node in _NOTHING else node,
        since="" if since in _NOTHING or state == "pending" else since,
    )
