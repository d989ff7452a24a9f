"""Driver: progress of a run, told as events; where they go is the caller's choice.

A stage says its name, how much there is to do and in what unit, then how much is done. The same
events draw a bar on a terminal, print plain lines into a log, and are kept as JSON lines in a run
directory.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TextIO

from clustergrid.pipeline.memory import MemoryPeak, MemorySampler, MemoryWatch
from clustergrid.pipeline.sizes import format_bytes, format_seconds
from clustergrid.storage.lines import Lines, LocalLines

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    "Event",
    "JsonLines",
    "Listener",
    "PictureMaker",
    "PlainLines",
    "Progress",
    "Reached",
    "Stage",
    "Watcher",
    "format_amount",
    "make_progress",
]

State = Literal["started", "running", "finished", "kept", "failed", "stopped"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Where a stage stands.

    Attributes
    ----------
    stage
        ``"ingest"``, ``"statistics"``, ``"distance-row"``, ...
    state
        ``"started"``, ``"running"``, ``"finished"``, ``"kept"`` (from an earlier run),
        ``"failed"`` or ``"stopped"`` (by a signal).
    done, total, unit
        How far, of how much, in what; the total is 0 where it is not known.
    kept
        How much of what is done an earlier run did.
    bytes
        How many bytes that is; 0 where a unit has no size.
    rate
        Units a second that were done since the stage started, without what was kept.
    seconds
        Since the stage started.
    seconds_left
        At the rate of late, or as the stage itself reckons; None where it is not known.
    peak_memory_bytes, peak_driver_bytes, peak_worker_bytes
        Most memory since the stage started: of all local processes, of this one, and of the
        largest of the others. 0 where it is not measured.
    note
        What else there is to say, in a few words. When a stage starts, what does its work, and why.
        Of a tree on its way: "rounds: 1,234 clusters left, height 3.21, 1.2 passes"
        (`clustergrid.pipeline.tree_progress.tree_note`).
    is_news
        Whether the note says what comes next and why, which is told at once and kept in sight.
    clusters_left, height
        Of a tree on its way: clusters that are not merged yet, and the height that was reached.
        None of other stages.
    time
        Unix time of the event.
    """

    stage: str
    state: State
    done: int
    total: int
    unit: str
    kept: int = 0
    bytes: int = 0
    rate: float = 0.0
    seconds: float
    seconds_left: float | None = None
    peak_memory_bytes: int = 0
    peak_driver_bytes: int = 0
    peak_worker_bytes: int = 0
    note: str = ""
    is_news: bool = False
    clusters_left: int | None = None
    height: float | None = None
    time: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """Where a tree is, in words and in numbers; see `Event`."""

    note: str
    clusters_left: int
    height: float


Listener = Callable[[Event], None]
Note = Callable[[], str | Reached]
"""Makes the note of an event; called when there is one."""
SecondsLeft = Callable[[], float | None]
"""Says how long a stage will take yet; called when there is an event."""


class _Pace:
    """How fast a stage has been of late: over its last quarter, or half a minute if that is more.

    Pieces of work may take seconds or an hour, and the first ones are the slowest: they load
    libraries and fill caches.
    """

    def __init__(self, started: float) -> None:
        self._started = started
        self._marks = deque([(started, 0)])

    def units_a_second(self, now: float, done: int) -> float:
        """Note what is done now, and return the rate of late."""
        elapsed = now - self._started
        since = now - max(30.0, elapsed / 4)
        while len(self._marks) > 1 and self._marks[1][0] <= since:
            self._marks.popleft()
        (then, before), (latest, _) = self._marks[0], self._marks[-1]
        if now - latest >= max(0.2, elapsed / 200):
            self._marks.append((now, done))
        return (done - before) / (now - then) if now > then else 0.0


