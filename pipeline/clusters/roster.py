"""Plan: which jobs of workers are lost, and when it is no use to ask for more.

dask-jobqueue asks for a number of jobs once. A worker that was there and is gone is forgotten after
a while, and nobody takes its place (https://github.com/dask/dask-jobqueue/issues/691); a job that
ended before its worker came is waited for without end. So what the scheduler sees and what the
queue says are compared, again and again.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

__all__ = ["Look", "Roster", "WorkerJob"]

_GRACE_SECONDS = 10.0
"""Some queues do not know a job for a moment after they took it."""
_FEWEST_BARREN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerJob:
    """What a queue says of a job of a worker.

    Attributes
    ----------
    is_over
        Whether it ended.
    words
        State and reason, for people.
    """

    is_over: bool
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What is to be done after a look at scheduler and queue.

    Attributes
    ----------
    gone
        Names of workers whose jobs ended, and which have to be forgotten before new ones are asked
        for.
    asks
        Whether new ones shall be asked for.
    lines
        For people.
    verdict
        Why the run cannot go on; None while it can.
    n_present
        Jobs with a worker on the scheduler.
    """

    gone: tuple[str, ...] = ()
    asks: bool = False
    lines: tuple[str, ...] = ()
    verdict: str | None = None
    n_present: int = 0


@dataclass(slots=True)
class _Record:
    number: str | None
    since_seconds: float
    joined: bool = False


@dataclass(slots=True, kw_only=True)
class Roster:
    """Jobs of workers, as they come and go.

    Attributes
    ----------
    queue
        Its name, for people.
    n_jobs
        Jobs that are asked for.
    patience_seconds
        How long a run may be without any worker.
    """

    queue: str
    n_jobs: int
    patience_seconds: float
    _records: dict[str, _Record] = field(default_factory=dict)
    _n_barren: int = 0
    _last_present_seconds: float | None = None
    _was_present: int = 0
    _has_told: bool = False
    _answer: Mapping[str, WorkerJob] | None = None

    def look(
        self,
        now_seconds: float,
        jobs: Mapping[str, str | None],
        workers: Collection[str],
        queued: Mapping[str, WorkerJob] | None,
    ) -> Look:
        """Compare what the scheduler sees with what the queue says.

        Parameters
        ----------
        now_seconds
            Of a clock that never goes back.
        jobs
            Numbers of the jobs that were submitted, by the names of their workers; None of one that
            the queue refused.
        workers
            Names of the workers on the scheduler: of a job, or of a job and of one of its
            processes.
        queued
            What the queue says, by the numbers of jobs (`key_of`); None where it was not asked, or
            does not answer.
        """
        if self._last_present_seconds is None:
            self._last_present_seconds = now_seconds
        self._answer = self._answer if queued is None else queued
        present = _names_of(jobs, workers)
        for name, number in jobs.items():
            record = self._records.get(name)
            if record is None or record.number != number:
                # Also of a name that was lost and asked for again.
                record = self._records[name] = _Record(number, now_seconds)
            if name in present and not record.joined:
                record.joined = True
                self._n_barren, self._has_told = 0, False
        if present:
            self._last_present_seconds = now_seconds
        gone = self._ended(now_seconds, jobs, present, queued)
        forgotten = [name for name in self._records if name not in jobs]
        lines = self._tell_lost([*gone, *forgotten], queued)
        verdict = self._verdict(now_seconds, present)
        hopeless = self._n_barren >= self._most_barren
        if hopeless and present and not self._has_told:
            self._has_told = True
            lines.append(
                f"{self._n_barren} jobs ended before their workers came: going on with the workers "
                "that are there"
            )
        lines += self._tell_present(len(present))
        n_missing = self.n_jobs - (len(jobs) - len(gone))
        asks = n_missing > 0 and not hopeless and verdict is None
        if asks and not (gone or forgotten):  # they came and went between two looks
            lines.append(f"{_count(n_missing, 'job')} lost; asking {self.queue} for as many again")
        return Look(
            gone=tuple(gone),
            asks=asks,
            lines=tuple(lines),
            verdict=verdict,
            n_present=len(present),
        )

    @property
    def _most_barren(self) -> int:
        return max(_FEWEST_BARREN, self.n_jobs)

    def _ended(
        self,
        now_seconds: float,
        jobs: Mapping[str, str | None],
        present: Collection[str],
        queued: Mapping[str, WorkerJob] | None,
    ) -> list[str]:
        """Names whose jobs are over, as the queue says."""
        over = []
        for name, number in jobs.items():
            if name in present or queued is None:
                continue
            job = None if number is None else queued.get(key_of(number))
            is_new = now_seconds - self._records[name].since_seconds < _GRACE_SECONDS
            if job.is_over if job is not None else number is None or not is_new:
                over.append(name)
        return over

    def _tell_lost(
        self, names: Collection[str], queued: Mapping[str, WorkerJob] | None
    ) -> list[str]:
        """Forget jobs that are over, and say which."""
        lost: list[str] = []
        barren: list[str] = []
        for name in names:
            record = self._records.pop(name)
            job = None if record.number is None else (queued or {}).get(key_of(record.number))
            words = "one refused" if record.number is None else f"job {record.number}"
            words += f" {job.words}" if job else ""
            (lost if record.joined else barren).append(words)
        self._n_barren += len(barren)
        hopeless = self._n_barren >= self._most_barren
        again = "" if hopeless else f"; asking {self.queue} for as many again"
        lines = []
        if lost:
            lines.append(f"lost {_count(len(lost), 'worker')} ({', '.join(lost)}){again}")
        if barren:
            lines.append(
                f"{_count(len(barren), 'job')} ended before a worker joined "
                f"({', '.join(barren)}){again}"
            )
        return lines

    def _tell_present(self, n_present: int) -> list[str]:
        before, self._was_present = self._was_present, n_present
        if n_present <= before:
            return []
        return [f"workers of {n_present} of {_count(self.n_jobs, 'job')} are there"]

    def _verdict(
        self,
        now_seconds: float,
        present: Collection[str],
    ) -> str | None:
        assert self._last_present_seconds is not None
        if present:
            return None
        if self._n_barren >= self._most_barren:
            return f"{self._n_barren} jobs of {self.queue} ended before any of their workers joined"
        waited = now_seconds - self._last_present_seconds
        if waited < self.patience_seconds:
            return None
        return f"no worker came for {waited:.0f} s; {self.describe()}"

    def describe(self) -> str:
        """Say what the queue said of the jobs when it was asked last."""
        answer = self._answer
        if answer is None:
            return f"{self.queue} does not answer"
        # A copy: another thread may ask.
        numbers = [record.number for record in list(self._records.values()) if record.number]
        said = [
            f"job {number} {job.words}"
            for number in numbers
            if (job := answer.get(key_of(number))) is not None
        ]
        return f"{self.queue} says: {', '.join(said) or 'no job of this run is there'}"


def key_of(number: str) -> str:
    """Take of the number of a job what it has in common with what other commands print.

    Examples
    --------
    >>> key_of("123.server"), key_of("123.0"), key_of("123")
    ('123', '123', '123')
    """
    found = re.match(r"\d+", number)
    return found[0] if found else number


def _names_of(jobs: Collection[str], workers: Collection[str]) -> set[str]:
    """Return the names of jobs that have a worker, or one of several."""
    return {
        name for worker in workers for name in (worker, worker.rpartition("-")[0]) if name in jobs
    }


def _count(n: int, word: str) -> str:
    return f"{n} {word}{'s' if n != 1 else ''}"
