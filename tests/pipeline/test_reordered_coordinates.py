"""What a matrix has besides values and labels comes along when it is written in another order."""

import json

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from clustergrid.pipeline import clustermap
from clustergrid.pipeline.execution import SerialExecutor
from clustergrid.pipeline.resources import Resources
from clustergrid.pipeline.stages import Stages
from clustergrid.storage import open_matrix
from clustergrid.storage.pyramid import open_level

ORDERS = np.array([2, 0, 1, 3]), np.array([1, 2, 0])
COORDINATES = {
    "length": ("gene", np.array([3, 1, 4, 1], np.int32)),
    "is_coding": ("gene", np.array([True, False, True, True])),
    "symbol": ("gene", np.array(["TP53", "ESR1", "", "PGR"], dtype=object)),
    "taken": ("sample", pd.date_range("2020-01-01", periods=3)),
    "tissue": ("sample", pd.Categorical(["a", "b", "a"])),
    "purity": ("sample", np.array([0.1, np.nan, 0.3]), {"units": "1"}),
    "study": ((), "CPTAC"),
    "run": ((), 7),
}


def matrix(dims=("gene", "sample"), **more):
    values = np.arange(12.0).reshape(4, 3)
    return xr.DataArray(values, dims=dims, name="counts", **more)


def written(data, tmp_path, orders=ORDERS, **options):
    resources = Resources(memory_bytes=10**9, threads=1)
    stages = Stages(data, executor=SerialExecutor(), resources=resources)
    path = stages.write_reordered(tmp_path / "a.zarr", *orders, **options)
    return path, xr.open_zarr(path, consolidated=False)["matrix"]


def test_coordinates_besides_labels_are_in_the_new_order(tmp_path):
    data = matrix(coords={"gene": list("abcd"), **COORDINATES})
    path, found = written(data, tmp_path)
    expected = data.isel(gene=ORDERS[0], sample=ORDERS[1])
    assert set(found.coords) == {"gene", *COORDINATES}
    for name, coordinate in expected.coords.items():
        shown = coordinate.astype(str) if name == "tissue" else coordinate
        np.testing.assert_array_equal(found[name].values, shown.values, err_msg=name)
        assert found[name].dims == coordinate.dims
    assert found["taken"].dtype.kind == "M"
    assert found["is_coding"].dtype == bool
    assert found["purity"].attrs == {"units": "1"}
    # Ours finds the matrix among so many arrays, too.
    np.testing.assert_array_equal(open_matrix(path).values, expected.values)


def test_attributes_that_json_holds_come_along(tmp_path):
    attributes = {"units": "TPM", "scale": np.float32(0.5), "steps": np.arange(2), "n": 3}
    _, found = written(matrix(attrs=attributes), tmp_path)
    kept = {name: found.attrs[name] for name in attributes}
    assert kept == {"units": "TPM", "scale": 0.5, "steps": [0, 1], "n": 3}


def test_what_cannot_be_stored_is_named(tmp_path):
    data = matrix(attrs={"units": "TPM", "made by": len, "limit": np.inf})
    data = data.assign_coords({"grid": (("gene", "sample"), np.zeros((4, 3))), "a/b": 1})
    with pytest.warns(UserWarning, match="left out") as caught:
        _, found = written(data, tmp_path)
    messages = sorted(str(each.message) for each in caught)
    assert messages == [
        "attributes that cannot be stored beside the matrix are left out: 'made by', 'limit'",
        "coordinates that cannot be stored beside the matrix are left out: 'grid', 'a/b'",
    ]
    assert found.attrs["units"] == "TPM"


@pytest.mark.parametrize("name", ["pyramid", "matrix"])
def test_dimensions_and_coordinates_of_names_that_are_taken(tmp_path, name):
    labels = [f"g{number}" for number in range(600)]
    values = np.arange(1800.0).reshape(600, 3)
    data = xr.DataArray(values, dims=(name, "sample"), coords={name: labels})
    orders = np.random.default_rng(0).permutation(600), np.arange(3)
    path, found = written(data, tmp_path, orders, pyramid=True)
    assert found.dims == ("row", "sample")
    assert list(found["row"].values) == [labels[row] for row in orders[0]]
    np.testing.assert_array_equal(found.values, values[orders[0]])
    first = open_level(path, 1)["mean"].values
    np.testing.assert_allclose(first[0, 0], values[orders[0]][:2, :2].mean())
    data = matrix().assign_coords({name: ("gene", np.arange(4))})
    with pytest.warns(UserWarning, match=f"left out: '{name}'"):
        _, found = written(data, tmp_path / "other")
    np.testing.assert_array_equal(found.values, data.values[np.ix_(*ORDERS)])


def test_a_matrix_of_a_picture_keeps_them(tmp_path):
    data = matrix(coords={"length": COORDINATES["length"]}, attrs={"units": "TPM"})
    grid = clustermap(data, figsize=(3, 3))
    path = grid.to_zarr(tmp_path / "a.zarr")
    found = xr.open_zarr(path, consolidated=False)["matrix"]
    order = grid.dendrogram_row.reordered_ind
    np.testing.assert_array_equal(found["length"].values, data["length"].values[order])
    metadata = json.loads((path / "matrix" / "zarr.json").read_text())
    assert metadata["attributes"]["units"] == "TPM"
