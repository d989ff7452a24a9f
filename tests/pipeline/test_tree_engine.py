"""Which engine makes a tree, and that all of them make the same one."""

from dataclasses import replace

import dask.array
import numpy as np
import pytest
from scipy.cluster.hierarchy import linkage as scipy_linkage
from scipy.spatial.distance import pdist as scipy_pdist

from clustergrid.pipeline import linkage, pdist
from clustergrid.pipeline.errors import MemoryLimitError
from clustergrid.pipeline.monitor import Progress
from clustergrid.pipeline.planning import plan_run
from clustergrid.pipeline.resources import Resources
from clustergrid.pipeline.spec import AxisSpec, RunSpec
from clustergrid.pipeline.tree_engine import (
    ENGINES,
    SQUARE_OBSERVATIONS,
    TreeOfRows,
    condensed_engine,
    rows_engines,
    tiles_engines,
)
from tests.pipeline.runs import Log

POINTS = np.random.default_rng(4).normal(size=(300, 6))
VECTOR = scipy_pdist(POINTS)
METHODS = ("single", "complete", "average", "weighted", "centroid", "median", "ward")


@pytest.mark.parametrize(
    ("engine", "data", "method", "message"),
    [
        ("fast", POINTS, "average", "engine must be one of scipy, square, condensed, tiles, data"),
        ("condensed", POINTS, "average", "works on condensed distances"),
        ("tiles", POINTS, "centroid", "single, complete, average, weighted and ward"),
        ("tiles", VECTOR, "average", "works on what pdist"),
        ("tiles", pdist(POINTS), "median", "single, complete, average, weighted and ward"),
        ("condensed", VECTOR, "centroid", "complete, average, weighted and ward"),
        ("data", VECTOR, "single", "engine='data'"),
        ("data", pdist(POINTS), "single", "engine='data'"),
    ],
)
def test_what_an_engine_cannot_do_is_refused(engine, data, method, message):
    with pytest.raises(ValueError, match=message):
        linkage(data, method, engine=engine)


def test_single_linkage_of_rows_keeps_no_distances():
    many = np.random.default_rng(5).normal(size=(2100, 3))
    log = Log()
    found = linkage(many, "single", engine="data", progress=Progress(log))
    assert "linkage-row" in log.stages("finished")
    assert "distance-row" not in log.stages("finished")
    expected = scipy_linkage(scipy_pdist(many), "single")
    np.testing.assert_allclose(found[:, 2], expected[:, 2], rtol=1e-10)


@pytest.mark.parametrize("method", ["complete", "average", "weighted", "ward"])
@pytest.mark.parametrize("metric", ["euclidean", "cosine", "cityblock"])
def test_rounds_use_the_memory_that_there_is(method, metric):
    if method == "ward" and metric != "euclidean":
        return
    row = AxisSpec(method=method, metric=metric, engine="data")
    spec = RunSpec(row=row, column=AxisSpec(cluster=False))
    most = []
    for memory_bytes in (2 * 10**9, 4 * 10**9, 10**11, 10**12):
        resources = Resources(threads=2, memory_bytes=memory_bytes)
        planned = plan_run(spec, (200_000, 20), 4, resources, in_memory=True, ingest=False)
        assert planned.peak_memory_bytes <= memory_bytes
        most.append(planned.limits(0).most_clusters)
    # Of enough memory the tree knows nothing.
    assert most[0] < most[1] < most[2] == most[3] == 25_000
    few = Resources(threads=2, memory_bytes=7 * 10**8)
    with pytest.raises(MemoryLimitError, match=r"lists of near rows.* are held in memory"):
        plan_run(spec, (200_000, 20), 4, few, in_memory=True, ingest=False)


@pytest.mark.parametrize(
    ("method", "metric"),
    [
        ("average", "euclidean"),
        ("ward", "euclidean"),
        ("weighted", "cosine"),
        ("complete", "cityblock"),
    ],
)
@pytest.mark.parametrize("at_rest", [False, True])
def test_rounds_from_rows_make_the_tree_of_all_distances(method, metric, at_rest, tmp_path):
    random = np.random.default_rng(7)
    many = random.integers(0, 5, (30, 6))[random.integers(30, size=700)] + random.random((700, 6))
    many = np.concatenate([many, many[:50]])
    given = dask.array.from_array(many) if at_rest else many
    store = tmp_path / "store" if at_rest else None
    log = Log()
    found = linkage(given, method, metric, engine="data", store=store, progress=Progress(log))
    assert "distance-row" not in log.stages("finished")
    # Of SciPy's cosine, identical rows are a rounding apart.
    expected = np.round(scipy_pdist(many, metric), 15 if metric == "cosine" else 30)
    expected = scipy_linkage(expected, method)
    np.testing.assert_allclose(found[:, 2], expected[:, 2], rtol=1e-10)


