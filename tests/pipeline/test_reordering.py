"""The reordered matrix at rest: against NumPy's indexing, resumed, in bounded memory."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from clustergrid.pipeline import clustermap, reorder_plan, reordering
from clustergrid.pipeline.errors import MemoryLimitError
from clustergrid.pipeline.execution import DaskExecutor, SerialExecutor, ThreadsExecutor
from clustergrid.pipeline.footprint import Ground
from clustergrid.pipeline.monitor import Progress
from clustergrid.pipeline.picture_memory import reorder_plan as reorder_plan_of
from clustergrid.pipeline.reorder_plan import ReorderPlan
from clustergrid.pipeline.resources import Resources
from clustergrid.pipeline.stages import Stages
from clustergrid.storage import open_matrix
from clustergrid.storage.arrays import create_array, write_block
from clustergrid.storage.errors import IntegrityError, StorageError
from clustergrid.storage.pyramid import open_level
from clustergrid.storage.sparse import SparseArraySource
from tests.budget import examples

ROWS, COLUMNS = 90, 40


def matrix(n=ROWS, k=COLUMNS, dtype=np.float32, seed=0):
    values = np.random.default_rng(seed).normal(size=(n, k)) * 10
    if np.dtype(dtype).kind == "f":
        values[0, 0], values[-1, -1] = np.nan, np.inf
    rows = [f"g{i}" for i in range(n)]
    return xr.DataArray(
        values.astype(dtype), dims=("gene", "sample"), coords={"gene": rows}, name="counts"
    )


def stages_of(data, executor=None, memory_bytes=10**9, **options):
    return Stages(
        data,
        executor=executor or SerialExecutor(),
        resources=Resources(memory_bytes=memory_bytes, threads=1),
        **options,
    )


def orders_of(data, seed=1):
    random = np.random.default_rng(seed)
    return tuple(random.permutation(length) for length in data.shape)


@pytest.fixture
def cut(monkeypatch):
    """Cut small matrices into many blocks, chunks and regions."""
    cut_small(monkeypatch)


def cut_small(patch, chunks=(16, 12), region_bytes=2**9):
    patch.setattr(reorder_plan, "storage_chunks", lambda shape, itemsize: chunks)
    patch.setattr(reorder_plan, "_MOST_BYTES", region_bytes)
    patch.setattr(reorder_plan, "_LEAST_BYTES", 1)


class ChunkedSource:
    """A matrix in memory that says it has chunks."""

    def __init__(self, array, chunks):
        self.array, self.chunks = array, chunks
        self.shape, self.dtype = array.shape, array.dtype

    def read(self, rows, columns):
        return self.array[rows, columns]


def in_chunks(data, **options):
    """Stages of a matrix that is read in 20 blocks."""
    stages = stages_of(data, **options)
    stages.source = ChunkedSource(data.values, (20, 13))
    return stages


@settings(max_examples=examples(60), deadline=None)
@given(
    n=st.integers(1, 50),
    k=st.integers(1, 50),
    source=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    target=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    region_bytes=st.integers(1, 2**13),
    dtype=st.sampled_from([np.float32, np.float64, np.int16, bool]),
    axis=st.sampled_from([None, 0, 1]),
    seed=st.integers(0, 1000),
)
def test_any_cut_gives_the_reordered_matrix(
    tmp_path_factory, n, k, source, target, region_bytes, dtype, axis, seed
):
    data = matrix(n, k, dtype, seed)
    rows, columns = orders_of(data, seed)
    stages = stages_of(data, standard_scale=axis)
    stages.source = ChunkedSource(data.values, source)
    path = tmp_path_factory.mktemp("reordered") / "a.zarr"
    with pytest.MonkeyPatch.context() as patch:
        cut_small(patch, target, region_bytes)
        stages.write_reordered(path, rows, columns)
    found = xr.open_zarr(path, consolidated=False)
    expected = stages.reordered(rows, columns)
    assert found["matrix"].dtype == expected.dtype
    np.testing.assert_array_equal(found["matrix"].values, expected.values)
    assert found["gene"].values.tolist() == expected["gene"].values.tolist()
    assert os.listdir(path.parent) == ["a.zarr"]


@pytest.mark.parametrize("kind", ["serial", "threads", "dask"])
def test_executors_write_the_same_bytes(tmp_path, client, cut, kind):
    data = matrix()
    executor = {
        "serial": SerialExecutor(),
        "threads": ThreadsExecutor(3),
        "dask": DaskExecutor(client),
    }[kind]
    path = stages_of(data, executor).write_reordered(
        tmp_path / "a.zarr", *orders_of(data), pyramid=True
    )
    expected = stages_of(data).write_reordered(tmp_path / "b.zarr", *orders_of(data), pyramid=True)
    assert files(path) == files(expected)
    assert len(files(path)) > 20


def files(path):
    return {
        str(file.relative_to(path)): without_key(file)
        for file in Path(path).rglob("*")
        if file.is_file()
    }


def without_key(file):
    return file.read_bytes() if file.name != "zarr.json" else b""


def test_open_matrix_reads_it(tmp_path):
    data = matrix()
    rows, columns = orders_of(data)
    path = stages_of(data).write_reordered(tmp_path / "a.zarr", rows, columns)
    xr.testing.assert_identical(
        open_matrix(path).load().drop_attrs(), data.isel(gene=rows, sample=columns)
    )


def test_the_values_of_a_lazy_matrix(tmp_path, cut):
    data = matrix()
    array = create_array(
        tmp_path / "m.zarr",
        "matrix",
        shape=data.shape,
        dtype=data.dtype,
        chunks=(20, 40),
        dimension_names=("gene", "sample"),
    )
    write_block(array, (0, 0), data.values)
    lazy = open_matrix(tmp_path / "m.zarr")
    rows, columns = orders_of(data)
    path = stages_of(lazy).write_reordered(tmp_path / "a.zarr", rows, columns)
    np.testing.assert_array_equal(
        xr.open_zarr(path, consolidated=False)["matrix"], data.values[np.ix_(rows, columns)]
    )


def test_nothing_is_replaced_and_no_url_is_taken(tmp_path):
    data = matrix()
    stages = stages_of(data)
    (tmp_path / "a.zarr").mkdir()
    with pytest.raises(StorageError, match="is there already"):
        stages.write_reordered(tmp_path / "a.zarr", *orders_of(data))
    with pytest.raises(StorageError, match="is a URL"):
        stages.write_reordered("memory://a.zarr", *orders_of(data))


def test_a_sparse_matrix_in_memory_is_cut_as_one(tmp_path):
    source = SparseArraySource(scipy.sparse.random_array((5000, 1000), density=0.01, rng=0).tocsr())
    data = xr.DataArray(np.zeros((5000, 1000)), dims=("a", "b"))
    stages = stages_of(data, memory_bytes=700_000_000)
    stages.source = source
    orders = orders_of(data)
    path = stages.write_reordered(tmp_path / "a.zarr", *orders)
    found = xr.open_zarr(path, consolidated=False)["matrix"].values
    np.testing.assert_array_equal(
        found, source.read(slice(0, 5000), slice(0, 1000))[np.ix_(*orders)]
    )


@pytest.mark.parametrize("threads", [1, 2])
def test_a_matrix_in_memory_is_written_within_little_more(tmp_path, threads):
    data = xr.DataArray(np.random.default_rng(0).normal(size=(5000, 1000)), dims=("a", "b"))
    resources = Resources(memory_bytes=700_000_000, threads=threads)
    stages = Stages(data, executor=ThreadsExecutor(threads), resources=resources)
    orders = orders_of(data)
    path = stages.write_reordered(tmp_path / "a.zarr", *orders)
    found = xr.open_zarr(path, consolidated=False)["matrix"].values
    np.testing.assert_array_equal(found, data.values[np.ix_(*orders)])


def test_a_matrix_in_memory_is_planned_as_it_is_written(tmp_path):
    data = xr.DataArray(np.zeros((5000, 1000)), dims=("a", "b"))
    stages = stages_of(data, memory_bytes=700_000_000)
    ground = Ground(
        resources=stages.resources,
        matrix=stages.stored_matrix,
        matrix_bytes_held=stages.matrix_bytes_held,
    )
    rows, columns = orders_of(data)
    asked = reordering.Reordering(
        matrix=data,
        source=stages.source,
        normalization=stages.normalization,
        row_order=rows,
        column_order=columns,
        key="",
    )
    plan = reorder_plan_of(ground, itemsize=8)
    assert plan == asked.plan(plan.task_bytes)
    assert plan.n_blocks > 1
    assert plan.needed_bytes <= plan.task_bytes


def test_a_matrix_that_is_refused_leaves_nothing_behind(tmp_path):
    data = xr.DataArray(np.zeros((5000, 1000)), dims=("a", "b"))
    with pytest.raises(MemoryLimitError, match="give it more memory"):
        stages_of(data, memory_bytes=450_000_000).write_reordered(
            tmp_path / "of" / "a.zarr", *orders_of(data)
        )
    assert not os.listdir(tmp_path)


class StopError(Exception):
    """Raised in place of a kill."""


@pytest.mark.parametrize("after", [0, 1, 7, 20, 30, 43])
def test_it_goes_on_where_it_stopped(monkeypatch, tmp_path, cut, after):
    data = matrix()
    orders = orders_of(data)
    done = []

    def counted(real):
        def call(work, item):
            if len(done) == after:
                raise StopError
            done.append(item)
            return real(work, item)

        return call

    with monkeypatch.context() as patch:
        for name in ("_take_apart", "_put_together"):
            patch.setattr(reordering, name, counted(getattr(reordering, name)))
        with pytest.raises(StopError):
            in_chunks(data).write_reordered(tmp_path / "a.zarr", *orders)
    assert not (tmp_path / "a.zarr").exists()
    again = []
    for name in ("_take_apart", "_put_together"):
        real = getattr(reordering, name)
        monkeypatch.setattr(
            reordering,
            name,
            lambda work, item, real=real: (again.append(item), real(work, item))[1],
        )
    events = []
    stages = in_chunks(data, progress=Progress(events.append, interval_seconds=0))
    path = stages.write_reordered(tmp_path / "a.zarr", *orders)
    plan = stages_plan(stages)
    assert (plan.n_blocks, plan.n_regions) == (20, 24)
    assert len(again) == 44 - after
    assert events[-1].state == "finished"
    assert events[-1].done == events[-1].total
    assert (events[-1].kept > 0) == (after > 0)
    found = xr.open_zarr(path, consolidated=False)["matrix"].values
    np.testing.assert_array_equal(found, data.values[np.ix_(*orders)])


def stages_plan(stages):
    return ReorderPlan(
        shape=stages.shape, itemsize=4, source_chunks=stages.source.chunks, task_bytes=10**8
    )


def test_another_order_begins_anew(monkeypatch, tmp_path, cut):
    data = matrix()
    real = reordering._put_together
    with monkeypatch.context() as patch:
        patch.setattr(reordering, "_put_together", lambda *_: (_ for _ in ()).throw(StopError))
        with pytest.raises(StopError):
            stages_of(data).write_reordered(tmp_path / "a.zarr", *orders_of(data, 1))
    assert real is reordering._put_together
    orders = orders_of(data, 2)
    path = stages_of(data).write_reordered(tmp_path / "a.zarr", *orders)
    found = xr.open_zarr(path, consolidated=False)["matrix"].values
    np.testing.assert_array_equal(found, data.values[np.ix_(*orders)])


def test_a_damaged_piece_is_seen_and_made_again(monkeypatch, tmp_path, cut):
    data = matrix()
    orders = orders_of(data)
    with monkeypatch.context() as patch:
        patch.setattr(reordering, "_put_together", lambda *_: (_ for _ in ()).throw(StopError))
        with pytest.raises(StopError):
            stages_of(data).write_reordered(tmp_path / "a.zarr", *orders)
    piece = next(tmp_path.rglob("*.pieces"))
    content = bytearray(piece.read_bytes())
    content[5] ^= 1
    piece.write_bytes(content)
    with pytest.raises(IntegrityError, match="damaged after it was written"):
        stages_of(data).write_reordered(tmp_path / "a.zarr", *orders)
    path = stages_of(data).write_reordered(tmp_path / "a.zarr", *orders)
    found = xr.open_zarr(path, consolidated=False)["matrix"].values
    np.testing.assert_array_equal(found, data.values[np.ix_(*orders)])


@settings(deadline=None)
@given(
    shape=st.tuples(st.integers(1, 10**6), st.integers(1, 10**5)),
    chunks=st.tuples(st.integers(1, 10**4), st.integers(1, 10**4)),
    task_bytes=st.integers(1, 10**10),
)
def test_blocks_and_regions_fit_a_task_or_are_refused(shape, chunks, task_bytes):
    plan = ReorderPlan(shape=shape, itemsize=8, source_chunks=chunks, task_bytes=task_bytes)
    try:
        plan.check()
    except MemoryLimitError:
        return
    assert plan.needed_bytes <= max(task_bytes, 8 * 2**20)
    for parts, chunk in (
        (plan.block_rows, chunks[0]),
        (plan.block_columns, chunks[1]),
        (plan.region_rows, plan.chunks[0]),
        (plan.region_columns, plan.chunks[1]),
    ):
        assert all(part.start % chunk == 0 for part in parts)


def test_the_picture_writes_its_matrix(tmp_path):
    table = pd.DataFrame(
        np.random.default_rng(0).normal(size=(30, 6)), index=[f"g{i}" for i in range(30)]
    )
    g = clustermap(table, z_score=0, figsize=(4, 4))
    path = g.to_zarr(tmp_path / "g.zarr")
    found = xr.open_zarr(path, consolidated=False)
    np.testing.assert_array_equal(found["matrix"], g.data2d.to_numpy())
    assert found["matrix"][found["matrix"].dims[0]].values.tolist() == list(g.data2d.index)
    lazy = clustermap(xr.DataArray(table.to_numpy()).chunk(10), figsize=(4, 4))
    assert lazy.to_zarr(tmp_path / "lazy.zarr", pyramid=False).is_dir()


_KILLED = """
import sys, numpy as np, xarray as xr
from clustergrid.pipeline import reorder_plan
from clustergrid.pipeline.stages import Stages
from clustergrid.pipeline.execution import ThreadsExecutor
from clustergrid.pipeline.resources import Resources
from clustergrid.storage import open_matrix

