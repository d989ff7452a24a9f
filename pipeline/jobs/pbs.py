"""Driver: jobs of PBS Professional and OpenPBS (qsub(1B), qstat(1B), qselect(1B))."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any, ClassVar, Literal

from clustergrid.pipeline.clusters.choice import format_walltime
from clustergrid.pipeline.jobs.queues import DriverJob, Queue, QueuedJob, QueueError, State

__all__ = ["PBS"]

_STATES: dict[str, State] = {"F": "ended", "X": "ended", "R": "running", "E": "running"}
_STATES |= {"B": "running", "S": "running", "U": "running"}
_NO_SUCH_JOB = ("Unknown Job", "Job has finished", "has been moved")


class PBS(Queue):
    """PBS Professional and OpenPBS, from 14."""

    word: ClassVar[str] = "pbs"
    goes_back: ClassVar[Literal["asks", "status", "submits"]] = "submits"
    has_warning: ClassVar[bool] = False
    number_variable: ClassVar[str] = "PBS_JOBID"

    def directives(self, job: DriverJob) -> list[str]:
        """Write ``#PBS`` lines.

        PBS sends TERM when the walltime is over, and KILL seconds later: too late to be a warning.
        `qrerun` is for operators, so a job submits itself again.
        """
        chunk = f"select=1:ncpus={job.cores}:mem={job.memory_megabytes}mb"
        options = [f"-N {job.name}", "-S /bin/bash", "-o driver.queue.log", "-j oe", "-r y"]
        options.append(f"-l {chunk}")
        if job.walltime_seconds is not None:
            options.append(f"-l walltime={format_walltime(job.walltime_seconds)}")
        if job.queue is not None:
            options.append(f"-q {job.queue}")
        if job.account is not None:
            options.append(f"-A {job.account}")
        if job.variables:
            options.append(f"-v {','.join(job.variables)}")
        return [f"#PBS {option}" for option in (*options, *job.extra)]

    def submit_words(self, script: str) -> list[str]:
        """Submit with `qsub`."""
        return ["qsub", script]

    def read_number(self, answer: str) -> str:
        r"""Read ``NUMBER.SERVER``, the last line.

        Examples
        --------
        >>> PBS().read_number("4711.pbs01\n")
        '4711.pbs01'
        """
        number = answer.strip().rpartition("\n")[2].strip()
        return number if number[:1].isdecimal() and " " not in number else ""

    def find(self, numbers: Collection[str], names: Collection[str]) -> list[QueuedJob]:
        """Ask `qselect` for names, and `qstat` for JSON of all, also of what ended."""
        asked = set(numbers)
        for name in sorted(names):
            asked |= set(self.ask(["qselect", "-N", name]).split())
        if not asked:
            return []
        words = ["qstat", "-x", "-f", "-F", "json", *sorted(asked)]
        return self.read_jobs(self.ask(words, harmless=_NO_SUCH_JOB))

    def read_jobs(self, answer: str) -> list[QueuedJob]:
        """Read what ``qstat -f -F json`` prints.

        Raises
        ------
        QueueError
            It is no such JSON.
        """
        try:
            jobs = json.loads(answer or "{}").get("Jobs", {})
            return [_job(number, entry) for number, entry in jobs.items()]
        except (ValueError, KeyError, AttributeError) as error:
            raise QueueError(
                f"what qstat -F json of pbs says cannot be read: {type(error).__name__}: {error}"
            ) from error

    def cancel(self, numbers: Sequence[str]) -> None:
        """Have `qdel` send TERM, and KILL after the queue's delay."""
        self.ask(["qdel", *numbers], harmless=_NO_SUCH_JOB)


def _job(number: str, entry: dict[str, Any]) -> QueuedJob:
    word = str(entry["job_state"])
    status = entry.get("Exit_status")
    state = _STATES.get(word, "pending")
    return QueuedJob(
        number=number,
        name=str(entry["Job_Name"]),
        state=state,
        word=word,
        reason="" if state == "running" else str(entry.get("comment", "")),
        # "node17/0*4+node18/0"
        node=str(entry.get("exec_host", "")).split("/")[0],
        since=str(entry.get("stime", "")),
        exit_status=int(status) if state == "ended" and status is not None else None,
    )