@pytest.mark.parametrize(("method", "tasks"), [("single", 5000), ("centroid", 1)])
def test_the_memory_of_trees_from_rows_grows_with_the_rows(method, tasks):
    spec = RunSpec(row=AxisSpec(method=method, engine="data"), column=AxisSpec(cluster=False))
    resources = Resources(threads=2, memory_bytes=2 * 10**9)
    planned = plan_run(spec, (200_000, 20), 4, resources, in_memory=True, ingest=False)
    stage = next(stage for stage in planned.stages if stage.name == "linkage-row")
    assert stage.engine == f"{method}, data"
    assert "distance-row" not in [stage.name for stage in planned.stages]
    assert 1 <= stage.tasks <= tasks
    assert planned.tiling(0).tile_edge > 0
    assert stage.footprint.peak_bytes < 2e9
    assert planned == plan_run(
        RunSpec(row=AxisSpec(method=method), column=AxisSpec(cluster=False)),
        (200_000, 20), 4, resources, in_memory=True, ingest=False,
    )  # fmt: skip


@pytest.mark.parametrize("method", ["single", "median"])
def test_a_square_that_does_not_fit_names_the_rows(method):
    resources = Resources(threads=2, memory_bytes=2 * 10**9)
    square = AxisSpec(method=method, engine="square")
    other = AxisSpec(cluster=False)
    from_rows = AxisSpec(engine="data")
    for column, words in ((other, r" engine='data'"), (from_rows, r" row_engine='data'")):
        with pytest.raises(MemoryLimitError, match=rf"or:.*{words} needs [^)]*that fits"):
            plan_run(
                RunSpec(row=square, column=column), (200_000, 20), 4, resources,
                in_memory=True, ingest=False,
            )  # fmt: skip
    ordered = RunSpec(row=AxisSpec(method=method, optimal_ordering=True), column=other)
    # Leaves are ordered by distances that are computed from the rows.
    stages = plan_run(ordered, (200_000, 20), 4, resources, in_memory=True, ingest=False).stages
    assert [s.name for s in stages if s.name.endswith("row")] == ["linkage-row", "ordering-row"]
    few = replace(resources, memory_bytes=5 * 10**8)
    with pytest.raises(MemoryLimitError, match=r"optimal_ordering=False needs "):
        plan_run(ordered, (200_000, 20), 4, few, in_memory=True, ingest=False)


def test_tiles_whose_square_does_not_fit_name_the_rows():
    with pytest.raises(MemoryLimitError, match=r"engine='tiles', or the rows and engine='data'"):
        linkage(pdist(POINTS), "single", engine="square", memory="100kB")


@pytest.mark.parametrize(
    ("method", "options", "words"),
    [
        ("single", {}, "engine data: single linkage is a minimum spanning tree, grown from tiles"),
        ("centroid", {"engine": "data"}, "engine data: clusters of centroid linkage are points"),
        ("average", {"engine": "square"}, "engine square: average is reducible"),
        ("average", {"engine": "scipy"}, "engine scipy: up to 2,048 observations"),
    ],
)
def test_the_choice_and_its_reason_are_told(monkeypatch, method, options, words):
    monkeypatch.setattr(
        "clustergrid.pipeline.tree_engine.SMALL_OBSERVATIONS", 2048 if options else 9
    )
    events = []
    linkage(POINTS, method, progress=events.append, **options)
    notes = [e.note for e in events if (e.stage, e.state) == ("linkage-row", "started")]
    assert len(notes) == 1
    assert notes[0].startswith(words)


def engines(method="average", n=5000, k=5, metric="euclidean", **others):
    return rows_engines(TreeOfRows(method=method, metric_name=metric, n=n, k=k, **others))


def test_what_is_chosen_depends_on_the_question_and_the_shape():
    assert {engines(method, n) for method in METHODS for n in (2, 2048)} == {("scipy",)}
    few, many = SQUARE_OBSERVATIONS, SQUARE_OBSERVATIONS + 1
    for method in ("complete", "average", "weighted", "ward"):
        assert engines(method, few) == engines(method, 2049) == ("square", "data")
        assert engines(method, many) == engines(method, 10**7) == ("data", "square")
    for method in ("single", "centroid", "median"):
        assert {engines(method, n) for n in (2049, 10**7)} == {("data",)}
    # The square of the distances is faster where there are many features.
    assert [engines("centroid", k=k)[0] for k in (50, 51)] == ["data", "square"]
    assert engines("single", k=10**6) == ("data",)
    chosen = {condensed_engine(None, method, n) for method in METHODS for n in (10, 10_000)}
    assert chosen == {*ENGINES} - {"data", "tiles"}


def test_the_square_is_made_where_it_is_faster():
    """As measured, up to so many observations; of more it is too large."""
    rows, square = ("data", "square"), ("square", "data")
    for itemsize, features in ((8, 300), (4, 100)):
        for n, of_many in ((8193, square), (32_768, square), (32_769, rows)):
            assert engines(n=n, k=features, itemsize=itemsize) == rows
            assert engines(n=n, k=features + 1, itemsize=itemsize) == of_many
    for n, of_many in ((8193, square), (32_768, square), (32_769, rows)):
        assert engines("ward", n, k=500) == engines(n=n, k=500, metric="correlation") == rows
        assert engines("ward", n, k=501) == of_many
        assert engines(n=n, metric="cityblock", is_product=False) == of_many


