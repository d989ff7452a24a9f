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
from clustergrid.pipeline.tree_engine import ENGINES, condensed_engine, rows_engine
from tests.pipeline.runs import Log

POINTS = np.random.default_rng(4).normal(size=(300, 6))
VECTOR = scipy_pdist(POINTS)
METHODS = ("single", "complete", "average", "weighted", "centroid", "median", "ward")
OF_ROWS = [(method, "square") for method in METHODS] + [
    ("average", "scipy"), *((method, "data") for method in METHODS)
]  # fmt: skip
OF_DISTANCES = [(method, "square") for method in METHODS] + [
    ("ward", "scipy"), ("average", "condensed"), ("complete", "condensed"),
    ("weighted", "condensed"), ("ward", "condensed"),
]  # fmt: skip


def agree(found, method):
    expected = scipy_linkage(VECTOR, method)
    np.testing.assert_allclose(found[:, 2], expected[:, 2], rtol=1e-10)
    np.testing.assert_array_equal(found[:, [0, 1, 3]], expected[:, [0, 1, 3]])


@pytest.mark.parametrize(("method", "engine"), OF_ROWS)
def test_a_tree_of_rows_is_scipys(method, engine):
    agree(linkage(POINTS, method, engine=engine), method)


@pytest.mark.parametrize(("method", "engine"), OF_DISTANCES)
def test_a_tree_of_distances_is_scipys(method, engine):
    given = VECTOR.copy()
    agree(linkage(given, method, engine=engine), method)
    np.testing.assert_array_equal(given, VECTOR)


@pytest.mark.parametrize("engine", ["scipy", "square", "tiles"])
def test_a_tree_of_tiles_is_scipys(engine):
    agree(linkage(pdist(POINTS), "average", engine=engine), "average")


@pytest.mark.parametrize(
    ("engine", "data", "method", "message"),
    [
        ("fast", POINTS, "average", "engine must be one of scipy, square, condensed, tiles, data"),
        ("condensed", POINTS, "average", "works on condensed distances"),
        ("tiles", POINTS, "average", "works on tiles of distances"),
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
    with pytest.raises(MemoryLimitError, match="lists of near ones, are held in memory"):
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
    expected = scipy_linkage(scipy_pdist(many, metric), method)
    np.testing.assert_allclose(found[:, 2], expected[:, 2], rtol=1e-10, atol=1e-12)


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
        linkage(pdist(POINTS), "single", memory="100kB")


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


def test_what_is_chosen_depends_on_the_size_alone():
    def chosen_of(method, n, k=5, metric="euclidean"):
        return rows_engine(None, method, metric, n=n, k=k)

    assert {chosen_of(method, n) for method in METHODS for n in (2, 2048)} == {"scipy"}
    for method in METHODS:
        of_rows = method in ("single", "centroid", "median")
        assert {chosen_of(method, n) for n in (2049, 10**7)} == {"data" if of_rows else "square"}
    # The square of the distances is faster where there are many features.
    assert [chosen_of("centroid", 5000, k=k) for k in (50, 51)] == ["data", "square"]
    assert chosen_of("single", 5000, k=10**6) == "data"
    assert chosen_of("single", 5000, metric="precomputed") == "square"
    chosen = {condensed_engine(None, method, n) for method in METHODS for n in (10, 10_000)}
    assert chosen == {*ENGINES} - {"data", "tiles"}


def test_what_was_asked_is_kept_with_a_run():
    assert "engine" not in AxisSpec().to_json()
    assert AxisSpec(engine="square").to_json()["engine"] == "square"