class Stage:
    """A stage under way; made by `Progress.stage`.

    Attributes
    ----------
    total
        How much there is to do; may be set later, where it is not known before.
    done
        How much is done, what an earlier run did included.
    """

    def __init__(
        self,
        progress: Progress,
        name: str,
        *,
        total: int,
        unit: str,
        kept: int = 0,
        unit_bytes: int = 0,
        memory: MemoryWatch | None = None,
    ) -> None:
        self.name, self.total, self.unit, self.kept = name, total, unit, kept
        self.done = kept
        self._unit_bytes = 1 if unit == "bytes" else unit_bytes
        self._progress = progress
        self._memory = memory
        self._started = self._told = time.monotonic()
        self._pace = _Pace(self._started)
        self._note: Note | None = None
        self._seconds_left: SecondsLeft | None = None

    def advance(
        self,
        amount: int = 1,
        note: Note | None = None,
        seconds_left: SecondsLeft | None = None,
    ) -> None:
        """Say that so much more is done; listeners hear of it a few times a second.

        Parameters
        ----------
        amount
            How much more.
        note
            What to call for the note of this and later events. It is called a few times a second
            however often the stage advances, so engines may say where they are at every step.
        seconds_left
            Likewise, for the seconds that are left, where the units that are done do not say.
        """
        self.done += amount
        if note is not None:
            self._note = note
        if seconds_left is not None:
            self._seconds_left = seconds_left
        if self._progress.is_resuming:
            self.kept += amount
        now = time.monotonic()
        if now - self._told >= self._progress.interval_seconds:
            self._told = now
            self.tell("running")

    def tell(self, state: State, note: str = "", *, is_news: bool = False) -> None:
        """Send an event to the listeners, with a note, or else that of how far the stage is."""
        seconds = time.monotonic() - self._started
        pace = self._pace.units_a_second(self._started + seconds, self.done - self.kept)
        left = max(0, self.total - self.done)
        seconds_left = left / pace if pace > 0 and self.total > 0 else None
        if self._seconds_left is not None:
            seconds_left = self._seconds_left()
        is_known = state == "running" and seconds_left is not None
        memory = MemoryPeak() if self._memory is None else self._memory.look()
        found = "" if self._note is None else self._note()
        reached = found if isinstance(found, Reached) else None
        self._progress.tell(
            Event(
                stage=self.name,
                state=state,
                done=self.done,
                total=self.total,
                unit=self.unit,
                kept=self.kept,
                bytes=self.done * self._unit_bytes,
                rate=_rounded((self.done - self.kept) / seconds if seconds > 0 else 0.0),
                seconds=round(seconds, 3),
                seconds_left=round(seconds_left or 0.0, 1) if is_known else None,
                peak_memory_bytes=memory.total_bytes,
                peak_driver_bytes=memory.driver_bytes,
                peak_worker_bytes=memory.worker_bytes,
                note=note or (found if isinstance(found, str) else found.note),
                is_news=is_news,
                clusters_left=None if reached is None else reached.clusters_left,
                height=None if reached is None else reached.height,
                time=round(time.time(), 3),
            )
        )


def _rounded(rate: float) -> float:
    """Four digits: a rate is no more exact, and the log is for people too."""
    return float(f"{rate:.4g}")


PictureMaker = Callable[[], "np.ndarray"]
"""Makes ``(p, q)`` values of the pixels so far, NaN where there are none yet."""


class Watcher:
    """Sees more of a run than its events. This one sees nothing; others override what they want.

    What goes wrong in a watcher is its own affair: nothing here raises.
    """

    def __call__(self, event: Event) -> None:
        """See an event, as every `Listener` does."""

    def around(self, stage: str) -> AbstractContextManager[None]:
        """Return what is entered before a stage starts and left after it ended."""
        del stage
        return nullcontext()

    def show(self, picture: PictureMaker, *, is_whole: bool) -> None:
        """See the picture so far, or the whole one, if `picture` is worth being called."""


