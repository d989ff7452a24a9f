"""Driver: where a run stands, read from its directory."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from clustergrid.pipeline.dashboard.address import dashboard_address
from clustergrid.pipeline.jobs.status import JobStatus, job_status
from clustergrid.pipeline.monitor import Event, format_amount
from clustergrid.pipeline.sizes import format_bytes, format_seconds
from clustergrid.storage.places import AnyPlace, StorePath
from clustergrid.storage.rundir import RunDirectory

__all__ = ["RunStatus", "StageStatus", "read_status"]

_SILENT_SECONDS = 60
"""A stage that told nothing for so long is said to be silent: it may wait for something."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageStatus:
    """The last that was heard of a stage, as `clustergrid.pipeline.monitor.Event` has it.

    Attributes
    ----------
    stage, state, done, total, unit, kept, bytes, rate, seconds, seconds_left,
    peak_memory_bytes, note
        As in the event. A stage that was under way when its process died has the state
        ``"stopped"``, as one that a signal ended.
    silent_seconds
        Since that was heard, of a stage that is under way; otherwise 0.
    """

    stage: str
    state: str
    done: int
    total: int
    unit: str
    kept: int
    bytes: int
    rate: float
    seconds: float
    seconds_left: float | None
    peak_memory_bytes: int
    note: str
    silent_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStatus:
    """Where a run stands.

    Attributes
    ----------
    directory
        The run directory.
    state
        ``"finished"``, ``"running"`` (a process holds the lock) or ``"stopped"``.
    started
        Unix time at which the latest run began; None where none did.
    seconds
        From then to now, or to the last that was heard of it.
    peak_memory_bytes
        Of all local processes in the latest run; 0 where it was not measured.
    stages
        In the order in which they were first heard of, in the latest run.
    files
        Results that are there, by what they are.
    job
        Of a run that was submitted, how its job is doing.
    dashboard
        Where a run that is under way is watched (`clustergrid.pipeline.dashboard`).
    """

    directory: str
    state: str
    started: float | None
    seconds: float
    peak_memory_bytes: int
    stages: tuple[StageStatus, ...]
    files: dict[str, str]
    job: JobStatus | None = None
    dashboard: dict[str, str] | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        """Return a few lines for people."""
        header = [f"{self.directory}: {self.state}"]
        if self.started is not None:
            began = datetime.fromtimestamp(self.started).astimezone()
            header += [f"started {began:%Y-%m-%d %H:%M:%S}", f"{format_seconds(self.seconds)} long"]
        if self.peak_memory_bytes:
            header.append(f"peak memory {format_bytes(self.peak_memory_bytes)}")
        lines = [", ".join(header)]
        if self.job is not None:
            lines += [f"  {line}" for line in self.job.lines]
        if self.dashboard is not None:
            lines += [f"  {line}" for line in _dashboard_lines(self.dashboard)]
        names = ("stage", "state", "", "time", "peak", "rate", "done")
        rows = [_cells(stage) for stage in self.stages]
        if rows:
            rows.insert(0, names)
        widths = [max(len(row[c]) for row in rows) for c in range(len(names))] if rows else []
        for row in rows:
            cells = [
                cell.ljust(width) if c in (0, 1, 6) else cell.rjust(width)
                for c, (cell, width) in enumerate(zip(row, widths, strict=True))
            ]
            lines.append(("  " + "  ".join(cells)).rstrip())
        lines += [f"  {what:<20} {name}" for what, name in sorted(self.files.items())]
        return "\n".join(lines)


def _dashboard_lines(dashboard: dict[str, str]) -> list[str]:
    lines = [f"dashboard: {dashboard['url']}"]
    if dashboard["tunnel"]:
        lines.append(f"from another machine: {dashboard['tunnel']}")
    return lines