reorder_plan._MOST_BYTES = 2**18
data = open_matrix(sys.argv[1])
resources = Resources(memory_bytes=10**9, threads=2)
stages = Stages(data, executor=ThreadsExecutor(2), resources=resources)
random = np.random.default_rng(1)
orders = [random.permutation(length) for length in data.shape]
print("begins", flush=True)
stages.write_reordered(sys.argv[2], *orders, pyramid=True)
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_at_any_moment_it_goes_on(tmp_path):
    n, k = 6000, 700
    values = np.random.default_rng(0).normal(size=(n, k)).astype(np.float32)
    array = create_array(
        tmp_path / "m.zarr",
        "matrix",
        shape=(n, k),
        dtype=np.float32,
        chunks=(200, 700),
        dimension_names=("gene", "sample"),
    )
    write_block(array, (0, 0), values)
    command = [sys.executable, "-c", _KILLED, str(tmp_path / "m.zarr"), str(tmp_path / "a.zarr")]
    started = time.monotonic()
    whole = [*command[:-1], str(tmp_path / "b.zarr")]
    subprocess.run(whole, check=True, capture_output=True)
    seconds = time.monotonic() - started
    random = np.random.default_rng(2)
    for _ in range(12):
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        process.stdout.readline()
        time.sleep(random.random() * seconds / 4)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        if (tmp_path / "a.zarr").exists():
            break
    else:
        subprocess.run(command, check=True, capture_output=True)
    assert files(tmp_path / "a.zarr") == files(tmp_path / "b.zarr")
    order = np.random.default_rng(1)
    orders = [order.permutation(length) for length in values.shape]
    found = xr.open_zarr(tmp_path / "a.zarr", consolidated=False)["matrix"].values
    np.testing.assert_array_equal(found, values[np.ix_(*orders)])
    assert open_level(tmp_path / "a.zarr", 3)["count"].shape == (750, 88)
