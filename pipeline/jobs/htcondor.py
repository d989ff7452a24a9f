"""Driver: jobs of HTCondor, from 9.0 (condor_submit(1), condor_q(1), condor_history(1))."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, ClassVar, Literal

from clustergrid.pipeline.jobs.queues import (
    REQUEUE_STATUS,
    DriverJob,
    Queue,
    QueuedJob,
    QueueError,
    State,
)

__all__ = ["HTCondor"]

_ATTRIBUTES = (
    "ClusterId,ProcId,JobBatchName,JobStatus,HoldReason,RemoteHost,LastRemoteHost,"
    "JobCurrentStartDate,ExitCode,RemoveReason"
)
_WORDS: dict[int, tuple[str, State]] = {
    1: ("idle", "pending"),
    2: ("running", "running"),
    3: ("removed", "ended"),
    4: ("completed", "ended"),
    5: ("held", "pending"),
    6: ("transferring output", "running"),
    7: ("suspended", "running"),
}
_NO_SUCH_JOB = ("not found", "Couldn't find")


class HTCondor(Queue):
    """HTCondor, on a pool whose nodes share a file system."""

    word: ClassVar[str] = "htcondor"
    suffix: ClassVar[str] = "sub"
    goes_back: ClassVar[Literal["asks", "status", "submits"]] = "status"
    has_warning: ClassVar[bool] = False
    number_variable: ClassVar[str] = "CLUSTERGRID_CONDOR_JOB"

    def directives(self, job: DriverJob) -> list[str]:
        """Return none: they are in a file of their own, see `submission_file`."""
        return []

    def submission_file(self, job: DriverJob, script: str) -> str:
        """Write the submit description.

        TERM comes first when a job is removed or evicted. It has no walltime; one that was asked
        for the job keeps by itself, and a pool that ends jobs sooner says so in ``extra``. A job
        that ends with the status of going back stays in the queue.
        """
        entries = {
            "universe": "vanilla",
            "batch_name": job.name,
            "executable": script,
            "output": "driver.queue.log",
            "error": "driver.queue.log",
            "log": "driver.htcondor.log",
            "request_cpus": str(job.cores),
            "request_memory": str(job.memory_megabytes),
            "kill_sig": "SIGTERM",
            "should_transfer_files": "NO",
            "environment": f'"{self.number_variable}=$(ClusterId).$(ProcId)"',
            "on_exit_remove": f"(ExitBySignal == True) || (ExitCode =!= {REQUEUE_STATUS})",
        }
        if job.variables:
            entries["getenv"] = ", ".join(job.variables)
        if job.account is not None:
            entries["accounting_group"] = job.account
        lines = [f"{name} = {value}" for name, value in entries.items()]
        return "\n".join([*lines, *job.extra, "queue", ""])

    def submit_words(self, script: str) -> list[str]:
        """Have `condor_submit` print the numbers alone."""
        return ["condor_submit", "-terse", script]

    def read_number(self, answer: str) -> str:
        r"""Read the first of ``FIRST - LAST``.

        Examples
        --------
        >>> HTCondor().read_number("12.0 - 12.0\n")
        '12.0'
        """
        number = answer.strip().rpartition("\n")[2].split(" ")[0]
        return number if number.replace(".", "", 1).isdecimal() else ""

    def find(self, numbers: Collection[str], names: Collection[str]) -> list[QueuedJob]:
        """Ask `condor_q` for JSON, and `condor_history` of a number that it forgot."""
        conditions = [f'JobBatchName == "{name}"' for name in sorted(names)]
        conditions += [_is_number(number) for number in sorted(numbers)]
        query = ["-json", "-attributes", _ATTRIBUTES, "-constraint"]
        found = self.read_jobs(self.ask(["condor_q", *query, " || ".join(conditions)]))
        for number in sorted(set(numbers) - {job.number for job in found}):
            words = ["condor_history", "-limit", "1", *query, _is_number(number)]
            with suppress(QueueError):  # a pool may keep none, or elsewhere
                found += self.read_jobs(self.ask(words))
        return found

    def read_jobs(self, answer: str) -> list[QueuedJob]:
        """Read what ``condor_q -json`` prints: nothing at all where there is no job.

        Raises
        ------
        QueueError
            It is no such JSON.
        """
        try:
            return [_job(entry) for entry in json.loads(answer.strip() or "[]")]
        except (ValueError, KeyError, TypeError) as error:
            raise QueueError(
                f"what condor_q -json of htcondor says cannot be read: {type(error).__name__}: "
                f"{error}"
            ) from error

    def cancel(self, numbers: Sequence[str]) -> None:
        """Have `condor_rm` send TERM, and KILL after a while."""
        self.ask(["condor_rm", *numbers], harmless=_NO_SUCH_JOB)


def _is_number(number: str) -> str:
    cluster, _, process = number.partition(".")
    return f"(ClusterId == {cluster} && ProcId == {process or 0})"


def _job(entry: dict[str, Any]) -> QueuedJob:
    word, state = _WORDS.get(int(entry["JobStatus"]), ("unknown", "ended"))
    host = str(entry.get("RemoteHost") or entry.get("LastRemoteHost") or "")
    began = entry.get("JobCurrentStartDate")
    status = entry.get("ExitCode")
    since = ""
    if began is not None and state != "pending":
        since = datetime.fromtimestamp(int(began)).astimezone().isoformat(timespec="seconds")
    return QueuedJob(
        number=f"{entry['ClusterId']}.{entry['ProcId']}",
        name=str(entry.get("JobBatchName", "")),
        state=state,
        word=word,
        reason=str(entry.get("HoldReason") or entry.get("RemoveReason") or ""),
        # "slot1_3@node17.example.org"
        node=host.rpartition("@")[2] if state != "pending" else "",
        since=since,
        exit_status=int(status) if state == "ended" and status is not None else None,
    )
