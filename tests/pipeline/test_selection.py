"""Some rows and columns of a matrix bound to stages: they stay lazy until they are needed."""

import subprocess
import sys
from pathlib import Path

import dask.array
import numpy as np
import pytest
import xarray as xr

from clustergrid.pipeline.errors import DiskSpaceError
from clustergrid.pipeline.execution import DaskExecutor, SerialExecutor
from clustergrid.pipeline.resources import Resources
from clustergrid.pipeline.selection import select, slices_of
from clustergrid.pipeline.stages import Stages

pytestmark = pytest.mark.quick_cases(one_in=4)

MEMBERS = np.arange(0, 300, 3)


class CountedCells:
    """Values that count how many of them were read."""

    def __init__(self, values):
        self.values, self.read = values, 0
        self.shape, self.dtype, self.ndim = values.shape, values.dtype, 2

    def __getitem__(self, index):
        block = self.values[index]
        self.read += block.size
        return block


@pytest.fixture
def values():
    return np.random.default_rng(0).normal(size=(300, 40))


def lazy(values):
    if not isinstance(values, dask.array.Array):
        values = dask.array.from_array(values, chunks=(60, 40), meta=np.empty((0, 0)), name=False)
    return xr.DataArray(values, dims=("gene", "sample"))


def stages_of(matrix, memory_bytes=10**9, executor=None, **options):
    resources = Resources(memory_bytes=memory_bytes, threads=1)
    return Stages(matrix, executor=executor or SerialExecutor(), resources=resources, **options)


@pytest.mark.parametrize(("memory_bytes", "is_copied"), [(10**9, False), (10**5, True)])
def test_what_is_asked_of_a_selection_reads_nothing(values, memory_bytes, is_copied):
    cells = CountedCells(values)
    part = select(stages_of(lazy(cells), memory_bytes), MEMBERS, np.arange(40))
    assert part.is_copied == is_copied
    assert part.matrix_bytes_held == (0 if is_copied else 100 * 40 * 8)
    assert part.stored_matrix.in_memory != is_copied
    assert cells.read == 0
    found = part.source.read(slice(0, 100), slice(0, 40))
    np.testing.assert_array_equal(found, values[MEMBERS])
    # Each cell of the chunks that hold the rows once, and not again whatever is asked.
    assert 100 * 40 <= cells.read <= 300 * 40
    assert part.source.shape == (100, 40)
    assert part.is_copied == is_copied


@pytest.mark.parametrize("kind", ["lazy", "in memory"])
@pytest.mark.parametrize("axis", [None, 0, 1])
def test_a_selection_is_normalized_as_in_the_whole_matrix(values, kind, axis):
    matrix = lazy(values) if kind == "lazy" else xr.DataArray(values, dims=("gene", "sample"))
    stages = stages_of(matrix, z_score=axis)
    part = select(stages, MEMBERS, np.arange(5, 30))
    whole = stages.reordered(np.arange(300), np.arange(40)).to_numpy()
    found = part.source.read(slice(0, 100), slice(0, 25))
    np.testing.assert_array_equal(found, whole[np.ix_(MEMBERS, np.arange(5, 30))])
    assert part.in_memory == (kind == "in memory")
    assert part.matrix_bytes_held == 100 * 25 * 8


def test_selections_differ_in_name_where_they_differ(values):
    stages = stages_of(lazy(values))
    names = {
        select(each, rows, np.arange(40)).matrix.data.name
        for each in (stages, stages_of(stages.matrix, z_score=0))
        for rows in (MEMBERS, MEMBERS + 1, MEMBERS)
    }
    assert len(names) == 4


def test_workers_read_a_selection(client):
    drawn = dask.array.random.default_rng(0).normal(size=(6000, 400), chunks=(600, 400))
    rows = np.arange(0, 6000, 2)
    stages = stages_of(lazy(drawn), executor=DaskExecutor(client), z_score=1)
    part = select(stages, rows, np.arange(400))
    assert part.is_copied
    found = part.source.read(slice(0, 3000), slice(0, 400))
    expected = stages.reordered(np.arange(6000), np.arange(400))[rows].to_numpy()
    np.testing.assert_array_equal(found, expected)


