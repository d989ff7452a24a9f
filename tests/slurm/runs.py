"""The command on the Slurm of the tests, and inputs for it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

from clustergrid.pipeline.jobs.folder import jobs_folder
from clustergrid.storage.places import as_path
from tests.faults.harness import COMMAND, LOOK
from tests.slurm.harness import Slurm

N_ROWS = 2_100
"""Of a matrix with some fifteen tiles of distances."""
OPTIONS = [*LOOK, "--no-col-cluster"]
WORKERS = ["--cluster", "slurm", "--workers", "2", "--cores", "1", "--memory-per-worker", "1GB",
           "--interface", "lo"]  # fmt: skip
DRIVER = ["--driver-cores", "1", "--driver-memory", "2GB"]


def make_matrix(folder: Path) -> Path:
    """Make a matrix whose path a shell would take apart."""
    path = folder / 'a "matrix" of Ann\'s.npy'
    if not path.exists():
        rng = np.random.default_rng(3)
        values = rng.normal(size=(N_ROWS, 8)) + rng.integers(0, 4, (N_ROWS, 1))
        np.save(path, values.astype(np.float32))
    return path


def command(
    slurm: Slurm, *words: object, status: int = 0, folder: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command to its end, which is expected to be a status."""
    done = subprocess.run(
        [*COMMAND, *map(str, words)],
        env=slurm.environment,
        cwd=folder or slurm.folder,  # where jobs of workers leave what no script can place
        capture_output=True,
        text=True,
        timeout=600,
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


def wait_for_end(slurm: Slurm, run: Path | str, *, seconds: float = 600.0) -> dict[str, Any]:
    """Wait until no job of a run is left; return its status."""
    slurm.wait_for(lambda: not slurm.jobs(), f"{run} ends\n{log_of(run)}", seconds=seconds)
    return asked(slurm, "status", run)


def log_of(run: Path | str) -> str:
    """What the driver printed."""
    log = jobs_folder(as_path(run)) / "driver.log"
    return log.read_text(errors="replace") if log.exists() else ""
