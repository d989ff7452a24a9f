"""What killed processes left in a store goes; what living ones have there stays."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import xarray as xr

from clustergrid.pipeline.axis_needs import AxisNeeds
from clustergrid.pipeline.execution import SerialExecutor
from clustergrid.pipeline.leftovers import owned, remove_leftovers
from clustergrid.pipeline.planning import Resources
from clustergrid.pipeline.stages import Stages
from clustergrid.storage.arrays import create_array

PUTS = """
import sys
import numpy as np
from clustergrid.pipeline.row_reader import put_at_rest
put_at_rest(
    [np.eye(5)], shape=(5, 5), dtype=np.dtype("float64"), store=sys.argv[1],
    path="points-row-0123456789abcdef-read",
)
print("there", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def other(tmp_path):
    """A process that has rows at rest in a store."""
    process = subprocess.Popen(
        [sys.executable, "-c", PUTS, str(tmp_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout.readline() == "there\n"
    yield process
    process.kill()
    process.communicate()


def names(folder):
    return sorted(path.name for path in folder.glob("*-*"))


def stages_of(store, metric="euclidean"):
    values = np.random.default_rng(0).normal(size=(300, 8))
    stages = Stages(
        xr.DataArray(values, dims=("gene", "sample")),
        executor=SerialExecutor(),
        resources=Resources(memory_bytes=10**9, threads=1),
        store=str(store),
    )
    return stages.linkage(0, method="average", metric=metric, engine="data")


@pytest.mark.slow
def test_the_next_tree_removes_what_a_killed_process_left(tmp_path, other, monkeypatch):
    resting = property(lambda needs: needs.work.row_tree and needs.work.row_tree.resting)
    monkeypatch.setattr(AxisNeeds, "row_memory", resting)
    left = ["points-row-0123456789abcdef-read"]
    stages_of(tmp_path)
    assert names(tmp_path) == left  # it is alive
    os.kill(other.pid, signal.SIGKILL)
    other.wait()
    # What nobody put there for a stage, or somebody on another machine, is left alone.
    create_array(tmp_path, "points-of-mine", shape=(1,), dtype="int8", chunks=(1,))
    elsewhere = owned()
    elsewhere["clustergrid_holder"]["host"] = "elsewhere"
    create_array(
        tmp_path, "ranks-row-0", shape=(1,), dtype="int8", chunks=(1,), attributes=elsewhere
    )
    stages_of(tmp_path)
    assert names(tmp_path) == ["points-of-mine", "ranks-row-0"]


def test_a_store_that_is_not_there_has_no_leftovers(tmp_path):
    remove_leftovers(str(tmp_path / "none"), "points")
    assert not (tmp_path / "none").exists()


def test_remote_workers_want_a_place_that_they_see():
    stages = Stages(
        xr.DataArray(np.zeros((3, 2)), dims=("gene", "sample")),
        executor=SerialExecutor(),
        resources=Resources(memory_bytes=10**9, threads=2, worker_processes=1, elsewhere=True),
    )
    with pytest.raises(ValueError, match=r"run on other machines.*as store="):
        _ = stages._scratch
