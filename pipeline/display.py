"""Driver: progress for people: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TextIO

from clustergrid.pipeline.monitor import (
    Event,
    Listener,
    PlainLines,
    format_amount,
)
from clustergrid.pipeline.sizes import format_seconds

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

__all__ = ["Bars", "terminal_listener"]


class Bars:
    """Draws one bar a stage on a terminal.

    Parameters
    ----------
    stream
        The terminal.
    """

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console

        self._console = Console(file=stream, highlight=False)
        # A terminal has one live display. It lasts while any stage is open, so that a stage inside
        # another one is drawn below it.
        self._display: Progress | None = None
        self._open: dict[str, TaskID] = {}

    def __call__(self, event: Event) -> None:
        """Draw the event."""
        if event.state == "kept":
            self._console.print(f"{event.stage:<16} kept from the earlier run")
            return
        if self._display is None:
            self._display = self._make_display()
            self._display.start()
        if event.stage not in self._open:
            if event.state == "started" and event.note:
                self._console.print(f"{event.stage:<16} {event.note}", markup=False)
            self._open[event.stage] = self._display.add_task(event.stage, amount="", left="")
        elif event.is_news:
            self._console.print(f"{event.stage:<16} {event.note}", markup=False)
        task = self._open[event.stage]
        # The length of a stream is not known before its end.
        total = event.total or (1 if event.state == "finished" else None)
        self._display.update(
            task,
            total=total,
            completed=total if event.state == "finished" else event.done,
            amount=_amount(event),
            left="" if event.seconds_left is None else f"{format_seconds(event.seconds_left)} left",
        )
        if event.state in ("finished", "failed", "stopped"):
            self._display.stop_task(task)
            del self._open[event.stage]
        if not self._open:
            self._display.stop()
            self._display = None

    def _make_display(self) -> Progress:
        from rich.progress import (
            BarColumn,
            Progress,
            TaskProgressColumn,
            TextColumn,
            TimeElapsedColumn,
        )

        return Progress(
            TextColumn("{task.description:<16}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            # Not rich's own estimate, which takes what was kept for work of a moment.
            TextColumn("{task.fields[left]}", markup=False),
            TextColumn("{task.fields[amount]}", markup=False),
            console=self._console,
        )


def _amount(event: Event) -> str:
    """Of how much, how fast, what is there from an earlier run, and what else there is to say."""
    parts = []
    if event.total:
        parts.append(f"of {format_amount(event.total, event.unit)}")
    if event.rate and event.state == "running":
        parts.append(f"{format_amount(event.rate, event.unit)}/s")
    if event.kept:
        parts.append(f"{event.kept:,} kept")
    if event.note and event.state == "running" and not event.is_news:
        parts.append(event.note)
    return ", ".join(parts)


def terminal_listener(stream: TextIO | None = None) -> Listener:
    """Bars when the stream (standard error by default) is a terminal, else plain lines."""
    stream = stream or sys.stderr
    return Bars(stream) if stream.isatty() else PlainLines(stream)
