"""Two runs at once, locks of the dead and of the living, and signals at any moment."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress

import numpy as np
import pytest

import clustergrid.pipeline.run as run_module
from clustergrid.pipeline.cli import main
from clustergrid.pipeline.status import read_status
from clustergrid.pipeline.verify import verify_run
from clustergrid.storage import holder
from tests.faults.harness import COMMAND, LOOK, Run, assert_same, one_line, until

N = 2200
OPTIONS = [*LOOK, "--memory", "1GB", "--cluster", "none", "--no-col-cluster"]
_WORDS = {signal.SIGINT: "stopped", signal.SIGTERM: "terminated"}
STOPPED_SECONDS = 20.0
"""A queue that warns waits some tens of seconds before it kills."""


@pytest.fixture
def command(make_input, tmp_path):
    return ["run", make_input("a.npy", N, 12), *OPTIONS, "-o", tmp_path / "run"]


@pytest.fixture(scope="module")
def whole(make_input, tmp_path_factory):
    """A run that nothing happens to."""
    directory = tmp_path_factory.mktemp("whole") / "run"
    run = Run("run", make_input("a.npy", N, 12), *OPTIONS, "-o", directory)
    ended = run.end()
    assert ended.status == 0, ended.err
    return directory


def lock_of(directory, **entries):
    directory.mkdir(exist_ok=True)
    (directory / "run.lock").write_text(json.dumps(entries))


# Locks


@pytest.mark.slow
def test_the_second_of_two_runs_is_refused_with_host_and_pid(command, start, tmp_path, whole):
    first = start(*command)
    assert first.wait_for("distance-row")
    with first.paused():  # it stays in the middle while others try
        for words in (command, ["verify", tmp_path / "run"], ["plot", tmp_path / "run"]):
            said = one_line(start(*words).end())
            assert f"in use by process {first.pid} on {socket.gethostname()}" in said
        assert read_status(tmp_path / "run").state == "running"
    ended = first.end()
    assert ended.status == 0, ended.err
    assert_same(tmp_path / "run", whole)


@pytest.mark.slow
def test_of_runs_that_start_together_one_runs(command, start, tmp_path, whole):
    runs = [start(*command) for _ in range(4)]
    ended = [run.end() for run in runs]
    refused = [each for each in ended if each.status]
    assert len(refused) < 4
    for each in refused:
        assert "in use by process" in one_line(each) or "just now" in one_line(each)
    assert_same(tmp_path / "run", whole)


@pytest.mark.slow
def test_the_lock_of_a_killed_run_is_taken_over(command, start, tmp_path, whole):
    run = start(*command)
    assert run.wait_for("distance-row")
    run.kill()
    holder = json.loads((tmp_path / "run" / "run.lock").read_text())
    assert holder["pid"] == run.pid
    assert start(*command).end().status == 0
    assert_same(tmp_path / "run", whole)


@pytest.fixture
def somebody():
    """A process that lives on this machine, and is no run."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
    yield process.pid
    process.kill()
    process.wait()


@pytest.mark.slow
@pytest.mark.parametrize("lock", ["of an earlier process of that number", "torn", "empty"])
def test_a_lock_that_nobody_living_holds_is_taken_over(command, start, tmp_path, somebody, lock):
    """After a reboot another process may have the number."""
    started, boot = holder._started(somebody), holder._boot()
    entry = {"host": socket.gethostname(), "pid": somebody, "started": started - 3600, "boot": boot}
    lock_of(tmp_path / "run", **entry)
    if lock != "of an earlier process of that number":
        content = (tmp_path / "run" / "run.lock").read_text()
        (tmp_path / "run" / "run.lock").write_text(content[:10] if lock == "torn" else "")
    assert start(*command).end().status == 0
    assert not (tmp_path / "run" / "run.lock").exists()


@pytest.mark.parametrize("host", ["here", "elsewhere"])
def test_the_lock_of_the_living_is_respected(command, start, tmp_path, somebody, host):
    started = holder._started(somebody)
    name = socket.gethostname() if host == "here" else "node17"
    pid = somebody if host == "here" else 2**22 - 1  # nobody here can say whether that one lives
    lock_of(tmp_path / "run", host=name, pid=pid, started=started, boot=holder._boot())
    said = one_line(start(*command).end())
    assert f"in use by process {pid} on {name}" in said
    assert str(tmp_path / "run" / "run.lock") in said  # what to delete if it is dead after all
    assert json.loads((tmp_path / "run" / "run.lock").read_text())["pid"] == pid


# Signals


def send(run, number, to):
    if to == "group":
        os.killpg(run.pid, number)
    else:
        run.signal(number)


def assert_stops(run, number):
    started = time.monotonic()
    ended = run.end()
    assert time.monotonic() - started < STOPPED_SECONDS
    assert ended.status == 128 + number, ended.err
    said = one_line(ended)
    assert said == f"clustergrid: {_WORDS[number]}; the same command goes on from here"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("to", ["process", "group"])
