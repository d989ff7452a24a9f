"""Runs in a bucket are submitted, watched, stopped and gone on with as those in folders are."""

from __future__ import annotations

import json
import os
import shlex
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from clustergrid.pipeline.cli import main
from clustergrid.pipeline.jobs import folder as folder_module
from clustergrid.pipeline.jobs.folder import JOBS_VARIABLE, jobs_folder, make_jobs_folder, place_of
from clustergrid.pipeline.jobs.known import QUEUES_BY_WORD
from clustergrid.pipeline.jobs.names import driver_job_name, folder_name
from clustergrid.pipeline.jobs.queues import REQUEUE_STATUS
from clustergrid.pipeline.jobs.record import Attempt, DriverRecord
from clustergrid.pipeline.jobs.supervise import (
    MOST_FRUITLESS,
    _mark,
    _release_lock,
    progress_mark,
)
from clustergrid.storage.errors import DataValueError, RunDirectoryError, StorageError
from clustergrid.storage.object_path import ObjectPath
from clustergrid.storage.places import as_path
from clustergrid.storage.rundir import RunDirectory
from clustergrid.storage.runlock import LOCK, holder_of, lock_directory
from tests.faults.harness import LOOK, assert_same
from tests.pipeline.jobs.queue_here import Job, install
from tests.storage.object_stores.servers import (
    KEY_ID,
    SECRET,
    download,
    front,
    use,
)

QUEUE = ["--workers", "2", "--cores", "1", "--memory-per-worker", "1GB", "--interface", "lo"]
SECRETS = (KEY_ID, SECRET)