def _cells(stage: StageStatus) -> tuple[str, ...]:
    """One line of the table."""
    amount = []
    if stage.total:
        done = f"{stage.done:,}" if stage.unit != "bytes" else format_bytes(stage.done)
        amount.append(f"{done} of {format_amount(stage.total, stage.unit)}")
    elif stage.done:
        amount.append(format_amount(stage.done, stage.unit))
    if stage.bytes and stage.unit != "bytes":
        amount.append(format_bytes(stage.bytes))
    if stage.kept:
        amount.append(f"{stage.kept:,} kept from the earlier run")
    if stage.seconds_left is not None:
        amount.append(f"{format_seconds(stage.seconds_left)} left")
    if stage.note and stage.state != "finished":
        amount.append(stage.note)
    if stage.silent_seconds >= _SILENT_SECONDS:
        amount.append(f"silent for {format_seconds(stage.silent_seconds)}")
    return (
        stage.stage,
        stage.state,
        f"{100 * stage.done // stage.total} %" if stage.total else "",
        "" if stage.state == "kept" else format_seconds(stage.seconds),
        format_bytes(stage.peak_memory_bytes) if stage.peak_memory_bytes else "",
        f"{format_amount(stage.rate, stage.unit)}/s" if stage.rate else "",
        ", ".join(amount),
    )


def read_status(path: AnyPlace) -> RunStatus:
    """Read where a run stands.

    Raises
    ------
    RunDirectoryError
        It is not a run directory.
    """
    directory = RunDirectory(path)
    job = job_status(directory.path)
    log = _read_log(directory.path / "progress.jsonl")
    # The lock of a job whose node was lost is of a process that nobody can ask.
    if directory.holder() is not None and not (job is not None and job.is_over):
        state = "running"
    else:
        state = "finished" if "finished" in directory.state else "stopped"
    now = time.time()
    is_running = state == "running"
    last = now if is_running else log.last
    started = log.started
    return RunStatus(
        directory=str(path),
        state=state,
        started=started,
        seconds=0.0 if started is None else round(max(0.0, last - started), 3),
        peak_memory_bytes=_peak(directory, state, log),
        stages=tuple(_stage_status(e, is_running, now) for e in log.events.values()),
        files=dict(directory.state.get("files", {})),
        job=job,
        dashboard=dashboard_address(directory) if is_running else None,
    )


@dataclass(slots=True)
class _Log:
    """The latest run in the log of a directory."""

    started: float | None
    last: float
    events: dict[str, Event]


def _peak(directory: RunDirectory, state: str, log: _Log) -> int:
    """Peak of the run; of one that is not finished the peak of the stages it was in."""
    noted = directory.state.get("peak_memory_bytes", 0) if state == "finished" else 0
    return max([noted, *(event.peak_memory_bytes for event in log.events.values())])


def _read_log(path: StorePath) -> _Log:
    log = _Log(None, 0.0, {})
    if not path.exists():
        return log
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                entry = json.loads(line)
                if "run" in entry:
                    log = _Log(float(entry["time"]), float(entry["time"]), {})
                    continue
                event = _event(entry)
            except (ValueError, KeyError, TypeError):
                continue  # a line torn by a kill
            log.events[event.stage] = event
            log.last = max(log.last, event.time)
    return log


def _event(entry: dict[str, Any]) -> Event:
    """Read an event of this version or of an earlier one, whose events had fewer fields."""
    fields = {name: entry[name] for name in Event.__dataclass_fields__ if name in entry}
    event = Event(**fields)
    float(event.time), float(event.seconds), int(event.done), int(event.total)
    return event


def _stage_status(event: Event, is_running: bool, now: float) -> StageStatus:
    is_open = event.state in ("started", "running")
    same: dict[str, Any] = {
        name: getattr(event, name, None) for name in StageStatus.__dataclass_fields__
    }
    state = event.state if is_running or not is_open else "stopped"
    silent = round(max(0.0, now - event.time), 3) if is_open and is_running else 0.0
    left = event.seconds_left if state == "running" else None
    return StageStatus(**{**same, "state": state, "seconds_left": left, "silent_seconds": silent})
