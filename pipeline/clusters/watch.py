"""Driver: a thread that looks after workers of a queue, and asks again for those that are lost."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from clustergrid.pipeline.clusters.roster import Roster, WorkerJob, key_of
from clustergrid.pipeline.jobs.queues import Queue, QueueError
from clustergrid.storage.errors import StorageError

if TYPE_CHECKING:
    from pathlib import Path

    from clustergrid.pipeline.clusters.jobqueue import JobFolder

__all__ = ["WorkerWatch"]

_LOOK_SECONDS = 0.5
_ASK_SECONDS = (2.0, 30.0)
"""A queue is asked so often at first while workers are missing, and later."""
_TELL_SECONDS = 60.0
_SOON_SECONDS = 0.1
_JOIN_SECONDS = 5.0
_TAIL_CHARACTERS = 400


class WorkerWatch:
    """Looks after the jobs of workers while it is entered.

    Parameters
    ----------
    cluster
        With its scheduler in this process.
    queue
        What it submits to.
    folder
        What its jobs are called, and where they write.
    roster
        How many are wanted, and how long they are waited for.
    tell
        Called with lines for people, also from a thread of its own.
    """

    def __init__(
        self,
        cluster: Any,  # of dask-jobqueue, which has no types
        queue: Queue,
        folder: JobFolder,
        roster: Roster,
        tell: Callable[[str], None],
    ) -> None:
        self._cluster, self._queue, self._folder = cluster, queue, folder
        self._roster, self._tell = roster, tell
        self._ends, self._first = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="clustergrid-workers", daemon=True)
        self._numbers = itertools.count()
        self._asked_seconds, self._ask_every = -_ASK_SECONDS[1], _ASK_SECONDS[0]
        self._told_seconds = time.monotonic()
        self.verdict: str | None = None

    def __enter__(self) -> Self:
        """Ask for all workers, and start to look after them.

        Raises
        ------
        StorageError
            The queue refuses their jobs, or is not there.
        """
        try:
            self._cluster.sync(self._ask, ())
        except FileNotFoundError as error:
            raise StorageError(
                f"{error.filename} of {self._roster.queue} is not on this machine: go where its "
                "jobs are submitted"
            ) from error
        except RuntimeError as error:
            complaint = f"{self._roster.queue} refuses jobs of workers: {_complaint(error)}"
            if all(job.job_id is None for job in self._cluster.workers.values()):
                raise StorageError(complaint) from error
            self._tell(complaint)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop looking."""
        self._ends.set()
        # A queue may take its time to answer, and Ctrl-C is not to wait for that.
        self._thread.join(_JOIN_SECONDS)

    def wait_for_first(self) -> None:
        """Wait until a worker is there: work starts with the first.

        Raises
        ------
        StorageError
            None comes.
        """
        while not self._first.wait(_LOOK_SECONDS):
            if self.verdict is not None:
                raise StorageError(self.verdict)
            now = time.monotonic()
            if now - self._told_seconds >= _TELL_SECONDS:
                self._told_seconds = now
                self._tell(f"waiting for workers; {self._roster.describe()}")

    def _run(self) -> None:
        told = ""
        while self.verdict is None and not self._ends.wait(_LOOK_SECONDS):
            try:
                self._look()
            except Exception as error:
                # Workers that are there go on, whatever a look at the others stumbles over.
                if told != str(error) and not self._ends.is_set():
                    told = str(error)
                    self._tell(f"looking after workers fails: {type(error).__name__}: {error}")

    def _look(self) -> None:
        jobs = {str(name): job.job_id for name, job in list(self._cluster.workers.items())}
        workers = [str(each.name) for each in list(self._cluster.scheduler.workers.values())]
        # The queue is asked after the jobs are listed: all of them were submitted by then.
        queued = self._ask_queue() if len(workers) < len(self._cluster.worker_spec) else None
        look = self._roster.look(time.monotonic(), jobs, workers, queued)
        if look.n_present:
            self._first.set()
        for line in look.lines:
            self._tell(line)
        if look.verdict is not None:
            self._give_up(look.verdict)
        elif look.gone or look.asks:
            self._ask_every = _ASK_SECONDS[0]
            self._renew(look.gone, asks=look.asks)

    def _ask_queue(self) -> dict[str, WorkerJob] | None:
        """Ask what became of the jobs, ever more rarely; None where it was not asked just now."""
        now = time.monotonic()
        if now - self._asked_seconds < self._ask_every:
            return None
        self._asked_seconds = now
        self._ask_every = min(1.5 * self._ask_every, _ASK_SECONDS[1])
        try:
            found = self._queue.find((), {self._folder.job_name})
        except QueueError:  # busy; it is asked again
            return None
        return {
            key_of(job.number): WorkerJob(
                is_over=job.state == "ended",
                words=f"{job.word} ({job.reason})" if job.reason else job.word,
            )
            for job in found
        }

    def _renew(self, gone: tuple[str, ...], *, asks: bool) -> None:
        try:
            self._cluster.sync(self._ask if asks else self._forget, gone)
        except RuntimeError as error:
            if not self._ends.is_set():
                self._tell(f"{self._roster.queue} refuses jobs of workers: {_complaint(error)}")

    async def _ask(self, gone: tuple[str, ...]) -> None:
        """Ask for as many workers as are wanted; on the cluster's loop.

        As `scale` does, but that would leave the queue's refusal to a callback that nobody sees.
        """
        from distributed.core import Status

        cluster = self._cluster
        await self._forget(gone)
        if self._ends.is_set():
            return
        for name in cluster.worker_spec.keys() - cluster.workers.keys():  # forgotten by Dask
            del cluster.worker_spec[name]
        while len(cluster.worker_spec) < self._roster.n_jobs:
            # No name twice: Dask cancels the job of a worker's name some time after it is lost.
            cluster.worker_spec[f"{cluster.name}-{next(self._numbers)}"] = cluster.new_spec
        try:
            await cluster
        finally:
            for job in cluster.workers.values():
                if job.job_id is None:  # refused; it would keep the cluster from closing
                    job.status = Status.closed

    async def _forget(self, gone: tuple[str, ...]) -> None:
        from distributed.core import Status

        for name in gone:
            self._cluster.worker_spec.pop(name, None)
            job = self._cluster.workers.pop(name, None)
            if job is not None:
                await job.close()  # also of a job that only looks as if it had ended
                job.status = Status.closed

    def _give_up(self, verdict: str) -> None:
        """Let the run end with a verdict: tasks that wait for a worker fail now."""
        self.verdict = " ".join(filter(None, (verdict, self._last_words())))
        scheduler: Any = self._cluster.scheduler
        self._cluster.loop.add_callback(setattr, scheduler, "no_workers_timeout", _SOON_SECONDS)

    def _last_words(self) -> str:
        """Quote the end of the newest log of a worker."""
        logs = self._folder.logs
        files = (
            []
            if logs is None
            else [*logs.glob(f"*{self._folder.job_name}*"), *logs.glob("worker-*")]
        )
        files = [file for file in files if file.stat().st_size]
        if not files:
            return ""
        newest = max(files, key=_changed)
        text = newest.read_text(encoding="utf-8", errors="replace")
        return f"({newest} ends: {' '.join(text[-_TAIL_CHARACTERS:].split())})"


def _changed(path: Path) -> float:
    return path.stat().st_mtime


def _complaint(error: RuntimeError) -> str:
    """Take the queue's own words out of what dask-jobqueue makes of them."""
    text = str(error)
    return " ".join(text.rpartition("stderr:")[2].split()) or " ".join(text.split())
