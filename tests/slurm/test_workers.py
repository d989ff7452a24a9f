"""Workers that are jobs of Slurm: they start, are encrypted, and are asked for again when lost."""

from __future__ import annotations

import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import dask
import numpy as np
import pytest
from distributed import Client, Security

from clustergrid.pipeline.cluster import connect
from clustergrid.pipeline.clusters.jobqueue import JobFolder
from clustergrid.pipeline.clusters.resolve import resolve_choice
from clustergrid.pipeline.execution import DaskExecutor
from clustergrid.pipeline.resources import Resources
from clustergrid.storage.errors import StorageError
from tests.faults.harness import COMMAND, assert_same, tile_files
from tests.slurm.harness import NODES, Slurm
from tests.slurm.runs import OPTIONS, WORKERS, command, make_matrix

pytestmark = pytest.mark.slurm

HERE = Resources(memory_bytes=2 * 10**9, threads=1)
NAME = "test-worker"


class Joined:
    """Two workers of Slurm, and what was told of them."""

    def __init__(self, client: Client, lines: list[str]) -> None:
        self.client, self.lines = client, lines

    def told(self, part: str) -> bool:
        return any(part in line for line in self.lines)


@contextmanager
def two_workers(folder: Path, **more: object) -> Iterator[Joined]:
    lines: list[str] = []
    given = {
        "cluster": "slurm",
        "workers": 2,
        "cores": 1,
        "memory_per_worker_bytes": 10**9,
        "interface": "lo",
        "dashboard_port": 0,
    }
    choice = resolve_choice(given | more, {})
    jobs = JobFolder(path=folder, job_name=NAME)
    with connect(choice, HERE, folder=jobs, tell=lines.append) as client:
        assert client is not None
        yield Joined(client, lines)


def _slow_square(_shared: None, item: int) -> int:
    time.sleep(0.4)
    return item * item


def _squares(client: Client, n: int, at: int, then: Callable[[], object]) -> list[int]:
    """Compute squares as a stage does; do something else when some are there."""
    executor, found = DaskExecutor(client, expected_threads=2), []
    for square in executor.map(_slow_square, None, range(n), name="squares"):
        found.append(square)
        if len(found) == at:
            then()
    return sorted(found)


def worker_names(client: Client) -> set[str]:
    return {worker["name"] for worker in client.scheduler_info(n_workers=-1)["workers"].values()}


