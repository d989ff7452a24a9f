"""open_matrix on files and URLs of every format."""

import gzip
import pickle
import warnings

import anndata
import dask
import fsspec
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import xarray
import zarr

from clustergrid.storage import matrix as matrix_module
from clustergrid.storage import open_matrix
from clustergrid.storage.errors import DataValueError
from clustergrid.storage.identity import matrix_source
from clustergrid.storage.ingest import ingest
from clustergrid.storage.readers import npy as npy_module
from clustergrid.storage.readers import sparse as sparse_module
from clustergrid.storage.readers import text as text_module
from clustergrid.storage.sparse import as_sparse

pytestmark = pytest.mark.quick_cases(one_in=4)

VALUES = np.random.default_rng(1).normal(size=(40, 6))
ROWS = [f"gene {i}" for i in range(39)] + ["gene 0"]
COLUMNS = ["a", "b", "ü", "d", "a", "f"]


@pytest.fixture
def frame():
    return pd.DataFrame(VALUES, index=pd.Index(ROWS, name="gene"), columns=COLUMNS)


@pytest.fixture
def anndata_file(tmp_path):
    """Write an AnnData with a layer, and return its path."""

    def write(form, suffix=".h5ad"):
        counts = np.random.default_rng(2).poisson(0.4, (40, 6)).astype(np.float32)
        data = anndata.AnnData(
            {"csr": scipy.sparse.csr_matrix, "csc": scipy.sparse.csc_matrix}.get(form, np.asarray)(
                counts
            ),
            obs=pd.DataFrame(
                {"kind": pd.Categorical(["u", "v"] * 20)}, index=[f"cell {i}" for i in range(40)]
            ),
            var=pd.DataFrame(index=pd.Index(list("abcdef"), name="gene")),
        )
        data.layers["twice"] = data.X * 2
        data.raw = data
        path = tmp_path / f"data{suffix}"
        if suffix == ".zarr":
            with warnings.catch_warnings():  # of the format that AnnData still writes by default
                warnings.simplefilter("ignore")
                data.write_zarr(path)
        else:
            data.write_h5ad(path)
        return path, counts, data

    return write


@pytest.fixture
def no_compute():
    """Raise if anything computes."""

    def refuse(*args, **kwargs):
        raise AssertionError("something was computed")

    with dask.config.set(scheduler=refuse):
        yield


def put(url, content):
    with fsspec.open(url, "wb") as file:
        file.write(content)
    return url


# Text


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".txt", ".cct", ".cbt"])
@pytest.mark.parametrize("gz", ["", ".gz"])
@pytest.mark.parametrize("place", ["disk", "memory://bucket"])
def test_text(tmp_path, frame, suffix, gz, place):
    text = frame.to_csv(sep="," if suffix == ".csv" else "\t").encode()
    folder = tmp_path if place == "disk" else place
    url = put(f"{folder}/m{suffix}{gz}", gzip.compress(text) if gz else text)
    matrix = open_matrix(url)
    assert matrix.dims == ("gene", "column")
    assert matrix["gene"].to_numpy().tolist() == ROWS
    assert matrix["column"].to_numpy().tolist() == COLUMNS
    np.testing.assert_array_equal(matrix.to_numpy(), VALUES)  # to the bit


@pytest.mark.parametrize(
    ("text", "rows", "columns", "values"),
    [
        ("g\ta\tb\nx\t1\t\ny\tNA\tNaN\n", "xy", "ab", [[1, np.nan], [np.nan, np.nan]]),
        ("a\tb\nx\t1\t2\ny\t3\t4\n", "xy", "ab", [[1, 2], [3, 4]]),  # as R writes it
        ("\ufeffg,a\r\nx,1e3\r\n\r\ny,-inf\r\n", "xy", "a", [[1000], [-np.inf]]),
        ('g,"a,1"\n"x, y", 2 \n', ["x, y"], ["a,1"], [[2]]),
        ("g;a;b\nx;1;2", "x", "ab", [[1, 2]]),
        ("g,a\n\nNA,1\n,2\n", ["NA", ""], "a", [[1], [2]]),
    ],
)
def test_dialects_of_text(tmp_path, text, rows, columns, values):
    path = tmp_path / "m.txt"
    path.write_bytes(text.encode())
    matrix = open_matrix(path)
    assert matrix[matrix.dims[0]].to_numpy().tolist() == list(rows)
    assert matrix["column"].to_numpy().tolist() == list(columns)
    np.testing.assert_array_equal(matrix.to_numpy(), values)


