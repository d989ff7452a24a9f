"""Runs of many rows: trees by rounds of proved merges, told of, stopped, gone on with, verified."""

import dataclasses

import numpy as np
import pytest
from scipy.cluster.hierarchy import linkage as scipy_linkage
from scipy.spatial.distance import pdist as scipy_pdist
from scipy.spatial.distance import squareform

from clustergrid.pipeline import row_trees
from clustergrid.pipeline.errors import MemoryLimitError
from clustergrid.pipeline.hierarchy.limits import Limits
from clustergrid.pipeline.kept import RunStages
from clustergrid.pipeline.points.source import PointSource
from clustergrid.pipeline.prospect import prospective_plan
from clustergrid.pipeline.request import ClusterChoice
from clustergrid.pipeline.row_tree_plan import RowTreeMemory
from clustergrid.pipeline.run import run
from clustergrid.pipeline.spec import AxisSpec
from clustergrid.pipeline.status import read_status
from clustergrid.pipeline.stored.source import StoredSource
from clustergrid.pipeline.summaries import tree as summary_tree
from clustergrid.pipeline.summaries.source import SummarySource
from clustergrid.pipeline.verify import verify_run
from tests.pipeline.runs import Log, frame, request, results, state_of, table

pytestmark = pytest.mark.quick_cases(one_in=16)

N = 2300
NONE = AxisSpec(cluster=False)


@pytest.fixture
def many(monkeypatch):
    """So many rows are taken for many."""
    monkeypatch.setattr("clustergrid.pipeline.tree_engine.SQUARE_OBSERVATIONS", 2048)


@pytest.fixture
def told(monkeypatch):
    """Every step is told."""
    from clustergrid.pipeline import run as module
    from clustergrid.pipeline.monitor import Progress

    def eager(*listeners, **options):
        return Progress(*listeners, interval_seconds=0, **options)

    monkeypatch.setattr(module, "Progress", eager)


@pytest.fixture
def asked(tmp_path):
    """A request of a run of many rows, of which some are the same."""
    values = frame(N, 6)
    values.iloc[:40] = values.iloc[0].to_numpy()
    path = table(tmp_path, values, "a.npy")
    return request(path, tmp_path / "run", row=AxisSpec(), column=NONE)


def listed(monkeypatch, source):
    """Count the passes that make the lists of all points."""
    calls = []
    real = source.nearest_points

    def spy(self, *args):
        calls.append(args)
        return real(self, *args)

    monkeypatch.setattr(source, "nearest_points", spy)
    return calls


def stop_at(phase):
    """Stop a run as Ctrl-C does when its tree comes to a phase."""

    def stop(event):
        if event.stage == "linkage-row" and event.note.startswith(phase):
            raise KeyboardInterrupt

    return stop


def test_many_rows_are_clustered_without_their_distances(asked, many):
    log = Log()
    run(asked, log)
    state = state_of(asked.directory)
    assert "distance-row" not in state["stages"]
    assert state["stages"]["linkage-row"]["made_from"] == "data"
    assert not list((asked.directory / "arrays.zarr").glob("condensed*"))
    (stage,) = (stage for stage in state["plan"] if stage["name"] == "linkage-row")
    assert (stage["engine"], stage["made_from"]) == ("average, data", "data")
    assert "in 2 passes (up to 3)" in stage["reason"]
    assert stage["scratch_bytes"] > 0
    assert stage["disk_bytes"] == 32 * (N - 1)
    news = [event.note for event in log.events if event.is_news]
    assert len(news) == 1
    assert "next: the square of the distances between the clusters that are left" in news[0]
    tree = np.load(asked.directory / "linkage_row.npy")
    expected = scipy_linkage(scipy_pdist(np.load(asked.input)), "average")
    np.testing.assert_allclose(tree[:, 2], expected[:, 2], rtol=1e-10, atol=1e-14)
    report = verify_run(asked.directory)
    assert (report.damages, report.unknown) == ((), ())
    assert "tree of row" in report.checks


@pytest.mark.parametrize("phase", ["rounds", "contraction", "square"])
def test_a_stopped_tree_goes_on_from_its_lists(asked, many, told, tmp_path, monkeypatch, phase):
    whole = dataclasses.replace(asked, directory=tmp_path / "whole")
    run(whole)
    calls = listed(monkeypatch, PointSource)
    with pytest.raises(KeyboardInterrupt):
        run(asked, stop_at(phase))
    assert len(calls) == 1
    status = read_status(asked.directory)
    assert status.state == "stopped"
    assert phase in str(status)
    assert list(asked.directory.glob("pieces/records-linkage-row-*/*"))
    assert verify_run(asked.directory).damages == ()
    run(asked)
    assert len(calls) == 1
    assert results(asked.directory) == results(whole.directory)
    assert not list(asked.directory.glob("pieces/records-linkage-row-*/*"))


