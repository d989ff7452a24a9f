"""Rows and columns in slices: their trees, where they stand, and what is drawn of the gaps."""

from __future__ import annotations

from itertools import combinations, pairwise
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import pdist, squareform

from clustergrid.pipeline.render import ClusterGrid, clustermap
from clustergrid.pipeline.tree.cuts import cut
from clustergrid.storage.errors import DataTypeError, DataValueError

pytestmark = pytest.mark.quick_cases(one_in=16)

KINDS = list("abcab") * 2 + ["c", "a"]


def heights_within(Z: np.ndarray, members: np.ndarray) -> list[float]:
    """Heights of the merges of which all leaves are in `members`."""
    n = len(Z) + 1
    leaves = [{i} for i in range(n)]
    found = []
    for left, right, height, _ in Z:
        leaves.append(leaves[int(left)] | leaves[int(right)])
        if leaves[-1] <= set(members.tolist()):
            found.append(height)
    return sorted(found)


def assert_tree_of_slices(
    Z: np.ndarray, values: np.ndarray, kinds: list[Any], method: str = "average"
) -> None:
    """Each slice is clustered like data of its own, and the slices like their means."""
    kinds = np.array(kinds)
    names = list(dict.fromkeys(kinds))
    for name in names:
        members = np.flatnonzero(kinds == name)
        if len(members) > 1:
            expected = linkage(values[members], method)[:, 2]
            np.testing.assert_allclose(heights_within(Z, members), np.sort(expected), rtol=1e-6)
    means = np.array([values[kinds == name].mean(axis=0) for name in names])
    over = linkage(means, method)[:, 2]
    base = Z[: len(Z) - len(over), 2].max()
    np.testing.assert_allclose(Z[-len(over) :, 2] - base, over, rtol=1e-5)


def test_categories_are_clustered_one_by_one_and_by_their_means(table: pd.DataFrame) -> None:
    g = clustermap(table, row_split=KINDS)
    tree = g.dendrogram_row
    assert_tree_of_slices(tree.linkage, table.to_numpy(), KINDS)
    order = tree.reordered_ind
    kinds = [KINDS[i] for i in order]
    assert sum(a != b for a, b in pairwise(kinds)) == 2
    pd.testing.assert_frame_equal(g.data2d, table.iloc[order, g.dendrogram_col.reordered_ind])
    # The last merges are of whole slices: cut there, and they are the clusters.
    clusters = g.clusters(k=3)
    assert len(set(zip(clusters, KINDS, strict=True))) == 3
    titles = [text.get_text() for text in g.ax_row_dendrogram.texts]
    assert titles == list(dict.fromkeys(kinds))


def test_columns_are_split_like_rows(table: pd.DataFrame) -> None:
    both = clustermap(table, row_split=KINDS, col_split=list("xxyyxxyy"))
    turned = clustermap(table.T, col_split=KINDS, row_split=list("xxyyxxyy"))
    np.testing.assert_array_equal(both.dendrogram_row.linkage, turned.dendrogram_col.linkage)
    np.testing.assert_array_equal(both.dendrogram_col.linkage, turned.dendrogram_row.linkage)


@pytest.mark.parametrize("given", [3, {"k": 3}, {"height": "third"}])
def test_a_tree_that_is_cut_stays_the_tree(table: pd.DataFrame, given: Any) -> None:
    plain = clustermap(table)
    Z = plain.dendrogram_row.linkage
    if isinstance(given, dict) and "height" in given:
        given = {"height": (Z[-3, 2] + Z[-2, 2]) / 2}
    g = clustermap(table, row_split=given)
    np.testing.assert_array_equal(g.dendrogram_row.linkage, Z)
    pd.testing.assert_frame_equal(g.data2d, plain.data2d)
    assert [text.get_text() for text in g.ax_row_dendrogram.texts] == ["1", "2", "3"]
    lengths = np.bincount(cut(Z, k=3))[1:]
    assert g._slices[0].lengths == tuple(lengths)
    # SciPy's coordinates have no gaps; what is drawn has.
    np.testing.assert_array_equal(
        g.dendrogram_row.independent_coord, plain.dendrogram_row.independent_coord
    )
    drawn = np.concatenate(g.ax_row_dendrogram.collections[0].get_segments())[:, 1]
    leaves = drawn[np.isin(drawn, 10 * g._slices[0].position(np.arange(12) + 0.5))]
    assert len(leaves) >= 12
    assert g.ax_row_dendrogram.get_ylim() == (g._slices[0].length * 10, 0)