@pytest.fixture
def url(object_server, monkeypatch) -> str:
    """URL of a run in an empty bucket."""
    use(monkeypatch, object_server.endpoint)
    return f"{object_server.make_bucket()}/runs/spleen"


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """The home of a user who said nothing of jobs, and who is in it."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv(JOBS_VARIABLE, raising=False)
    monkeypatch.chdir(home)
    return home


@pytest.fixture
def queue(tmp_path, monkeypatch) -> Iterator[Path]:
    """A queue on this machine, none of whose jobs is left."""
    programs = install(tmp_path / "queue")
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        monkeypatch.delenv(name)
    yield programs
    for job in jobs_of(programs):
        (job.folder / "cancelled").touch()
        if job.is_running:
            os.killpg(job.process, signal.SIGKILL)


@pytest.fixture
def matrix(home) -> Path:
    path = home / "it's a matrix.npy"
    np.save(path, np.random.default_rng(0).normal(size=(1_300, 6)).astype(np.float32))
    return path


def jobs_of(programs: Path) -> list[Job]:
    return [Job(folder) for folder in sorted(programs.glob("[0-9]*"))]


def answer(capfd, *words: object) -> dict:
    capfd.readouterr()
    main([*map(str, words), "--json"])
    return json.loads(capfd.readouterr().out)


def refused(capfd, *words: object) -> str:
    capfd.readouterr()
    with pytest.raises(SystemExit):
        main([*map(str, words)])
    said = capfd.readouterr().err.splitlines()
    assert len(said) == 1
    return said[0]


def assert_no_secrets(folder: Path) -> None:
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert files
    for file in files:
        content = file.read_bytes()
        assert not [each for each in SECRETS if each.encode() in content], file


# Where the folder is


def test_the_folder_of_a_run_in_a_bucket_is_at_home_and_that_of_another_where_it_was(home) -> None:
    run = as_path("s3://lab/runs/spleen")
    assert jobs_folder(home / "run") == home / "run" / "jobs"
    assert jobs_folder(run).parent == home / ".clustergrid" / "jobs"
    assert jobs_folder(run).name == folder_name("s3://lab/runs/spleen")
    assert jobs_folder(as_path("s3://lab/runs/spleen/")) == jobs_folder(run)
    others = ["gs://lab/runs/spleen", "s3://lab/spleen", "s3://lab", "s3://lab/µ", "s3://lab/.a"]
    names = {jobs_folder(as_path(each)).name for each in others} | {jobs_folder(run).name}
    assert len(names) == len(others) + 1
    for name in names:
        assert name[0].isalnum()
        assert name.isascii()
    # People see that job and folder belong together.
    assert jobs_folder(run).name.startswith(f"spleen-{driver_job_name(place_of(run))[-8:]}")


def test_the_environment_names_another_place_in_full(home, monkeypatch, capfd, matrix) -> None:
    run = as_path("s3://lab/run")
    monkeypatch.setenv(JOBS_VARIABLE, "/scratch/ann")
    assert jobs_folder(run) == Path("/scratch/ann") / folder_name("s3://lab/run")
    monkeypatch.setenv(JOBS_VARIABLE, "")
    assert jobs_folder(run).is_relative_to(home)
    for wrong in ("jobs", "~/jobs"):
        monkeypatch.setenv(JOBS_VARIABLE, wrong)
        with pytest.raises(DataValueError, match=r"has to be an absolute path.*unset it"):
            jobs_folder(run)
        asked = ["submit", matrix, "-o", "s3://lab/run", "--cluster", "slurm", *QUEUE]
        assert f"CLUSTERGRID_JOBS is '{wrong}'" in refused(capfd, *asked)
        assert jobs_folder(home) == home / "jobs"  # nobody asks there


def test_the_folder_is_for_its_user_alone(home, monkeypatch) -> None:
    run = as_path("s3://lab/run")
    before = os.umask(0)
    try:
        folder = make_jobs_folder(run)
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    folder.chmod(0o777)
    assert make_jobs_folder(run) == folder
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    with monkeypatch.context() as patch:
        patch.setattr(folder_module.os, "geteuid", lambda: os.getuid() + 1)
        with pytest.raises(
            StorageError, match=r"cannot make .* a link or another user's\. Let CLU"
        ):
            make_jobs_folder(run)
    folder.rename(home / "elsewhere")
    folder.symlink_to(home / "elsewhere")
    with pytest.raises(StorageError, match="a link or another user's"):
        make_jobs_folder(run)


def test_a_place_where_nothing_can_be_made_is_one_line(home, matrix, monkeypatch, capfd) -> None:
    (home / "file").touch()
    monkeypatch.setenv(JOBS_VARIABLE, str(home / "file"))
    asked = ["submit", matrix, "-o", "s3://lab/run", "--cluster", "slurm", *QUEUE, "--dry-run"]
    said = refused(capfd, *asked)
    assert f"cannot make {home / 'file'}/run-" in said
    assert "Let CLUSTERGRID_JOBS name a folder of yours" in said


# Submitting


@pytest.mark.parametrize("word", ["slurm", "sge", "pbs", "lsf", "htcondor"])
def test_scripts_name_the_run_and_its_folder_and_no_secret(
    word: str, matrix: Path, home, monkeypatch, capfd
) -> None:
    use(monkeypatch, "http://127.0.0.1:1")  # nobody is asked
    asked = ["submit", matrix, "--cluster", word, *QUEUE, "--driver-walltime", "2h", "--dry-run"]
    local = answer(capfd, *asked, "-o", home / "run")
    there = answer(capfd, *asked, "-o", "s3://lab/run/")
    folder = jobs_folder(as_path("s3://lab/run"))
    last = shlex.split(there["scripts"]["driver.sh"].strip().split("\n")[-1])
    i = last.index("--")
    assert last[i - 4 : i] == ["--run", "s3://lab/run", word, str(folder)]
    assert last[i + 1] == "run"
    assert last[last.index("--output") + 1] == "s3://lab/run/"  # as it was typed
    assert str(folder / "logs") in there["scripts"][f"workers.{queue_suffix(word)}"]
    assert any(str(folder) in note for note in there["notes"])
    hint = [note for note in there["notes"] if "--job-extra" in note and "AWS_ACCESS" in note]
    assert bool(hint) == (word in ("sge", "pbs", "htcondor"))
    assert not any("AWS_ACCESS" in note and "--job-extra" in note for note in local["notes"])
    assert not any("CLUSTERGRID_JOBS" in note for note in local["notes"])
    told = json.dumps(there)
    assert not [each for each in SECRETS if each in told]
    # What is elsewhere is all that differs: scripts of runs in folders are what they were.
    assert "--run" not in local["scripts"]["driver.sh"]
    name, other = (driver_job_name(place) for place in (str(home / "run"), "s3://lab/run"))
    for script, text in local["scripts"].items():
        moved = text.replace(str(home / "run" / "jobs"), str(folder)).replace(name, other)
        moved = moved.replace(f"{word} {folder} --", f"--run s3://lab/run {word} {folder} --")
        assert moved.replace(f" {home / 'run'} ", " s3://lab/run/ ") == there["scripts"][script]
    assert not (home / ".clustergrid").exists()


def queue_suffix(word: str) -> str:
    return "sub" if word == "htcondor" else "sh"


def test_a_job_that_waits_is_found_refuses_a_second_and_is_cancelled(
    url: str, home, matrix: Path, queue: Path, capfd, monkeypatch
) -> None:
    (queue / "hold").touch()
    asked = ["submit", matrix, "-o", url, "--cluster", "slurm", *QUEUE]
    record = answer(capfd, *asked)["submitted"]
    folder = jobs_folder(as_path(url))
    assert record["name"] == driver_job_name(url)
    assert Path(record["script"]).parent == folder
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {"driver.sh", "workers.sh", "driver.json"} <= {file.name for file in folder.iterdir()}
    assert_no_secrets(folder)
    left = json.loads((ObjectPath.parse(url) / "jobs" / "driver.json").read_text())
    assert left == record  # and nothing else: the rest is of this file system
    assert [name for name, _ in (ObjectPath.parse(url) / "jobs").files()] == ["driver.json"]
    assert (ObjectPath.parse(url) / "run.json").exists()

    said = refused(capfd, *asked)
    assert f"job 1 of slurm is pending on here for {url} already" in said
    told = answer(capfd, "status", f"{url}/")
    assert (told["state"], told["job"]["state"], told["job"]["detail"]) == (
        "stopped", "pending", "Held",
    )  # fmt: skip
    assert told["job"]["log"] == str(folder / "driver.log")
    with monkeypatch.context() as patch:  # of somebody else, or elsewhere
        patch.setenv(JOBS_VARIABLE, str(home / "others"))
        told = answer(capfd, "status", url)["job"]
        assert (told["state"], told["log"]) == ("unknown", str(folder / "driver.log"))
        assert f"submitted on {record['host']}" in told["detail"]
        assert f"not in {home / 'others'}" in told["detail"]
        assert "pending" in refused(capfd, *asked)  # its name tells

    cancelled = answer(capfd, "cancel", url)["cancelled"]
    assert (cancelled["drivers"], cancelled["left"]) == (["1"], [])
    told = answer(capfd, "status", url)
    assert told["job"]["state"] == "ended"
    assert "before it started" in told["job"]["detail"]
    assert "nothing to cancel" in answer_text(capfd, "cancel", url)
    assert answer(capfd, *asked)["submitted"]["number"] == "2"


def answer_text(capfd, *words: object) -> str:
    capfd.readouterr()
    main([*map(str, words)])
    return capfd.readouterr().out


def test_what_is_no_run_in_a_bucket_has_no_jobs(url: str, home, capfd) -> None:
    assert f"{url} is not a run directory" in refused(capfd, "cancel", url)
    RunDirectory(url, create=True)
    assert "there are no jobs of it" in refused(capfd, "cancel", url)
    assert answer(capfd, "status", url)["job"] is None
    assert "has a login" in refused(capfd, "cancel", f"s3://{KEY_ID}:{SECRET}@lab/run")


def test_nothing_is_submitted_beside_a_process_at_work(
    url: str, home, matrix: Path, queue: Path, capfd
) -> None:
    with RunDirectory(url, create=True).locked():
        said = refused(capfd, "submit", matrix, "-o", url, "--cluster", "slurm", *QUEUE)
    assert f"{url} is in use by process {os.getpid()}" in said
    assert jobs_of(queue) == []


# Inside of the job


def test_progress_in_a_bucket_is_what_is_kept(url: str, object_server) -> None:
    run = ObjectPath.parse(url)
    marks = [progress_mark(run)]
    for name, text in (
        ("manifest/distance.jsonl", "line\n"),
        ("manifest/distance.jsonl", "line\nline\n"),
        ("pieces/a/0.npz", "x"),
    ):
        (run / name).write_text(text)
        marks.append(progress_mark(run))
    assert len(set(marks)) == 4
    (run / "progress.jsonl").write_text("an event\n")
    (run / "run.json").write_text("{}")
    (run / "pieces" / ".unfinished").write_text("x")
    assert progress_mark(run) == _mark(run) == marks[-1]
    with front(object_server, lambda *_: 403) as endpoint, pytest.MonkeyPatch.context() as patch:
        use(patch, endpoint)
        assert _mark(run) is None


def attempt_of(run: ObjectPath, **changes) -> Attempt:
    fields = {"attempt": 1, "job": "17", "host": "node9", "pid": 7, "started": 1.0}
    attempt = Attempt(**{**fields, **changes})
    attempt.write(run)
    return attempt


def test_the_lock_of_an_attempt_on_a_lost_node_is_released(
    url: str, home, object_server, monkeypatch
) -> None:
    run = ObjectPath.parse(url)
    lock = run / LOCK
    make_jobs_folder(run)
    lock.write_text(json.dumps({"host": "node9", "pid": 7, "started": 1.0, "boot": "b"}))
    queue = QUEUES_BY_WORD["sge"]
    _release_lock(queue, run, None, "17")
    _release_lock(queue, run, attempt_of(run, pid=8), "17")
    with monkeypatch.context() as patch:
        patch.setenv("PATH", str(home))  # no qstat: nobody can say that the other job is over
        _release_lock(queue, run, attempt_of(run, job="16"), "17")
    with front(object_server, lambda *_: 403) as endpoint, monkeypatch.context() as patch:
        use(patch, endpoint)
        _release_lock(queue, run, attempt_of(run), "17")  # the driver says what is wrong
    assert holder_of(run) is not None
    with (
        pytest.raises(RunDirectoryError, match="is in use by process 7 on node9"),
        lock_directory(run),
    ):
        pass
    _release_lock(queue, run, attempt_of(run), "17")
    assert holder_of(run) is None
    with lock_directory(run):
        assert holder_of(run) is not None
    assert not lock.exists()


def test_a_lock_that_changed_hands_is_not_released(url: str, home) -> None:
    """Another job released it first, and its driver is at work already."""
    run = ObjectPath.parse(url)
    make_jobs_folder(run)
    (run / LOCK).write_text(json.dumps({"host": "n", "pid": 7, "started": 1.0, "boot": "b"}))
    before = attempt_of(run, host="n")
    exchange = ObjectPath.exchange

    def late(self: ObjectPath, content: bytes, version: object) -> bool:
        self.write_text(json.dumps({"host": "m", "pid": 8, "started": 2.0, "boot": "b"}))
        return exchange(self, content, version)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ObjectPath, "exchange", late)
        _release_lock(QUEUES_BY_WORD["sge"], run, before, "17")
    holder = holder_of(run)
    assert holder is not None
    assert holder.host == "m"


def until(is_so, url: str, seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, log_of(url)
        time.sleep(0.1)


SUPERVISE = """
import sys
from clustergrid.pipeline.jobs.known import QUEUES_BY_WORD
from clustergrid.pipeline.jobs.supervise import supervise
from clustergrid.storage.places import as_path
queue, run = QUEUES_BY_WORD["sge"], as_path(sys.argv[1])
sys.exit(supervise(queue, run, [sys.executable, "-c", sys.argv[2]], stop_after_seconds=1))
"""
IDLE = "import time; time.sleep(60)"
KEEPS = """
import signal, sys, time
def stop(number, frame):
    from clustergrid.storage.places import as_path
    (as_path({url!r}) / "pieces" / "1").write_text("a piece")
    sys.exit(128 + number)