@pytest.mark.parametrize(
    "method",  # of points, and of means
    ["average", pytest.param("ward", marks=pytest.mark.slow)],
)
def test_a_chain_goes_on_where_it_was_stopped(many, told, tmp_path, monkeypatch, method):
    rng = np.random.default_rng(0)
    values = rng.gamma(0.5, 3, size=(N, 12)) * rng.gamma(0.3, 5, size=(N, 1))
    values[rng.permutation(N)[: 2 * N // 5]] *= 1e-7
    np.save(tmp_path / "hub.npy", values)
    few = Limits(most_clusters=60, n_neighbors=3, rows_bytes=8 * N * 200)
    monkeypatch.setattr(RowTreeMemory, "limits", lambda memory, memory_bytes: few)
    monkeypatch.setattr(summary_tree, "_FEW_CLUSTERS", 10**6)
    monkeypatch.setattr(row_trees, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(row_trees, "CHECKPOINT_SHARE", 0)
    spec = AxisSpec(method=method, engine="data")
    whole = request(tmp_path / "hub.npy", tmp_path / "whole", row=spec, column=NONE)
    asked = dataclasses.replace(whole, directory=tmp_path / "run")
    source = SummarySource if method == "ward" else PointSource
    fetched, real = [], source.rows

    def rows(self, clusters, method, owners, pause):
        fetched.append(len(owners))
        return real(self, clusters, method, owners, pause)

    monkeypatch.setattr(source, "rows", rows)
    run(whole)
    expected, fetched[:] = list(fetched), []

    def stop(event):
        if event.note.startswith("chain") and len(fetched) == len(expected) // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(asked, stop)
    assert list(asked.directory.glob("pieces/records-linkage-row-*/chain-*"))
    assert verify_run(asked.directory).damages == ()
    run(asked)
    # What the stop fell into is fetched again.
    assert len(expected) > 10
    assert sum(expected) <= sum(fetched) <= sum(expected) + max(expected)
    assert results(asked.directory) == results(whole.directory)
    assert not list(asked.directory.glob("pieces/records-linkage-row-*/*"))


def test_lists_outlive_a_change_of_memory(asked, many, told, tmp_path, monkeypatch):
    """By default the memory is what is free at the moment: no two runs have the same."""
    asked = dataclasses.replace(
        asked, row=AxisSpec(engine="data"), cluster=ClusterChoice(cluster="none")
    )
    with pytest.raises(MemoryLimitError) as refused:
        run(dataclasses.replace(asked, memory_bytes=1, directory=tmp_path / "none"))
    # So little that the limits of the rounds follow it.
    first, other = (
        dataclasses.replace(asked, memory_bytes=refused.value.needed_bytes + more)
        for more in (1_000_000, 9_000_123)
    )
    assert prospective_plan(first).tree(0).limits != prospective_plan(other).tree(0).limits
    whole = dataclasses.replace(other, directory=tmp_path / "whole")
    run(whole)
    calls = listed(monkeypatch, PointSource)
    with pytest.raises(KeyboardInterrupt):
        run(first, stop_at("rounds"))
    assert len(calls) == 1
    run(other)
    assert len(calls) == 1
    assert results(other.directory) == results(whole.directory)


@pytest.mark.slow
def test_lists_of_tiles_outlive_a_change_of_memory(asked, many, told, tmp_path, monkeypatch):
    asked = dataclasses.replace(asked, row=AxisSpec(engine="tiles"))
    real, parts = RunStages._tree_from_tiles, [0.87, 1.0, 0.87]

    def with_other_memory(self, axis, spec, distances, planned):
        tree_bytes = round(parts.pop() * planned.tree_bytes)
        planned = dataclasses.replace(planned, tree_bytes=tree_bytes)
        return real(self, axis, spec, distances, planned)

    monkeypatch.setattr(RunStages, "_tree_from_tiles", with_other_memory)
    whole = dataclasses.replace(asked, directory=tmp_path / "whole")
    run(whole)
    calls = listed(monkeypatch, StoredSource)
    with pytest.raises(KeyboardInterrupt):
        run(asked, stop_at("rounds"))
    assert len(calls) == 1
    run(asked)
    assert len(calls) == 1
    assert results(asked.directory) == results(whole.directory)


def test_a_tree_that_is_there_is_not_made_again_from_something_else(asked, many, monkeypatch):
    run(asked)
    monkeypatch.setattr("clustergrid.pipeline.tree_engine.SQUARE_OBSERVATIONS", 10**6)
    log, notices = Log(), []
    run(asked, log, notice=notices.append)
    assert "linkage-row" in log.stages("kept")
    assert log.stages("finished") == set()
    assert not any("to be made" in notice for notice in notices)


@pytest.mark.slow
def test_distances_are_kept_where_that_is_asked_for(asked, tmp_path, many, told, monkeypatch):
    tiles = dataclasses.replace(asked, row=AxisSpec(engine="tiles"))
    calls = listed(monkeypatch, StoredSource)
    with pytest.raises(KeyboardInterrupt):
        run(tiles, stop_at("contraction"))
    assert len(calls) == 1
    log = Log()
    run(tiles, log)
    assert len(calls) == 1
    assert "distance-row" in log.stages("kept")
    state = state_of(tiles.directory)
    assert state["stages"]["linkage-row"]["made_from"] == "tiles"
    assert list((tiles.directory / "arrays.zarr").glob("condensed_row_*"))
    found = np.load(tiles.directory / "linkage_row.npy")
    rows = dataclasses.replace(asked, directory=tmp_path / "rows")
    run(rows)
    expected = np.load(rows.directory / "linkage_row.npy")
    np.testing.assert_allclose(found[:, 2], expected[:, 2], rtol=1e-10, atol=1e-14)
    assert verify_run(tiles.directory).damages == ()


def test_given_distances_are_read_as_tiles(tmp_path, many):
    points = np.random.default_rng(2).normal(size=(2100, 5))
    vector = scipy_pdist(points)
    np.save(tmp_path / "d.npy", squareform(vector))
    spec = AxisSpec(metric="precomputed", method="complete")
    given = request(tmp_path / "d.npy", tmp_path / "run", row=spec, column=NONE)
    run(given)
    state = state_of(given.directory)
    assert state["stages"]["linkage-row"]["made_from"] == "tiles"
    tree = np.load(given.directory / "linkage_row.npy")
    np.testing.assert_array_equal(tree[:, 2], scipy_linkage(vector, "complete")[:, 2])
    assert verify_run(given.directory).damages == ()
