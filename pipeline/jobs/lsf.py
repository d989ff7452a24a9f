"""Driver: jobs of IBM Spectrum LSF, from 10.1 (bsub(1), bjobs(1))."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from typing import Any, ClassVar, Literal

from clustergrid.pipeline.jobs.queues import (
    CLOCK_SIGNAL,
    REQUEUE_STATUS,
    DriverJob,
    Queue,
    QueuedJob,
    QueueError,
    State,
)

__all__ = ["LSF"]

_FIELDS = "jobid job_name stat exec_host start_time pend_reason exit_code exit_reason"
_STATES: dict[str, State] = {"RUN": "running", "USUSP": "running", "SSUSP": "running"}
_STATES |= {"DONE": "ended", "EXIT": "ended", "ZOMBI": "ended"}
_NO_SUCH_JOB = ("is not found", "No unfinished job found", "No job found", "already finished")


class LSF(Queue):
    """LSF."""

    word: ClassVar[str] = "lsf"
    goes_back: ClassVar[Literal["asks", "status", "submits"]] = "status"
    has_warning: ClassVar[bool] = True
    is_read: ClassVar[bool] = True
    number_variable: ClassVar[str] = "LSB_JOBID"
    hands_on: ClassVar[bool] = True

    def directives(self, job: DriverJob) -> list[str]:
        """Write ``#BSUB`` lines.

        The signal of ``-wa`` comes ``-wt`` minutes before LSF ends the job; one that ends with a
        status of ``-Q`` goes back. Times are in minutes.
        """
        minutes = max(1, job.warning_seconds // 60)
        options = [f"-J {job.name}", "-o driver.queue.log", f"-n {job.cores}"]
        options += ['-R "span[hosts=1]"', f"-M {job.memory_megabytes}MB"]
        options.append(f'-R "rusage[mem={job.memory_megabytes}MB]"')
        options += ["-r", f"-Q {REQUEUE_STATUS}", f"-wa {CLOCK_SIGNAL}", f"-wt {minutes}"]
        if job.walltime_seconds is not None:
            whole = -(-job.walltime_seconds // 60)
            options.append(f"-W {whole // 60:02d}:{whole % 60:02d}")
        if job.queue is not None:
            options.append(f"-q {job.queue}")
        if job.account is not None:
            options.append(f"-P {job.account}")
        return [f"#BSUB {option}" for option in (*options, *job.extra)]

    def submit_words(self, script: str) -> list[str]:
        """Give `bsub` nothing: it reads directives only from its standard input."""
        return ["bsub"]

    def read_number(self, answer: str) -> str:
        r"""Read the number; `bsub` has no form for programs.

        Examples
        --------
        >>> LSF().read_number("Job <4711> is submitted to queue <normal>.\n")
        '4711'
        """
        found = re.search(r"Job <(\d+)>", answer)
        return found[1] if found else ""

    def find(self, numbers: Collection[str], names: Collection[str]) -> list[QueuedJob]:
        """Ask `bjobs` for JSON, also of what ended of late."""
        query = ["bjobs", "-a", "-json", "-o", _FIELDS]
        found: dict[str, QueuedJob] = {}
        questions = [["-J", name] for name in sorted(names)]
        if numbers:
            questions.append(sorted(numbers))
        for question in questions:
            answer = self.ask([*query, *question], harmless=_NO_SUCH_JOB)
            found |= {job.number: job for job in self.read_jobs(answer)}
        return list(found.values())

    def read_jobs(self, answer: str) -> list[QueuedJob]:
        """Read what ``bjobs -json`` prints.

        Raises
        ------
        QueueError
            It is no such JSON.
        """
        try:
            records = json.loads(answer)["RECORDS"] if answer.strip().startswith("{") else []
            # A job that it does not know has an "ERROR" in place of its fields.
            return [_job(record) for record in records if "STAT" in record]
        except (ValueError, KeyError, TypeError) as error:
            raise QueueError(
                f"what bjobs -json of lsf says cannot be read: {type(error).__name__}: {error}"
            ) from error

    def cancel(self, numbers: Sequence[str]) -> None:
        """Have `bkill` send INT, TERM and, after a while, KILL."""
        self.ask(["bkill", *numbers], harmless=_NO_SUCH_JOB)


def _job(record: dict[str, Any]) -> QueuedJob:
    word = str(record["STAT"])
    state = _STATES.get(word, "pending")
    code = str(record.get("EXIT_CODE", ""))
    if word == "DONE":
        code = "0"
    return QueuedJob(
        number=str(record["JOBID"]),
        name=str(record["JOB_NAME"]),
        state=state,
        word=word,
        reason=_text(record, {"pending": "PEND_REASON", "ended": "EXIT_REASON"}.get(state, "")),
        # "4*node17:4*node18"
        node=_text(record, "EXEC_HOST").split(":")[0].rpartition("*")[2],
        since=_text(record, "START_TIME"),
        exit_status=int(code) if state == "ended" and code.isdecimal() else None,
    )


def _text(record: dict[str, Any], name: str) -> str:
    text = str(record.get(name, "")).strip()
    return "" if text == "-" else text