signal.signal(signal.SIGTERM, stop)
time.sleep(60)
"""


@pytest.mark.slow
def test_a_job_that_leaves_nothing_new_in_a_bucket_goes_back_so_often_and_no_more(
    url: str, home
) -> None:
    run = as_path(url)
    make_jobs_folder(run)

    def attempt(driver: str) -> tuple[int, str, int]:
        words = [sys.executable, "-c", SUPERVISE, url, driver]
        done = subprocess.run(words, stderr=subprocess.DEVNULL, check=False, timeout=120)
        noted = Attempt.read(run)
        assert noted is not None
        return done.returncode, noted.state, noted.fruitless

    assert attempt(IDLE) == (REQUEUE_STATUS, "requeued", 1)
    assert attempt(KEEPS.format(url=url)) == (REQUEUE_STATUS, "requeued", 0)
    for i in range(1, MOST_FRUITLESS):
        assert attempt(IDLE) == (REQUEUE_STATUS, "requeued", i)
    assert attempt(IDLE) == (128 + signal.SIGTERM, "ended", MOST_FRUITLESS)


def log_of(url: str) -> str:
    log = jobs_folder(as_path(url)) / "driver.log"
    return log.read_text() if log.exists() else ""


@pytest.mark.slow
def test_a_submitted_run_comes_back_after_its_walltime_and_leaves_the_same_bits(
    url: str, home, matrix: Path, queue: Path, capfd, tmp_path, monkeypatch
) -> None:
    """Driver and workers are jobs here, with an environment that a queue hands on."""
    options = [*LOOK, "--no-col-cluster", "--row-engine", "square", "--memory", "1GB"]
    main(["run", str(matrix), "-o", str(home / "run"), *options, "--cluster", "none"])
    asked = ["submit", matrix, "-o", url, *options, "--cluster", "slurm", *QUEUE]
    answer(capfd, *asked)
    run, job = as_path(url), Job(queue / "1")
    until(lambda: Attempt.read(run) is not None, url)
    os.kill(job.process, signal.SIGUSR1)  # as the queue does before the walltime is over

    def attempt() -> Attempt:
        found = Attempt.read(run)
        assert found is not None
        return found

    until(lambda: attempt().attempt == 2, url)
    told = answer(capfd, "status", url)
    assert (told["job"]["number"], told["job"]["attempt"]) == ("1", 2)
    until(lambda: job.word == "COMPLETED", url)
    assert attempt().fruitless == 1
    told = answer(capfd, "status", url)
    assert (told["state"], told["job"]["state"]) == ("finished", "ended"), log_of(url)
    assert told["job"]["exit_status"] == 0
    assert_same(download(url, tmp_path / "there"), home / "run")
    assert (jobs_folder(run) / "logs").is_dir()
    assert_no_secrets(jobs_folder(run))
    assert_no_secrets(tmp_path / "there")
    assert [each.name for each in (home / ".clustergrid").iterdir()] == ["jobs"]
    record = DriverRecord.read(run)
    assert record is not None
    assert record.number == "1"


@pytest.mark.slow
def test_a_run_under_way_is_cancelled_with_its_workers(
    url: str, home, matrix: Path, queue: Path, capfd
) -> None:
    options = [*LOOK, "--no-col-cluster", "--row-engine", "square", "--cluster", "slurm", *QUEUE]
    # Workers that wait keep the driver waiting.
    answer(capfd, "submit", matrix, "-o", url, *options)
    (queue / "hold").touch()
    until(lambda: len(jobs_of(queue)) == 3, url)
    told = answer(capfd, "status", url)
    assert told["state"] == "running"
    assert told["job"]["workers_pending"] == 2
    cancelled = answer(capfd, "cancel", url)["cancelled"]
    assert (cancelled["drivers"], cancelled["left"]) == (["1"], [])
    told = answer(capfd, "status", url)
    assert (told["state"], told["job"]["exit_status"]) == ("stopped", 143), log_of(url)
    assert "cancelled" in told["job"]["detail"]
    assert not (ObjectPath.parse(url) / LOCK).exists()
