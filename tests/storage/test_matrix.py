"""open_matrix on what is in memory or lazy already."""

import subprocess
import sys

import anndata
import dask
import dask.array
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import xarray
import zarr

from clustergrid.storage import matrix as matrix_module
from clustergrid.storage import open_matrix

pytestmark = pytest.mark.quick_cases(one_in=4)


@pytest.fixture
def frame():
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        rng.normal(size=(5, 3)),
        index=pd.Index(list("vwxyz"), name="gene"),
        columns=pd.Index(["a", "b", "a"], name="sample"),
    )


@pytest.fixture
def no_compute():
    """Raise if anything computes."""

    def refuse(*args, **kwargs):
        raise AssertionError("something was computed")

    with dask.config.set(scheduler=refuse):
        yield


def test_a_dataframe_is_not_copied_and_keeps_its_labels(frame):
    matrix = open_matrix(frame)
    assert matrix.dims == ("gene", "sample")
    assert matrix["gene"].to_numpy().tolist() == list("vwxyz")
    assert matrix["sample"].to_numpy().tolist() == ["a", "b", "a"]
    assert np.shares_memory(matrix.data, frame.to_numpy())
    assert matrix.name is None


def test_small_inputs_import_no_dask():
    code = """
import sys, numpy as np, pandas as pd
from clustergrid.storage import open_matrix
from clustergrid.storage.identity import matrix_source
for data in (pd.DataFrame(np.eye(3)), np.eye(3), [[1, 2], [3, 4]]):
    matrix_source(open_matrix(data)).read(slice(0, 1), slice(0, 1))
heavy = {"dask", "distributed", "zarr", "anndata", "h5py", "scipy"}.intersection(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("index_name", "columns_name", "dims"),
    [
        (None, None, ("row", "column")),
        ("gene", None, ("gene", "column")),
        ("x", "x", ("row", "column")),
        ("", 3, ("row", "column")),
        ("column", None, ("row", "column")),
        ("a/b", "matrix", ("row", "column")),
    ],
)
def test_dimensions_are_named_after_labels(frame, index_name, columns_name, dims):
    renamed = frame.rename_axis(index=index_name, columns=columns_name)
    assert open_matrix(renamed).dims == dims


def test_multiindex_labels_are_joined():
    index = pd.MultiIndex.from_tuples([("a", 1), ("b", 2)], names=["k", "i"])
    matrix = open_matrix(pd.DataFrame(np.eye(2), index=index, columns=index))
    assert matrix["row"].to_numpy().tolist() == ["a-1", "b-2"]
    stacked = xarray.DataArray(np.eye(2), dims=("k-i", "c"), coords={})
    stacked = stacked.assign_coords(xarray.Coordinates.from_pandas_multiindex(index, "k-i"))
    assert open_matrix(stacked)["k-i"].to_numpy().tolist() == ["a-1", "b-2"]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (pd.Index([3, 1, 3]), np.array([3, 1, 3])),
        (pd.Index([0.5, 1.5, 2.5]), np.array([0.5, 1.5, 2.5])),
        (pd.Index([1, "a", None]), np.array(["1", "a", "None"], object)),
        (pd.CategoricalIndex(["u", "v", "u"]), np.array(["u", "v", "u"], object)),
        (pd.date_range("2020-01-01", periods=3), None),
        (pd.Index([1, 2, 3], dtype="Int64"), np.array([1, 2, 3])),
    ],
)
def test_labels_are_numbers_or_text(labels, expected):
    found = open_matrix(pd.DataFrame(np.eye(3), index=labels))["row"].to_numpy()
    if expected is None:
        assert found[0] == "2020-01-01 00:00:00"
    else:
        assert found.dtype.kind == expected.dtype.kind
        assert found.tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("column", "dtype"),
    [
        (pd.array([1, None], dtype="Int64"), np.float64),
        (pd.array([1.5, None], dtype="Float64"), np.float64),
        (pd.array([1.5, None], dtype="Float32"), np.float32),
        (pd.array([True, False], dtype="boolean"), bool),
        (pd.array([True, None], dtype="boolean"), np.float64),
        (pd.array([0.0, 2.0], dtype="Sparse[float64]"), np.float64),
        (np.array([True, False]), bool),
        (np.array([1, 2], np.int16), np.int16),
        (np.array([1, 2], np.float32), np.float32),
    ],
)
def test_types_of_columns(column, dtype):
    matrix = open_matrix(pd.DataFrame({"a": column, "b": column}))
    assert matrix.dtype == dtype
    expected = pd.Series(column).astype(object).map(lambda v: np.nan if v is pd.NA else float(v))
    np.testing.assert_array_equal(matrix.to_numpy()[:, 0].astype(float), expected.astype(float))


def test_mixed_columns_become_float64():
    frame = pd.DataFrame({"i": [1, 2], "f": np.array([0.5, 1], np.float32), "b": [True, False]})
    matrix = open_matrix(frame)
    assert matrix.dtype == np.float64
    np.testing.assert_array_equal(matrix, [[1, 0.5, 1], [2, 1, 0]])


def test_tidy_tables_are_pivoted(frame):
    tidy = pd.DataFrame({"g": list("aabb"), "s": list("xyxy"), "v": [1.0, 2, 3, 4]})
    matrix = open_matrix(tidy, pivot_kws={"index": "g", "columns": "s", "values": "v"})
    assert matrix.dims == ("g", "s")
    np.testing.assert_array_equal(matrix, [[1, 2], [3, 4]])
    with pytest.raises(ValueError, match="cannot be pivoted"):
        open_matrix(
            pd.concat([tidy, tidy]), pivot_kws={"index": "g", "columns": "s", "values": "v"}
        )
    with pytest.raises(ValueError, match="none of the columns"):
        open_matrix(tidy, pivot_kws={"index": "nope", "columns": "s", "values": "v"})
    with pytest.raises(TypeError, match="tidy"):
        open_matrix(np.eye(2), pivot_kws={"index": "g", "columns": "s", "values": "v"})


@pytest.mark.parametrize("dtype", ["float32", "float64", "int8", "uint16", "bool"])
def test_arrays_keep_their_type(dtype):
    values = np.arange(6).reshape(2, 3).astype(dtype)
    matrix = open_matrix(values)
    assert matrix.dtype == dtype
    assert not matrix.coords
    assert np.shares_memory(matrix.data, values)


def test_unusual_arrays_are_made_usual():
    assert open_matrix(np.eye(2, dtype=np.float16)).dtype == np.float32
    assert open_matrix(np.eye(2, dtype=">f8")).dtype.isnative
    masked = np.ma.masked_array([[1, 2], [3, 4]], mask=[[0, 1], [0, 0]])
    np.testing.assert_array_equal(open_matrix(masked), [[1, np.nan], [3, 4]])
    np.testing.assert_array_equal(open_matrix(((1, 2), (3, 4))), [[1, 2], [3, 4]])


def test_lazy_inputs_stay_lazy(frame, no_compute):
    lazy = dask.array.ones((6, 4), chunks=(3, 2)).map_blocks(lambda block: 1 / 0, dtype=float)
    assert open_matrix(lazy).chunks == ((3, 3), (2, 2))
    array = xarray.DataArray(
        lazy, dims=("gene", "sample"), coords={"gene": range(6), "batch": ("sample", list("uvuv"))}
    )
    matrix = open_matrix(array.rename("counts"))
    assert matrix.data is array.data
    assert matrix.name == "counts"
    assert list(matrix.coords) == ["gene", "batch"]
    assert open_matrix(array, chunks=2).chunks == ((2, 2, 2), (4,))


def test_sparse_blocks_of_dask_become_dense():
    sparse = scipy.sparse.random(6, 4, 0.5, "csr", random_state=0)
    lazy = dask.array.from_array(sparse.toarray(), chunks=(3, 4)).map_blocks(
        scipy.sparse.csr_matrix, meta=scipy.sparse.csr_matrix((0, 0))
    )
    np.testing.assert_array_equal(open_matrix(lazy).to_numpy(), sparse.toarray())


@pytest.mark.parametrize("form", ["csr_matrix", "csc_matrix", "coo_array", "csr_array"])
@pytest.mark.parametrize("limit", [0, 2**26])
def test_sparse_matrices(form, limit, monkeypatch):
    monkeypatch.setattr(matrix_module, "SMALL_SPARSE_BYTES", limit)
    dense = np.random.default_rng(0).poisson(0.3, (20, 7)).astype(np.float32)
    matrix = open_matrix(getattr(scipy.sparse, form)(dense), chunks=6)
    assert (matrix.chunks is None) == (limit > 0)
    assert matrix.dtype == np.float32
    np.testing.assert_array_equal(matrix.to_numpy(), dense)


@pytest.mark.parametrize("kind", ["dense", "csr", "csc", "dask", "layer", "raw"])
def test_anndata_in_memory(kind):
    dense = np.random.default_rng(0).poisson(0.5, (6, 4)).astype(np.float32)
    values = {
        "csr": scipy.sparse.csr_matrix,
        "csc": scipy.sparse.csc_matrix,
        "dask": dask.array.from_array,
    }.get(kind, np.asarray)(dense)
    data = anndata.AnnData(
        values,
        obs=pd.DataFrame(index=[f"c{i}" for i in range(6)]),
        var=pd.DataFrame(index=[f"g{i}" for i in range(4)]),
    )
    data.layers["twice"] = 2 * dense
    data.raw = data
    layer = {"layer": "twice", "raw": "raw"}.get(kind)
    matrix = open_matrix(data, layer=layer)
    assert matrix.dims == ("obs", "var")
    assert matrix["var"].to_numpy().tolist() == ["g0", "g1", "g2", "g3"]
    np.testing.assert_array_equal(matrix.to_numpy(), dense * (2 if kind == "layer" else 1))
    with pytest.raises(ValueError, match="it has 'twice'"):
        open_matrix(data, layer="nope")
    np.testing.assert_array_equal(open_matrix(data[:3]).to_numpy(), dense[:3])


@pytest.mark.parametrize("place", ["memory", "disk"])
def test_zarr_arrays(tmp_path, place):
    values = np.arange(12.0).reshape(4, 3)
    store = zarr.storage.MemoryStore() if place == "memory" else str(tmp_path / "a.zarr")
    array = zarr.create_array(
        store, name="x", data=values, chunks=(2, 3), dimension_names=("gene", "sample")
    )
    matrix = open_matrix(array, chunks=2)
    assert matrix.dims == ("gene", "sample")
    assert matrix.chunks == ((2, 2), (3,))
    assert matrix.name == "x"
    np.testing.assert_array_equal(matrix.to_numpy(), values)


def test_a_data_array_that_xarray_opened_without_dask_stays_lazy(tmp_path):
    xarray.DataArray(np.eye(3), dims=("a", "b"), name="x").to_zarr(
        tmp_path / "x.zarr", consolidated=False
    )
    opened = xarray.open_zarr(tmp_path / "x.zarr", chunks=None, consolidated=False)["x"]
    matrix = open_matrix(opened)
    assert matrix.chunks is not None
    np.testing.assert_array_equal(matrix.to_numpy(), np.eye(3))


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (pd.DataFrame({"a": [1.0], "b": ["x"]}), TypeError, r"1 of 2 columns .* 'b' \(object\)"),
        (pd.DataFrame({c: ["x"] for c in "abcde"}), TypeError, "'c' .object. and 2 more"),
        (pd.DataFrame({"t": pd.to_datetime(["2020-01-01"])}), TypeError, "'t' .datetime64"),
        (pd.DataFrame({"c": pd.Categorical([1])}), TypeError, "'c' .category"),
        (pd.DataFrame({"z": [1j]}), TypeError, "'z' .complex128"),
        (pd.DataFrame({"a": []}), ValueError, "no rows: its shape is 0 x 1"),
        (pd.DataFrame(index=[1]), ValueError, "no columns"),
        (pd.Series([1.0]), ValueError, r"\(1,\)"),
        (xarray.Dataset({"a": 1}), TypeError, "Dataset"),
        (np.zeros(3), ValueError, r"shape \(3,\): a matrix has two dimensions"),
        (np.zeros((1, 2, 3)), ValueError, r"\(1, 2, 3\)"),
        (np.zeros((0, 2)), ValueError, "no rows"),
        (np.zeros((2, 0)), ValueError, "no columns"),
        (np.zeros((2, 2), complex), TypeError, "complex128"),
        (np.array([["a", "b"]]), TypeError, "<U1"),
        (np.array([[1, None]]), TypeError, "object.*astype"),
        (np.zeros((2, 2), np.longdouble), TypeError, "float"),
        (np.zeros((2, 2), "datetime64[s]"), TypeError, "datetime64"),
        ([[1, 2], [3]], TypeError, "row 0 has 2, row 1 has 1"),
        ([1, 2], ValueError, r"\(2,\)"),
        ([[1, 2], 3], TypeError, "not a matrix"),
        ({"a": 1}, TypeError, "dict is not a matrix"),
        (None, TypeError, "NoneType is not a matrix"),
        (3.5, TypeError, "float is not a matrix"),
        (scipy.sparse.csr_matrix((0, 3)), ValueError, "no rows"),
        (scipy.sparse.csr_matrix((2, 3), dtype=complex), TypeError, "complex"),
        (dask.array.zeros(3), ValueError, r"\(3,\)"),
        (dask.array.zeros((3, 3), dtype="M8[s]"), TypeError, "datetime64"),
        (xarray.DataArray(np.zeros((1, 2, 3))), ValueError, r"\(1, 2, 3\)"),
        (xarray.DataArray([["a"]]), TypeError, "<U1"),
    ],
)
def test_bad_inputs_say_what_is_wrong(data, error, message):
    with pytest.raises(error, match=message):
        open_matrix(data)


def test_unknown_lengths_are_refused():
    lazy = dask.array.ones((6, 4), chunks=3)
    with pytest.raises(ValueError, match="compute_chunk_sizes"):
        open_matrix(lazy[lazy[:, 0] > 0])


def test_a_layer_needs_layers():
    with pytest.raises(ValueError, match="needs an AnnData or a file, not numpy"):
        open_matrix(np.eye(2), layer="counts")
