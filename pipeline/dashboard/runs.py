"""Driver: what a scheduler has heard of runs, and no more than it can hold.

A driver sends messages (`clustergrid.pipeline.dashboard.events`), plain mappings that anybody with
a client can send too. What is not as it should be raises here, and changes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from clustergrid.pipeline.monitor import Event

__all__ = ["ACTIVE", "ENDED", "TOPIC", "Picture", "RunSeen", "Runs", "StageSeen"]

TOPIC = "clustergrid"
"""Of Dask's events; also the name of the page, and of the gauges."""

ACTIVE = "running"
ENDED = ("finished", "failed", "stopped", "gone")
"""States of a run that is over; of the last, the driver left without a word."""

_MOST_RUNS = 10
_MOST_STAGES = 200
_MOST_HEIGHTS = 400
_MOST_LETTERS = 500
_MOST_PIXELS = 2**18
_COLORS = 255


@dataclass(slots=True, kw_only=True)
class StageSeen:
    """A stage, as last heard of.

    Attributes
    ----------
    event
        The last.
    heard
        When, by the scheduler's monotonic clock.
    heights
        Of a tree: pairs of clusters left and height reached, in the order in which they were heard.
    """

    event: Event
    heard: float
    heights: list[tuple[int, float]] = field(default_factory=list)

    @property
    def is_open(self) -> bool:
        """Whether it is under way."""
        return self.event.state in ("started", "running")

    @property
    def bytes_per_second(self) -> float:
        """Of the rate, where units have a size."""
        event = self.event
        return event.rate * event.bytes / event.done if event.done else 0.0

    def hear(self, event: Event, now: float) -> None:
        """Take a later event."""
        self.event, self.heard = event, now
        if event.clusters_left is None or event.height is None:
            return
        where = (event.clusters_left, event.height)
        if not self.heights or self.heights[-1] != where:
            self.heights.append(where)
        if len(self.heights) > _MOST_HEIGHTS:
            # Every other one; the first and the last stay.
            self.heights = self.heights[::2]
            if self.heights[-1] != where:
                self.heights.append(where)


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A small picture of the clustered matrix.

    Attributes
    ----------
    shape
        Pixels ``(p, q)``.
    pixels
        ``p * q`` bytes, row by row: 0 where there is nothing to show (yet), else 1 to 255, which
        stand for values from `low` to `high`.
    colors
        ``3 * 255`` bytes: red, green and blue of 1 to 255.
    low, high
        Values of the first and the last colour.
    is_whole
        Whether the pass over the matrix is over.
    """

    shape: tuple[int, int]
    pixels: bytes
    colors: bytes
    low: float
    high: float
    is_whole: bool

    def __post_init__(self) -> None:
        n_pixels = self.shape[0] * self.shape[1]
        if not 0 < n_pixels <= _MOST_PIXELS or len(self.pixels) != n_pixels:
            raise ValueError(f"{len(self.pixels)} bytes are no picture of {self.shape} pixels")
        if len(self.colors) != 3 * _COLORS:
            raise ValueError(f"{len(self.colors)} bytes are no {_COLORS} colours")


@dataclass(slots=True, kw_only=True)
class RunSeen:
    """A run, as far as it was heard of.

    Attributes
    ----------
    identity
        Unlike that of all other runs.
    name
        The run directory.
    asked
        What was asked, in a few words.
    client
        Id of the driver's Dask client.
    began
        Unix time, by the driver's clock.
    started, heard, ended
        When it began, when it was last heard of and when it ended, by the scheduler's monotonic
        clock.
    state
        ``"running"``, or one of `ENDED`.
    why
        Why it failed.
    stages
        By name, in the order in which they were first heard of.
    picture
        The last that came.
    """

    identity: str
    name: str
    asked: str
    client: str
    began: float
    started: float
    heard: float
    ended: float | None = None
    state: str = ACTIVE
    why: str = ""
    stages: dict[str, StageSeen] = field(default_factory=dict)
    picture: Picture | None = None

    @property
    def stage(self) -> StageSeen | None:
        """The innermost stage that is under way, or the one that was heard of last."""
        under_way = [stage for stage in self.stages.values() if stage.is_open]
        if under_way:
            return under_way[-1]
        later_first = reversed(self.stages.values())
        return max(later_first, key=lambda stage: stage.event.time, default=None)

    @property
    def tree(self) -> tuple[str, StageSeen] | None:
        """Name and stage of the tree that was heard of last."""
        found = [(name, stage) for name, stage in self.stages.items() if stage.heights]
        return max(found, key=lambda each: each[1].event.time, default=None)

    def end(self, state: str, why: str, now: float) -> None:
        """Note that it is over, and with it whatever was under way."""
        self.state, self.why, self.ended = state, why, now
        for stage in self.stages.values():
            if stage.is_open:
                stage.event = replace(stage.event, state="stopped", seconds_left=None)


class Runs:
    """The last runs that were heard of.

    Parameters
    ----------
    clock
        Monotonic, in seconds.

    Attributes
    ----------
    version
        Grows with all that is heard.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._runs: dict[str, RunSeen] = {}
        self.version = 0

    def __iter__(self) -> Iterator[RunSeen]:
        """Go through the runs, the first that began first."""
        return iter(tuple(self._runs.values()))

    def __len__(self) -> int:
        """Count them."""
        return len(self._runs)

    def find(self, identity: str | None) -> RunSeen | None:
        """Find a run; without its identity (or when it is forgotten) the one to be shown.

        That is the last that began and is not over, or else the last that began.
        """
        if identity is not None and identity in self._runs:
            return self._runs[identity]
        active = [run for run in self if run.state == ACTIVE]
        shown = active or list(self)
        return shown[-1] if shown else None

    def hear(self, message: Mapping[str, Any]) -> None:
        """Take a message.

        Raises
        ------
        KeyError, TypeError, ValueError
            It is none of ours.
        """
        kind, now = message["kind"], self._clock()
        if kind == "begin":
            self._begin(message, now)
        else:
            run = self._runs[message["run"]]
            if kind == "stage":
                self._hear_stage(run, message, now)
            elif kind == "picture":
                run.picture = _picture(message)
            elif kind == "end":
                self._end(run, message, now)
            else:
                raise ValueError(f"no such kind of message: {kind!r}")
            run.heard = now
        self.version += 1

    def client_left(self, client: str) -> None:
        """Note that a driver is gone: its runs that did not say so are over too."""
        for run in self:
            if run.client == client and run.state == ACTIVE:
                run.end("gone", "", self._clock())
                self.version += 1

    def now(self) -> float:
        """Return the time of the clock that says when something was heard."""
        return self._clock()

    def _begin(self, message: Mapping[str, Any], now: float) -> None:
        run = RunSeen(
            identity=_text(message["run"]),
            name=_text(message["name"]),
            asked=_text(message["asked"]),
            client=_text(message["client"]),
            began=float(message["time"]),
            started=now,
            heard=now,
        )
        self._runs[run.identity] = run
        while len(self._runs) > _MOST_RUNS:
            over = (run.identity for run in self if run.state != ACTIVE)
            del self._runs[next(over, next(iter(self._runs)))]

    def _hear_stage(self, run: RunSeen, message: Mapping[str, Any], now: float) -> None:
        event = _event(message)
        stage = run.stages.get(event.stage)
        if stage is None and len(run.stages) < _MOST_STAGES:
            stage = run.stages[event.stage] = StageSeen(event=event, heard=now)
        if stage is not None:
            stage.hear(event, now)

    def _end(self, run: RunSeen, message: Mapping[str, Any], now: float) -> None:
        state = message["state"]
        if state not in ENDED:
            raise ValueError(f"a run does not end as {state!r}")
        run.end(state, _text(message["why"]), now)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"not a text: {value!r}")
    return value[:_MOST_LETTERS]


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _event(message: Mapping[str, Any]) -> Event:
    left = message["clusters_left"]
    return Event(
        stage=_text(message["stage"]),
        state=message["state"] if message["state"] in _STATES else "running",
        done=int(message["done"]),
        total=int(message["total"]),
        unit=_text(message["unit"]),
        kept=int(message["kept"]),
        bytes=int(message["bytes"]),
        rate=float(message["rate"]),
        seconds=float(message["seconds"]),
        seconds_left=_number(message["seconds_left"]),
        peak_memory_bytes=int(message["peak_memory_bytes"]),
        note=_text(message["note"]),
        is_news=bool(message["is_news"]),
        clusters_left=None if left is None else int(left),
        height=_number(message["height"]),
        time=float(message["time"]),
    )


_STATES = ("started", "running", "finished", "kept", "failed", "stopped")


def _picture(message: Mapping[str, Any]) -> Picture:
    height, width = message["shape"]
    return Picture(
        shape=(int(height), int(width)),
        pixels=bytes(message["pixels"]),
        colors=bytes(message["colors"]),
        low=float(message["low"]),
        high=float(message["high"]),
        is_whole=bool(message["is_whole"]),
    )