def test_ticks_cells_and_strips_stand_side_by_side(table: pd.DataFrame) -> None:
    g = clustermap(table, row_split=KINDS, yticklabels=True, row_colors=["r", "g", "b"] * 4)
    rows = g._slices[0]
    assert rows.count == 3
    np.testing.assert_allclose(g.ax_heatmap.get_yticks(), rows.position(np.arange(12) + 0.5))
    body, strip = g.ax_heatmap.collections[0], g.ax_row_colors.collections[0]
    for mesh in (body, strip):
        edges = mesh.get_coordinates()[:, 0, 1]
        np.testing.assert_allclose(edges, rows.cell_edges(np.arange(13)))
    shown = np.ma.getmaskarray(body.get_array())
    assert shown.all(axis=1).sum() == 2
    values = np.ma.getdata(body.get_array())[~shown.all(axis=1)]
    np.testing.assert_array_equal(values, g.data2d.to_numpy())


def gap_pixels(g: ClusterGrid, axis: int) -> np.ndarray:
    """Pixels of the body inside its gaps, a pixel from their edges."""
    g.figure.canvas.draw()
    pixels = np.asarray(g.figure.canvas.buffer_rgba())[::-1]
    slices, found = g._slices[axis], []
    box = g.ax_heatmap.get_window_extent()
    for begin, end in zip(slices.stops[:-1], slices.starts[1:], strict=True):
        at = g.ax_heatmap.transData.transform([[begin, begin], [end, end]])[:, 1 - axis]
        low, high = int(np.ceil(at.min())) + 1, int(at.max()) - 1
        assert high > low
        span = slice(low, high), slice(int(box.x0) + 2, int(box.x1) - 2)
        if axis == 1:
            span = slice(int(box.y0) + 2, int(box.y1) - 2), slice(low, high)
        found.append(pixels[span].reshape(-1, 4))
    return np.concatenate(found)


LINES = {"linewidths": 1, "linecolor": "k"}
MISSING_IN_GREEN = {"cmap": mpl.colormaps["viridis"].with_extremes(bad="lime")}