def test_quoted_labels_may_span_lines_and_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(text_module, "_BLOCK_BYTES", 40)
    labels = [f"gene {i}" + "\n" * (i % 4) + '"' * (i % 3) for i in range(60)]
    pd.DataFrame({"a": np.arange(60.0)}, index=labels).to_csv(tmp_path / "m.csv")
    matrix = open_matrix(tmp_path / "m.csv")
    assert matrix["row"].to_numpy().tolist() == labels
    np.testing.assert_array_equal(matrix.to_numpy()[:, 0], np.arange(60))


def test_wide_tables_are_parsed_as_narrow_ones_are(tmp_path, frame, monkeypatch):
    table = frame.copy()
    table.iloc[3, 2], table.iloc[4, 1] = np.nan, np.inf
    table.index = [f'{label}\n"x", ü' for label in ROWS]
    table.to_csv(tmp_path / "m.csv")
    narrow = open_matrix(tmp_path / "m.csv")
    monkeypatch.setattr(text_module, "_WIDE", 2)
    wide = open_matrix(tmp_path / "m.csv")
    assert wide["row"].to_numpy().tolist() == narrow["row"].to_numpy().tolist() == [*table.index]
    np.testing.assert_array_equal(wide.to_numpy(), narrow.to_numpy())
    np.testing.assert_array_equal(wide.to_numpy(), table.to_numpy())


def test_large_text_goes_block_by_block_to_a_store(tmp_path, frame, monkeypatch):
    monkeypatch.setattr(matrix_module, "SMALL_BYTES", 1000)
    monkeypatch.setattr(text_module, "_BLOCK_BYTES", 400)
    path = tmp_path / "m.csv"
    frame.to_csv(path)
    temporary = open_matrix(path)
    kept = open_matrix(path, store=tmp_path / "kept")
    for matrix in (temporary, kept):
        assert matrix.chunks is not None
        assert matrix["gene"].to_numpy().tolist() == ROWS
        np.testing.assert_array_equal(matrix.to_numpy(), VALUES)


def test_a_store_is_used_again_until_the_input_changes(tmp_path, frame, monkeypatch):
    path, store = tmp_path / "m.csv", tmp_path / "store"
    frame.to_csv(path)
    first = open_matrix(path, store=store)
    monkeypatch.setattr(text_module._Table, "blocks", lambda self: pytest.fail("read again"))
    again = open_matrix(path, store=store)
    assert again.data.name == first.data.name
    monkeypatch.undo()
    (2 * frame).to_csv(path)
    changed = open_matrix(path, store=store)
    np.testing.assert_array_equal(changed.to_numpy(), 2 * VALUES)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"g,a,b\nx,1,2\ny,3,zz\n", r"a.csv: 'zz' in column 'b', row 'y' .row 2"),
        (
            "a.csv",
            b"g,a,b\nx,1,2\ny,3\n",
            "a.csv: row 2 below the header, 'y,3', has 2 fields instead of 3",
        ),
        ("a.csv", b"", "a.csv is empty"),
        ("a.csv", b"g,a\n", "no rows"),
        ("a.csv", b"g\nx\n", "no column of numbers"),
        ("a.csv", "g,ü\nx,1\n".encode("cp1252"), "not UTF-8.*iconv"),
        ("a.csv", "g,u\nü,1\n".encode("cp1252"), "not UTF-8.*iconv"),
        ("a.csv.gz", gzip.compress(b"g,a\n" + b"x,1\n" * 9999, mtime=0)[:-20], "cut short"),
        ("a.csv.gz", b"g,a\nx,1\n", "damaged"),
        ("a.parquet", b"PAR1 no", "not a readable Parquet"),
        ("a.h5ad", b"no", "not a readable HDF5"),
        ("a.npy", b"no", "not a .npy"),
        ("a.xlsx", b"no", "'.xlsx' is not one of .csv, .*.zarr"),
        ("a", b"no", "'none' is not one of"),
    ],
)
def test_damaged_files_say_which_and_where(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataValueError, match=message):
        open_matrix(path)


@pytest.mark.parametrize("name", ["no.csv", "no.npy", "no.zarr", "no.h5ad", "no.parquet"])
def test_missing_files(tmp_path, name):
    for url in (tmp_path / name, f"memory://nothing/{name}"):
        with pytest.raises(FileNotFoundError, match=name):
            open_matrix(url)