def test_lost_workers_are_replaced_and_strangers_are_refused(
    slurm: Slurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "a folder"
    # No script can name this one, so that logs are where the queue pleases: not in the checkout.
    monkeypatch.setenv("SBATCH_OUTPUT", str(tmp_path / "%j.out"))
    # How long Dask hopes for the return of a worker; by default 15 s.
    soon = dask.config.set({"distributed.deploy.lost-worker-timeout": "2s"})
    with soon, two_workers(folder) as joined:
        client = joined.client
        slurm.wait_for(lambda: len(client.nthreads()) == 2, "two workers are there")
        assert len(slurm.jobs(NAME)) == 2
        names = worker_names(client)

        # TLS with certificates of this run, which only its user can read.
        address = client.scheduler.address
        assert address.startswith("tls://")
        assert all(worker.startswith("tls://") for worker in client.nthreads())
        (private,) = folder.glob("tls-*")
        assert stat.S_IMODE(private.stat().st_mode) == 0o700
        assert stat.S_IMODE((private / "dask.key").stat().st_mode) == 0o600
        for stranger, where in (
            (Security(require_encryption=False), address.replace("tls://", "tcp://")),
            (Security.temporary(), address),
        ):
            with pytest.raises(OSError):
                Client(where, security=stranger, timeout="3s", set_as_default=False)

        # One job is cancelled, by an administrator for instance.
        first = slurm.jobs(NAME)[0].number
        squares = _squares(client, 30, at=4, then=lambda: slurm.cancel(first))
        assert squares == [n * n for n in range(30)]
        slurm.wait_for(lambda: joined.told("lost 1 worker (job "), f"it is told {joined.lines}")
        slurm.wait_for(lambda: len(client.nthreads()) == 2, "another one is there")
        # By a name of its own: Dask cancels the job of the lost one's name some time later.
        assert len(names & worker_names(client)) == 1

        # A node goes down, with all that runs on it.
        node = slurm.jobs(NAME)[0].node
        squares = _squares(client, 30, at=4, then=lambda: slurm.set_down(node))
        assert squares == [n * n for n in range(30)]
        slurm.wait_for(lambda: len(client.nthreads()) == 2, f"two workers are there {joined.lines}")
    slurm.wait_for(lambda: not slurm.jobs(NAME), "no job is left")
    assert not list(folder.glob("tls-*"))
    assert list(tmp_path.glob("*.out"))


def test_what_the_queue_refuses_is_one_line(slurm: Slurm, tmp_path: Path) -> None:
    says = "slurm refuses jobs of workers: .*[Ii]nvalid partition"
    with pytest.raises(StorageError, match=says), two_workers(tmp_path, queue="nosuch"):
        pass
    assert slurm.jobs() == []
    assert not list(tmp_path.glob("tls-*"))


def test_jobs_that_end_at_once_end_the_run_with_their_last_words(
    slurm: Slurm, tmp_path: Path
) -> None:
    broken = {"jobqueue.slurm.job-script-prologue": ["echo no such module >&2; exit 3"]}
    says = r"jobs of slurm ended before any of their workers joined.*ends: no such module"
    with dask.config.set(broken), pytest.raises(StorageError, match=says), two_workers(tmp_path):
        pass
    assert slurm.jobs() == []


@pytest.fixture
def closed(slurm: Slurm) -> Iterator[Callable[[], object]]:
    """Close all nodes for new jobs; they are open again afterwards."""

    def close() -> None:
        slurm.run("scontrol", "update", "nodename=n[1-2]", "state=drain", "reason=test")

    yield close
    slurm.cancel()
    for node in NODES:
        with suppress(AssertionError):  # it was not closed
            slurm.run("scontrol", "update", f"nodename={node}", "state=resume")


def test_patience_ends_with_what_slurm_says(
    slurm: Slurm, closed: Callable[[], object], tmp_path: Path
) -> None:
    closed()
    says = r"no worker came for \d+ s; slurm says: job \d+ PENDING \(.*\), job \d+ PENDING"
    with (
        dask.config.set({"clustergrid.queue-timeout": "4s"}),
        pytest.raises(StorageError, match=says),
        two_workers(tmp_path),
    ):
        pass


@pytest.mark.slow  # Longer than a worker may take to come on a busy machine.
def test_a_run_without_any_worker_left_ends_with_one_line(
    slurm: Slurm, closed: Callable[[], object], tmp_path: Path
) -> None:
    def lose_all() -> None:
        closed()
        slurm.cancel()

    def work() -> None:
        with two_workers(tmp_path, insecure=True) as joined:
            assert joined.client.scheduler.address.startswith("tcp://")
            _squares(joined.client, 40, at=2, then=lose_all)

    # A worker may take longer to come than a test wants to wait; this is looked at from then on.
    with (
        dask.config.set({"clustergrid.queue-timeout": "30s"}),
        pytest.raises(StorageError, match=r"no worker came for .* slurm says"),
    ):
        work()


def _local(slurm: Slurm, folder: Path, matrix: Path) -> Path:
    run = folder / "local"
    words = [matrix, "-o", run, *OPTIONS, "--cluster", "none", "--memory", "1GB"]
    command(slurm, "run", *words)
    return run


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_an_allocation_of_two_nodes_is_noticed(slurm: Slurm, tmp_path: Path) -> None:
    run, log = tmp_path / "run", tmp_path / "log"
    matrix = tmp_path / "matrix.npy"
    np.save(matrix, np.random.default_rng(5).normal(size=(300, 6)).astype(np.float32))
    # On loopback, the network that both nodes share here.
    words = [*COMMAND, "run", matrix, "-o", run, *OPTIONS, "--interface", "lo"]
    script = " ".join(map(str, words))
    options = ["-N2", "--ntasks-per-node=1", "--mem=4000", f"--output={log}"]
    slurm.run("sbatch", *options, "--wrap", script)
    slurm.wait_for(lambda: not slurm.jobs(), "the job ends", seconds=600)
    text = log.read_text()
    assert "finished in" in text, text
    assert "inside Slurm job" in text
    assert "workers start on the nodes of the allocation: 2 in all" in text
    assert_same(run, _local(slurm, tmp_path, matrix))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_run_on_slurm_has_the_bits_of_a_local_one_though_a_node_is_lost(
    slurm: Slurm, tmp_path: Path
) -> None:
    import subprocess

    run, matrix = tmp_path / "run", make_matrix(tmp_path)
    words = [*COMMAND, "run", matrix, "-o", run, *OPTIONS, *WORKERS, "--dashboard-port", "0"]
    driver = subprocess.Popen(
        [str(word) for word in words],
        env=slurm.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    slurm.wait_for(
        lambda: tile_files(run) or driver.poll() is not None, "tiles are written", seconds=600
    )
    assert driver.poll() is None
    slurm.set_down(slurm.jobs()[0].node)
    text, _ = driver.communicate(timeout=500)
    assert driver.returncode == 0, text
    assert_same(run, _local(slurm, tmp_path, matrix))
