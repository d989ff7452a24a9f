"""Runs that are submitted: the driver is a job, its workers are further jobs."""

from __future__ import annotations

import json
import shutil
import signal
import stat
import subprocess
from pathlib import Path

import psutil
import pytest

from clustergrid.pipeline.jobs.folder import JOBS_VARIABLE, jobs_folder
from clustergrid.pipeline.jobs.names import driver_job_name, worker_job_name
from clustergrid.pipeline.jobs.record import Attempt
from clustergrid.storage.errors import StorageError
from clustergrid.storage.manifest import Manifest
from clustergrid.storage.places import as_path
from tests.faults.harness import assert_same, state_of, tile_files
from tests.slurm.harness import Slurm
from tests.slurm.runs import (
    DRIVER,
    OPTIONS,
    WORKERS,
    asked,
    command,
    log_of,
    make_matrix,
    submitted,
    wait_for_end,
)
from tests.storage.object_stores.servers import KEY_ID, SECRET, ObjectServer, download, use

# Processes start again and again: on a machine with other work that takes its time.
pytestmark = [pytest.mark.slurm, pytest.mark.timeout(900)]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tmp_path / 'a "run" of Ann\'s'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("inputs")


@pytest.fixture(scope="module")
def local(folder: Path, slurm_of_the_session: Slurm) -> Path:
    """The same run, without any queue."""
    run = folder / "local"
    asked_for = [make_matrix(folder), "-o", run, *OPTIONS, "--cluster", "none", "--memory", "1GB"]
    command(slurm_of_the_session, "run", *asked_for)
    return run