def members_of(n, n_slices):
    return [np.arange(first, n, n_slices) for first in range(n_slices)]


@pytest.mark.parametrize("z_score", [None, 0])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("memory_bytes", [10**9, 10**5], ids=["in memory", "at rest"])
def test_slices_read_a_lazy_matrix_once_however_many_they_are(values, memory_bytes, axis, z_score):
    cells = CountedCells(values)
    stages = stages_of(lazy(cells), memory_bytes, z_score=z_score)
    whole = stages.reordered(np.arange(300), np.arange(40)).to_numpy()
    cells.read, expected = 0, 0 if "source" in stages.__dict__ else values.size
    members = members_of((300, 40)[axis], 20)
    for each, part in zip(members, slices_of(stages, axis, members), strict=True):
        found = part.source.read(*(slice(0, size) for size in part.shape))
        np.testing.assert_array_equal(found, whole[:, each] if axis else whole[each])
    # Each cell once; not again where statistics put it at rest or into memory before.
    assert cells.read == expected
    assert list(Path(stages.scratch).glob("slices-*")) == []


def test_slices_of_distances_are_cut_out_of_both_axes(values, tmp_path):
    square = values @ values.T
    stages = stages_of(lazy(square[:, :300]), 10**5, store=str(tmp_path))
    members = members_of(300, 4)
    for each, part in zip(members, slices_of(stages, 0, members, both=True), strict=True):
        found = part.source.read(*(slice(0, size) for size in part.shape))
        np.testing.assert_array_equal(found, square[np.ix_(each, each)])


def test_slices_keep_labels_and_leave_nothing_when_they_are_not_all_used(values, tmp_path):
    labels = [f"gene {i}" for i in range(300)]
    matrix = lazy(values).assign_coords(gene=labels)
    slices = slices_of(stages_of(matrix, 10**5, store=str(tmp_path)), 0, members_of(300, 3))
    first = next(slices)
    assert list(first.matrix["gene"].values) == labels[::3]
    assert list(tmp_path.glob("slices-*"))
    slices.close()
    assert list(tmp_path.glob("slices-*")) == []


def test_slices_that_have_no_room_are_refused(values, tmp_path, monkeypatch):
    stages = stages_of(lazy(values), 10**5, store=str(tmp_path))
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("clustergrid.pipeline.selection.shutil.disk_usage", lambda folder: usage)
    with pytest.raises(DiskSpaceError, match=r"slices of categories need .* in .*store="):
        next(slices_of(stages, 0, members_of(300, 3)))
    assert list(tmp_path.glob("slices-*")) == []


def test_workers_make_slices(client):
    drawn = dask.array.random.default_rng(0).normal(size=(6000, 400), chunks=(600, 400))
    stages = stages_of(lazy(drawn), executor=DaskExecutor(client), z_score=1)
    whole = stages.reordered(np.arange(6000), np.arange(400)).to_numpy()
    members = members_of(6000, 3)
    for each, part in zip(members, slices_of(stages, 0, members), strict=True):
        found = part.source.read(slice(0, 2000), slice(0, 400))
        np.testing.assert_array_equal(found, whole[each])


def test_a_selection_of_a_matrix_in_memory_needs_no_dask():
    program = """
import sys, numpy as np, xarray as xr
from clustergrid.pipeline.execution import SerialExecutor
from clustergrid.pipeline.resources import Resources
from clustergrid.pipeline.selection import select, slices_of
from clustergrid.pipeline.stages import Stages

values = xr.DataArray(xr.Variable(("a", "b"), np.eye(6), fastpath=True))
resources = Resources(memory_bytes=10**9, threads=1)
stages = Stages(values, executor=SerialExecutor(), resources=resources)
part = select(stages, np.arange(0, 6, 2), np.arange(6))
assert part.source.read(slice(0, 3), slice(0, 6)).sum() == 3
assert "dask.array" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)
