"""Runs whose trees are made of the rows: no distances at rest, and gone on with after a fault."""

import dataclasses

import numpy as np
import pytest
from click.testing import CliRunner
from scipy.cluster.hierarchy import linkage as scipy_linkage
from scipy.spatial.distance import pdist as scipy_pdist

from clustergrid.pipeline import spanning_tree as driver
from clustergrid.pipeline.cli import cli
from clustergrid.pipeline.kept import RunStages
from clustergrid.pipeline.records import Records
from clustergrid.pipeline.request import Cut
from clustergrid.pipeline.run import run
from clustergrid.pipeline.spec import AxisSpec
from clustergrid.pipeline.status import read_status
from clustergrid.pipeline.tiles import tile_distances
from clustergrid.pipeline.verify import verify_run
from clustergrid.storage.rundir import RunDirectory
from tests.pipeline.runs import Log, frame, request, results, state_of, table

pytestmark = pytest.mark.quick_cases(one_in=16)

N, N_TILES = 2300, 15
SINGLE = AxisSpec(method="single")
NONE = AxisSpec(cluster=False)


def values():
    """Rows with ties, of which some are the same."""
    return frame(N, 5).round(1)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run of single linkage: request and directory."""
    folder = tmp_path_factory.mktemp("single")
    path = table(folder, values(), "a.npy")
    asked = request(path, folder / "run", row=SINGLE, column=NONE, row_cut=Cut(k=4))
    run(asked)
    return asked


@pytest.fixture
def fresh(finished, tmp_path):
    """The same request, for a directory of its own."""
    return dataclasses.replace(finished, directory=tmp_path / "run")


@pytest.fixture
def always(monkeypatch):
    """Every tile is followed by a checkpoint."""
    monkeypatch.setattr(driver, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(driver, "CHECKPOINT_SHARE", 0)


@pytest.fixture
def seen(monkeypatch):
    """The tiles that are computed."""
    found = []

    def spy(given, rows, columns, out):
        found.append((rows.start, columns.start))
        return tile_distances(given, rows, columns, out)

    monkeypatch.setattr(driver, "tile_distances", spy)
    return found


def stop_after(n_tiles):
    """A listener that stops the run like Ctrl-C when so many tiles are done."""

    def stop(event):
        if event.stage == "linkage-row" and event.done >= n_tiles:
            raise KeyboardInterrupt

    return stop


def records_of(directory):
    return sorted(path.name for path in directory.glob("pieces/records-linkage-row-*/*"))


@pytest.fixture
def told(monkeypatch):
    """Events come after every tile."""
    from clustergrid.pipeline import run as module
    from clustergrid.pipeline.monitor import Progress

    def eager(*listeners, **options):
        return Progress(*listeners, interval_seconds=0, **options)

    monkeypatch.setattr(module, "Progress", eager)


def test_no_distances_are_at_rest(finished):
    tree = np.load(finished.directory / "linkage_row.npy")
    expected = scipy_linkage(scipy_pdist(values().to_numpy()), "single")
    np.testing.assert_allclose(tree[:, 2], expected[:, 2], rtol=1e-10)
    state = state_of(finished.directory)
    assert "distance-row" not in state["stages"]
    assert not list((finished.directory / "arrays.zarr").glob("condensed*"))
    (stage,) = (stage for stage in state["plan"] if stage["name"].endswith("-row"))
    assert (stage["name"], stage["engine"]) == ("linkage-row", "single, data")
    assert stage["reason"].endswith("grown from tiles that nobody keeps")
    assert stage["tasks"] == N_TILES
    assert stage["disk_bytes"] == 32 * (N - 1)
    assert records_of(finished.directory) == []
    status = read_status(finished.directory)
    assert status.state == "finished"
    (told,) = (stage for stage in status.stages if stage.stage == "linkage-row")
    assert (told.done, told.unit) == (N_TILES, "tiles")
    log = (finished.directory / "progress.jsonl").read_text()
    assert log.count('"note": "engine data: single linkage is a minimum spanning tree') == 1


def test_a_second_run_computes_nothing(finished, seen):
    log, notices = Log(), []
    run(finished, log, notice=notices.append)
    assert seen == []
    assert log.stages("kept") >= {"linkage-row"}
    assert log.stages("finished") == set()
    assert "kept from the last run: linkage-row" in notices
    assert not any("to be made" in notice for notice in notices)


@pytest.mark.parametrize("n_tiles", [2, 5, 9, 12, 15])
def test_a_stopped_tree_goes_on_where_it_was(fresh, finished, seen, always, told, n_tiles):
    with pytest.raises(KeyboardInterrupt):
        run(fresh, stop_after(n_tiles))
    assert read_status(fresh.directory).state == "stopped"
    before = len(seen)
    assert len(records_of(fresh.directory)) == 1
    report = verify_run(fresh.directory)
    assert (report.damages, report.unknown) == ((), ("README.txt",))
    kept = len(last_record(fresh.directory)["finished"])
    # The last tile was told of before its checkpoint.
    assert n_tiles - 1 <= kept <= before
    seen.clear()
    log = Log()
    run(fresh, log)
    assert len(seen) == N_TILES - kept
    started = [e for e in log.events if (e.stage, e.state) == ("linkage-row", "started")]
    assert started[0].kept == kept
    assert results(fresh.directory) == results(finished.directory)
    assert records_of(fresh.directory) == []
    assert not list(fresh.directory.glob("manifest/records-*"))
    assert verify_run(fresh.directory).damages == ()


def last_record(directory):
    opened = RunDirectory(directory)
    key = opened.manifest("records-linkage-row").key
    records = Records(opened, "linkage-row", key)
    return records.read(records.names[-1])


def test_other_tiles_of_a_resumed_tree(fresh, finished, seen, always, told, monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        run(fresh, stop_after(12))
    seen.clear()
    real = RunStages._tree_from_rows

    def recut(self, axis, spec, given, planned, duplicates):
        tiling = dataclasses.replace(planned.tiling, tile_edge=1024)
        planned = dataclasses.replace(planned, tiling=tiling)
        return real(self, axis, spec, given, planned, duplicates)

    monkeypatch.setattr(RunStages, "_tree_from_rows", recut)
    run(fresh)
    assert 0 < len(seen) < 6
    assert results(fresh.directory) == results(finished.directory)


@pytest.mark.parametrize("damage", ["flipped", "truncated", "missing", "note"])
def test_a_damaged_checkpoint_is_found_and_not_used(fresh, finished, seen, always, told, damage):
    with pytest.raises(KeyboardInterrupt):
        run(fresh, stop_after(9))
    (file,) = fresh.directory.glob("pieces/records-linkage-row-*/*")
    content = bytearray(file.read_bytes())
    if damage == "missing":
        file.unlink()
    elif damage == "note":
        notes = fresh.directory / "manifest" / "records-linkage-row.jsonl"
        notes.write_bytes(notes.read_bytes()[:-7])
    else:
        content[len(content) // 2] ^= 1
        file.write_bytes(content[: 300 if damage == "truncated" else None])
    if damage != "note":
        (found,) = verify_run(fresh.directory).damages
        assert found.stage == "records-linkage-row"
    seen.clear()
    run(fresh)
    assert len(seen) == N_TILES
    assert results(fresh.directory) == results(finished.directory)


@pytest.mark.slow
def test_another_question_begins_anew(fresh, finished, seen, always, told):
    with pytest.raises(KeyboardInterrupt):
        run(fresh, stop_after(9))
    other = dataclasses.replace(fresh, row=AxisSpec(method="single", metric="cityblock"))
    seen.clear()
    run(other)
    assert len(seen) == N_TILES
    assert records_of(fresh.directory) == []
    run(fresh)
    assert results(fresh.directory) == results(finished.directory)


def test_a_question_that_was_given_up_leaves_nothing(fresh, always, told):
    with pytest.raises(KeyboardInterrupt):
        run(fresh, stop_after(9))
    assert records_of(fresh.directory)
    run(dataclasses.replace(fresh, row=NONE, row_cut=Cut()))
    assert not (fresh.directory / "pieces").exists()
    report = verify_run(fresh.directory)
    assert (report.damages, report.unknown) == ((), ())


def test_killed_between_the_tree_and_its_records(fresh, finished, seen, always, monkeypatch):
    from clustergrid.pipeline import run as module

    def stop(directory, stage=None):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "drop_records", stop)
    with pytest.raises(KeyboardInterrupt):
        run(fresh)
    monkeypatch.undo()
    assert records_of(fresh.directory)
    assert verify_run(fresh.directory).damages == ()
    seen.clear()
    run(fresh)
    assert seen == []
    assert records_of(fresh.directory) == []
    assert results(fresh.directory) == results(finished.directory)


@pytest.mark.parametrize("method", ["single", "centroid"])
def test_verify_holds_a_tree_against_the_rows(fresh, method):
    asked = dataclasses.replace(fresh, row=AxisSpec(method=method), row_cut=Cut())
    run(asked)
    report = verify_run(asked.directory)
    assert report.damages == ()
    assert "tree of row" in report.checks
    # Heights that no pair of rows is apart, with digests that are right.
    directory = RunDirectory(asked.directory)
    tree = np.load(asked.directory / "linkage_row.npy")
    tree[:, 2] *= 1 + 1e-5
    with directory.publish("linkage_row.npy") as path:
        np.save(path, tree)
    directory.finish(
        "linkage-row", directory.state["stages"]["linkage-row"]["key"], files=["linkage_row.npy"]
    )
    (damage,) = verify_run(asked.directory).damages
    assert damage.stage == "linkage-row"
    assert "their distance is" in str(damage)
    run(asked)
    assert verify_run(asked.directory).damages == ()


@pytest.mark.slow
def test_verify_looks_for_the_nearest_of_leaves(finished, fresh, monkeypatch):
    """A tree of which each merge has a right height, and is no minimum."""
    from clustergrid.pipeline import meaning

    run(fresh)
    monkeypatch.setattr(meaning, "_LEAVES", N)
    monkeypatch.setattr(meaning, "_MERGES", 0)
    assert verify_run(fresh.directory).damages == ()
    directory = RunDirectory(fresh.directory)
    tree = np.load(fresh.directory / "linkage_row.npy")
    leaf = int(np.flatnonzero(tree[:, 1] < N)[-1])
    tree[leaf:, 2] += 0.01
    with directory.publish("linkage_row.npy") as path:
        np.save(path, tree)
    directory.finish(
        "linkage-row", directory.state["stages"]["linkage-row"]["key"], files=["linkage_row.npy"]
    )
    (damage,) = verify_run(fresh.directory).damages
    assert "and the nearest other is at distance" in str(damage)


def test_the_engine_is_an_option(finished, tmp_path):
    path, out = finished.input, str(tmp_path / "run")
    common = ["--no-col-cluster", "--method", "single", "--cluster", "none"]
    shown = CliRunner().invoke(cli, ["plan", path, *common])
    assert "single, data" in shown.output
    assert "distance-row" not in shown.output
    shown = CliRunner().invoke(cli, ["plan", path, *common, "--engine", "square"])
    assert "single, square" in shown.output
    assert "distance-row" in shown.output
    look = ["--figsize", "3", "3", "--dpi", "40"]
    result = CliRunner().invoke(cli, ["run", path, "-o", out, *common, *look, "--engine", "square"])
    assert result.exit_code == 0, result.output
    # Of the same bits.
    tree = (tmp_path / "run" / "linkage_row.npy").read_bytes()
    assert tree == (finished.directory / "linkage_row.npy").read_bytes()
    assert "distance-row" in state_of(tmp_path / "run")["stages"]
    assert state_of(tmp_path / "run")["request"]["row"]["engine"] == "square"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--engine", "data", "--metric", "precomputed"], "--engine data makes trees of rows"),
        (["--row-engine", "data", "--row-metric", "precomputed"], "--engine data makes trees of"),
        (["--engine", "condensed"], "'condensed' is not one of"),
    ],
)
def test_an_engine_that_cannot_is_an_error_of_usage(finished, tmp_path, capsys, options, words):
    from clustergrid.pipeline.cli import main

    with pytest.raises(SystemExit) as ended:
        main(["run", finished.input, "-o", str(tmp_path / "run"), *options])
    assert ended.value.code == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_an_engine_of_a_tree_that_nobody_makes_is_not_looked_at(finished, tmp_path):
    options = ["--engine", "data", "--row-method", "single", "--no-col-cluster"]
    shown = CliRunner().invoke(cli, ["plan", finished.input, *options])
    assert shown.exit_code == 0, shown.output
    assert "single, data" in shown.output
