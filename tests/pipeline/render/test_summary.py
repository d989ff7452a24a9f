"""What a grid found, as tables and as a Dataset."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy.cluster.hierarchy import fcluster

from clustergrid.pipeline.render import clustermap
from clustergrid.storage.errors import ClustergridError


def _same_parts(one: Any, other: Any) -> bool:
    return len(set(zip(one, other, strict=True))) == len(set(one)) == len(set(other))


@pytest.mark.parametrize("axis", [0, 1])
def test_clusters_are_scipys_and_counted_along_the_picture(table: pd.DataFrame, axis: int) -> None:
    g = clustermap(table)
    tree, index = ((g.dendrogram_row, table.index), (g.dendrogram_col, table.columns))[axis]
    found = g.clusters(axis, k=3)
    assert found.index.equals(index)
    assert found.name == "cluster"
    assert _same_parts(found, fcluster(tree.linkage, 3, "maxclust"))
    in_order = found.iloc[tree.reordered_ind].to_numpy()
    assert (np.diff(in_order) >= 0).all()
    assert list(np.unique(in_order)) == [1, 2, 3]
    height = float(np.median(tree.linkage[:, 2]))
    assert _same_parts(g.clusters(axis, height=height), fcluster(tree.linkage, height, "distance"))


def test_clusters_that_cannot_be_had(table: pd.DataFrame) -> None:
    g = clustermap(table, col_cluster=False)
    for kws, message in (
        ({"axis": 1, "k": 2}, "the columns are not clustered"),
        ({"axis": 2, "k": 2}, "axis must be 0 .* got 2"),
        ({}, "exactly one of k and height"),
        ({"k": 13}, "k must be a whole number from 1 to 12"),
    ):
        with pytest.raises(ValueError, match=message) as caught:
            g.clusters(**kws)
        assert isinstance(caught.value, ClustergridError)


def test_a_dataset_says_all_that_was_found(table: pd.DataFrame) -> None:
    g = clustermap(table, z_score=0, method="ward", col_metric="minkowski", col_method="average",
                   col_metric_kws={"p": 3})  # fmt: skip
    found = g.to_dataset(row_k=3, col_height=1.0)
    np.testing.assert_array_equal(found["row_order"], g.dendrogram_row.reordered_ind)
    np.testing.assert_array_equal(found["column_linkage"], g.dendrogram_col.linkage)
    np.testing.assert_array_equal(found["row_cluster"], g.clusters(k=3))
    np.testing.assert_array_equal(found["column_cluster"], g.clusters(1, height=1.0))
    assert list(found["row"].values) == list(table.index)
    assert found["row"].attrs == {"name": "gene"}
    assert list(found["linkage_column"].values) == ["left", "right", "height", "size"]
    about = found.attrs
    assert about["normalization"] == "z_score of rows"
    assert (about["row_method"], about["row_metric"]) == ("ward", "euclidean")
    assert (about["column_method"], about["column_metric"]) == ("average", "minkowski")
    assert about["column_metric_kws"] == '{"p": 3.0}'
    assert about["row_engine"] == "scipy"
    assert about["row_distance_dtype"] == "float64"
    assert about["clustergrid_version"]


def test_a_metric_that_is_a_function_is_named(table: pd.DataFrame) -> None:
    metric = partial(power_distance, power=3)
    about = clustermap(table, row_metric=metric, col_metric=power_distance).to_dataset().attrs
    assert about["row_metric"] == "partial of power_distance"
    assert about["column_metric"] == "power_distance"


def power_distance(a: np.ndarray, b: np.ndarray, power: float = 2) -> float:
    return float((np.abs(a - b) ** power).sum() ** (1 / power))


def test_it_says_how_leaves_are_ordered_and_what_slices_are_called(table: pd.DataFrame) -> None:
    kinds = list("ab") * 6
    found = clustermap(table, row_split=kinds, optimal_ordering=True).to_dataset()
    assert found.attrs["row_optimal_ordering"] == "yes"
    assert found.attrs["row_engine"] == "slices"
    titles = found["row_slice_title"].to_series()
    shown = titles.loc[found["row_slice"].values].to_list()
    assert shown == [kinds[row] for row in found["row_order"].values]
    assert clustermap(table).to_dataset().attrs["row_optimal_ordering"] == "no"


def test_what_is_computed_later_changes_no_engine(table: pd.DataFrame) -> None:
    Z = clustermap(table).dendrogram_row.linkage
    g = clustermap(table, row_linkage=Z, col_split=list("ab") * 4)
    _ = g.dendrogram_row.calculated_linkage, g.dendrogram_col.calculated_linkage
    about = g.to_dataset().attrs
    assert (about["row_engine"], about["column_engine"]) == ("given", "slices")


def test_of_trees_that_were_given_nothing_is_claimed(table: pd.DataFrame) -> None:
    Z = clustermap(table).dendrogram_row.linkage
    found = clustermap(table, row_linkage=Z, col_cluster=False).to_dataset()
    assert found.attrs["row_engine"] == "given"
    assert "row_metric" not in found.attrs
    assert "column_linkage" not in found
    np.testing.assert_array_equal(found["column_order"], np.arange(8))


LABELS: dict[str, Any] = {
    "text": [f"gene {i}" for i in range(12)],
    "numbers": range(12),
    "dates": pd.date_range("2020-01-01", periods=12),
    "dates of a zone": pd.date_range("2020-01-01", periods=12, tz="Europe/Berlin"),
    "mixed": [1, "a", None, *range(9)],
    "twice": ["a"] * 12,
    "levels": pd.MultiIndex.from_product([["a", "b"], range(6)], names=["letter", None]),
    "categories": pd.CategoricalIndex(list("abc") * 4),
}


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
def test_it_goes_to_zarr_and_back(table: pd.DataFrame, labels: Any, tmp_path: Path) -> None:
    found = clustermap(table.set_axis(labels)).to_dataset(row_k=2, col_k=2)
    found.to_zarr(tmp_path / "found.zarr", zarr_format=2)
    again = xr.open_zarr(tmp_path / "found.zarr").load()
    xr.testing.assert_identical(again, found)


def test_it_goes_to_netcdf_and_back(table: pd.DataFrame, tmp_path: Path) -> None:
    found = clustermap(table).to_dataset(row_k=2)
    # SciPy's backend writes netCDF 3, which has no 64-bit integers: xarray narrows them.
    found.to_netcdf(tmp_path / "found.nc", engine="scipy")
    with xr.open_dataset(tmp_path / "found.nc", engine="scipy") as again:
        xr.testing.assert_equal(again.load(), found)
        assert again.attrs == found.attrs


def test_a_lazy_matrix(table: pd.DataFrame) -> None:
    dask_array = pytest.importorskip("dask.array")
    lazy = xr.DataArray(table).copy(data=dask_array.from_array(table.to_numpy(), chunks=(4, 4)))
    found = clustermap(lazy, standard_scale=1).to_dataset(row_k=3)
    expected = clustermap(table, standard_scale=1).to_dataset(row_k=3)
    np.testing.assert_array_equal(found["row_order"], expected["row_order"])
    np.testing.assert_array_equal(found["row_cluster"], expected["row_cluster"])
    assert found.attrs["normalization"] == "standard_scale of columns"
