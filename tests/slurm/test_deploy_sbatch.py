"""``deploy/slurm/clustergrid.sbatch`` as an administrator gets it, on a real Slurm of two nodes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest

from tests.slurm.harness import Slurm

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(900)]

SCRIPT = Path(__file__).parents[2] / "deploy" / "slurm" / "clustergrid.sbatch"
RESULTS = ("linkage_row.npy", "linkage_col.npy", "order_row.txt")
SMALL = ("--figsize", "3", "3", "--dpi", "40")
Submit = Callable[..., int]


@pytest.fixture
def submit(slurm: Slurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Submit:
    """Submit the script, for two nodes of one worker with two threads each; return its number."""
    home = tmp_path / "home with spaces"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)

    def submit(*arguments: str, options: tuple[str, ...] = ()) -> int:
        size = ("--ntasks-per-node=1", "--cpus-per-task=2", "--mem=4000", "--output=log.txt")
        export = "--export=ALL,CLUSTERGRID_INTERFACE=lo"
        answer = slurm.run("sbatch", "--parsable", *size, export, *options, SCRIPT, *arguments)
        return int(answer.strip())

    return submit


def wait_for_the_end(slurm: Slurm, number: int, seconds: float = 250) -> dict[str, str]:
    """Wait until a job is over; return what Slurm knows of it."""

    def is_over() -> bool:
        return slurm.show_job(number)["JobState"] not in ("PENDING", "RUNNING", "COMPLETING")

    slurm.wait_for(is_over, "the job ends", seconds=seconds)
    return slurm.show_job(number)


def wait_for_tiles(slurm: Slurm, tmp_path: Path) -> None:
    """Wait until a run makes distances."""
    progress = tmp_path / "run" / "progress.jsonl"

    def has_tiles() -> bool:
        return progress.exists() and "distance-row" in progress.read_text()

    slurm.wait_for(has_tiles, "the first tile", seconds=250)


def assert_same_as_here(tmp_path: Path, matrix: str, directory: str) -> None:
    command = [sys.executable, "-m", "clustergrid.pipeline.cli", "run", matrix, "-o", "here"]
    subprocess.run([*command, *SMALL, "--cluster", "none"], check=True, capture_output=True)
    for name in RESULTS:
        assert (tmp_path / directory / name).read_bytes() == (tmp_path / "here" / name).read_bytes()


def assert_nothing_is_left(tmp_path: Path) -> None:
    assert list((tmp_path / "home with spaces").glob(".clustergrid-*")) == []
    ours = {"SLURM_SUBMIT_DIR": str(tmp_path)}
    left = []
    for process in psutil.process_iter():
        try:
            if ours.items() <= process.environ().items():
                left.append(process.cmdline())
        except psutil.Error:
            continue
    assert left == []


def matrix_of(rows: int, columns: int) -> str:
    values = np.random.default_rng(3).normal(size=(rows, columns)).astype("float32")
    np.save("m m.npy", values)
    return "m m.npy"


def test_a_run_of_two_nodes(slurm: Slurm, submit: Submit, tmp_path: Path) -> None:
    matrix = matrix_of(900, 40)
    number = submit(matrix, "-o", "run", *SMALL)
    job = wait_for_the_end(slurm, number)
    log = (tmp_path / "log.txt").read_text()
    assert job["JobState"] == "COMPLETED", log
    assert job["NumNodes"] == "2"
    assert "clustergrid: warning" not in log
    assert re.search(r"threads in [12] worker process", log)
    assert_same_as_here(tmp_path, matrix, "run")
    assert_nothing_is_left(tmp_path)


def test_what_is_missing_is_said(slurm: Slurm, submit: Submit, tmp_path: Path) -> None:
    number = submit()
    assert wait_for_the_end(slurm, number)["ExitCode"] == "2:0"
    assert "usage: sbatch clustergrid.sbatch INPUT" in (tmp_path / "log.txt").read_text()
    number = submit("m.npy", "-o", "run", options=("--mem=900",))
    assert wait_for_the_end(slurm, number)["ExitCode"] == "2:0"
    assert "MB are left for each worker" in (tmp_path / "log.txt").read_text()
    number = submit("no such.npy", "-o", "run")
    assert wait_for_the_end(slurm, number)["ExitCode"] == "1:0"
    assert "no such.npy" in (tmp_path / "log.txt").read_text()
    assert_nothing_is_left(tmp_path)


@pytest.mark.slow
def test_out_of_time_it_is_requeued_and_goes_on(
    slurm: Slurm, submit: Submit, tmp_path: Path
) -> None:
    matrix = matrix_of(9_000, 300)
    number = submit(matrix, "-o", "run", *SMALL, "--metric", "cityblock", "--no-col-cluster")
    wait_for_tiles(slurm, tmp_path)
    # What Slurm sends two minutes before the time limit.
    slurm.run("scancel", "--batch", "--signal=USR1", number)
    log = tmp_path / "log.txt"
    requeued = "out of time; the run goes on"
    slurm.wait_for(lambda: requeued in log.read_text(), "it is requeued", seconds=120)
    job = wait_for_the_end(slurm, number, seconds=250)
    assert job["JobState"] == "COMPLETED", log.read_text()
    assert job["Restarts"] == "1"
    command = [sys.executable, "-m", "clustergrid.pipeline.cli", "run", matrix, "-o", "here"]
    subprocess.run(
        [*command, *SMALL, "--metric", "cityblock", "--no-col-cluster", "--cluster", "none"],
        check=True, capture_output=True,
    )  # fmt: skip
    for name in ("linkage_row.npy", "order_row.txt"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "here" / name).read_bytes()
    assert_nothing_is_left(tmp_path)


@pytest.mark.slow
def test_a_cancelled_job_is_not_requeued(slurm: Slurm, submit: Submit, tmp_path: Path) -> None:
    matrix = matrix_of(9_000, 300)
    number = submit(matrix, "-o", "run", *SMALL, "--metric", "cityblock")
    wait_for_tiles(slurm, tmp_path)
    slurm.cancel(number)
    job = wait_for_the_end(slurm, number)
    assert job["JobState"] == "CANCELLED"
    assert job["Restarts"] == "0"
    assert_nothing_is_left(tmp_path)
