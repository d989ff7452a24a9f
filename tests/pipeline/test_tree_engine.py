"""Which engine makes a tree, and that all of them make the same one."""

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
    ("average", "scipy"), ("single", "data"), ("centroid", "data"), ("median", "data")
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


@pytest.mark.parametrize("engine", ["scipy", "square"])
def test_a_tree_of_tiles_is_scipys(engine):
    agree(linkage(pdist(POINTS), "average", engine=engine), "average")


@pytest.mark.parametrize(
    ("engine", "data", "method", "message"),
    [
        ("fast", POINTS, "average", "engine must be one of scipy, square, condensed, data"),
        ("data", POINTS, "average", "single linkage, and of centroid and median"),
        ("condensed", POINTS, "average", "works on condensed distances"),
        ("condensed", VECTOR, "centroid", "complete, average, weighted and ward"),
        ("data", VECTOR, "single", "engine='data'"),
        ("data", pdist(POINTS), "single", "engine='data'"),
    ],
)
def test_what_an_engine_cannot_do_is_refused(engine, data, method, message):
    with pytest.raises(ValueError, match=message):
        linkage(data, method, engine=engine)


def test_an_order_of_leaves_and_a_store_need_the_distances(tmp_path):
    with pytest.raises(ValueError, match="optimal_ordering needs"):
        linkage(POINTS, "single", engine="data", optimal_ordering=True)
    with pytest.raises(ValueError, match="a run keeps"):
        linkage(POINTS, "single", engine="data", store=tmp_path / "store")


def test_single_linkage_of_rows_keeps_no_distances():
    many = np.random.default_rng(5).normal(size=(2100, 3))
    log = Log()
    found = linkage(many, "single", engine="data", progress=Progress(log))
    assert "linkage-row" in log.stages("finished")
    assert "distance-row" not in log.stages("finished")
    expected = scipy_linkage(scipy_pdist(many), "single")
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
    spec = RunSpec(row=AxisSpec(method=method), column=AxisSpec(cluster=False))
    with pytest.raises(MemoryLimitError):
        plan_run(spec, (200_000, 20), 4, resources, in_memory=True, ingest=False)


def test_what_is_chosen_depends_on_the_size_alone():
    assert {rows_engine(None, n, in_memory=True) for n in (2, 2048)} == {"scipy"}
    assert {rows_engine(None, n, in_memory=False) for n in (2049, 10**7)} == {"square"}
    chosen = {condensed_engine(None, method, n) for method in METHODS for n in (10, 10_000)}
    assert chosen == {*ENGINES} - {"data"}


def test_what_was_asked_is_kept_with_a_run():
    assert "engine" not in AxisSpec().to_json()
    assert AxisSpec(engine="square").to_json()["engine"] == "square"
