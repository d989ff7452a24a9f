"""What `queues.py` measures: runs on a Slurm of two nodes on this machine, and local ones."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

COMMAND = [sys.executable, "-m", "clustergrid.pipeline.cli"]
LOOK = ["--figsize", "4", "4", "--dpi", "60", "--no-col-cluster", "--row-engine", "square"]
WORKERS = ["--cluster", "slurm", "--workers", "2", "--cores", "1", "--memory-per-worker", "2GB",
           "--interface", "lo", "--driver-cores", "2", "--driver-memory", "5GB"]  # fmt: skip
LOCAL = ["--cluster", "local", "--memory", "4GB", "--dashboard-port", "0"]
_LOOK_SECONDS = 0.05
_LONGEST_SECONDS = 900.0


def first_tile(slurm: Any, matrix: Path, run: Path) -> float:
    """Seconds from the command that submits to the first tile of distances at rest."""
    shutil.rmtree(run, ignore_errors=True)
    started = time.perf_counter()
    _submit(slurm, matrix, run)
    tiles = run / "arrays.zarr"
    while not any(tiles.glob("condensed_row*/*/c/*/*/*")):
        _check(run, started)
        time.sleep(_LOOK_SECONDS)
    taken = time.perf_counter() - started
    slurm.wait_for(lambda: not slurm.jobs(), "the run ends", seconds=_LONGEST_SECONDS)
    return taken


def queued(slurm: Any, matrix: Path, run: Path, trees: set[str]) -> float:
    """Seconds of the stages of a submitted run."""
    shutil.rmtree(run, ignore_errors=True)
    _submit(slurm, matrix, run)
    slurm.wait_for(lambda: not slurm.jobs(), "the run ends", seconds=_LONGEST_SECONDS)
    return _stages(run, trees)


def local(matrix: Path, run: Path, trees: set[str]) -> float:
    """Seconds of the stages of the same run with workers of this machine."""
    shutil.rmtree(run, ignore_errors=True)
    words = ["run", str(matrix), "-o", str(run), *LOOK, *LOCAL]
    subprocess.run([*COMMAND, *words], check=True, capture_output=True)
    return _stages(run, trees)


def _submit(slurm: Any, matrix: Path, run: Path) -> None:
    words = ["submit", str(matrix), "-o", str(run), *LOOK, *WORKERS]
    subprocess.run([*COMMAND, *words], env=slurm.environment, check=True, capture_output=True)


def _check(run: Path, started: float) -> None:
    if time.perf_counter() - started > _LONGEST_SECONDS:
        log = run / "jobs" / "driver.log"
        raise TimeoutError(log.read_text()[-300:] if log.exists() else f"{run} does not start")


def _stages(run: Path, trees: set[str]) -> float:
    """Seconds from the beginning of the first stage, when workers are up, to the end of the last.

    Stages may run side by side, so that their seconds do not add up.
    """
    if not (run / "linkage_row.npy").exists():
        raise RuntimeError((run / "jobs" / "driver.log").read_text()[-300:])
    trees.add(hashlib.sha256((run / "linkage_row.npy").read_bytes()).hexdigest())
    events = [json.loads(line) for line in (run / "progress.jsonl").read_text().splitlines()]
    ended = [event for event in events if event.get("state") == "finished"]
    begin = min(event["time"] - event["seconds"] for event in ended)
    return float(max(event["time"] for event in ended) - begin)


os.environ.setdefault("PYTHONWARNINGS", "ignore")