class Progress:
    """Hands the events of stages to listeners; without listeners it costs nothing.

    Parameters
    ----------
    *listeners
        Called with every `Event`, in the thread that drives the run.
    interval_seconds
        Least time between two events of a running stage.
    memory
        Measures the peak of each stage, once it is entered.

    Attributes
    ----------
    is_resuming
        While it is set, what a stage advances by was done by an earlier run.
    """

    def __init__(
        self,
        *listeners: Listener,
        interval_seconds: float = 0.2,
        memory: MemorySampler | None = None,
    ) -> None:
        self._listeners = listeners
        self._watchers: list[Watcher] = []
        self.interval_seconds = interval_seconds
        self._memory = memory
        self.is_resuming = False

    def tell(self, event: Event) -> None:
        """Send an event to every listener."""
        told: tuple[Listener, ...] = (*self._listeners, *self._watchers)
        for listener in told:
            listener(event)

    @contextmanager
    def watched(self, watcher: Watcher) -> Iterator[None]:
        """Let a watcher see the stages that are opened inside the context."""
        self._watchers.append(watcher)
        try:
            yield
        finally:
            self._watchers.remove(watcher)

    def show(self, picture: PictureMaker, *, is_whole: bool) -> None:
        """Offer watchers the picture so far, or the whole one; it is made if one wants it."""
        for watcher in self._watchers:
            watcher.show(picture, is_whole=is_whole)

    @contextmanager
    def stage(
        self,
        name: str,
        *,
        total: int,
        unit: str,
        kept: int = 0,
        unit_bytes: int = 0,
        why: str = "",
    ) -> Iterator[Stage]:
        """Open a stage; it ends as finished, as failed when an error leaves it, or as stopped.

        Parameters
        ----------
        name
            Of the stage.
        total, unit
            How much there is to do, in what; 0 where it is not known.
        kept
            How much of that an earlier run did. It counts as done, and not for the rate.
        unit_bytes
            Bytes of a unit, on average; where the unit is bytes it is known.
        why
            What does the work and why that, where there was a choice: the note of the first event.
        """
        watch: AbstractContextManager[MemoryWatch | None]
        watch = nullcontext() if self._memory is None else self._memory.watch()
        with ExitStack() as around, watch as memory:
            for watcher in self._watchers:
                around.enter_context(watcher.around(name))
            stage = Stage(
                self,
                name,
                total=total,
                unit=unit,
                kept=kept,
                unit_bytes=unit_bytes,
                memory=memory,
            )
            stage.tell("started", why)
            try:
                yield stage
            except BaseException as error:
                # The disk that cannot take this event may be what ended the stage.
                with suppress(OSError):
                    stage.tell("failed" if isinstance(error, Exception) else "stopped")
                raise
            stage.done = stage.total
            stage.tell("finished")

    def kept(self, name: str) -> None:
        """Say that a stage's result of an earlier run is used."""
        Stage(self, name, total=0, unit="").tell("kept")


class JsonLines:
    """Appends every event to a file, one JSON object a line.

    Parameters
    ----------
    log
        A file of this machine, or the lines of one that is kept elsewhere.
    """

    def __init__(self, log: Path | Lines) -> None:
        self._lines: Lines = LocalLines(log) if isinstance(log, Path) else log

    def __call__(self, event: Event) -> None:
        """Append the event.

        Raises
        ------
        StorageError
            The file cannot be written, for instance because the disk is full.
        """
        self._lines.append(json.dumps(asdict(event)) + "\n")


class PlainLines:
    """Prints a line when a stage starts and ends, at news, and every few seconds between.

    Parameters
    ----------
    stream
        Where to print.
    every_seconds
        Least time between two lines of a running stage.
    """

    def __init__(self, stream: TextIO, *, every_seconds: float = 10.0) -> None:
        self._stream = stream
        self._every = every_seconds
        self._printed = 0.0

    def __call__(self, event: Event) -> None:
        """Print the event, if it is time."""
        is_soon = event.seconds - self._printed < self._every
        if event.state == "running" and is_soon and not event.is_news:
            return
        self._printed = event.seconds if event.state == "running" else 0.0
        print(f"{event.stage}: {_describe(event)}", file=self._stream, flush=True)


def _describe(event: Event) -> str:
    """Say in words what an event says."""
    if event.state == "kept":
        return "kept from the earlier run"
    if event.state == "started":
        text = format_amount(event.total, event.unit) if event.total else "started"
        text += f", {event.kept:,} of them kept" if event.kept else ""
        return f"{text}; {event.note}" if event.note else text
    if event.is_news:
        return event.note
    if event.state != "running":
        return f"{event.state} in {event.seconds:.1f} s"
    parts = [format_amount(event.done, event.unit)]
    if event.total:
        share = 100 * event.done // event.total
        parts = [f"{share} % of {format_amount(event.total, event.unit)}"]
    if event.rate:
        parts.append(f"{format_amount(event.rate, event.unit)}/s")
    if event.seconds_left is not None:
        parts.append(f"{format_seconds(event.seconds_left)} left")
    if event.note:
        parts.append(event.note)
    return ", ".join(parts)


def format_amount(amount: float, unit: str) -> str:
    """Write an amount with its unit; bytes as people read them.

    Examples
    --------
    >>> format_amount(28057, "rows"), format_amount(3.149e9, "bytes"), format_amount(0.25, "tiles")
    ('28,057 rows', '3.15 GB', '0.25 tiles')
    """
    if unit == "bytes":
        return format_bytes(amount)
    if isinstance(amount, int) or amount >= 100:
        return f"{round(amount):,} {unit}"
    return f"{amount:.3g} {unit}"


def make_progress(progress: Progress | Listener | bool | None) -> Progress:
    """Make a `Progress` of what users pass: nothing, True for bars or lines, or a callback."""
    if isinstance(progress, Progress):
        return progress
    if progress is None or progress is False:
        return Progress()
    if progress is True:
        from clustergrid.pipeline.display import terminal_listener

        return Progress(terminal_listener())
    return Progress(progress)
