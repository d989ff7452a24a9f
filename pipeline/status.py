"""Driver: where a run stands, read from its directory."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from clustergrid.storage.rundir import RunDirectory

__all__ = ["RunStatus", "StageStatus", "read_status"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StageStatus:
    """The last that was heard of a stage."""

    stage: str
    state: str
    done: int
    total: int
    unit: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStatus:
    """Where a run stands.

    Attributes
    ----------
    directory
        The run directory.
    state
        ``"finished"``, ``"running"`` (a process holds the lock) or ``"stopped"``.
    stages
        In the order in which they were first heard of, in the latest run.
    files
        Results that are there, by what they are.
    """

    directory: str
    state: str
    stages: tuple[StageStatus, ...]
    files: dict[str, str]

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        """Return a few lines for people."""
        lines = [f"{self.directory}: {self.state}"]
        for stage in self.stages:
            share = f"{100 * stage.done // stage.total:>3} %" if stage.total else "     "
            amount = f"{stage.done:,} of {stage.total:,} {stage.unit}" if stage.total else ""
            lines.append(
                f"  {stage.stage:<20} {stage.state:<9} {share}  {stage.seconds:>8.1f} s  {amount}"
            )
        lines += [f"  {what:<20} {name}" for what, name in sorted(self.files.items())]
        return "\n".join(lines)


def read_status(path: Path) -> RunStatus:
    """Read where a run stands.

    Raises
    ------
    RunDirectoryError
        It is not a run directory.
    """
    directory = RunDirectory(path)
    latest: dict[str, StageStatus] = {}
    log = path / "progress.jsonl"
    if log.exists():
        for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                event = json.loads(line)
                if "run" in event:
                    latest.clear()
                    continue
                status = StageStatus(
                    **{name: event[name] for name in StageStatus.__dataclass_fields__}
                )
            except (ValueError, KeyError, TypeError):
                continue  # a line torn by a kill
            latest[status.stage] = status
    if directory.holder() is not None:
        state = "running"
    else:
        state = "finished" if "finished" in directory.state else "stopped"
    return RunStatus(
        directory=str(path),
        state=state,
        stages=tuple(latest.values()),
        files=dict(directory.state.get("files", {})),
    )
