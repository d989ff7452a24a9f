"""`mpirun`: the processes of one command become scheduler, driver and workers."""

import copy
import os
import shutil
import subprocess
import sys
from pathlib import Path

import dask
import numpy as np
import pytest

from clustergrid.pipeline.clusters.choice import ClusterChoice
from clustergrid.pipeline.clusters.mpi import _network, mpi_client, taking_part
from clustergrid.storage.errors import DataValueError, StorageError
from tests.faults.harness import COMMAND, LOOK, assert_same

MPIRUN = ["mpirun", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "-n"]
needs_mpirun = pytest.mark.skipif(shutil.which("mpirun") is None, reason="there is no mpirun")


class World:
    """A communicator whose other processes agree with the first."""

    def __init__(self, rank: int, sent: object = None) -> None:
        self.rank, self.sent = rank, sent

    def Get_rank(self) -> int:  # noqa: N802
        return self.rank

    def bcast(self, value: object, root: int) -> object:
        assert root == 0
        self.sent = value if self.rank == root else self.sent
        return self.sent


def test_processes_of_several_hosts_share_certificates_in_memory():
    before = copy.deepcopy(dask.config.get("distributed.comm"))
    choice, first = ClusterChoice(cluster="mpi"), World(0)
    try:
        assert _network(choice, first, is_one_host=False) == ("tls://", None)
        mine = dask.config.get("distributed.comm.tls.worker.key")
        assert "PRIVATE KEY" in mine
        dask.config.set({"distributed.comm": copy.deepcopy(before)})
        assert _network(choice, World(3, first.sent), is_one_host=False) == ("tls://", None)
        assert dask.config.get("distributed.comm.tls.worker.key") == mine
    finally:
        dask.config.set({"distributed.comm": before})
    assert dask.config.get("distributed.comm.tls.worker.key") is None


def test_processes_of_one_host_stay_on_it():
    assert _network(ClusterChoice(cluster="mpi"), World(0), is_one_host=True) == ("tcp://", "lo")
    plain = ClusterChoice(cluster="mpi", insecure=True, interface="ib0")
    assert _network(plain, World(0), is_one_host=True) == ("tcp://", "ib0")


def test_a_command_that_mpirun_did_not_start_says_so():
    with pytest.raises(StorageError, match="needs mpirun: mpirun -n 4"), mpi_client(print):
        pass


@needs_mpirun
@pytest.mark.slow
def test_one_process_is_too_few():
    with (
        pytest.raises(DataValueError, match=r"needs 3 processes at least .* there are 1"),
        taking_part(ClusterChoice(cluster="mpi")),
    ):
        pass


@needs_mpirun
@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_run_by_mpi_has_the_bits_of_a_local_one(tmp_path: Path):
    rng = np.random.default_rng(3)
    np.save(tmp_path / "a.npy", rng.normal(size=(2_100, 8)).astype(np.float32))
    words = [*COMMAND, "run", "a.npy", *LOOK, "--no-col-cluster", "-o"]
    # Of no allocation around us.
    clean = {name: v for name, v in os.environ.items() if not name.startswith(("SLURM", "OMPI"))}

    def call(*more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            more, cwd=tmp_path, env=clean, capture_output=True, text=True, timeout=500
        )

    local = call(*words, "local", "--cluster", "none", "--memory", "2GB")
    assert local.returncode == 0, local.stderr
    # A network that is named might reach other hosts, so that there are certificates.
    options = ["--cluster", "mpi", "--dashboard-port", "0", "--interface", "lo"]
    found = call(*MPIRUN, "4", *words, "mpi", *options)
    assert found.returncode == 0, found.stdout + found.stderr
    assert "the scheduler of the first process is at tls://127.0.0.1:" in found.stderr
    assert found.stdout.count("finished in") == 1
    assert "in 2 worker processes" in found.stderr
    assert_same(tmp_path / "mpi", tmp_path / "local")

    # What is refused ends all processes, with the status of the one that drove.
    refused = call(*MPIRUN, "3", *COMMAND, "run", "no.npy", "-o", "x", "--cluster", "mpi")
    assert refused.returncode == 1, refused.stdout + refused.stderr
    assert refused.stderr.count("clustergrid: ") == 1
    assert sys.executable not in refused.stderr  # no traceback
