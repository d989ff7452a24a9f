"""SIGKILL of driver, worker, nanny and scheduler, in every stage: the same bits in the end.

A kill strikes in a stage that was chosen, a seeded moment after it began, or at a random moment.
The same command then goes on; what it leaves in the end is compared with an undisturbed run, file
by file. `PLANS` is what is killed, and where.
"""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass

import numpy as np
import pytest

from clustergrid.pipeline.status import read_status
from clustergrid.pipeline.verify import verify_run
from tests.faults.harness import (
    LOOK,
    assert_same,
    assert_session_is_gone,
    one_line,
    tile_files,
    worker_processes,
)

RANDOM = "at random"
AT_ONCE_A_THREAD = {"none": 2, "local": 4, "external": 4}
"""Tasks that an executor has under way, a thread."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A run to disturb: input, options, and where it computes."""

    input: str
    shape: tuple[int, int]
    options: tuple[str, ...]
    where: str

    def command(self, path):
        where = {"none": ["--cluster", "none"], "local": ["--dashboard-port", "0"], "external": []}
        return ["run", path, *LOOK, "--memory", "1GB", *self.options, *where[self.where]]


# Norms come with correlation, duplicates with more than 2,048 rows, a pass for the limits with
# --robust; a small local run would start no workers.
JOBS = {
    "npy": Job(
        input="a.npy", shape=(2300, 24), where="none",
        options=("--metric", "correlation", "--robust", "--row-k", "5"),
    ),
    "csv": Job(
        input="a.csv.gz", shape=(2200, 20), where="none",
        options=("--z-score", "rows", "--method", "ward", "--col-k", "3"),
    ),
    "zarr": Job(
        input="a.zarr", shape=(2200, 40), where="none",
        options=("--metric", "cosine", "--method", "complete", "--robust"),
    ),
    "local": Job(
        input="a.npy", shape=(5010, 16), where="local", options=("--metric", "correlation"),
    ),
    "external": Job(
        input="a.npy", shape=(2300, 24), where="external",
        options=("--metric", "correlation", "--robust"),
    ),
    "external-zarr": Job(
        input="a.zarr", shape=(2200, 40), where="external", options=("--z-score", "rows",),
    ),
}  # fmt: skip

_AXIS = ("distance-{}-norms", "distance-{}", "read-{}", "linkage-{}")
_ROWS = [stage.format("row") for stage in _AXIS]
_COLUMNS = [stage.format("col") for stage in _AXIS[:3]]

# In the order of the stages: what an earlier kill left finished is not started again.
PLANS: dict[str, list[tuple[str, str]]] = {
    "npy": [
        ("driver", stage)
        for stage in ("ingest", "statistics", _ROWS[0], "duplicates-row", _ROWS[1], _ROWS[1],
                      _ROWS[2], "verify-row", _ROWS[3], *_COLUMNS, "quantiles", "downsample",
                      "picture", RANDOM, RANDOM, RANDOM)
    ],
    "csv": [
        ("driver", stage)
        for stage in ("ingest", "ingest", "statistics", "duplicates-row", "distance-row",
                      "linkage-row", "distance-col", "picture", RANDOM, RANDOM)
    ],
    "zarr": [
        ("driver", stage)
        for stage in ("statistics", "distance-row", "read-row", "linkage-row", "distance-col",
                      "downsample", RANDOM, RANDOM)
    ],
    "local": [
        *(("driver", stage) for stage in ("ingest", "distance-row", "linkage-row", "picture")),
        *(("worker", stage) for stage in ("ingest", "distance-row", "downsample")),
    ],
    "external": [
        ("driver", "ingest"), ("worker", "ingest"), ("scheduler", "ingest"),
        ("worker", "statistics"), ("nanny", "duplicates-row"),
        ("driver", "distance-row"), ("nanny", "distance-row"), ("worker", "distance-row"),
        ("scheduler", "distance-row"), ("worker", "linkage-row"), ("nanny", "quantiles"),
    ],
    "external-zarr": [
        ("nanny", "statistics"), ("driver", "distance-row"), ("worker", "distance-row"),
        ("scheduler", "linkage-row"), ("worker", "downsample"), ("driver", RANDOM),
    ],
}  # fmt: skip


def test_the_plans_kill_everything_everywhere():
    kills = [kill for plan in PLANS.values() for kill in plan]
    assert len(kills) >= 50
    assert {role for role, _ in kills} == {"driver", "worker", "nanny", "scheduler"}
    stages = {stage for _, stage in kills}
    assert stages >= {"ingest", "statistics", "duplicates-row", "verify-row", "quantiles",
                      "downsample", "picture", RANDOM, *_ROWS, *_COLUMNS}  # fmt: skip
    assert {JOBS[name].where for name in PLANS} == {"none", "local", "external"}