@pytest.fixture
def bucket(object_server: ObjectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """URL of an empty bucket, for the jobs, too: Slurm hands the environment on."""
    use(monkeypatch, object_server.endpoint)
    monkeypatch.setenv(JOBS_VARIABLE, str(tmp_path / "jobs"))
    return object_server.make_bucket()


def words(folder: Path, run: Path | str) -> list[object]:
    return [make_matrix(folder), "-o", run, *OPTIONS, *WORKERS, *DRIVER]


def test_a_run_with_workers_is_submitted_watched_and_the_same_as_a_local_one(
    slurm: Slurm, folder: Path, run: Path, local: Path
) -> None:
    number = submitted(slurm, *words(folder, run))
    name = driver_job_name(str(run))
    assert [(job.number, job.name) for job in slurm.jobs(name)] == [(number, name)]
    # Of another directory, so that names of paths are no matter; before the job had time to end.
    again = command(slurm, "submit", *words(folder, run), status=1, folder=run.parent)
    assert f"job {number} of slurm is " in again.stderr
    assert "clustergrid cancel" in again.stderr

    slurm.wait_for(lambda: slurm.jobs(worker_job_name(str(run))), f"workers\n{log_of(run)}")
    told = asked(slurm, "status", run)
    assert told["job"]["number"] == str(number)
    assert told["job"]["state"] == "running"
    assert told["job"]["detail"].startswith("on n")
    assert told["job"]["workers_running"] + told["job"]["workers_pending"] > 0

    told = wait_for_end(slurm, run)
    assert told["state"] == "finished", log_of(run)
    assert (told["job"]["state"], told["job"]["exit_status"]) == ("ended", 0)
    assert_same(run, local)
    assert "exit status 0" in command(slurm, "status", run).stdout


def test_a_run_in_a_bucket_is_submitted_watched_and_the_same_as_a_local_one(
    bucket: str, slurm: Slurm, folder: Path, local: Path, tmp_path: Path
) -> None:
    run = f"{bucket}/runs/spleen"
    jobs = jobs_folder(as_path(run))
    number = submitted(slurm, *words(folder, run))
    assert [job.number for job in slurm.jobs(driver_job_name(run))] == [number]
    again = command(slurm, "submit", *words(folder, run), status=1)
    assert f"job {number} of slurm is " in again.stderr
    assert stat.S_IMODE(jobs.stat().st_mode) == 0o700

    slurm.wait_for(lambda: slurm.jobs(worker_job_name(run)), f"workers\n{log_of(run)}")
    told = asked(slurm, "status", run)
    assert (told["job"]["number"], told["job"]["state"]) == (str(number), "running")
    assert told["job"]["workers_running"] + told["job"]["workers_pending"] > 0
    assert told["job"]["log"] == str(jobs / "driver.log")

    told = wait_for_end(slurm, run)
    assert told["state"] == "finished", log_of(run)
    assert (told["job"]["state"], told["job"]["exit_status"]) == ("ended", 0)
    there = download(run, tmp_path / "there")
    assert_same(there, local)
    # What says where it was submitted, and nowhere what opens the bucket.
    assert [file.name for file in (there / "jobs").iterdir()] == ["driver.json"]
    names = {file.name for file in jobs.iterdir()}
    assert {"attempt.json", "driver.json", "driver.log", "driver.sh", "logs", "workers.sh"} <= names
    for file in (*jobs.rglob("*"), *there.rglob("*")):
        if file.is_file():
            content = file.read_bytes()
            assert KEY_ID.encode() not in content, file
            assert SECRET.encode() not in content, file
    assert "nothing to cancel" in command(slurm, "cancel", run).stdout


def test_scripts_of_a_dry_run_are_what_slurm_takes(
    slurm: Slurm, folder: Path, run: Path, tmp_path: Path
) -> None:
    asked_for = [*words(folder, run), "--driver-walltime", "1h", "--driver-queue", "debug"]
    scripts = asked(slurm, "submit", *asked_for, "--dry-run")["scripts"]
    assert list(scripts) == ["driver.sh", "workers.sh"]
    assert not run.exists()
    assert slurm.jobs() == []
    for name, text in scripts.items():
        file = tmp_path / name
        file.write_text(text)
        slurm.run("sbatch", "--test-only", file)
        if shutil.which("shellcheck"):
            check = ["shellcheck", "--severity=warning", file]
            found = subprocess.run(check, capture_output=True, text=True)
            assert found.returncode == 0, found.stdout
    assert slurm.jobs() == []
    shown = command(slurm, "submit", *asked_for, "--dry-run").stdout
    assert all(line in shown for line in scripts["driver.sh"].splitlines())


def test_cancel_leaves_no_job(slurm: Slurm, folder: Path, run: Path) -> None:
    number = submitted(slurm, *words(folder, run))
    worker = worker_job_name(str(run))
    slurm.wait_for(
        lambda: any(job.state == "RUNNING" for job in slurm.jobs(worker)), f"workers\n{log_of(run)}"
    )
    cancelled = asked(slurm, "cancel", run)["cancelled"]
    assert cancelled["drivers"] == [str(number)]
    assert cancelled["left"] == []
    assert slurm.jobs() == []
    told = asked(slurm, "status", run)
    assert told["state"] == "stopped"
    assert told["job"]["state"] == "ended"
    assert "cancelled" in told["job"]["detail"]
    assert told["job"]["exit_status"] == 143, log_of(run)
    assert not (run / "run.lock").exists()
    assert "nothing to cancel" in command(slurm, "cancel", run).stdout


def test_a_run_that_fails_is_not_queued_again(slurm: Slurm, folder: Path, run: Path) -> None:
    matrix = folder / "short lived.npy"
    shutil.copy(make_matrix(folder), matrix)
    slurm.run("scontrol", "update", "nodename=n1,n2", "state=drain", "reason=test")
    number = submitted(slurm, matrix, "-o", run, *OPTIONS, *WORKERS, *DRIVER)
    told = asked(slurm, "status", run)
    assert told["job"]["state"] == "pending"
    assert told["job"]["detail"] not in ("", "None")
    matrix.unlink()
    slurm.run("scontrol", "update", "nodename=n1,n2", "state=resume")
    told = wait_for_end(slurm, run)
    assert (told["job"]["state"], told["job"]["exit_status"]) == ("ended", 1)
    assert "short lived" in log_of(run)
    assert slurm.show_job(number)["Restarts"] == "0"


def noted_tiles(run: Path) -> dict[str, tuple[int, int]]:
    """Tiles that the driver heard of; those on their way to it are made again."""
    try:
        noted = Manifest(run, "distance-row").entries
    except StorageError:
        return {}
    return {tile: about for tile, about in tile_files(run).items() if tile in noted}


@pytest.mark.slow
def test_a_driver_that_is_cancelled_by_hand_keeps_what_is_finished(
    slurm: Slurm, folder: Path, run: Path, local: Path
) -> None:
    """`scancel` itself is no walltime: the job does not come back, and nothing is lost."""
    number = submitted(slurm, *words(folder, run))
    slurm.wait_for(lambda: noted_tiles(run), f"a tile is at rest\n{log_of(run)}")
    slurm.cancel(number)
    slurm.wait_for(lambda: not slurm.jobs(), "its workers go, too")
    assert slurm.show_job(number)["JobState"] == "CANCELLED"
    before = noted_tiles(run)
    assert before
    submitted(slurm, *words(folder, run))
    assert wait_for_end(slurm, run)["state"] == "finished", log_of(run)
    after = tile_files(run)
    assert {tile: after[tile] for tile in before} == before
    assert_same(run, local)


@pytest.mark.slow
def test_a_job_whose_walltime_is_over_comes_back_and_finishes(
    slurm: Slurm, folder: Path, run: Path, local: Path
) -> None:
    """Slurm counts in minutes: 2, and the warning 40 to 100 seconds before that."""
    held = [*WORKERS, "--job-extra", "--hold"]  # workers that never start keep it waiting
    asked_for = [make_matrix(folder), "-o", run, *OPTIONS, *held, *DRIVER]
    number = submitted(slurm, *asked_for, "--driver-walltime", "2min")
    slurm.wait_for(
        lambda: int(slurm.show_job(number)["Restarts"]) == 1, f"it comes back\n{log_of(run)}",
        seconds=180,
    )  # fmt: skip
    attempt = Attempt.read(run)
    assert attempt is not None
    assert "goes back into the queue" in log_of(run)
    slurm.wait_for(lambda: attempt_of(run) == 2, f"it runs again\n{log_of(run)}", seconds=180)
    told = asked(slurm, "status", run)
    assert told["job"]["number"] == str(number)

    # Now let its workers start.
    def is_finished() -> bool:
        for job in slurm.jobs(worker_job_name(str(run))):
            if job.state == "PENDING":
                slurm.run("scontrol", "release", job.number)
        return "finished" in state_of(run)

    slurm.wait_for(is_finished, f"it ends\n{log_of(run)}", seconds=240)
    told = wait_for_end(slurm, run)
    assert told["state"] == "finished", log_of(run)
    assert told["job"]["exit_status"] == 0
    assert_same(run, local)


def attempt_of(run: Path) -> int:
    attempt = Attempt.read(run)
    return 0 if attempt is None else attempt.attempt


@pytest.mark.slow
def test_a_job_that_dies_without_a_word_is_told_of(slurm: Slurm, folder: Path, run: Path) -> None:
    number = submitted(slurm, *words(folder, run))
    slurm.wait_for(lambda: attempt_of(run) == 1, "it runs")
    attempt = Attempt.read(run)
    assert attempt is not None
    driver = psutil.Process(attempt.pid)
    supervisor = driver.parent()
    assert supervisor is not None
    # Both at once, as a node that runs out of memory does.
    supervisor.send_signal(signal.SIGSTOP)
    driver.kill()
    supervisor.kill()
    slurm.wait_for(lambda: str(number) not in map(str, [j.number for j in slurm.jobs()]), "it ends")
    told = asked(slurm, "status", run)
    assert told["state"] == "stopped"
    assert told["job"]["state"] == "died"
    assert "without a word" in told["job"]["detail"]
    assert "slurm says FAILED" in told["job"]["detail"]
    assert f"cancelled {''}" in command(slurm, "cancel", run).stdout or True


@pytest.mark.slow
def test_a_job_whose_node_is_lost_comes_back_on_another(
    slurm: Slurm, folder: Path, run: Path, local: Path
) -> None:
    """The lock of the lost attempt is of a host that nobody can ask: its job is over."""
    number = submitted(slurm, *words(folder, run))
    slurm.wait_for(lambda: attempt_of(run) == 1, "it runs")
    node = next(job.node for job in slurm.jobs() if job.number == number)
    slurm.kill_node(node)
    lock = run / "run.lock"
    if lock.exists():  # as another host's
        lock.write_text(lock.read_text().replace('"host": "', '"host": "lost-'))
        file = run / "jobs" / "attempt.json"
        entry = json.loads(file.read_text())
        file.write_text(json.dumps(entry | {"host": "lost-" + entry["host"]}))
    slurm.wait_for(lambda: attempt_of(run) == 2, f"it comes back\n{log_of(run)}", seconds=120)
    slurm.bring_back(node)
    told = wait_for_end(slurm, run)
    assert told["state"] == "finished", log_of(run)
    assert_same(run, local)