@pytest.mark.parametrize(
    ("n", "kws"),
    [(12, {}), (12, LINES), (12, MISSING_IN_GREEN), (3000, {}), (3000, MISSING_IN_GREEN)],
)
def test_gaps_are_empty(table: pd.DataFrame, kws: dict[str, Any], n: int) -> None:
    values = np.resize(table.to_numpy(), (n, 8)) + np.arange(n)[:, None] % 7
    kinds = [*"abc"] * (n // 3)
    colors = ["r", "g"] * (n // 2)
    g = clustermap(
        values, row_split=kinds, col_split=2, split_gap=(0.02, 0.03), row_colors=colors, **kws
    )
    for axis in (0, 1):
        assert (gap_pixels(g, axis) == 255).all()
    if n > 12:
        image = g.ax_heatmap.images[0].get_array()
        assert np.ma.getmaskarray(image).all(axis=1).sum() == 2
        assert g.ax_row_colors.images


def test_pixels_of_an_image_are_of_one_slice() -> None:
    values = np.random.default_rng(3).normal(size=(3000, 40))
    kinds = np.random.default_rng(4).choice(["a", "b", "c"], 3000, p=[0.5, 0.499, 0.001])
    g = clustermap(values, row_split=kinds, col_cluster=False, method="ward", figsize=(4, 4))
    image = g.ax_heatmap.images[0]
    edges = g._fitted[-1]._edges
    shown = np.ma.getdata(image.get_array())
    shown = shown[~np.ma.getmaskarray(image.get_array()).all(axis=1)]
    order = g.dendrogram_row.leaf_order
    sums = np.add.reduceat(values[order], edges[0][:-1], axis=0)
    np.testing.assert_allclose(shown, sums / np.diff(edges[0])[:, None])
    assert set(g._slices[0].bounds) <= set(edges[0])


def test_cells_are_annotated_where_they_stand(table: pd.DataFrame) -> None:
    words = np.arange(96).reshape(12, 8)
    g = clustermap(table, row_split=KINDS, col_split=2, annot=words, fmt="d")
    rows, columns = g.dendrogram_row.reordered_ind, g.dendrogram_col.reordered_ind
    assert len(g.ax_heatmap.texts) == 96
    for text in g.ax_heatmap.texts:
        x, y = text.get_position()
        row, column = (
            np.abs(along.position(np.arange(along.n) + 0.5) - at).argmin()
            for along, at in zip(g._slices, (y, x), strict=True)
        )
        assert int(text.get_text()) == words[rows[row], columns[column]]


def test_slices_stay_in_their_order(table: pd.DataFrame) -> None:
    def titles(**kws: Any) -> list[str]:
        g = clustermap(table, **kws)
        order = [KINDS[i] for i in g._orders[0]]
        assert list(dict.fromkeys(order)) == [t.get_text() for t in g.ax_row_dendrogram.texts]
        return [text.get_text() for text in g.ax_row_dendrogram.texts]

    assert titles(row_split=KINDS, cluster_slices=False) == ["a", "b", "c"]
    ordered = pd.Categorical(KINDS, categories=["c", "x", "b", "a"])
    assert titles(row_split=ordered, cluster_slices=(False, True)) == ["c", "b", "a"]
    assert titles(row_split=KINDS, row_cluster=False) == ["a", "b", "c"]


def test_without_a_tree_over_slices_none_is_drawn(table: pd.DataFrame) -> None:
    g = clustermap(table, row_split=KINDS, cluster_slices=False)
    assert len(g.ax_row_dendrogram.collections[0].get_segments()) == 12 - 3
    assert not g.ax_row_dendrogram.lines
    Z = g.dendrogram_row.linkage
    assert (Z[-2:, 2] == Z[:-2, 2].max()).all()
    with_tree = clustermap(table, row_split=KINDS)
    assert len(with_tree.ax_row_dendrogram.collections[0].get_segments()) == 11
    assert len(with_tree.ax_row_dendrogram.lines) == 1  # between slices and the tree over them


def test_rows_without_a_tree_are_grouped(table: pd.DataFrame) -> None:
    g = clustermap(table, row_split=KINDS, row_cluster=False)
    assert g.dendrogram_row is None
    assert list(g.data2d.index) == list(table.index[np.argsort(KINDS, kind="stable")])
    assert g.ax_row_dendrogram.get_ylim() == (g._slices[0].length * 10, 0)


def test_slices_of_one_row_and_of_what_is_missing(table: pd.DataFrame) -> None:
    kinds: list[Any] = ["a"] * 6 + ["lonely"] + ["b"] * 3 + [None, np.nan]
    for are_clustered in (False, True):
        g = clustermap(table, row_split=kinds, cluster_slices=are_clustered)
        assert sorted(g._slices[0].lengths) == [1, 2, 3, 6]
        titles = [text.get_text() for text in g.ax_row_dendrogram.texts]
        assert set(titles) == {"a", "lonely", "b", "missing"}
        assert are_clustered or titles[-1] == "missing"
    one = clustermap(table, row_split=["same"] * 12)
    np.testing.assert_array_equal(
        one.dendrogram_row.linkage, clustermap(table).dendrogram_row.linkage
    )
    each = clustermap(table, col_split=list("abcdefgh"))
    np.testing.assert_allclose(each.dendrogram_col.linkage[:, 2], linkage(table.T, "average")[:, 2])


def test_a_series_is_matched_by_its_index(table: pd.DataFrame) -> None:
    kinds = pd.Series(KINDS, index=table.index)
    more = pd.concat([kinds, pd.Series(["z"], index=["gene 99"])])
    expected = clustermap(table, row_split=KINDS).dendrogram_row.linkage
    for given in (kinds, kinds[::-1], more.astype("category")):
        g = clustermap(table, row_split=given, cluster_slices=True)
        assert len(g.ax_row_dendrogram.texts) == 3
        np.testing.assert_allclose(g.dendrogram_row.linkage[:, 2], expected[:, 2])


@pytest.mark.parametrize("steps", [{}, {"z_score": 1}, {"standard_scale": 0}])
def test_matrices_that_are_not_tables(table: pd.DataFrame, steps: dict[str, Any]) -> None:
    lazy = xr.DataArray(table.to_numpy(), dims=("gene", "sample")).chunk({"gene": 5})
    for kws in ({"row_split": KINDS}, {"col_split": list("xyxyxyxy"), "method": "complete"}):
        expected = clustermap(table, **steps, **kws)
        g = clustermap(lazy, **steps, **kws)
        for name in ("dendrogram_row", "dendrogram_col"):
            ours, theirs = getattr(g, name), getattr(expected, name)
            np.testing.assert_allclose(ours.linkage, theirs.linkage, rtol=1e-10)
        np.testing.assert_allclose(g.data2d.to_numpy(), expected.data2d.to_numpy())


@pytest.mark.slow
def test_a_store_has_a_place_for_each_slice(table: pd.DataFrame, tmp_path: Any) -> None:
    kws = {"row_split": KINDS, "engine": "square"}
    expected = clustermap(table, **kws).dendrogram_row.linkage
    lazy = xr.DataArray(table.to_numpy(), dims=("gene", "sample")).chunk({"gene": 5})
    for data in (table, lazy):
        g = clustermap(data, store=str(tmp_path / "store"), **kws)
        np.testing.assert_allclose(g.dendrogram_row.linkage, expected, rtol=1e-12)


def test_given_distances_are_split_too(table: pd.DataFrame) -> None:
    distances = squareform(pdist(table))
    g = clustermap(distances, metric="precomputed", row_split=KINDS, col_split=KINDS)
    Z = g.dendrogram_row.linkage
    np.testing.assert_array_equal(Z, g.dendrogram_col.linkage)
    kinds = np.array(KINDS)
    for kind in "abc":
        members = np.flatnonzero(kinds == kind)
        expected = linkage(squareform(distances[np.ix_(members, members)]), "average")[:, 2]
        np.testing.assert_allclose(heights_within(Z, members), expected)
    between = [distances[np.ix_(kinds == a, kinds == b)].mean() for a, b in combinations("abc", 2)]
    np.testing.assert_allclose(Z[-2:, 2] - Z[:-2, 2].max(), linkage(between, "average")[:, 2])


def test_means_of_booleans_are_compared_by_euclidean_distance(table: pd.DataFrame) -> None:
    values = table > 0
    g = clustermap(values, metric="jaccard", row_split=KINDS, col_cluster=False)
    means = values.astype(float).groupby(KINDS).mean()
    Z = g.dendrogram_row.linkage
    np.testing.assert_allclose(Z[-2:, 2] - Z[:-2, 2].max(), linkage(means, "average")[:, 2])


def test_a_joined_tree_can_be_given_back(table: pd.DataFrame) -> None:
    first = clustermap(table, row_split=KINDS)
    again = clustermap(table, row_split=KINDS, row_linkage=first.dendrogram_row.linkage)
    # The line between slices and the tree over them is there again.
    assert again.dendrogram_row._parents == first.dendrogram_row._parents
    assert again.dendrogram_row._parents.count == 2
    assert again._slices == first._slices
    pd.testing.assert_frame_equal(again.data2d, first.data2d)
    with pytest.raises(DataValueError, match=r"row_linkage mixes the categories of row_split"):
        clustermap(table, row_split=KINDS, row_linkage=linkage(table, "average"))


def test_optimal_orders_of_slices(table: pd.DataFrame) -> None:
    g = clustermap(table, row_split=["a"] * 6 + ["b"] * 6, optimal_ordering=True)
    for begin in (0, 6):
        alone = clustermap(table.iloc[begin : begin + 6], optimal_ordering=True)
        found = [i - begin for i in g.dendrogram_row.reordered_ind if begin <= i < begin + 6]
        assert found == alone.dendrogram_row.reordered_ind


REFUSED: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"row_split": 0}, DataValueError, "row_split must be a whole number from 1 to 12"),
    ({"col_split": 9}, DataValueError, "from 1 to 8, the columns, got 9"),
    ({"row_split": ["a", "b"]}, DataValueError, "2 categories for 12 rows"),
    ({"row_split": True}, DataTypeError, "got bool"),
    ({"row_split": "kind"}, DataTypeError, "got str"),
    ({"row_split": {"clusters": 3}}, DataTypeError, "k or height"),
    ({"row_split": np.zeros((12, 2))}, DataTypeError, "got ndarray"),
    ({"row_split": 3, "row_cluster": False}, DataValueError, "not clustered: give categories"),
    ({"row_split": KINDS, "split_gap": 0.5}, DataValueError, "leave no room for leaves"),
    ({"row_split": KINDS, "split_gap": -0.1}, DataValueError, "at least 0"),
    ({"row_split": KINDS, "cluster_slices": [True]}, DataValueError, "bool or a"),
]


