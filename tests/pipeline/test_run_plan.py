"""The plan of a run as it will be: processes, workers that were joined, room on its disk."""

import importlib
import json
import shutil
import tempfile
import time
from collections import namedtuple
from dataclasses import replace

import dask
import dask.array
import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr
from distributed import Client, LocalCluster

from clustergrid.pipeline import calibration, linkage, plan
from clustergrid.pipeline.errors import DiskSpaceError, MemoryLimitError
from clustergrid.pipeline.planning import plan_run
from clustergrid.pipeline.prospect import prospective_plan
from clustergrid.pipeline.records import Records
from clustergrid.pipeline.request import ClusterChoice, FigureOptions, RunRequest
from clustergrid.pipeline.resources import Resources
from clustergrid.pipeline.run import run
from clustergrid.pipeline.run_plan import check_room, existing_folder, is_small, starting_resources
from clustergrid.pipeline.sizes import format_bytes
from clustergrid.pipeline.spec import AxisSpec, RunSpec
from clustergrid.storage.errors import DataValueError
from clustergrid.storage.rechunk import plan_copy
from clustergrid.storage.rundir import RunDirectory

pytestmark = pytest.mark.quick_cases(one_in=16)

FIGURE = FigureOptions(figsize_inches=(3, 3), dpi=40)
HERE = Resources(memory_bytes=8 * 10**9, threads=8)
Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def request_of(tmp_path):
    """Make a request of a run on a small matrix."""
    np.save(tmp_path / "a.npy", np.random.default_rng(0).normal(size=(60, 12)))

    def make(**options):
        options = {"figure": FIGURE, "directory": tmp_path / "run", **options}
        return RunRequest(input=str(tmp_path / "a.npy"), **options)

    return make


def give_room(monkeypatch, free_bytes):
    usage = Usage(10**12, 10**12 - free_bytes, free_bytes)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)


def test_which_runs_start_workers():
    local, none = ClusterChoice(), ClusterChoice(cluster="none")
    assert starting_resources(local, HERE, small=False).worker_processes == 2
    assert starting_resources(local, HERE, small=True) == HERE
    assert starting_resources(none, HERE, small=False) == HERE
    elsewhere = starting_resources(ClusterChoice(scheduler="tcp://h:1"), HERE, small=False)
    # What is elsewhere takes nothing of this machine.
    assert (elsewhere.local_threads, elsewhere.local_workers) == (0, 0)
    assert is_small(5_000, 10**9)
    assert not is_small(5_001, 10**9)
    assert not is_small(5, 10**9 + 1)


def test_a_directory_that_is_not_there_yet(tmp_path):
    assert existing_folder(tmp_path / "not" / "yet") == tmp_path
    assert existing_folder(tmp_path) == tmp_path