def test_rows_that_take_more_than_their_square_are_not_chosen():
    n = 40_000
    for itemsize, widest in ((8, n // 2), (4, n // 4)):
        assert engines(n=n, k=widest, itemsize=itemsize) == ("data", "square")
        assert engines(n=n, k=widest + 1, itemsize=itemsize) == ("square", "data")
    assert engines(n=n, k=100, is_sparse=True) == ("square", "data")


def test_a_function_is_called_as_rarely_as_can_be():
    for n in (5000, 50_000):
        called = engines(n=n, metric="mine", is_called=True)
        assert called == ("square", "tiles", "data")
        assert engines(n=n, metric="mine", is_called=True, is_ordered=True) == ("square", "data")


def test_distances_that_are_given():
    few, many = SQUARE_OBSERVATIONS, SQUARE_OBSERVATIONS + 1
    for method in METHODS:
        for n in (2048, few, many):
            given = engines(method, n, k=n, metric="precomputed")
            assert given == tiles_engines(None, method, n)
            assert engines(method, n, k=n, metric="precomputed", is_ordered=True) == tiles_engines(
                None, method, n, is_ordered=True
            )
    assert tiles_engines(None, "ward", few) == ("square", "tiles")
    assert tiles_engines(None, "ward", many) == ("tiles",)
    assert tiles_engines(None, "ward", many, is_ordered=True) == ("square",)
    assert tiles_engines(None, "single", many) == ("square", "tiles")
    assert tiles_engines(None, "median", many) == ("square",)


@pytest.mark.parametrize("asked", ["scipy", "square", "tiles", "data"])
def test_what_is_asked_for_is_done(asked):
    assert engines(n=10**6, asked=asked) == engines(n=10, asked=asked) == (asked,)


def rows_plan(n, memory_bytes, *, k=20, itemsize=8, in_memory=True, **options):
    spec = RunSpec(row=AxisSpec(**options), column=AxisSpec(cluster=False))
    resources = Resources(threads=2, memory_bytes=memory_bytes)
    way = {"in_memory": in_memory, "ingest": False, "pictures": 0}
    return plan_run(spec, (n, k), itemsize, resources, **way)


def made_from(planned):
    return planned.tree(0).made_from


def test_few_rows_whose_square_does_not_fit_are_clustered_without():
    n, square = 8000, 8 * 8000**2
    plenty, scarce = rows_plan(n, 2 * 10**9), rows_plan(n, 8 * 10**8)
    assert (made_from(plenty), made_from(scarce)) == ("square", "data")
    assert plenty.notes == ()
    (note,) = scarce.notes
    assert note.startswith("linkage-row: engine square does not fit the memory; engine data")
    assert note in str(scarce)
    assert scarce.peak_memory_bytes <= 8 * 10**8 < square + 4 * 10**8
    assert made_from(rows_plan(n, 4 * 10**9, engine="data")) == "data"
    with pytest.raises(MemoryLimitError, match=r"square matrix .* engine='data' needs [^)]*fits"):
        rows_plan(n, 8 * 10**8, engine="square")
    # Above the constant it does not depend on the memory.
    for memory_bytes in (10**9, 10**13):
        planned = rows_plan(10_000, memory_bytes)
        assert (made_from(planned), planned.notes) == ("data", ())
    with pytest.raises(MemoryLimitError) as refused:
        rows_plan(n, 10**8)
    # As much as the rows need, not as the square does.
    assert refused.value.needed_bytes < 400_000_000 + square // 2
    assert made_from(rows_plan(n, refused.value.needed_bytes)) == "data"


def test_a_function_is_put_at_rest_and_read_where_its_square_does_not_fit():
    def mine(left, right):
        raise AssertionError

    def planned(memory_bytes):
        return rows_plan(20_000, memory_bytes, in_memory=False, metric=mine)

    found = [made_from(planned(m)) for m in (4 * 10**9, 2 * 10**9, 7 * 10**8)]
    assert found == ["square", "tiles", "data"]
    tiles = planned(2 * 10**9)
    assert [stage.name for stage in tiles.stages][-2:] == ["distance-row", "linkage-row"]
    assert 0 < tiles.tree(0).tree_bytes < tiles.peak_memory_bytes <= 2 * 10**9
    assert tiles.tree(0).bytes_read >= 2 * tiles.stages[-2].bytes_written > 0


@pytest.mark.parametrize("memory_bytes", [10**9, 2 * 10**9, 10**11])
def test_given_distances_are_read_within_the_memory(memory_bytes):
    n = 20_000
    matrix = 4 * n * n
    given = {"k": n, "itemsize": 4, "metric": "precomputed", "dtype": "float32"}
    planned = rows_plan(n, memory_bytes + matrix, **given)
    tree = planned.tree(0)
    assert tree.made_from == "tiles"
    assert tree.bytes_read >= 0
    assert planned.peak_memory_bytes <= memory_bytes + matrix
    assert 2 <= tree.passes.likely <= tree.passes.most


def test_what_was_asked_is_kept_with_a_run():
    assert "engine" not in AxisSpec().to_json()
    assert AxisSpec(engine="square").to_json()["engine"] == "square"
