"""Lazy squares of a condensed distance matrix, and what it says of itself."""

import pickle

import dask
import dask.array
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import squareform

from clustergrid.storage import open_condensed, open_matrix
from clustergrid.storage.condensed import (
    DistanceDescription,
    allocate_condensed,
    create_condensed,
    write_tile,
)
from clustergrid.storage.condensed_tiles import StoredTiles
from clustergrid.storage.errors import StorageError
from tests.budget import examples

GENES = pd.Index([f"g{i}" for i in range(11)], dtype=object, name="gene")


def distances(n):
    values = np.random.default_rng(n).uniform(1, 2, n * (n - 1) // 2)
    return squareform(values) if n > 1 else np.zeros((1, 1))


def made(n, edge, store=None, **about):
    described = DistanceDescription(**about)
    given = {"n": n, "tile_edge": edge, "dtype": "float64", "about": described}
    if store is None:
        condensed = allocate_condensed(**given)
    else:
        condensed = create_condensed(store, "condensed_row", **given)
    grid, square = condensed.grid, distances(n)
    for position in range(grid.n_tiles):
        i, j = grid.tile(position)
        write_tile(condensed, i, j, square[grid.rows(i), grid.rows(j)])
    return condensed if store is None else open_condensed(store)


@pytest.fixture(params=["memory", "rest"])
def store(request, tmp_path):
    return None if request.param == "memory" else tmp_path / "store"


@settings(
    max_examples=examples(25),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data(), n=st.integers(1, 30), edge=st.integers(1, 12), at_rest=st.booleans())
def test_lazy_rows_are_rows_of_the_square(tmp_path_factory, data, n, edge, at_rest):
    condensed = made(n, edge, tmp_path_factory.mktemp("store") if at_rest else None)
    rows = data.draw(st.slices(n))
    lazy = condensed.rows(rows)
    assert isinstance(lazy, dask.array.Array)
    with dask.config.set(scheduler="synchronous"):
        np.testing.assert_array_equal(lazy.compute(), distances(n)[rows])
        np.testing.assert_array_equal(condensed.square().compute(), distances(n))


def test_blocks_are_those_of_the_tiles(store):
    condensed = made(11, 4, store)
    assert condensed.square().chunks == ((4, 4, 3), (4, 4, 3))
    assert condensed.rows(slice(2, 10)).chunks == ((2, 4, 2), (4, 4, 3))


def test_a_block_reads_its_own_tile_and_no_other(tmp_path, monkeypatch):
    condensed = made(11, 4, tmp_path)
    square, read = condensed.square(), []
    whole = StoredTiles.read

    def remember(tiles, i, j):
        read.append((i, j))
        return whole(tiles, i, j)

    monkeypatch.setattr(StoredTiles, "read", remember)
    lazy = condensed.rows(slice(0, 6))
    labelled = condensed.to_xarray()
    assert not read  # nothing that builds a lazy object reads
    with dask.config.set(scheduler="synchronous"):
        square[9:, :3].compute()
        assert read == [(0, 2)]
        read.clear()
        lazy.compute()
        assert sorted(read) == [(0, 0), (0, 1), (0, 1), (0, 2), (1, 1), (1, 2)]
        labelled[3, 2].compute()


def test_tasks_take_the_location_with_them(tmp_path):
    condensed = made(300, 100, tmp_path)
    condensed.tile(0, 0)  # with an open array
    sent = pickle.dumps(condensed.rows(slice(50, 250)))
    assert len(sent) < 20_000 < condensed.nbytes
    with dask.config.set(scheduler="synchronous"):
        np.testing.assert_array_equal(pickle.loads(sent).compute(), distances(300)[50:250])


@pytest.mark.slow
def test_a_cluster_reads_rows(tmp_path):
    from distributed import Client

    condensed = made(40, 16, tmp_path)
    with Client(n_workers=1, threads_per_worker=1, dashboard_address=":0") as client:
        found = client.compute(condensed.rows(slice(5, 30))).result()
    np.testing.assert_array_equal(found, distances(40)[5:30])


def test_the_square_has_labels_on_both_sides(store):
    condensed = made(11, 4, store, metric="minkowski", keywords={"p": 3}, dim="gene", labels=GENES)
    square = condensed.to_xarray()
    assert square.dims == ("gene", "gene_2")
    assert square.chunks is not None
    assert square.attrs == {"metric": "minkowski", "p": 3}
    expected = distances(11)
    assert float(square.sel(gene="g3", gene_2="g7")) == expected[3, 7]
    near = square.sel(gene=["g9", "g1"]).sortby("gene_2", ascending=False)
    np.testing.assert_array_equal(near.isel(gene_2=0), expected[[9, 1], 9])
    # Rows align with the matrix that they are of.
    matrix = xr.DataArray(np.arange(3.0), dims="gene", coords={"gene": ["g5", "g0", "g9"]})
    np.testing.assert_array_equal(
        (square + matrix).sel(gene="g0").isel(gene_2=4), 1 + expected[0, 4]
    )
    assert open_matrix(square).dims == ("gene", "gene_2")


@pytest.mark.parametrize("labels", [GENES, pd.RangeIndex(5, 16), pd.Index(np.linspace(0, 1, 11))])
def test_labels_and_metric_are_at_rest(tmp_path, labels):
    weights = np.arange(100.0)
    keywords = {"p": 1.5, "V": np.array([1.0, 2.0]), "w": weights}
    condensed = made(
        11, 4, tmp_path, metric="minkowski", keywords=keywords, dim="gene", labels=labels
    )
    pd.testing.assert_index_equal(condensed.labels, pd.Index(labels, name="gene"), exact=False)
    assert (condensed.metric, condensed.dim, condensed.dtype) == ("minkowski", "gene", np.float64)
    assert condensed.keywords["p"] == 1.5
    assert condensed.keywords["V"] == [1.0, 2.0]
    assert condensed.keywords["w"]["shape"] == [100]
    other = made(11, 4, tmp_path / "other", keywords={"w": weights + 1})
    assert condensed.keywords["w"]["sha256"] != other.keywords["w"]["sha256"]
    assert "sha256" in condensed.to_xarray().attrs["w"]


def test_without_labels_there_are_none(store):
    condensed = made(11, 4, store)
    assert condensed.labels is None
    square = condensed.to_xarray()
    assert square.dims == ("row", "row_2")
    assert not square.coords


def test_labels_of_another_number_are_refused(tmp_path):
    import zarr

    made(11, 4, tmp_path, labels=GENES, dim="gene")
    zarr.open_array(str(tmp_path), path="condensed_row/labels", mode="r+").resize((10,))
    with pytest.raises(StorageError, match="has 10 labels of 11 observations"):
        _ = open_condensed(tmp_path).labels


def test_it_says_what_it_is(tmp_path):
    about = {"metric": "cosine", "dim": "gene", "labels": GENES}
    assert repr(made(11, 4, **about)) == (
        "<CondensedDistances of 11 observations along 'gene': 55 float64 cosine distances in "
        "6 tiles, in memory>"
    )
    assert repr(made(11, 4, tmp_path, **about)).endswith(f"at rest in {tmp_path}/condensed_row>")


def test_rows_are_a_slice(store):
    with pytest.raises(TypeError, match=r"not by 3: d\[i\] gives one row"):
        made(11, 4, store).rows(3)
