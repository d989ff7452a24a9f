"""The reordered matrix: nothing is read before it is asked for, and then only what is needed."""

import dask
import dask.array
import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from clustergrid.pipeline.execution import SerialExecutor
from clustergrid.pipeline.monitor import Progress
from clustergrid.pipeline.normalize import Normalization, matrix_statistics
from clustergrid.pipeline.reorder import reordered_matrix
from clustergrid.storage import open_matrix
from clustergrid.storage.source import ArraySource
from tests.budget import examples

pytestmark = pytest.mark.quick_cases(one_in=16)

N, K = 24, 15
RNG = np.random.default_rng(0)
ROWS, COLUMNS = RNG.permutation(N), RNG.permutation(K)
VALUES = RNG.normal(size=(N, K)).astype(np.float32)


class Recorder:
    """A Dask array whose blocks say when they are computed."""

    def __init__(self, values, chunks):
        self.seen = []

        def block(values, block_info=None):
            if block_info:
                self.seen.append(block_info[0]["chunk-location"])
            return values

        lazy = dask.array.from_array(values, chunks=chunks)
        self.array = lazy.map_blocks(block, dtype=values.dtype, meta=values[:0, :0])


def labelled(data):
    return xr.DataArray(
        data,
        dims=("gene", "sample"),
        coords={
            "gene": [f"g{i}" for i in range(N)],
            "sample": np.arange(K) * 10,
            "length": ("gene", np.arange(N) ** 2),
        },
        name="counts",
        attrs={"unit": "one"},
    )


@pytest.fixture(params=["numpy", "dask", "zarr"])
def matrix(request, tmp_path):
    if request.param == "numpy":
        return labelled(VALUES.copy())
    if request.param == "dask":
        return labelled(dask.array.from_array(VALUES, chunks=(7, 4)))
    array = zarr.create_array(
        str(tmp_path / "a.zarr"), shape=VALUES.shape, chunks=(7, 4), dtype="f4"
    )
    array[:] = VALUES
    return labelled(open_matrix(zarr.open_array(str(tmp_path / "a.zarr"), mode="r")).data)


def test_it_is_the_matrix_in_another_order(matrix):
    lazy = reordered_matrix(matrix, ROWS, COLUMNS)
    expected = labelled(VALUES).isel(gene=ROWS, sample=COLUMNS)
    xr.testing.assert_identical(lazy.load(), expected)
    assert lazy.dtype == np.float32


def test_building_reads_nothing():
    def refuse(*args, **kwargs):
        raise AssertionError("something was computed")

    matrix = labelled(dask.array.from_array(VALUES, chunks=(7, 4)))
    with dask.config.set(scheduler=refuse):
        lazy = reordered_matrix(matrix, ROWS, COLUMNS)
        window = lazy.sel(gene=["g3", "g1"]).isel(sample=slice(2, 5)).transpose()
        assert window.shape == (3, 2)
        assert "counts" in repr(lazy)
        chunked = lazy.chunk(gene=5)
        assert chunked.chunks is not None
        with pytest.raises(AssertionError, match="something was computed"):
            window.to_numpy()