@pytest.mark.parametrize(("kws", "error", "message"), REFUSED)
def test_splits_that_make_no_sense(
    table: pd.DataFrame, kws: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        clustermap(table, **kws)
    assert not mpl.pyplot.get_fignums()


def test_labels_that_do_not_match(table: pd.DataFrame) -> None:
    kinds = pd.Series(KINDS, index=table.index)
    with pytest.raises(DataValueError, match="no category for 2 of 12 rows: 'gene 0', 'gene 7'"):
        clustermap(table, row_split=kinds.drop(["gene 0", "gene 7"]))
    with pytest.raises(DataValueError, match="names 'gene 3' more than once"):
        clustermap(table, row_split=pd.concat([kinds, kinds[3:4]]))
    with pytest.raises(DataTypeError, match="can't be matched with data indices"):
        clustermap(table.to_numpy(), row_split=kinds)


def visible(texts: Any) -> list[Any]:
    return [text for text in texts if text.get_visible() and text.get_text()]


@pytest.mark.parametrize("figsize", [(4, 4), (9, 6)])
@pytest.mark.parametrize("word", ["{}", "a rather long title {}"])
def test_titles_are_neither_cut_nor_on_one_another(
    table: pd.DataFrame, word: str, figsize: tuple[float, float]
) -> None:
    kinds = [word.format(i % 5) for i in range(12)]
    columns = [word.format(i % 4) for i in range(8)]
    g = clustermap(table, row_split=kinds, col_split=columns, figsize=figsize)
    g.figure.canvas.draw()
    texts = [*visible(g.ax_row_dendrogram.texts), *visible(g.ax_col_dendrogram.texts)]
    assert len(texts) >= 4
    boxes = [text.get_window_extent() for text in texts]
    axes = [g.ax_row_dendrogram, g.ax_col_dendrogram, g.ax_heatmap]
    inside = [ax.get_window_extent() for ax in axes]
    for number, box in enumerate(boxes):
        assert box.x0 >= 0
        assert box.y1 <= g.figure.bbox.y1
        assert not any(box.overlaps(other) for other in [*boxes[:number], *inside])


@pytest.mark.slow
def test_many_small_slices_show_some_titles() -> None:
    values = np.random.default_rng(0).normal(size=(240, 6))
    g = clustermap(values, row_split=[f"group {i % 60}" for i in range(240)], figsize=(4, 4))
    shown = visible(g.ax_row_dendrogram.texts)
    assert 5 < len(shown) < 60
    g.tight_layout()
    assert visible(g.ax_row_dendrogram.texts) == shown
    assert g._slices[0].gap * 59 < 0.3 * g._slices[0].length


@pytest.mark.parametrize("kind", ["pdf", "svg", "png"])
def test_files(table: pd.DataFrame, kind: str, tmp_path: Any) -> None:
    g = clustermap(table, row_split=KINDS, col_split=2, row_colors=["r", "g"] * 6)
    file = tmp_path / f"split.{kind}"
    g.savefig(file, dpi=300)
    assert file.stat().st_size > 3000


def test_what_stands_beside_a_split_body(table: pd.DataFrame) -> None:
    facts = pd.DataFrame({"kind": KINDS, "size": np.arange(12.0)}, index=table.index)
    g = clustermap(table, row_split=KINDS, row_annotations=facts, row_mark=["gene 3", "gene 8"])
    length = g._slices[0].length
    for ax in g.ax_row_annotations.values():
        assert ax.get_ylim() == (length, 0)
