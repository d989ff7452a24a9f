"""A local cluster is of this machine alone, and its workers are set up as the tasks want them."""

import json
import os
import signal
import socket
import stat
import sys
from pathlib import Path

import dask
import numpy as np
import psutil
import pytest
from distributed import Client, LocalCluster

from clustergrid.pipeline.cluster import connect
from clustergrid.pipeline.clusters.settings import private_directory
from clustergrid.pipeline.execution import DaskExecutor
from clustergrid.pipeline.footprint import worker_memory_limit
from clustergrid.pipeline.planning import Resources
from clustergrid.pipeline.request import ClusterChoice
from clustergrid.storage.errors import StorageError

RESOURCES = Resources(memory_bytes=2 * 10**9, threads=2)


@pytest.fixture(scope="module")
def local():
    with connect(ClusterChoice(dashboard_port=0), RESOURCES) as client:
        yield client


@pytest.fixture(scope="module")
def running():
    """A scheduler that somebody else started."""
    with (
        dask.config.set({"distributed.scheduler.no-workers-timeout": "300s"}),
        LocalCluster(
            n_workers=1, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0"
        ) as cluster,
    ):
        yield cluster


def listening(pid):
    return {
        connection.laddr.ip
        for connection in psutil.Process(pid).net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }


def test_workers_are_as_many_as_the_resources_say(local):
    (worker,) = local.scheduler_info()["workers"].values()
    assert worker["nthreads"] == RESOURCES.threads
    # The driver has its part of the memory too.
    assert worker["memory_limit"] == worker_memory_limit(RESOURCES.memory_bytes, 1)
    assert RESOURCES.memory_bytes - 10**9 < worker["memory_limit"] < RESOURCES.memory_bytes


def test_everything_listens_on_this_machine_only(local):
    pids = [os.getpid(), *local.run(os.getpid).values()]
    ours = set().union(*(listening(pid) for pid in pids))
    assert ours <= {"127.0.0.1"}
    assert local.scheduler.address.startswith("tcp://127.0.0.1:")


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="only Linux shows it")
def test_worker_processes_get_their_settings(local):
    (pid,) = local.run(os.getpid).values()
    environ = dict(
        entry.split("=", 1)
        for entry in Path(f"/proc/{pid}/environ").read_text().split("\0")
        if "=" in entry
    )
    assert int(environ["MALLOC_TRIM_THRESHOLD_"]) >= 2**28
    assert int(environ["MALLOC_MMAP_THRESHOLD_"]) >= 2**28
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        assert environ[name] == "1"
    (seen,) = local.run(lambda: dict(os.environ)).values()
    assert seen["MALLOC_TRIM_THRESHOLD_"] == environ["MALLOC_TRIM_THRESHOLD_"]


def test_workers_spill_where_nobody_else_looks(local):
    for folder in local.run(lambda dask_worker: dask_worker.local_directory).values():
        private = next(
            parent for parent in Path(folder).parents if parent.name.startswith("clustergrid-")
        )
        found = private.stat()
        assert stat.S_IMODE(found.st_mode) == 0o700
        assert found.st_uid == os.geteuid()


@pytest.mark.parametrize("planted", ["open", "file", "link", "dangling"])
def test_a_directory_that_somebody_else_prepared_is_not_used(tmp_path, planted):
    path = tmp_path / f"clustergrid-{os.geteuid()}"
    other = tmp_path / "other"
    other.mkdir(mode=0o700)
    if planted == "open":
        path.mkdir()
        path.chmod(0o777)
    elif planted == "file":
        path.touch()
    else:
        path.symlink_to(other if planted == "link" else tmp_path / "nowhere")
    with dask.config.set({"temporary-directory": str(tmp_path)}):
        used = Path(private_directory())
    assert used != path
    assert stat.S_IMODE(used.stat().st_mode) == 0o700
    assert used.parent == tmp_path


def test_the_same_private_directory_is_used_again(tmp_path):
    with dask.config.set({"temporary-directory": str(tmp_path)}):
        assert private_directory() == private_directory()
    assert len(list(tmp_path.iterdir())) == 1


def test_a_task_uses_one_blas_thread(local):
    def blas_threads(_shared, _item):
        from threadpoolctl import threadpool_info

        np.ones((2, 2)) @ np.ones((2, 2))
        return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

    executor = DaskExecutor(local)
    for limits in executor.map(blas_threads, executor.share(None), range(4), name="limits"):
        assert limits
        assert set(limits) == {1}


def test_workers_leave_ctrl_c_to_this_process(local):
    assert set(local.run(lambda: signal.getsignal(signal.SIGINT)).values()) == {signal.SIG_IGN}


def test_a_dashboard_port_that_is_taken_is_left_alone():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with connect(ClusterChoice(dashboard_port=port), RESOURCES) as client:
            assert f":{port}/" not in client.dashboard_link


def test_no_cluster_is_none():
    with connect(ClusterChoice(cluster="none"), RESOURCES) as client:
        assert client is None


@pytest.mark.parametrize("how", ["address", "file"])
def test_a_running_scheduler_is_joined_and_left_running(running, tmp_path, how):
    choice = ClusterChoice(scheduler=running.scheduler_address)
    if how == "file":
        file = tmp_path / "scheduler.json"
        file.write_text(json.dumps(running.scheduler.identity()))
        choice = ClusterChoice(scheduler_file=str(file))
    with connect(choice, RESOURCES) as client:
        assert client.submit(sum, [1, 2]).result() == 3
    with Client(running, set_as_default=False) as client:
        assert client.submit(sum, [1, 3]).result() == 4


def test_a_scheduler_that_is_not_there(monkeypatch):
    monkeypatch.setattr("clustergrid.pipeline.clusters.joined._CONNECT_SECONDS", 1)
    with (
        pytest.raises(StorageError, match=r"cannot reach the Dask scheduler tcp://127\.0"),
        connect(ClusterChoice(scheduler="tcp://127.0.0.1:9"), RESOURCES),
    ):
        pass


def test_a_scheduler_without_workers_is_not_waited_for_for_ever(monkeypatch):
    monkeypatch.setattr("clustergrid.pipeline.clusters.joined._WORKERS_SECONDS", 0.2)
    with (
        LocalCluster(n_workers=0, processes=False, dashboard_address="127.0.0.1:0") as cluster,
        pytest.raises(StorageError, match="no worker joined the Dask scheduler"),
        connect(ClusterChoice(scheduler=cluster.scheduler_address), RESOURCES),
    ):
        pass


def test_importing_it_starts_nothing():
    import subprocess

    code = "import sys, clustergrid.pipeline.cluster; print('distributed' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "False"