def test_a_signal_stops_a_run_in_any_stage(command, start, tmp_path, whole, number, to):
    stages = ["ingest", "distance-row", "linkage-row", "downsample", "picture"]
    stopped = 0
    for stage in stages:
        run = start(*command)
        assert run.wait_for(stage)
        assert not run.children()  # threads do it
        send(run, number, to)
        assert_stops(run, number)
        stopped += 1
        assert read_status(tmp_path / "run").state == "stopped"
        assert not (tmp_path / "run" / "run.lock").exists()
        assert verify_run(tmp_path / "run").damages == ()
    assert stopped == len(stages)
    assert start(*command).end().status == 0
    assert_same(tmp_path / "run", whole)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("to", ["process", "group"])
def test_a_signal_stops_a_run_on_worker_processes(make_input, start, tmp_path, number, to):
    path = make_input("a.npy", 5010, 16)
    run = start("run", path, *LOOK, "--memory", "1GB", "--no-col-cluster", "--dashboard-port", 0,
                "-o", tmp_path / "run")  # fmt: skip
    assert run.wait_for("distance-row", "running")
    assert run.children()
    send(run, number, to)
    assert_stops(run, number)  # and nothing of its session stays
    status = read_status(tmp_path / "run")
    assert status.state == "stopped"
    assert any(stage.state == "stopped" for stage in status.stages)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_at_the_very_start_or_at_the_end(command, start, tmp_path, whole, number):
    """Before Python listens, the system ends the process; after the results, there is no stopping.

    Whatever the moment, the next run finds a directory that it can go on with, or nothing.
    """
    rng = np.random.default_rng(number)
    ours, theirs = 128 + number, -number
    statuses = set()
    for seconds in (0.0, *rng.uniform(0.02, 1.5, size=5)):
        run = start(*command)
        time.sleep(seconds)
        run.signal(number)
        ended = run.end()
        statuses.add(ended.status)
        assert ended.status in (0, ours, theirs), ended.err
        if (tmp_path / "run").exists():
            assert not list((tmp_path / "run").glob("run.lock"))
    assert statuses - {0}
    run = start(*command)
    if run.wait_for("picture", "finished"):
        run.signal(number)
    assert run.end().status in (0, ours)
    assert start(*command).end().status == 0
    assert_same(tmp_path / "run", whole)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_a_finalizer_swallows_ends_the_run_too(monkeypatch, capsys, number):
    """Exceptions in `__del__` are ignored by Python, those of signals among them."""

    class Held:
        def __del__(self):
            os.kill(os.getpid(), number)
            time.sleep(0.01)

    def run(*_args, **_kwargs):
        Held()
        time.sleep(20)

    monkeypatch.setattr(run_module, "run", run)
    started = time.monotonic()
    with pytest.raises(SystemExit) as left:
        main(["run", "a.npy", "-o", "run"])
    assert left.value.code == 128 + number
    assert time.monotonic() - started < 10
    assert capsys.readouterr().err == (
        f"clustergrid: {_WORDS[number]}; the same command goes on from here\n"
    )


@pytest.mark.slow
def test_a_second_signal_does_not_wait_for_the_first(make_input, start, tmp_path):
    path = make_input("a.npy", 5010, 16)
    run = start("run", path, *LOOK, "--memory", "1GB", "--no-col-cluster", "--dashboard-port", 0,
                "-o", tmp_path / "run")  # fmt: skip
    assert run.wait_for("distance-row", "running")
    run.signal(signal.SIGTERM)
    time.sleep(0.05)
    with suppress(ProcessLookupError):
        run.signal(signal.SIGTERM)
    ended = run.end()
    assert ended.status == 128 + signal.SIGTERM
    assert "Traceback" not in ended.err
    assert verify_run(tmp_path / "run").damages == ()


@pytest.mark.slow
def test_status_of_a_run_under_way_and_of_a_killed_one(command, start, tmp_path):
    run = start(*command)
    assert run.wait_for("distance-row")
    with run.paused():
        until(lambda: (tmp_path / "run" / "progress.jsonl").exists(), "there is no log")
        shown = subprocess.run([*COMMAND, "status", tmp_path / "run", "--json"],
                               check=True, capture_output=True, text=True)  # fmt: skip
        assert json.loads(shown.stdout)["state"] == "running"
        stages = {stage["stage"]: stage["state"] for stage in json.loads(shown.stdout)["stages"]}
        assert stages["distance-row"] in ("started", "running")
        shown = subprocess.run([*COMMAND, "status", tmp_path / "run"],
                               check=True, capture_output=True, text=True)  # fmt: skip
        assert re.search("^.*: running", shown.stdout.splitlines()[0])
        assert re.search(r"distance-row +(started|running)", shown.stdout)
    run.kill()
    assert (tmp_path / "run" / "run.lock").exists()
    assert read_status(tmp_path / "run").state == "stopped"
    assert start(*command).end().status == 0
    assert read_status(tmp_path / "run").state == "finished"