def test_a_window_reads_only_the_chunks_that_hold_it():
    recorder = Recorder(VALUES, (6, 5))
    lazy = reordered_matrix(labelled(recorder.array), ROWS, COLUMNS)
    assert not recorder.seen
    window = lazy.isel(gene=slice(4, 7), sample=slice(1, 3))
    np.testing.assert_array_equal(window, VALUES[np.ix_(ROWS[4:7], COLUMNS[1:3])])
    needed = {(int(r) // 6, int(c) // 5) for r in ROWS[4:7] for c in COLUMNS[1:3]}
    assert len(needed) < 12
    assert set(recorder.seen) == needed
    assert len(recorder.seen) == len(needed)  # each once
    recorder.seen.clear()
    assert lazy.sel(gene="g17", sample=20).item() == VALUES[17, 2]
    assert recorder.seen == [(2, 0)]


indexers = st.one_of(
    st.integers(-10, 9),
    st.slices(10).filter(lambda part: part.step is None or part.step > 0),
    st.sampled_from([slice(None, None, -1), slice(None, None, -3)]),
    st.lists(st.integers(-10, 9), max_size=6),
)


@settings(max_examples=examples(80), deadline=None)
@given(first=st.tuples(indexers, indexers), second=indexers)
def test_indexing_composes(first, second):
    lazy = reordered_matrix(labelled(VALUES), ROWS, COLUMNS)
    expected = labelled(VALUES).isel(gene=ROWS, sample=COLUMNS)
    # Twenty four and fifteen are more than the indexers reach, ten at most are left.
    steps = [dict(zip(("gene", "sample"), first, strict=True))]
    found, wanted = lazy.isel(steps[0]), expected.isel(steps[0])
    for dim in wanted.dims:
        if isinstance(second, int) and not -wanted.sizes[dim] <= second < wanted.sizes[dim]:
            continue
        if isinstance(second, list):
            inside = [i for i in second if -wanted.sizes[dim] <= i < wanted.sizes[dim]]
            found, wanted = found.isel({dim: inside}), wanted.isel({dim: inside})
        else:
            found, wanted = found.isel({dim: second}), wanted.isel({dim: second})
    # xarray itself cannot take a slice that goes backwards over nothing.
    assume(wanted.size or not any(is_backwards(index) for index in (*first, second)))
    xr.testing.assert_identical(found.load(), wanted)


def is_backwards(index):
    return isinstance(index, slice) and index.step is not None and index.step < 0


def test_vectorized_indexing():
    lazy = reordered_matrix(labelled(VALUES), ROWS, COLUMNS)
    expected = labelled(VALUES).isel(gene=ROWS, sample=COLUMNS)
    points = {
        "gene": xr.DataArray([3, 3, 20], dims="point"),
        "sample": xr.DataArray([0, 14, 7], dims="point"),
    }
    xr.testing.assert_identical(lazy.isel(points).load(), expected.isel(points))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16, bool])
@pytest.mark.parametrize("name", ["z_score", "standard_scale"])
@pytest.mark.parametrize("axis", [0, 1])
def test_what_is_read_is_normalized(axis, name, dtype):
    values = (VALUES * 3).astype(dtype)
    statistics = matrix_statistics(ArraySource(values), SerialExecutor(), Progress())
    normalization = getattr(Normalization, name)(statistics, axis)
    normalized = normalization.apply(values, slice(None), slice(None))
    lazy = reordered_matrix(labelled(values), ROWS, COLUMNS, normalization)
    dtype = dtype if np.dtype(dtype).kind == "f" else np.float64
    assert lazy.dtype == dtype
    expected = normalized.astype(dtype)[np.ix_(ROWS, COLUMNS)]
    np.testing.assert_array_equal(lazy, expected)
    np.testing.assert_array_equal(lazy[2:9, [4, 1]], expected[2:9, [4, 1]])
    np.testing.assert_array_equal(lazy[-1], expected[-1])
    np.testing.assert_array_equal(lazy[:, 3], expected[:, 3])
    assert lazy[3, 3].item() == pytest.approx(expected[3, 3], nan_ok=True)


def test_chunks_compute_anywhere(matrix, client):
    lazy = reordered_matrix(matrix, ROWS, COLUMNS).chunk(gene=5, sample=6)
    assert lazy.chunks == ((5, 5, 5, 5, 4), (6, 6, 3))
    expected = VALUES[np.ix_(ROWS, COLUMNS)]
    np.testing.assert_array_equal(lazy.compute(scheduler="threads"), expected)
    np.testing.assert_allclose(lazy.mean("gene"), expected.mean(0), rtol=1e-5)
    with dask.config.set(scheduler=client):
        np.testing.assert_array_equal(lazy, expected)


def test_without_labels():
    lazy = reordered_matrix(xr.DataArray(VALUES, dims=("a", "b")), ROWS, COLUMNS)
    assert not lazy.coords
    np.testing.assert_array_equal(lazy, VALUES[np.ix_(ROWS, COLUMNS)])


def test_labels_follow():
    lazy = reordered_matrix(labelled(VALUES), ROWS, COLUMNS)
    pd.testing.assert_index_equal(
        lazy.get_index("gene"), pd.Index([f"g{i}" for i in ROWS], name="gene")
    )
    np.testing.assert_array_equal(lazy["length"], ROWS**2)
    assert lazy.name == "counts"
    assert lazy.attrs == {"unit": "one"}
