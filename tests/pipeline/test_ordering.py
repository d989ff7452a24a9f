"""Leaves in the best order, as a stage: of every input, on every executor, in runs that go on."""

import dataclasses
import threading
import time
import tracemalloc

import numpy as np
import pytest
import xarray as xr
from scipy.cluster import hierarchy
from scipy.spatial.distance import pdist as scipy_pdist
from scipy.spatial.distance import squareform

from clustergrid.pipeline import linkage, ordering, pdist, plan
from clustergrid.pipeline.duplicates import find_duplicates
from clustergrid.pipeline.errors import MemoryLimitError
from clustergrid.pipeline.execution import DaskExecutor, SerialExecutor, ThreadsExecutor
from clustergrid.pipeline.footprint import Ground
from clustergrid.pipeline.hierarchy import Duplicates
from clustergrid.pipeline.monitor import Progress
from clustergrid.pipeline.ordering import order_leaves
from clustergrid.pipeline.planning import Resources, plan_run
from clustergrid.pipeline.run import run
from clustergrid.pipeline.spec import AxisSpec, RunSpec
from clustergrid.pipeline.stages import Stages
from clustergrid.pipeline.tile_memory import StoredMatrix
from clustergrid.pipeline.tree import optimal
from clustergrid.pipeline.tree._identical import distinct_tree
from clustergrid.pipeline.tree.optimal import neighbor_sum, optimal_leaf_ordering
from clustergrid.pipeline.tree.orders import leaf_order
from clustergrid.pipeline.verify import verify_run
from clustergrid.storage.errors import DataValueError
from clustergrid.storage.source import ArraySource
from tests.pipeline.runs import frame, request, results, table
from tests.pipeline.tree.trees import chain

pytestmark = pytest.mark.quick_cases(one_in=16)

METHODS = ("single", "complete", "average", "weighted", "centroid", "median", "ward")


