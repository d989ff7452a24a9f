"""What the picture's pass may take outside runs too: memory, medians of any size, masks."""

import dask.array
import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr

from clustergrid.pipeline import bound_matrix, clustermap
from clustergrid.pipeline.bound_matrix import BoundMatrix
from clustergrid.pipeline.errors import MemoryLimitError
from clustergrid.pipeline.execution import DaskExecutor, SerialExecutor
from clustergrid.pipeline.image_plan import PLANNED_MEDIAN_READS, MedianWork
from clustergrid.pipeline.planning import plan_run
from clustergrid.pipeline.resources import Resources
from clustergrid.pipeline.spec import AxisSpec, RunSpec

pytestmark = pytest.mark.quick_cases(one_in=8)

NO_TREES = {"row_cluster": False, "col_cluster": False}


def bound(data, executor=None, **options):
    resources = Resources(memory_bytes=10**9, threads=1)
    return BoundMatrix(data, executor=executor or SerialExecutor(), resources=resources, **options)


def test_a_picture_that_does_not_fit_is_refused_before_anything_is_read():
    values = np.random.default_rng(0).normal(size=(2000, 1000))
    before = plt.get_fignums()
    with pytest.raises(MemoryLimitError, match=r"the stage downsample needs .* may use 450 MB"):
        clustermap(values, memory="450MB", **NO_TREES)
    assert plt.get_fignums() == before
    plt.close(clustermap(values, memory="2GB", **NO_TREES).figure)


@pytest.mark.parametrize("n", [10_007, 28_057, 2**17 + 1])
def test_medians_that_a_plan_accepts_are_made_in_any_number_of_pixels(n):
    def work(rows, task_bytes, reads):
        return MedianWork(
            shape=(n, 10),
            pixels=(rows, 10),
            cell_bytes=8,
            task_bytes=task_bytes,
            threads=2,
            most_reads=reads,
        )

    for planned_rows in (1000, 1500, 4096):
        planned = work(planned_rows, 1, PLANNED_MEDIAN_READS)
        least_bytes = planned.held_bytes
        for rows in range(16, 3000):
            work(rows, least_bytes, 2 * PLANNED_MEDIAN_READS).check()


def test_integers_are_not_held_in_single_precision():
    nothing = AxisSpec(cluster=False)

    def task_bytes(*, is_floating):
        found = plan_run(
            RunSpec(row=nothing, column=nothing),
            (100_000, 500),
            4,
            Resources(memory_bytes=10**10, threads=2),
            in_memory=False,
            ingest=False,
            aggregate="median",
            is_floating=is_floating,
        )
        (stage,) = (each for each in found.stages if each.name == "downsample")
        return stage.peak_memory_bytes

    held = 100_000 * 500 * 4
    assert task_bytes(is_floating=False) - task_bytes(is_floating=True) == pytest.approx(
        held, rel=0.1
    )


@pytest.mark.parametrize("z_score", [None, 0])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int8", "int32"])
def test_the_plan_of_a_reordered_matrix_knows_its_bytes(tmp_path, dtype, z_score):
    values = (np.random.default_rng(0).normal(size=(700, 600)) * 20).astype(dtype)
    data = xr.DataArray(values, dims=("row", "column"))
    nothing = AxisSpec(cluster=False)
    found = plan_run(
        RunSpec(row=nothing, column=nothing, z_score=z_score),
        values.shape,
        values.itemsize,
        Resources(memory_bytes=10**10, threads=2),
        in_memory=False,
        ingest=False,
        reordered="pyramid",
        is_floating=values.dtype.kind == "f",
    )
    planned = {stage.name: stage for stage in found.stages}
    path = bound(data, z_score=z_score).write_reordered(
        tmp_path / "a.zarr", np.arange(700), np.arange(600), pyramid=True
    )
    import zarr

    group = zarr.open_group(path, mode="r")
    assert planned["reordered"].bytes_written == 2 * group["matrix"].nbytes
    levels = sum(
        array.nbytes for _, level in group["pyramid"].groups() for _, array in level.arrays()
    )
    assert planned["pyramid"].bytes_written == levels


@pytest.fixture
def ingested(monkeypatch):
    """Names of what is put at rest."""
    names = []
    ingest = BoundMatrix._ingest
    monkeypatch.setattr(
        BoundMatrix,
        "_ingest",
        lambda self, data, path: names.append(path) or ingest(self, data, path),
    )
    return names


def looked_at(stages, mask):
    """Limits and images of two sizes."""
    n, k = stages.shape
    orders = np.arange(n), np.arange(k)
    images = [stages.reduced_image(*orders, (p, 20), mask=mask).values for p in (30, 40)]
    return stages.limits(mask=mask), stages.limits(robust=True, mask=mask), *images


def test_a_lazy_mask_is_put_at_rest_once(ingested):
    values = np.random.default_rng(0).normal(size=(3000, 100))
    data = xr.DataArray(values, dims=("row", "column"))
    mask = data.copy(data=dask.array.from_array(values > 1, chunks=(500, 100)))
    found = looked_at(bound(data), mask)
    assert ingested == ["mask"]
    for ours, theirs in zip(found, looked_at(bound(data), values > 1), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_mask_in_memory_is_not_sent_with_every_task(client, ingested, monkeypatch):
    monkeypatch.setattr(bound_matrix, "SHIPPED_BYTES", 1000)
    values = np.random.default_rng(0).normal(size=(3000, 100))
    data = xr.DataArray(values, dims=("row", "column"))
    stages = bound(data, DaskExecutor(client))
    found = looked_at(stages, values > 1)
    assert ingested == ["mask", "matrix"] or ingested == ["matrix", "mask"]
    assert looked_at(stages, values > 2)[0][1] > found[0][1]  # another mask is another one
    for ours, theirs in zip(found, looked_at(bound(data), values > 1), strict=True):
        np.testing.assert_array_equal(ours, theirs)