def test_a_small_run_is_not_measured_for(request_of, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("this machine was measured")

    monkeypatch.setattr(calibration, "measure_rates", refuse)
    told = []
    result = run(request_of(), notice=told.append)
    assert told[0] == str(result.plan)
    assert "60 rows x 12 columns" in told[0]
    state = json.loads((result.directory / "run.json").read_text())
    assert state["rates"]["measured"] is False
    assert [stage["name"] for stage in state["plan"]] == [s.name for s in result.plan.stages]
    assert all(stage["reason"] for stage in state["plan"])


def test_a_long_run_is_measured_for_unless_it_is_done(request_of, monkeypatch):
    monkeypatch.setattr(calibration, "LONG_SECONDS", 0.0)
    result = run(request_of())
    assert result.plan.rates.measured
    assert json.loads((result.directory / "run.json").read_text())["rates"]["measured"] is True
    assert not run(request_of()).plan.rates.measured


def test_a_run_without_room_is_refused_before_it_computes(request_of, monkeypatch):
    needed = run(request_of()).plan.disk_bytes
    shutil.rmtree(request_of().directory)
    give_room(monkeypatch, needed - 1)
    events = []
    with pytest.raises(DiskSpaceError, match="are free there") as refused:
        run(request_of(), events.append)
    assert refused.value.path == str(request_of().directory)
    assert refused.value.needed_bytes >= needed
    assert events == []
    give_room(monkeypatch, needed)
    run(request_of())


def test_a_finished_run_needs_no_room_for_what_it_has(request_of, monkeypatch):
    run(request_of())
    give_room(monkeypatch, 0)
    run(request_of())


@pytest.mark.slow
def test_a_run_that_goes_on_needs_room_for_the_rest(request_of, monkeypatch):
    result = run(request_of())
    arrays = result.directory / "arrays.zarr"
    (tiles,) = arrays.glob("condensed_row*")
    written = {stage.name: stage.disk_bytes for stage in result.plan.stages}
    shutil.rmtree(tiles)
    (result.directory / "linkage_row.npy").unlink()
    lost = written["distance-row"] + written["linkage-row"]
    give_room(monkeypatch, lost // 2)
    with pytest.raises(DiskSpaceError):
        run(request_of())
    give_room(monkeypatch, lost)
    run(request_of())
    assert list(arrays.glob("condensed_row*"))


@pytest.mark.slow
def test_rows_that_a_killed_run_left_take_no_room(request_of, monkeypatch):
    """Also where the tree of which they were is not wanted any more."""
    result = run(request_of())
    arrays = result.directory / "arrays.zarr"
    names = ("points-row", "points-row-read", "points-col-read", "ranks-row", "ranks-col")

    def leave():
        for name in names:
            (arrays / name / "c").mkdir(parents=True)
            (arrays / name / "c" / "0").write_bytes(bytes(10**6))

    looked = []

    def usage(path):
        looked.append([name for name in names if (arrays / name).exists()])
        return Usage(10**12, 0, 10**12)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    for row in (AxisSpec(cluster=False), AxisSpec(method="complete")):
        leave()
        run(request_of(row=row))
        assert not any((arrays / name).exists() for name in names)
    assert looked
    assert not any(looked)
    assert (arrays / "image").is_dir()


def test_records_of_a_tree_are_room_that_it_has(tmp_path, monkeypatch):
    axis = AxisSpec(engine="data")
    spec = RunSpec(row=axis, column=AxisSpec(cluster=False))
    planned = plan_run(spec, (5000, 4), 8, HERE, in_memory=False, ingest=False)
    directory = RunDirectory(tmp_path / "run", create=True)
    for n_values in (0, 100_000, 10**7):
        records = Records(directory, "linkage-row", "a" * 64)
        records.write("000001", {"ids": np.zeros(n_values)}, alone=True)
        (file,) = directory.path.glob("pieces/*/*")
        size = min(file.stat().st_size, planned.tree(0).scratch_bytes)
        needed = max(planned.peak_disk_bytes - size, 0)
        if n_values < 10**7:
            assert needed == planned.peak_disk_bytes - file.stat().st_size
            give_room(monkeypatch, needed - 1)
            with pytest.raises(DiskSpaceError):
                check_room(directory, planned, ())
        else:
            # What is more than was planned goes, and is no room before.
            needed = planned.disk_bytes
        give_room(monkeypatch, needed)
        check_room(directory, planned, ())


@pytest.fixture(scope="module")
def scheduler():
    """A scheduler that somebody else started, with one worker of three threads."""
    with (
        dask.config.set({"distributed.scheduler.no-workers-timeout": "60s"}),
        LocalCluster(
            n_workers=1,
            threads_per_worker=3,
            processes=False,
            protocol="tcp://",
            host="127.0.0.1",
            dashboard_address=":0",
        ) as cluster,
        Client(cluster, set_as_default=False),
    ):
        yield cluster.scheduler_address


def test_the_plan_of_a_joined_scheduler_is_of_its_workers(request_of, scheduler, monkeypatch):
    told, checked = [], []
    monkeypatch.setattr(
        "clustergrid.pipeline.run.check_room", lambda _, plan, __: checked.append(plan)
    )
    request = request_of(cluster=ClusterChoice(scheduler=scheduler))
    result = run(request, notice=told.append)
    tables = [text for text in told if "rows x" in text]
    assert tables == [str(result.plan)]
    assert "3 threads in 1 worker process" in tables[0]
    assert result.plan.resources.threads == 3
    assert checked[-1] is result.plan  # for whose tiles there has to be room
    state = json.loads((result.directory / "run.json").read_text())
    assert state["plan"] == [stage.as_dict() for stage in result.plan.stages]
    # A finished run joins nothing, and says so at once.
    told.clear()
    run(request, notice=told.append)
    assert any("rows x" in text for text in told)


def test_what_the_driver_cannot_hold_is_refused_before_anything_is_joined(request_of):
    request = request_of(cluster=ClusterChoice(scheduler="tcp://127.0.0.1:1"), memory_bytes=10**6)
    started = time.monotonic()
    with pytest.raises(MemoryLimitError, match="on the driver's machine"):
        run(request)
    assert time.monotonic() - started < 20


def test_a_store_without_room_is_refused_in_python_too(tmp_path, monkeypatch):
    values = np.zeros((3000, 40))
    needed = plan(values, store=tmp_path / "new").disk_bytes
    give_room(monkeypatch, needed)
    assert plan(values, store=tmp_path / "new").disk_bytes == needed
    give_room(monkeypatch, needed - 1)
    with pytest.raises(DiskSpaceError, match=r"new .* are free there"):
        plan(values, store=tmp_path / "new")
    # In memory nothing is written; elsewhere nobody knows.
    assert plan(values).disk_bytes == 0
    assert not (tmp_path / "new").exists()


def test_a_lazy_matrix_is_read_from_its_copy_and_that_needs_room(monkeypatch):
    lazy = xr.DataArray(dask.array.zeros((20_000, 300), chunks=(4_000, 300)), dims=("a", "b"))
    found = plan(lazy, memory="8GB", col_cluster=False)
    assert found.stages[0].name == "statistics"  # 48 MB are gathered
    large = xr.DataArray(dask.array.zeros((20_000, 9000), chunks=(4_000, 300)), dims=("a", "b"))
    found = plan(large, memory="8GB", col_cluster=False)
    stages = {stage.name: stage for stage in found.stages}
    assert stages["ingest"].disk_bytes == found.disk_bytes == large.nbytes
    # Tasks read the copy.
    for name in ("statistics", "distance-row", "linkage-row", "downsample"):
        assert stages[name].bytes_read >= large.nbytes
    give_room(monkeypatch, large.nbytes - 1)
    with pytest.raises(DiskSpaceError, match=f"to {tempfile.gettempdir()} "):
        plan(large, memory="8GB", col_cluster=False)
    with pytest.raises(DiskSpaceError):
        linkage(large, memory="8GB")


@pytest.fixture
def elsewhere(scheduler, monkeypatch):
    """A client whose workers count as workers of other machines."""
    monkeypatch.setattr("clustergrid.pipeline.execution._own_addresses", set)
    with Client(scheduler, set_as_default=False) as client:
        yield client


def unreadable(shape):
    def read(block):
        raise AssertionError("values were read")

    zeros = dask.array.zeros(shape, chunks=(4_000, shape[1]))
    return xr.DataArray(zeros.map_blocks(read, dtype=float), dims=("a", "b"))


@pytest.mark.parametrize(
    ("metric", "memory", "stage"),
    [("euclidean", "3GB", "linkage-row"), ("spearman", "40GB", "ranks-row")],
)
def test_what_workers_elsewhere_could_not_read_is_refused(
    elsewhere, tmp_path, monkeypatch, metric, memory, stage
):
    matrix = unreadable((60_000, 4000))
    given = {"metric": metric, "memory": memory, "client": elsewhere, "engine": "data"}
    message = f"the stage {stage} puts .* into a temporary directory .* give store= a directory"
    with pytest.raises(DataValueError, match=message):
        linkage(matrix, **given)
    with pytest.raises(DataValueError, match=message):
        plan(matrix, col_cluster=False, **given)
    give_room(monkeypatch, 10**12)
    found = plan(matrix, col_cluster=False, store=tmp_path / "seen", **given)
    assert found.resources.elsewhere
    assert found.peak_disk_bytes > found.disk_bytes
    monkeypatch.undo()
    # Workers of this machine see its temporary directories.
    give_room(monkeypatch, 10**12)
    assert not plan(matrix, col_cluster=False, **given).resources.elsewhere


def test_a_matrix_stored_by_columns_needs_room_for_two_copies(tmp_path, monkeypatch):
    array = zarr.create_array(
        tmp_path / "a", shape=(180_000, 400), chunks=(180_000, 10), dtype="f4"
    )
    array[:] = 1.0
    request = RunRequest(
        input=str(tmp_path / "a"),
        directory=tmp_path / "run",
        row=AxisSpec(cluster=False),
        figure=FIGURE,
        memory_bytes=1_200_000_000,
        cluster=ClusterChoice(cluster="none"),
    )
    found = prospective_plan(request)
    ingest = found.stages[0]
    assert ingest.name == "ingest"
    assert ingest.scratch_bytes == ingest.disk_bytes == array.nbytes
    assert found.peak_disk_bytes == 2 * array.nbytes > found.disk_bytes
    assert f"{format_bytes(found.peak_disk_bytes)} at times" in str(found)
    give_room(monkeypatch, found.peak_disk_bytes - 1)
    with pytest.raises(DiskSpaceError, match="in the stage ingest"):
        run(request)
    give_room(monkeypatch, found.peak_disk_bytes)
    assert prospective_plan(request, check_disk=True) == found
    # As the run does it, with the same memory.
    copied = []

    def spy(*arguments):
        copied.append(plan_copy(*arguments))
        raise KeyboardInterrupt

    ingest_module = importlib.import_module("clustergrid.storage.ingest")
    monkeypatch.setattr(ingest_module, "plan_copy", spy)
    with pytest.raises(KeyboardInterrupt):
        run(request)
    assert copied[0].between_chunks is not None


def test_a_long_text_is_planned_before_it_is_copied(tmp_path, monkeypatch):
    values = np.random.default_rng(0).normal(size=(3000, 6)).round(4)
    pd.DataFrame(values).to_csv(tmp_path / "a.csv")
    monkeypatch.setattr("clustergrid.pipeline.survey._SAMPLE_BYTES", 50_000)
    monkeypatch.setattr("clustergrid.pipeline.prospect.SMALL_BYTES", 50_000)
    request = RunRequest(input=str(tmp_path / "a.csv"), directory=tmp_path / "run", figure=FIGURE)
    give_room(monkeypatch, 10**5)
    events = []
    with pytest.raises(DiskSpaceError):
        run(request, events.append)
    with pytest.raises(MemoryLimitError):
        run(replace(request, memory_bytes=10**6), events.append)
    assert events == []
    monkeypatch.undo()
    monkeypatch.setattr("clustergrid.pipeline.survey._SAMPLE_BYTES", 50_000)
    monkeypatch.setattr("clustergrid.pipeline.prospect.SMALL_BYTES", 50_000)
    told = []
    result = run(request, lambda event: told.append(event.stage), notice=told.append)
    ahead, exact = (text for text in told if "rows x" in text)
    assert "estimated from the beginning of a.csv" in ahead
    assert told.index(ahead) < told.index("ingest") < told.index(exact)
    assert exact == str(result.plan)
    assert "3,000 rows x 6 columns" in exact
    # What was copied is not planned for again.
    told.clear()
    run(request, notice=told.append)
    assert sum("rows x" in text for text in told) == 1
