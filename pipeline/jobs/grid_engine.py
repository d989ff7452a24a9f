"""Driver: jobs of Grid Engine, Sun's and its successors (qsub(1), qstat(1), sge_conf(5))."""

from __future__ import annotations

import getpass
import xml.etree.ElementTree as ElementTree
from collections.abc import Collection, Sequence
from typing import ClassVar, Literal

from clustergrid.pipeline.clusters.choice import format_walltime
from clustergrid.pipeline.jobs.queues import DriverJob, Queue, QueuedJob, QueueError, State

__all__ = ["GridEngine"]


class GridEngine(Queue):
    """Grid Engine.

    It has no words of its own for cores and memory: sites name their parallel environments and
    their resources, so these are asked for by more directives (``-pe smp 4``, ``-l mem_free=8G``).
    """

    word: ClassVar[str] = "sge"
    goes_back: ClassVar[Literal["asks", "status", "submits"]] = "status"
    has_warning: ClassVar[bool] = True
    number_variable: ClassVar[str] = "JOB_ID"
    appends_live: ClassVar[bool] = True

    def directives(self, job: DriverJob) -> list[str]:
        """Write ``#$`` lines.

        At the soft limit ``s_rt`` it sends USR1. With ``-notify``, USR2 comes before KILL. A job
        that is rerunnable (``-r y``) goes back when it ends with 99.
        """
        options = [f"-N {job.name}", "-S /bin/bash", "-cwd", "-o driver.log", "-j y"]
        options += ["-r y", "-notify"]
        if job.walltime_seconds is not None:
            soft = format_walltime(job.walltime_seconds - job.warning_seconds)
            options.append(f"-l h_rt={format_walltime(job.walltime_seconds)},s_rt={soft}")
        if job.queue is not None:
            options.append(f"-q {job.queue}")
        if job.account is not None:
            options.append(f"-P {job.account}")
        if job.variables:
            options.append(f"-v {','.join(job.variables)}")
        return [f"#$ {option}" for option in (*options, *job.extra)]

    def submit_words(self, script: str) -> list[str]:
        """Have `qsub` print the number alone."""
        return ["qsub", "-terse", script]

    def read_number(self, answer: str) -> str:
        r"""Read the number, the last line.

        Examples
        --------
        >>> GridEngine().read_number("4711\n")
        '4711'
        """
        number = answer.strip().rpartition("\n")[2].strip()
        return number if number.isdecimal() else ""

    def find(self, numbers: Collection[str], names: Collection[str]) -> list[QueuedJob]:
        """Ask `qstat` for XML of all jobs of this user; what ended it forgets at once."""
        answer = self.ask(["qstat", "-xml", "-u", getpass.getuser()])
        jobs = self.read_jobs(answer)
        return [job for job in jobs if job.number in numbers or job.name in names]

    def read_jobs(self, answer: str) -> list[QueuedJob]:
        """Read what ``qstat -xml`` prints.

        Raises
        ------
        QueueError
            It is no such XML.
        """
        try:
            root = ElementTree.fromstring(answer)
        except ElementTree.ParseError as error:
            raise QueueError(f"what qstat -xml of sge says cannot be read: {error}") from error
        return [_job(entry) for entry in root.iter("job_list")]

    def cancel(self, numbers: Sequence[str]) -> None:
        """Have `qdel` send USR2, and KILL after the queue's time of notice."""
        self.ask(["qdel", *numbers], harmless=("does not exist",))


def _job(entry: ElementTree.Element) -> QueuedJob:
    def text(name: str) -> str:
        return (entry.findtext(name) or "").strip()

    word = text("state")
    # Letters: h held, q queued, w waiting, E error, r running, t transferring, R restarted,
    # s S T suspended, d being deleted.
    state: State = "pending" if "q" in word or "w" in word else "running"
    return QueuedJob(
        number=text("JB_job_number"),
        name=text("JB_name"),
        state=state,
        word=word,
        reason=_reason(word) if state == "pending" else "",
        node=text("queue_name").rpartition("@")[2],
        since=text("JAT_start_time"),
    )


def _reason(word: str) -> str:
    if "E" in word:
        return "an error of the queue: see qstat -explain E"
    return "held" if "h" in word else "waiting"