def test_layers_of_a_file_without_layers(tmp_path, frame):
    frame.to_csv(tmp_path / "m.csv")
    with pytest.raises(ValueError, match="has no layers"):
        open_matrix(tmp_path / "m.csv", layer="counts")


def test_a_directory_that_is_not_zarr(tmp_path):
    with pytest.raises(ValueError, match=r"zarr\.json"):
        open_matrix(tmp_path)


# Parquet


@pytest.mark.parametrize("place", ["disk", "memory://bucket"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "bool"])
def test_parquet(tmp_path, frame, place, dtype):
    table = frame.set_axis(list("abcdef"), axis=1).astype(dtype)
    url = f"{tmp_path if place == 'disk' else place}/m.parquet"
    table.to_parquet(url)
    matrix = open_matrix(url)
    assert matrix.dims == ("gene", "column")
    assert matrix.dtype == dtype
    assert matrix["gene"].to_numpy().tolist() == ROWS
    np.testing.assert_array_equal(matrix.to_numpy(), table.to_numpy())


def test_parquet_indexes(tmp_path):
    path = tmp_path / "m.parquet"
    values = pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0]})
    values.to_parquet(path)
    assert open_matrix(path)["row"].to_numpy().tolist() == [0, 1]
    values.set_axis([("u", 1), ("v", 2)]).set_axis(
        pd.MultiIndex.from_tuples([("u", 1), ("v", 2)], names=["p", "q"])
    ).to_parquet(path)
    assert open_matrix(path)["p-q"].to_numpy().tolist() == ["u-1", "v-2"]
    values.assign(gene=["x", "y"]).to_parquet(path, index=False)
    assert open_matrix(path)["gene"].to_numpy().tolist() == ["x", "y"]
    values.assign(gene=["x", "y"], more=["x", "y"]).to_parquet(path, index=False)
    with pytest.raises(TypeError, match="'more'"):
        open_matrix(path)
    values.assign(i=pd.array([1, None], "Int64"), c=pd.array([True, None], "boolean")).to_parquet(
        path
    )
    np.testing.assert_array_equal(
        open_matrix(path).to_numpy(), [[1, 3, 1, 1], [2, 4, np.nan, np.nan]]
    )
    values.iloc[:0].to_parquet(path)
    with pytest.raises(ValueError, match="0 rows"):
        open_matrix(path)


# NumPy


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("place", ["disk", "memory://bucket"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int16", "bool", ">f4", "float16"])
def test_npy(tmp_path, order, place, dtype):
    values = np.asarray(VALUES.astype(dtype), order=order)
    url = f"{tmp_path if place == 'disk' else place}/m.npy"
    with fsspec.open(url, "wb") as file:
        np.save(file, values)
    matrix = open_matrix(url, chunks=(16, 4))
    assert matrix.chunks == ((16, 16, 8), (4, 2))
    assert matrix.dtype == {">f4": "float32", "float16": "float32"}.get(dtype, dtype)
    np.testing.assert_array_equal(matrix.to_numpy(), values)


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        (np.zeros(3), ValueError, r"shape \(3,\)"),
        (np.zeros((0, 3)), ValueError, "no rows"),
        (np.array([["a"]]), TypeError, "<U1"),
        (np.array([[1j]]), TypeError, "complex"),
    ],
)
def test_bad_npy(tmp_path, values, error, message):
    np.save(tmp_path / "m.npy", values)
    with pytest.raises(error, match=message):
        open_matrix(tmp_path / "m.npy")


def test_npy_cut_short(tmp_path):
    np.save(tmp_path / "m.npy", VALUES)
    content = (tmp_path / "m.npy").read_bytes()
    (tmp_path / "m.npy").write_bytes(content[:-8])
    with pytest.raises(OSError, match="cut short"):
        open_matrix(tmp_path / "m.npy")


# Laziness


def test_opening_computes_nothing_and_slices_read_little(tmp_path, no_compute, monkeypatch):
    np.save(tmp_path / "m.npy", VALUES)
    read = npy_module._NpyFile.read
    blocks = []

    def count(self, rows, columns):
        blocks.append((rows.start, rows.stop, columns.start, columns.stop))
        return read(self, rows, columns)

    monkeypatch.setattr(npy_module._NpyFile, "read", count)
    matrix = open_matrix(tmp_path / "m.npy", chunks=10)
    part = matrix[5:8, ::-2]
    assert blocks == []
    with dask.config.set(scheduler="synchronous"):
        np.testing.assert_array_equal(part.to_numpy(), VALUES[5:8, ::-2])
    assert len(blocks) == 1
    assert blocks[0][1] <= 10
    with dask.config.set(scheduler="synchronous"):
        matrix.to_numpy()
    assert len(blocks) == 1 + 4