class Chain:
    """Runs of one command in one directory, each but the last disturbed by a kill."""

    def __init__(self, job, path, folder, start, processes, rng=None, seconds=None):
        self.job, self.start, self.processes, self.rng = job, start, processes, rng
        self.seconds = seconds
        self.command = job.command(path)
        self.directory = folder / "run"
        self.run = None
        self.killed = []

    def begin(self):
        """Start the command, unless it is under way."""
        if self.run is None:
            external = [] if self.processes is None else ["--scheduler-file", self.processes.file]
            self.run = self.start(*self.command, "-o", self.directory, *external)

    def strike(self, role, stage):
        """Kill at a moment of a stage; True if it struck."""
        self.begin()
        if stage == RANDOM:
            strikes = self._random_moment()
        else:
            strikes = self.run.wait_for(stage)
            # Some at once, some in the middle.
            time.sleep(self.seconds[stage] * max(0.0, self.rng.uniform(-0.5, 0.5)))
        if not strikes or self.run.process.poll() is not None:
            self.end()
            return False
        started = time.monotonic()
        getattr(self, f"_kill_{role}")()
        print(f"\nkilled {role} in {stage}: {time.monotonic() - started:.1f} s", flush=True)
        self.killed.append((role, stage))
        return True

    def _random_moment(self):
        if self.rng.random() < 0.3:  # as it starts, before it says anything
            time.sleep(self.rng.uniform(0.0, 2.0))
            return True
        n_events = int(self.rng.integers(1, 16))
        found = [event for event, _ in zip(self.run.events(), range(n_events), strict=False)]
        time.sleep(self.rng.uniform(0.0, 0.2))
        return len(found) == n_events

    def _kill_driver(self):
        assert self.run.kill().status == -9
        self.run = None
        # What it says is at rest is at rest.
        if (self.directory / "run.json").exists():
            assert verify_run(self.directory).damages == ()

    def _kill_worker(self):
        if self.processes is not None:
            self.processes.worker().kill()
            return
        workers = worker_processes(self.run.children())
        assert workers
        for worker in workers:
            worker.kill()

    def _kill_nanny(self):
        nanny = self.processes.nanny
        self.processes.kill_nanny()
        assert_session_is_gone(nanny.pid)  # its worker does not outlive it
        self.processes.start_worker()

    def _kill_scheduler(self):
        self.processes.kill_scheduler()
        ended = self.run.end()
        self.run = None
        # It may have been in what needs no workers any more.
        if ended.status:
            assert "the Dask cluster was lost; the same command goes on" in one_line(ended)
            assert read_status(self.directory).state == "stopped"
        self.processes.restart()

    def end(self):
        """Let the command finish."""
        self.begin()
        ended = self.run.end()
        self.run = None
        assert ended.status == 0, ended.err
        assert "Traceback" not in ended.err
        return ended


def seconds_of(ended):
    """How long each stage took."""
    return {event.stage: event.seconds for event in ended.events if event.state == "finished"} | {
        "verify-row": 0.0
    }


@pytest.fixture(scope="module")
def undisturbed(make_input, tmp_path_factory):
    """Runs that nothing happens to, made when asked for: directory, and seconds a stage."""
    made = {}

    def get(name, start, processes):
        if name not in made:
            job = JOBS[name]
            folder = tmp_path_factory.mktemp(name)
            chain = Chain(job, make_input(job.input, *job.shape), folder, start, processes)
            made[name] = folder / "run", seconds_of(chain.end())
        return made[name]

    return get


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", list(PLANS))
def test_killed_in_every_stage_the_bits_are_the_same(
    name, make_input, undisturbed, start, tmp_path, request
):
    job, plan = JOBS[name], PLANS[name]
    external = job.where == "external"
    processes = request.getfixturevalue("dask_processes") if external else None
    whole, seconds = undisturbed(name, start, processes)
    path = make_input(job.input, *job.shape)
    rng = np.random.default_rng(list(name.encode()))
    chain = Chain(job, path, tmp_path, start, processes, rng, seconds)
    for role, stage in plan:
        for _ in range(10):
            if chain.strike(role, stage):
                break
            # It came too late, and the run is finished.
            assert_same(chain.directory, whole)
            shutil.rmtree(chain.directory)
        else:
            raise AssertionError(f"there was no killing {role} in {stage}")
    chain.end()
    assert chain.killed == plan
    assert_same(chain.directory, whole)
    print(f"\n{len(chain.killed)} of {len(plan)} kills survived, {name}, bit-identical")


def threads_of(where):
    """Tasks that run at once on this machine, as runs plan it."""
    cores = len(os.sched_getaffinity(0))
    if where == "none":
        return cores
    n_workers = -(-cores // 4)
    return n_workers * -(-cores // n_workers)


@pytest.mark.slow
@pytest.mark.parametrize("where", ["none", "local"])
def test_a_kill_among_the_tiles_repeats_at_most_those_in_flight(make_input, start, tmp_path, where):
    job = Job(input="a.npy", shape=(5010, 16), options=("--no-col-cluster",), where=where)
    command = [*job.command(make_input(job.input, *job.shape)), "-o", tmp_path / "run"]
    run = start(*command)
    assert any(event.stage == "distance-row" and event.done >= 12 for event in run.events())
    run.kill()
    before = tile_files(tmp_path / "run")
    assert 12 <= len(before) < 55
    ended = start(*command).end()
    assert ended.status == 0, ended.err
    after = tile_files(tmp_path / "run")
    assert len(after) == 55
    repeated = [tile for tile, file in before.items() if after[tile] != file]
    print(f"\n{len(repeated)} of {len(before)} tiles at rest were computed again ({where})")
    assert len(repeated) <= AT_ONCE_A_THREAD[where] * threads_of(where)


@pytest.mark.slow
def test_a_worker_that_dies_among_the_tiles_repeats_at_most_those_in_flight(
    make_input, start, tmp_path
):
    job = Job(input="a.npy", shape=(5010, 16), options=("--no-col-cluster",), where="local")
    run = start(*job.command(make_input(job.input, *job.shape)), "-o", tmp_path / "run")
    assert any(event.stage == "distance-row" and event.done >= 12 for event in run.events())
    before = tile_files(tmp_path / "run")
    for worker in worker_processes(run.children()):
        worker.kill()
    ended = run.end()
    assert ended.status == 0, ended.err
    after = tile_files(tmp_path / "run")
    repeated = [tile for tile, file in before.items() if after[tile] != file]
    print(f"\n{len(repeated)} of {len(before)} tiles at rest were computed again")
    assert len(repeated) <= AT_ONCE_A_THREAD["local"] * threads_of("local")
