"""Driver: progress for people: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from typing import TextIO

from clustergrid.pipeline.monitor import Event, Listener, PlainLines

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
        from rich.progress import (
            BarColumn,
            Progress,
            TaskID,
            TaskProgressColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self._console = Console(file=stream)
        self._columns = (
            TextColumn("{task.description:<16}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("of {task.fields[amount]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        self._progress_class = Progress
        self._open: dict[str, tuple[Progress, TaskID]] = {}

    def __call__(self, event: Event) -> None:
        """Draw the event."""
        if event.state == "kept":
            self._console.print(f"{event.stage:<16} kept from the earlier run")
            return
        if event.stage not in self._open:
            bar = self._progress_class(*self._columns, console=self._console)
            task = bar.add_task(
                event.stage, total=event.total, amount=f"{event.total:,} {event.unit}"
            )
            bar.start()
            self._open[event.stage] = (bar, task)
        bar, task = self._open[event.stage]
        bar.update(task, completed=event.done)
        if event.state in ("finished", "failed"):
            bar.stop()
            del self._open[event.stage]


def terminal_listener(stream: TextIO | None = None) -> Listener:
    """Bars when the stream (standard error by default) is a terminal, else plain lines."""
    stream = stream or sys.stderr
    return Bars(stream) if stream.isatty() else PlainLines(stream)
