"""Driver: progress of a run, told as events; where they go is the caller's choice.

A stage says its name, how much there is to do and in what unit, then how much is done. The same
events draw a bar on a terminal, print plain lines into a log, and are kept as JSON lines in a run
directory.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, TextIO

__all__ = ["Event", "JsonLines", "Listener", "PlainLines", "Progress", "Stage", "make_progress"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Where a stage stands.

    Attributes
    ----------
    stage
        ``"ingest"``, ``"statistics"``, ``"distance-row"``, ...
    state
        ``"started"``, ``"running"``, ``"finished"``, ``"kept"`` (from an earlier run) or
        ``"failed"``.
    done, total, unit
        How far, of how much, in what.
    seconds
        Since the stage started.
    time
        Unix time of the event.
    """

    stage: str
    state: Literal["started", "running", "finished", "kept", "failed"]
    done: int
    total: int
    unit: str
    seconds: float
    time: float


Listener = Callable[[Event], None]


class Stage:
    """A stage under way; made by `Progress.stage`."""

    def __init__(self, progress: Progress, name: str, total: int, unit: str) -> None:
        self.name, self.total, self.unit = name, total, unit
        self.done = 0
        self._progress = progress
        self._started = self._told = time.monotonic()

    def advance(self, amount: int = 1) -> None:
        """Say that so much more is done; listeners hear of it a few times a second."""
        self.done += amount
        now = time.monotonic()
        if now - self._told >= self._progress.interval_seconds:
            self._told = now
            self.tell("running")

    def tell(self, state: Literal["started", "running", "finished", "kept", "failed"]) -> None:
        """Send an event to the listeners."""
        self._progress.tell(
            Event(
                stage=self.name,
                state=state,
                done=self.done,
                total=self.total,
                unit=self.unit,
                seconds=round(time.monotonic() - self._started, 3),
                time=round(time.time(), 3),
            )
        )


class Progress:
    """Hands the events of stages to listeners; without listeners it costs nothing.

    Parameters
    ----------
    *listeners
        Called with every `Event`, in the thread that drives the run.
    interval_seconds
        Least time between two events of a running stage.
    """

    def __init__(self, *listeners: Listener, interval_seconds: float = 0.2) -> None:
        self._listeners = listeners
        self.interval_seconds = interval_seconds

    def tell(self, event: Event) -> None:
        """Send an event to every listener."""
        for listener in self._listeners:
            listener(event)

    @contextmanager
    def stage(self, name: str, *, total: int, unit: str) -> Iterator[Stage]:
        """Open a stage; it ends as finished, or as failed when an exception leaves it."""
        stage = Stage(self, name, total, unit)
        stage.tell("started")
        try:
            yield stage
        except BaseException:
            stage.tell("failed")
            raise
        stage.done = stage.total
        stage.tell("finished")

    def kept(self, name: str) -> None:
        """Say that a stage's result of an earlier run is used."""
        Stage(self, name, 0, "").tell("kept")


class JsonLines:
    """Appends every event to a file, one JSON object a line."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __call__(self, event: Event) -> None:
        """Append the event."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(event)) + "\n")


class PlainLines:
    """Prints a line when a stage starts and ends, and every few seconds between.

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
        if event.state == "running" and event.seconds - self._printed < self._every:
            return
        self._printed = event.seconds if event.state == "running" else 0.0
        if event.state == "kept":
            text = "kept from the earlier run"
        elif event.state == "running" and event.total:
            text = f"{100 * event.done // event.total} % of {event.total:,} {event.unit}"
        elif event.state == "started":
            text = f"{event.total:,} {event.unit}" if event.total else "started"
        else:
            text = f"{event.state} in {event.seconds:.1f} s"
        print(f"{event.stage}: {text}", file=self._stream, flush=True)


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
