"""The command on the Slurm of the tests, and inputs for it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

from tests.faults.harness import COMMAND, LOOK
from tests.slurm.harness import Slurm

SMALL, LARGE = 400, 5_200
"""Rows: what the driver does by itself in a moment, and what it needs workers for."""
OPTIONS = [*LOOK, "--no-col-cluster"]
WORKERS = ["--cluster", "slurm", "--workers", "2", "--cores", "1", "--memory-per-worker", "1GB",
           "--interface", "lo"]  # fmt: skip
DRIVER = ["--driver-cores", "1", "--driver-memory", "2GB"]


def make_matrix(folder: Path, n_rows: int) -> Path:
    """Make a matrix whose path a shell would take apart."""
    path = folder / f'{n_rows} rows of "Ann\'s".npy'
    if not path.exists():
        rng = np.random.default_rng(3)
        np.save(path, (rng.normal(size=(n_rows, 8)) + rng.integers(0, 4, (n_rows, 1))).astype("f4"))
    return path


def command(
    slurm: Slurm, *words: object, status: int = 0, folder: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command to its end, which is expected to be a status."""
    done = subprocess.run(
        [*COMMAND, *map(str, words)],
        env=slurm.environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done


def asked(slurm: Slurm, *words: object) -> dict[str, Any]:
    """Run a command with ``--json``; return what it answers."""
    answer: dict[str, Any] = json.loads(command(slurm, *words, "--json").stdout)
    return answer


def submitted(slurm: Slurm, *words: object) -> int:
    """Submit; return the number of the job."""
    return int(asked(slurm, "submit", *words)["submitted"]["number"])


def wait_for_end(slurm: Slurm, run: Path, *, seconds: float = 120.0) -> dict[str, Any]:
    """Wait until no job of a run is left; return its status."""
    slurm.wait_for(lambda: not slurm.jobs(), f"{run} ends\n{log_of(run)}", seconds=seconds)
    return asked(slurm, "status", run)


def log_of(run: Path) -> str:
    """What the driver printed."""
    log = run / "jobs" / "driver.log"
    return log.read_text(errors="replace") if log.exists() else ""
