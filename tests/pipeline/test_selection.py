"""Some rows and columns of a matrix bound to stages: they stay lazy until they are needed."""

import subprocess
import sys

import dask.array
import numpy as np
import pytest
import xarray as xr

from clustergrid.pipeline.execution import DaskExecutor, SerialExecutor
from clustergrid.pipeline.resources import Resources
from clustergrid.pipeline.selection import select
from clustergrid.pipeline.stages import Stages

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


def test_a_selection_of_a_matrix_in_memory_needs_no_dask():
    program = """
import sys, numpy as np, xarray as xr
from clustergrid.pipeline.execution import SerialExecutor
from clustergrid.pipeline.resources import Resources
from clustergrid.pipeline.selection import select
from clustergrid.pipeline.stages import Stages

values = xr.DataArray(xr.Variable(("a", "b"), np.eye(6), fastpath=True))
resources = Resources(memory_bytes=10**9, threads=1)
stages = Stages(values, executor=SerialExecutor(), resources=resources)
part = select(stages, np.arange(0, 6, 2), np.arange(6))
assert part.source.read(slice(0, 3), slice(0, 6)).sum() == 3
assert "dask.array" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)