def points(n=300, k=4, seed=0, copies=0):
    """Some rows, of which the first are there again at other places."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n, k)) + 4 * rng.normal(size=(7, k))[rng.integers(0, 7, n)]
    values = np.concatenate([values, values[rng.integers(0, n // 4, copies)]])
    return values[rng.permutation(len(values))]


def bound(values, **options):
    options.setdefault("resources", Resources(memory_bytes=10**9, threads=1))
    options.setdefault("executor", SerialExecutor())
    return Stages(xr.DataArray(values, dims=("row", "column")), **options)


def tree(stages, method="average", **options):
    options.setdefault("engine", "square")
    return stages.linkage(0, method=method, metric="euclidean", **options)


def assert_turned(ordered, plain):
    """The same merges, at the same heights; the children of some the other way round."""
    np.testing.assert_array_equal(np.sort(ordered[:, :2], axis=1), np.sort(plain[:, :2], axis=1))
    np.testing.assert_array_equal(ordered[:, 2:], plain[:, 2:])


def assert_the_best(ordered, condensed):
    """No order that the tree allows has a smaller sum: all leaves are ordered at once."""
    best = neighbor_sum(optimal_leaf_ordering(ordered, condensed), condensed)
    assert neighbor_sum(ordered, condensed) == pytest.approx(best, rel=1e-12)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("engine", ["scipy", "square"])
def test_the_order_is_the_best_and_the_tree_is_the_one_without(method, engine):
    values = points()
    condensed = scipy_pdist(values)
    plain = linkage(values, method, engine=engine)
    ordered = linkage(values, method, engine=engine, optimal_ordering=True)
    assert_turned(ordered, plain)
    assert_the_best(ordered, condensed)
    by_scipy = hierarchy.optimal_leaf_ordering(plain, condensed)
    assert neighbor_sum(ordered, condensed) <= neighbor_sum(by_scipy, condensed) * (1 + 1e-12)
    assert neighbor_sum(ordered, condensed) < neighbor_sum(plain, condensed)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_tiles_and_condensed_distances_are_ordered_alike(dtype):
    values = points().astype(dtype)
    tiles = pdist(values)
    ordered = linkage(values, engine="square", optimal_ordering=True)
    for given in (tiles, tiles.to_numpy()):
        found = linkage(given, engine="square", optimal_ordering=True)
        np.testing.assert_array_equal(found, ordered)


@pytest.mark.parametrize("copies", [0, 120])
def test_every_executor_orders_alike(client, copies):
    values = points(copies=copies)
    ordered = tree(bound(values), optimal_ordering=True)
    for executor in (ThreadsExecutor(3), DaskExecutor(client)):
        found = tree(bound(values, executor=executor), optimal_ordering=True)
        np.testing.assert_array_equal(found, ordered)


@pytest.mark.parametrize("method", METHODS)
def test_identical_observations_are_left_out_and_the_order_is_the_best(method):
    values = points(n=150, copies=130)
    events = []
    stages = bound(values, progress=Progress(events.append))
    ordered = tree(stages, method, optimal_ordering=True)
    if method != "single":  # whose tree is the same with them
        assert "duplicates-row" in {event.stage for event in events}
    assert_turned(ordered, tree(bound(values), method))
    condensed = scipy_pdist(values)
    assert_the_best(ordered, condensed)
    # Those that are identical stand side by side.
    steps = squareform(condensed)[leaf_order(ordered)[1:], leaf_order(ordered)[:-1]]
    assert (steps == 0).sum() == len(values) - 150


def test_the_tree_of_those_that_differ_is_that_of_their_distances():
    values = points(n=60, copies=40)
    duplicates = find_duplicates(ArraySource(values), SerialExecutor(), Progress(), name="d")
    distinct = distinct_tree(tree(bound(values), "complete"), duplicates)
    expected = hierarchy.linkage(values[duplicates.kept], "complete")
    np.testing.assert_array_equal(np.sort(distinct[:, :2], axis=1), expected[:, :2])
    np.testing.assert_allclose(distinct[:, 2], expected[:, 2], rtol=1e-12)
    np.testing.assert_array_equal(distinct[:, 3], expected[:, 3])


def test_a_tree_that_does_not_begin_with_what_is_identical_is_refused():
    duplicates = Duplicates(kept=np.array([0, 2]), duplicate_of=np.array([0]), row=np.array([1]))
    Z = np.array([[1.0, 2.0, 0.0, 2.0], [0.0, 3.0, 5.0, 3.0]])
    with pytest.raises(DataValueError, match=r"first 1 merges .* merge 0 is of clusters \[1, 2\]"):
        order_leaves(Z, np.ones(1), duplicates, progress=Progress(), name="ordering")


@pytest.mark.parametrize("method", ["single", "centroid"])
@pytest.mark.parametrize("copies", [0, 120])
def test_trees_from_rows_are_ordered_by_distances_that_nobody_keeps(client, method, copies):
    values = points(copies=copies)
    events = []
    stages = bound(values, progress=Progress(events.append))
    ordered = tree(stages, method, engine="data", optimal_ordering=True)
    assert "ordering-row" in {event.stage for event in events}
    assert "distance-row" not in {event.stage for event in events}
    assert_turned(ordered, tree(bound(values), method, engine="data"))
    assert_the_best(ordered, scipy_pdist(values))
    for executor in (ThreadsExecutor(3), DaskExecutor(client)):
        found = tree(bound(values, executor=executor), method, engine="data", optimal_ordering=True)
        np.testing.assert_array_equal(found, ordered)


@pytest.mark.parametrize("copies", [0, 90])
def test_more_leaves_than_are_ordered_at_once(monkeypatch, copies):
    values = points(n=400, copies=copies)
    condensed = scipy_pdist(values)
    best = neighbor_sum(tree(bound(values), optimal_ordering=True), condensed)
    monkeypatch.setattr(optimal, "MAX_LEAVES_ORDERED_EXACTLY", 100)
    monkeypatch.setattr(optimal, "LEAVES_AT_ONCE", 40)
    plain, ordered = tree(bound(values)), tree(bound(values), optimal_ordering=True)
    assert_turned(ordered, plain)
    plain, found = neighbor_sum(plain, condensed), neighbor_sum(ordered, condensed)
    assert best <= found * (1 + 1e-12)
    assert plain - found > 0.8 * (plain - best)


def test_the_stage_has_a_bar_of_its_own(monkeypatch):
    monkeypatch.setattr(ordering, "_STEPS_A_UNIT", 1000)
    events = []
    progress = Progress(events.append, interval_seconds=0)
    tree(bound(points(n=700, k=9), progress=progress), optimal_ordering=True)
    told = [event for event in events if event.stage == "ordering-row"]
    assert [told[0].state, told[-1].state] == ["started", "finished"]
    done = [event.done for event in told]
    assert done == sorted(done)
    assert done[-1] == told[-1].total > 10
    assert len({event.total for event in told[1:]}) == 1
    # It comes after the tree.
    stages = [event.stage for event in events]
    assert stages.index("ordering-row") > max(
        i for i, stage in enumerate(stages) if stage == "linkage-row"
    )


def test_what_a_listener_raises_ends_the_ordering():
    def stop(event):
        if event.stage.startswith("ordering") and event.state == "running":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tree(
            bound(points(n=700), progress=Progress(stop, interval_seconds=0)),
            optimal_ordering=True,
        )
    assert not [t for t in threading.enumerate() if t.name.startswith("clustergrid-ordering")]


@pytest.mark.slow
def test_an_interrupt_ends_a_long_ordering_at_once():
    n = 6000
    Z = chain(n)
    condensed = np.random.default_rng(0).random(n * (n - 1) // 2, dtype=np.float32)
    raised = []

    def stop(event):
        if event.state == "running" and event.done > event.total // 3:
            raised.append(time.monotonic())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        order_leaves(
            Z, condensed, threads=2, progress=Progress(stop, interval_seconds=0), name="ordering"
        )
    assert time.monotonic() - raised[0] < 2


def test_tiles_that_cannot_be_ordered_within_the_memory_are_refused():
    tiles = pdist(points(n=2000))
    square = 8 * 2000**2
    with pytest.raises(MemoryLimitError, match=r"ordering them optimally, take .* leave optimal_"):
        linkage(tiles, engine="square", optimal_ordering=True, memory=int(1.4 * square))
    assert len(linkage(tiles, engine="square", memory=int(1.4 * square))) == 1999


@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.slow)])
@pytest.mark.parametrize("engine", ["square", "data"])
def test_measured_memory_is_what_the_plan_says(dtype, engine):
    n, k, method = 1700, 30, "centroid" if engine == "data" else "average"
    values = np.random.default_rng(0).normal(size=(n, k)).astype(dtype)
    resources = Resources(memory_bytes=10**9, threads=1)
    axis = AxisSpec(method=method, optimal_ordering=True, engine=engine, dtype=dtype)
    spec = RunSpec(row=axis, column=AxisSpec(cluster=False))
    plan = plan_run(spec, (n, k), values.itemsize, resources, in_memory=True, ingest=False)
    held = Ground(
        resources=resources,
        matrix=StoredMatrix(shape=(n, k), itemsize=values.itemsize, in_memory=True),
        matrix_bytes_held=values.nbytes,
    ).base_bytes
    promised = {
        stage.name: stage.driver_memory_bytes - held
        for stage in plan.stages
        if "-row" in stage.name
    }
    peaks = {}

    def measure(event):
        if event.state in ("finished", "started"):
            peaks[event.stage] = tracemalloc.get_traced_memory()[1]
            tracemalloc.reset_peak()

    asked = {"method": method, "engine": engine, "optimal_ordering": True}
    tree(bound(values), **asked)  # loads the compiler
    stages = bound(values, resources=resources, progress=Progress(measure))
    tracemalloc.start()
    try:
        tree(stages, **asked)
    finally:
        tracemalloc.stop()
    # Small objects are of the process, in the plan.
    assert 0.7 * promised["ordering-row"] < peaks["ordering-row"] <= promised["ordering-row"] + 1e6
    assert peaks["linkage-row"] <= promised["linkage-row"] + 1e6


def test_the_plan_has_the_stage_and_says_what_would_do_without():
    rows = np.zeros((9000, 30))
    planned = plan(rows, optimal_ordering=True, engine="square")
    stages = {stage.name: stage for stage in planned.stages}
    assert list(stages).index("ordering-row") == list(stages).index("linkage-row") + 1
    assert "ordering-col" in stages
    ordering = stages["ordering-row"]
    assert ordering.footprint.driver_bytes - 400e6 > 10 * 9000**2 + 4 * 9000**2
    assert ordering.seconds > 0
    # Of rows it asks for distances, and nobody keeps a copy of all.
    of_rows = {stage.name: stage for stage in plan(rows, optimal_ordering=True).stages}
    assert "distance-row" not in of_rows
    assert of_rows["ordering-row"].peak_memory_bytes < ordering.peak_memory_bytes
    assert not [stage for stage in plan(rows).stages if stage.name.startswith("ordering")]
    with pytest.raises(MemoryLimitError, match=r"ordering-row.*optimal_ordering=False needs"):
        plan(rows, optimal_ordering=True, memory="1.3GB")


# Runs.


def asked(folder, values, **options):
    path = table(folder, frame(len(values), 5).assign(**{f"s{i}": values[:, i] for i in range(4)}))
    options.setdefault("row", AxisSpec(optimal_ordering=True))
    return request(path, folder / "run", column=AxisSpec(cluster=False), **options)


def test_a_run_stopped_while_leaves_are_ordered_goes_on(tmp_path):
    values = points(n=240, copies=60)
    (tmp_path / "whole").mkdir()
    whole = asked(tmp_path / "whole", values)
    run(whole)

    def stop(event):
        if event.stage == "ordering-row":
            raise KeyboardInterrupt

    wanted = asked(tmp_path, values)
    with pytest.raises(KeyboardInterrupt):
        run(wanted, stop)
    assert not (wanted.directory / "linkage_row.npy").exists()
    run(wanted)
    assert results(wanted.directory) == results(whole.directory)


def test_a_run_keeps_the_order_and_verifies_it(tmp_path):
    values = points(n=240)
    wanted = asked(tmp_path, values)
    plan = run(wanted).plan
    assert [stage.name for stage in plan.stages if stage.name.startswith("ordering")] == [
        "ordering-row"
    ]
    Z = np.load(wanted.directory / "linkage_row.npy")
    data = frame(len(values), 5).assign(**{f"s{i}": values[:, i] for i in range(4)}).to_numpy()
    assert_the_best(Z, scipy_pdist(data))
    report = verify_run(wanted.directory)
    assert not report.damages
    # Kept, with its order, and not ordered again.
    events = []
    run(wanted, events.append)
    assert not [event for event in events if event.stage == "ordering-row"]
    np.testing.assert_array_equal(np.load(wanted.directory / "linkage_row.npy"), Z)
    # Without the order it is another tree.
    run(dataclasses.replace(wanted, row=AxisSpec()), events.append)
    assert (np.load(wanted.directory / "linkage_row.npy")[:, :2] != Z[:, :2]).any()