@pytest.mark.parametrize(
    "index",
    [
        (slice(3, 25, 4), slice(None, None, -1)),
        (slice(30, 2, -3), [4, 1]),
        (7, slice(2, 5)),
        (-1, -2),
        ([1, 1, 39], slice(None)),
        (slice(5, 5), slice(None)),
    ],
)
def test_any_index_gives_the_same_values(tmp_path, index):
    np.save(tmp_path / "m.npy", VALUES)
    matrix = open_matrix(tmp_path / "m.npy", chunks=(7, 4))
    lazy = matrix.data[index[0]][..., index[1]]
    np.testing.assert_array_equal(lazy.compute(), VALUES[index[0]][..., index[1]])


def test_tasks_are_small_and_name_the_file(tmp_path):
    np.save(tmp_path / "m.npy", np.zeros((4096, 128)))
    matrix = open_matrix(tmp_path / "m.npy", chunks=1024)
    assert len(pickle.dumps(dict(matrix.data.dask))) < 5000
    assert matrix.data.name == open_matrix(tmp_path / "m.npy", chunks=1024).data.name
    np.save(tmp_path / "m.npy", np.ones((4096, 128)))
    assert matrix.data.name != open_matrix(tmp_path / "m.npy", chunks=1024).data.name


# AnnData


@pytest.mark.parametrize("form", ["dense", "csr", "csc"])
@pytest.mark.parametrize("suffix", [".h5ad", ".zarr"])
@pytest.mark.parametrize("layer", [None, "twice", "raw"])
def test_anndata_files(anndata_file, form, suffix, layer, monkeypatch):
    monkeypatch.setattr(sparse_module, "_SLAB_ENTRIES", 20)
    monkeypatch.setattr(sparse_module, "block_rows", lambda columns, itemsize: 7)
    path, counts, data = anndata_file(form, suffix)
    matrix = open_matrix(path, layer=layer, chunks=16)
    assert matrix.dims == ("obs", "gene")
    assert matrix.dtype == np.float32
    assert (matrix.chunks is None) == (form == "csc")
    assert matrix["obs"].to_numpy().tolist() == data.obs_names.tolist()
    assert matrix["gene"].to_numpy().tolist() == list("abcdef")
    expected = counts * (2 if layer == "twice" else 1)
    np.testing.assert_array_equal(matrix.to_numpy(), expected)
    np.testing.assert_array_equal(matrix[9:20, 1:3].to_numpy(), expected[9:20, 1:3])
    with pytest.raises(ValueError, match="no layer 'nope'; it has 'twice'"):
        open_matrix(path, layer="nope")


def test_a_large_matrix_by_columns_is_stored_by_rows(anndata_file, monkeypatch, tmp_path):
    monkeypatch.setattr(matrix_module, "SMALL_SPARSE_BYTES", 100)
    path, counts, data = anndata_file("csc")
    for matrix in (open_matrix(path), open_matrix(path, store=tmp_path / "kept")):
        assert matrix.chunks is not None
        assert matrix.dims == ("obs", "gene")
        assert matrix["obs"].to_numpy().tolist() == data.obs_names.tolist()
        np.testing.assert_array_equal(matrix.to_numpy(), counts)
        assert as_sparse(matrix_source(matrix)) is not None


def test_dimensions_called_obs_and_var_are_not_taken_for_anndata(tmp_path):
    labels = {"obs": list("uvw"), "var": list("xyz")}
    ingest(open_matrix(xarray.DataArray(np.eye(3), labels, ("obs", "var"))), tmp_path)
    matrix = open_matrix(tmp_path)
    assert matrix.dims == ("obs", "var")
    assert matrix["var"].to_numpy().tolist() == list("xyz")


def test_anndata_files_open_lazily(anndata_file, no_compute):
    for form in ("dense", "csr"):
        path, *_ = anndata_file(form)
        assert open_matrix(path).chunks is not None


def test_h5ad_from_a_url_and_backed(anndata_file):
    path, counts, _ = anndata_file("csr")
    url = put("memory://bucket/m.h5ad", path.read_bytes())
    np.testing.assert_array_equal(open_matrix(url).to_numpy(), counts)
    backed = anndata.read_h5ad(path, backed="r")
    try:
        matrix = open_matrix(backed)
        assert matrix.chunks is not None
        np.testing.assert_array_equal(matrix.to_numpy(), counts)
    finally:
        backed.file.close()


