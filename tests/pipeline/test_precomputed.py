"""Distances that are there already: a square or SciPy's vector, in memory or at rest."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import linkage as scipy_linkage
from scipy.spatial.distance import pdist as scipy_pdist
from scipy.spatial.distance import squareform

from clustergrid.pipeline import clustermap, linkage, pdist, plan
from clustergrid.pipeline.execution import SerialExecutor, ThreadsExecutor
from clustergrid.pipeline.monitor import Progress
from clustergrid.pipeline.normalize import matrix_statistics
from clustergrid.pipeline.precomputed import check_square, check_vector, square_distances
from clustergrid.pipeline.request import ClusterChoice
from clustergrid.pipeline.run import run
from clustergrid.pipeline.spec import AxisSpec
from clustergrid.pipeline.verify import verify_run
from clustergrid.storage import open_condensed, open_matrix
from clustergrid.storage.grid import TriangleGrid
from clustergrid.storage.ingest import ingest
from clustergrid.storage.precomputed import ArrayVector
from clustergrid.storage.source import ArraySource
from tests.budget import examples
from tests.pipeline.runs import Log, request, results

pytestmark = pytest.mark.quick_cases(one_in=16)

N = 60
POINTS = np.random.default_rng(3).normal(size=(N, 4))
VECTOR = scipy_pdist(POINTS)
SQUARE = squareform(VECTOR)
NAMES = pd.Index([f"g{i}" for i in range(N)], name="gene")
FRAME = pd.DataFrame(SQUARE, index=NAMES, columns=NAMES.rename("other"))

KINDS = ("array", "frame", "xarray", "lazy", "lists", "zarr", "zarr path", "npy", "store",
         "vector", "vector list", "vector zarr", "vector zarr path", "vector npy", "tiles",
         "tiles at rest")  # fmt: skip


def given_as(kind, folder):
    """The same distances, held in many ways."""
    values = VECTOR if kind.startswith("vector") else SQUARE
    if kind.endswith("npy"):
        np.save(folder / "d.npy", values)
        return str(folder / "d.npy")
    if "zarr" in kind:
        chunks = (100,) if values.ndim == 1 else (16, 60)
        array = zarr.create_array(str(folder / "d.zarr"), data=values, chunks=chunks)
        return folder / "d.zarr" if kind.endswith("path") else array
    if kind == "store":
        ingest(open_matrix(FRAME), folder / "m.zarr")
        return folder / "m.zarr"
    if kind == "tiles at rest":
        pdist(POINTS, store=folder / "tiles")
        return open_condensed(folder / "tiles")
    return {
        "array": SQUARE, "frame": FRAME, "lists": SQUARE.tolist(),
        "xarray": xr.DataArray(FRAME), "lazy": xr.DataArray(FRAME).chunk(gene=17, other=9),
        "vector": VECTOR, "vector list": VECTOR.tolist(), "tiles": pdist(POINTS),
    }[kind]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_every_way_to_hold_them_gives_the_same(tmp_path, kind):
    data = given_as(kind, tmp_path)
    distances = pdist(data, "precomputed")
    np.testing.assert_array_equal(distances.to_numpy(), VECTOR)
    at_rest = pdist(data, "precomputed", store=tmp_path / "out")
    np.testing.assert_array_equal(at_rest.to_numpy(), VECTOR)
    np.testing.assert_array_equal(open_condensed(tmp_path / "out").to_numpy(), VECTOR)
    for method in ("average", "single", "ward"):
        tree = linkage(data, method, "precomputed")
        np.testing.assert_array_equal(tree, linkage(VECTOR, method))
        np.testing.assert_allclose(tree, scipy_linkage(VECTOR, method), rtol=1e-12)


@pytest.mark.parametrize("kind", ["frame", "xarray", "lazy", "store"])
def test_labels_stay(tmp_path, kind):
    found = pdist(given_as(kind, tmp_path), "Precomputed")
    assert list(found.labels) == list(NAMES)
    assert (found.metric, found.dim) == ("precomputed", "gene")


def test_a_square_in_memory_or_at_rest_is_not_copied(tmp_path):
    square = squareform(scipy_pdist(np.random.default_rng(0).normal(size=(700, 3))))
    tile = pdist(square, "precomputed").tile(0, 1)
    assert np.shares_memory(tile, square)
    ingest(open_matrix(square), tmp_path / "m.zarr")
    before = {file for file in tmp_path.rglob("*") if file.is_file()}
    tree = linkage(tmp_path / "m.zarr", "average", "precomputed", store=tmp_path / "other")
    after = {file for file in tmp_path.rglob("*") if file.is_file()}
    assert {file for file in after - before if "/c/" in str(file)} == set()
    np.testing.assert_array_equal(tree, linkage(squareform(square), "average"))


@pytest.mark.parametrize("kind", ["frame", "lazy", "zarr path", "vector zarr path", "vector"])
def test_a_cluster_gives_the_same(tmp_path, kind, client):
    data = given_as(kind, tmp_path)
    tree = linkage(data, "average", "precomputed", client=client)
    np.testing.assert_array_equal(tree, linkage(VECTOR, "average"))
    stored = pdist(data, "precomputed", store=tmp_path / "out", client=client)
    np.testing.assert_array_equal(stored.to_numpy(), VECTOR)


@pytest.mark.parametrize("executor", [SerialExecutor(), ThreadsExecutor(3)])
@settings(max_examples=examples(25), deadline=None)
@given(data=st.data(), n=st.integers(2, 40), edge=st.integers(1, 15))
def test_the_first_pair_that_differs_is_named(executor, data, n, edge):
    square = squareform(np.random.default_rng(n).uniform(1, 2, n * (n - 1) // 2))
    pairs = st.tuples(st.integers(0, n - 1), st.integers(0, n - 1))
    wrong = data.draw(st.sets(pairs, min_size=0, max_size=4))
    for i, j in wrong:
        square[i, j] += 0.5
    faults = sorted(
        (i, j) for i in range(n) for j in range(i, n)
        if (square[i, j] != square[j, i] if i != j else square[i, i])
    )  # fmt: skip
    matrix, source = open_matrix(square), ArraySource(square)
    statistics = matrix_statistics(source, SerialExecutor(), Progress())
    grid = TriangleGrid(n=n, tile_edge=edge)

    def check():
        check_square(
            matrix, source, statistics, grid=grid, executor=executor, progress=Progress(), name="x"
        )

    if not faults:
        check()
        found = square_distances(matrix, source, statistics, grid=grid, dtype="float64")
        np.testing.assert_array_equal(found[:, :], square)
        return
    i, j = faults[0]
    with pytest.raises(ValueError, match=rf"\(row {i}, column {j}\)"):
        check()


@pytest.mark.parametrize("call", [linkage, pdist, clustermap])
def test_rows_and_columns_in_another_order_are_refused(call):
    labels = [f"gene {i}" for i in range(6)]
    square = squareform(np.arange(1.0, 16.0))
    turned = pd.DataFrame(square, index=labels, columns=[*labels[:4], *labels[:3:-1]])
    with pytest.raises(
        ValueError, match="at position 4 the row is 'gene 4', and the column 'gene 5'"
    ):
        call(turned, metric="precomputed")
    other = pd.DataFrame(square, index=labels, columns=[f"sample {i}" for i in range(6)])
    call(other, metric="precomputed")
    call(other.set_axis(labels, axis=1), metric="precomputed")


@pytest.mark.parametrize("call", [clustermap, plan])
def test_condensed_distances_are_no_matrix_to_draw(call):
    with pytest.raises(ValueError, match="squareform"):
        call(np.arange(1.0, 16.0), metric="precomputed")


def changed(changes, of=FRAME):
    frame = of.copy()
    for (i, j), value in changes.items():
        frame.iloc[i, j] = value
    return frame


@pytest.mark.parametrize("kind", ["frame", "lazy"])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({(3, 7): 9.0}, r"'g3' and 'g7' \(row 3, column 7\) is 9\.0 in one direction and \d.*other"
                        r".* give \(d \+ d\.T\) / 2"),
        ({(7, 3): np.nan}, r"'g7' and 'g3' \(row 7, column 3\) is nan, which is not finite"),
        ({(3, 7): np.inf, (7, 3): np.inf}, r"'g7' .* is inf, which is not finite.* 2 rows"),
        ({(5, 5): 1.0}, r"'g5' \(row 5, column 5\) to itself is 1\.0, and not zero"),
        ({(2, 9): -1.0, (9, 2): -1.0}, r"'g2' and 'g9' .* is -1\.0, which is negative"),
    ],
)  # fmt: skip
def test_what_is_no_distance_matrix_is_refused(kind, changes, message):
    data = changed(changes)
    data = xr.DataArray(data).chunk(gene=11) if kind == "lazy" else data
    for function in (pdist, lambda d, metric: linkage(d, "average", metric)):
        with pytest.raises(ValueError, match=message):
            function(data, "precomputed")


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_rounding_is_no_asymmetry(dtype):
    eps = np.finfo(dtype).eps
    square = SQUARE.astype(dtype)
    square[3, 7] *= 1 + 4 * eps
    square[5, 5] = eps
    square[2, 9], square[9, 2] = -eps, 0.0
    expected = np.triu(np.maximum(square, 0), 1)
    found = pdist(square, "precomputed")
    assert found.dtype == dtype
    np.testing.assert_array_equal(found[:, :], expected + expected.T)
    with pytest.raises(ValueError, match="in one direction"):
        linkage(changed({(3, 7): SQUARE[3, 7] * (1 + 1e-3)}), "average", "precomputed")


@pytest.mark.parametrize("kind", KINDS)
def test_what_float32_cannot_hold_is_refused(tmp_path, kind, monkeypatch):
    huge = VECTOR.copy()
    huge[59 + 3] = 1e39
    for name, value in (("VECTOR", huge), ("SQUARE", squareform(huge))):
        monkeypatch.setitem(globals(), name, value)
    monkeypatch.setitem(
        globals(), "FRAME", pd.DataFrame(SQUARE, index=NAMES, columns=NAMES.rename("other"))
    )
    data = given_as(kind, tmp_path)
    if kind == "tiles":
        data = pdist(huge, "precomputed")
    if kind == "tiles at rest":
        pdist(huge, "precomputed", store=tmp_path / "tiles")
        data = open_condensed(tmp_path / "tiles")
    pair = r"(observations 1 and 5|'g?1' and 'g?5') .*is 1e\+39, and float32 ends at 3\.40282e\+38"
    for function in (pdist, lambda d, metric, dtype: linkage(d, "single", metric, dtype=dtype)):
        with pytest.raises(ValueError, match=rf"{pair}\. Give dtype='float64'\.$"):
            function(data, "precomputed", dtype="float32")
    np.testing.assert_array_equal(pdist(data, "precomputed").to_numpy(), huge)


@pytest.mark.parametrize("cluster", [False, True])
@pytest.mark.parametrize("kind", ["tiles", "tiles at rest", "labelled"])
def test_tiles_are_given_in_the_type_that_is_asked_for(request, tmp_path, kind, cluster):
    client = request.getfixturevalue("client") if cluster else None
    data = pdist(FRAME, "precomputed") if kind == "labelled" else given_as(kind, tmp_path)
    single = pdist(data, "precomputed", dtype="float32", client=client)
    assert (single.dtype, single.metric, single.dim) == (np.float32, data.metric, data.dim)
    if kind == "labelled":
        assert list(single.labels) == list(NAMES)
    np.testing.assert_array_equal(single.to_numpy(), VECTOR.astype(np.float32))
    assert single.to_xarray().dtype == np.float32
    at_rest = pdist(data, "precomputed", dtype="float32", store=tmp_path / "out", client=client)
    assert at_rest.dtype == open_condensed(tmp_path / "out").dtype == np.float32
    np.testing.assert_array_equal(at_rest.to_numpy(), VECTOR.astype(np.float32))
    np.testing.assert_array_equal(
        linkage(data, "average", "precomputed", dtype="float32"),
        linkage(VECTOR.astype(np.float32), "average", "precomputed"),
    )
    double = pdist(at_rest, "precomputed", dtype="float64")
    np.testing.assert_array_equal(double.to_numpy(), VECTOR.astype(np.float32).astype(np.float64))
    assert pdist(data, "precomputed", dtype="float64") is data
    with pytest.raises(TypeError, match="dtype must be float32 or float64"):
        pdist(data, "precomputed", dtype="int32")


def test_distances_at_rest_are_not_replaced_by_themselves(tmp_path, monkeypatch):
    data = given_as("tiles at rest", tmp_path)
    monkeypatch.chdir(tmp_path)
    for store in (tmp_path / "tiles", "tiles"):
        again = pdist(data, "precomputed", store=store)
        np.testing.assert_array_equal(again.to_numpy(), VECTOR)
        with pytest.raises(ValueError, match="as float64, and float32 would replace them"):
            pdist(data, "precomputed", dtype="float32", store=store)
    np.testing.assert_array_equal(open_condensed(tmp_path / "tiles").to_numpy(), VECTOR)


def test_one_minus_a_correlation_is_taken():
    square = 1 - np.corrcoef(np.repeat(POINTS[:20], 2, axis=0))
    assert np.diagonal(square).any()
    found = pdist(square, "precomputed").to_numpy()
    np.testing.assert_allclose(found, scipy_pdist(np.repeat(POINTS[:20], 2, axis=0), "correlation"),
                               rtol=1e-10, atol=1e-15)  # fmt: skip
    assert (found >= 0).all()


def test_integers_are_exact_and_become_float64():
    square = np.array([[0, 3, 4], [3, 0, 5], [4, 5, 0]])
    found = pdist(square, "precomputed")
    assert (found.dtype, found.to_numpy().tolist()) == (np.float64, [3.0, 4.0, 5.0])
    square[0, 1] = 2
    with pytest.raises(ValueError, match="is 2 in one direction and 3 in the other"):
        pdist(square, "precomputed")


@pytest.mark.parametrize("function", [pdist, lambda d, metric: linkage(d, "average", metric)])
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (VECTOR[:-3], r"no n has 1,767: the nearest, 60 observations, have 1,770"),
        (np.where(np.arange(1770) == 100, np.nan, VECTOR), r"observations 1 and 43 .* is nan"),
        (np.where(np.arange(1770) >= 1769, -2.0, VECTOR), r"observations 58 and 59 .* is -2\.0"),
        (np.where(np.arange(1770) == 59, -np.inf, VECTOR), r"observations 1 and 2 .* is -inf"),
        (SQUARE[:, :5], r"takes a square matrix of distances, got 60 x 5"),
        (np.zeros((1, 1)), "one row only"),
    ],
)
def test_other_shapes_and_values_are_refused(function, data, message):
    with pytest.raises(ValueError, match=message):
        function(data, "precomputed")


@settings(max_examples=examples(30), deadline=None)
@given(n=st.integers(2, 60), data=st.data())
def test_a_place_in_a_vector_is_named_by_its_pair(n, data):
    i = data.draw(st.integers(0, n - 2))
    j = data.draw(st.integers(i + 1, n - 1))
    square = np.zeros((n, n))
    square[i, j] = square[j, i] = -1
    with pytest.raises(ValueError, match=rf"observations {i} and {j} "):
        check_vector(
            ArrayVector(squareform(square)),
            dtype=None,
            executor=SerialExecutor(),
            progress=Progress(),
        )


def test_the_picture_shows_the_distances_with_one_tree():
    grid = clustermap(FRAME, metric="precomputed", figsize=(3, 3))
    rows, columns = grid.dendrogram_row, grid.dendrogram_col
    np.testing.assert_array_equal(rows.linkage, linkage(VECTOR, "average"))
    np.testing.assert_array_equal(rows.linkage, columns.linkage)
    order = rows.reordered_ind
    np.testing.assert_array_equal(grid.data2d, SQUARE[np.ix_(order, order)])
    grid = clustermap(pdist(POINTS).to_xarray(), metric="precomputed", figsize=(3, 3))
    np.testing.assert_array_equal(grid.dendrogram_col.linkage, rows.linkage)


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("name", ["z_score", "standard_scale"])
def test_distances_are_not_normalized(name, lazy):
    data = xr.DataArray(FRAME).chunk(gene=20) if lazy else FRAME
    with pytest.raises(ValueError, match=f"{name}=0 would change distances"):
        clustermap(data, metric="precomputed", figsize=(3, 3), **{name: 0})
    with pytest.raises(ValueError, match=f"{name}=1 would change distances"):
        plan(FRAME, metric="precomputed", **{name: 1})


def test_tiles_are_no_matrix():
    with pytest.raises(TypeError, match=r"give their square, d\.to_xarray\(\)"):
        clustermap(pdist(POINTS), metric="precomputed")
    with pytest.raises(TypeError, match="linkage takes them as they are"):
        pdist(pdist(POINTS))
    np.testing.assert_array_equal(np.asarray(pdist(POINTS)), pdist(POINTS).to_numpy())


def test_a_plan_writes_no_distances():
    planned = plan(FRAME, metric="precomputed", store="somewhere")
    stage = next(stage for stage in planned.stages if stage.name == "distance-row")
    assert stage.bytes_written == 0
    assert "precomputed" in stage.engine
    with pytest.raises(ValueError, match="takes a square matrix"):
        plan(FRAME.iloc[:, :4], metric="precomputed")


@pytest.fixture
def asked(tmp_path):
    np.save(tmp_path / "square.npy", SQUARE)
    axis = AxisSpec(metric="precomputed")
    return request(
        tmp_path / "square.npy", tmp_path / "run", row=axis, column=axis,
        cluster=ClusterChoice(cluster="none"),
    )  # fmt: skip


def test_a_run_takes_them_without_a_copy(asked):
    run(asked)
    trees = [np.load(asked.directory / f"linkage_{axis}.npy") for axis in ("row", "col")]
    np.testing.assert_array_equal(trees[0], linkage(VECTOR, "average"))
    np.testing.assert_array_equal(trees[0], trees[1])
    assert not list((asked.directory / "arrays.zarr").glob("condensed*"))
    report = verify_run(asked.directory)
    assert report.damages == ()
    assert "tree of row" in report.checks
    before, log = results(asked.directory), Log()
    run(asked, log)
    assert "distance-row" not in log.stages("started")
    single = AxisSpec(metric="precomputed", method="single")
    log = Log()
    run(dataclasses.replace(asked, row=single), log)  # the check is not made again
    assert "distance-row" in log.stages("kept")
    run(asked)
    assert results(asked.directory) == before


@pytest.mark.slow
def test_a_run_that_had_other_distances_forgets_them(asked):
    euclidean = AxisSpec(metric="euclidean")
    run(dataclasses.replace(asked, row=euclidean, column=euclidean))
    assert len(list((asked.directory / "arrays.zarr").glob("condensed*"))) == 2
    run(asked)
    assert not list((asked.directory / "arrays.zarr").glob("condensed*"))
    assert verify_run(asked.directory).damages == ()


def test_a_tree_that_is_not_of_the_square_is_found(asked):
    from tests.pipeline.test_verify import republish

    run(asked)
    tree = np.load(asked.directory / "linkage_row.npy")
    tree[:, 2] *= 1.01
    np.save(asked.directory / "other.npy", tree)
    content = (asked.directory / "other.npy").read_bytes()
    (asked.directory / "other.npy").unlink()
    republish(asked.directory, "linkage-row", "linkage_row.npy", content)
    damages = verify_run(asked.directory).damages
    assert any("their distance is" in damage.what for damage in damages)


def test_a_run_refuses_what_is_no_square(asked, tmp_path):
    np.save(tmp_path / "square.npy", SQUARE[:, :7])
    with pytest.raises(ValueError, match="takes a square matrix"):
        run(asked)
    np.save(tmp_path / "square.npy", changed({(3, 7): 9.0}).to_numpy())
    fresh = dataclasses.replace(asked, directory=tmp_path / "fresh")
    with pytest.raises(ValueError, match=r"'3' and '7' \(row 3, column 7\) is 9\.0"):
        run(fresh)
    assert "linkage-row" not in json.loads((fresh.directory / "run.json").read_text())["stages"]