def test_h5ad_without_h5py(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    (tmp_path / "m.h5ad").write_bytes(b"")
    with pytest.raises(ImportError, match=r"pip install 'clustergrid\[anndata\]'"):
        open_matrix(tmp_path / "m.h5ad")


# Zarr


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("place", ["disk", "memory://bucket"])
def test_zarr_array_stores(tmp_path, zarr_format, place):
    url = f"{tmp_path if place == 'disk' else place}/array{zarr_format}.zarr"
    zarr.create_array(url, data=VALUES, chunks=(16, 3), zarr_format=zarr_format, overwrite=True)
    matrix = open_matrix(url)
    assert matrix.dims == ("row", "column")
    assert matrix.shape == VALUES.shape
    np.testing.assert_array_equal(matrix.to_numpy(), VALUES)


def test_zarr_shards_are_read_whole(tmp_path):
    zarr.create_array(tmp_path / "s.zarr", data=VALUES, chunks=(2, 3), shards=(8, 6))
    assert open_matrix(tmp_path / "s.zarr").chunks == ((40,), (6,))
    zarr.create_array(tmp_path / "b.zarr", data=np.zeros((4, 4), bool), chunks=(2, 2))
    assert open_matrix(tmp_path / "b.zarr").dtype == bool


@pytest.mark.parametrize("consolidated", [False, True])
def test_groups_of_xarray(tmp_path, frame, consolidated, no_compute):
    dataset = xarray.Dataset(
        {
            "counts": (("gene", "sample"), VALUES, {"units": "1"}),
            "flags": (("gene", "sample"), VALUES > 0),
            "length": ("gene", np.arange(40)),
        },
        coords={"gene": np.array(ROWS, object), "sample": np.arange(6)},
    )
    path = tmp_path / "d.zarr"
    with dask.config.set(scheduler="synchronous"):
        if consolidated:
            with pytest.warns(Warning, match="Consolidated"):
                dataset.to_zarr(path, consolidated=True, zarr_format=3)
        else:
            dataset.to_zarr(path, consolidated=False, zarr_format=3)
    with pytest.raises(ValueError, match=r"2 matrices \('counts', 'flags'\)"):
        open_matrix(path)
    with pytest.raises(ValueError, match="no matrix 'nope'"):
        open_matrix(path, layer="nope")
    with pytest.raises(ValueError, match=r"'length' .* shape \(40,\)"):
        open_matrix(path, layer="length")
    matrix = open_matrix(path, layer="counts", chunks=16)
    assert matrix.name == "counts"
    assert matrix.dims == ("gene", "sample")
    assert matrix["gene"].to_numpy().tolist() == ROWS
    assert matrix["sample"].to_numpy().tolist() == list(range(6))
    assert matrix.chunks == ((16, 16, 8), (6,))
    with dask.config.set(scheduler="synchronous"):
        np.testing.assert_array_equal(matrix.to_numpy(), VALUES)
        assert open_matrix(path, layer="flags").to_numpy().tolist() == (VALUES > 0).tolist()


def test_packed_groups_are_decoded(tmp_path):
    data = xarray.DataArray(np.array([[1.5, np.nan], [0.5, 1.0]]), dims=("x", "y"), name="v")
    data.to_zarr(
        tmp_path / "p.zarr",
        encoding={"v": {"dtype": "int16", "scale_factor": 0.5, "_FillValue": -1}},
        consolidated=False,
    )
    matrix = open_matrix(tmp_path / "p.zarr")
    assert matrix.dtype == np.float64
    np.testing.assert_array_equal(matrix.to_numpy(), data)


def test_bad_zarr(tmp_path):
    zarr.create_array(tmp_path / "a.zarr", data=np.zeros((2, 2, 2)))
    with pytest.raises(ValueError, match=r"\(2, 2, 2\)"):
        open_matrix(tmp_path / "a.zarr")
    zarr.create_array(tmp_path / "c.zarr", data=np.zeros((2, 2), complex))
    with pytest.raises(TypeError, match="complex"):
        open_matrix(tmp_path / "c.zarr")
    zarr.create_group(tmp_path / "g.zarr")
    with pytest.raises(ValueError, match="0 matrices"):
        open_matrix(tmp_path / "g.zarr")
    (tmp_path / "e.zarr").mkdir()
    (tmp_path / "e.zarr" / "zarr.json").write_text("{")
    with pytest.raises(OSError, match="not a readable Zarr store"):
        open_matrix(tmp_path / "e.zarr")
