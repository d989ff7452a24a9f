"""What verify takes back is made again by the next run, with everything that was made from it."""

import dataclasses
import io
import shutil

import numpy as np
import pytest

import clustergrid.pipeline.distance
import clustergrid.pipeline.kept
from clustergrid.pipeline.drawing import plot_run
from clustergrid.pipeline.run import run
from clustergrid.pipeline.verify import verify_run
from clustergrid.storage.arrays import open_array, write_block
from clustergrid.storage.chunks import stored_entries
from clustergrid.storage.rundir import RunDirectory
from tests.pipeline.runs import SMALL, Log, chunk, request, results, state_of

pytestmark = pytest.mark.quick_cases(one_in=16)


class Killed(BaseException):
    """A kill, which nobody catches."""


@pytest.fixture
def faulty(monkeypatch):
    """A machine that computes some tiles wrong, until it is mended."""
    real = clustergrid.pipeline.distance.tile_distances

    def wrong(given, rows, columns):
        return real(given, rows, columns) * (1.5 if rows.start == 512 else 1.0)

    monkeypatch.setattr(clustergrid.pipeline.distance, "tile_distances", wrong)
    return monkeypatch


def named(directory):
    return {damage.stage for damage in verify_run(directory).damages}


def test_distances_that_were_wrong_leave_no_tree_of_them(finished, faulty, tmp_path):
    asked = dataclasses.replace(finished, directory=tmp_path / "run")
    run(asked)
    faulty.undo()
    assert (tmp_path / "run/linkage_row.npy").read_bytes() != results(finished.directory)[
        "linkage_row.npy"
    ]
    assert named(asked.directory) == {"distance-row"}
    log = Log()
    run(asked, log)
    assert {"linkage-col", "statistics"} <= log.stages("kept")
    assert "linkage-row" not in log.stages("kept")
    assert results(asked.directory) == results(finished.directory)
    assert named(asked.directory) == set()


@pytest.mark.parametrize("z_score", [None, 1])
def test_statistics_that_were_wrong_leave_nothing_made_from_them(tmp_path, monkeypatch, z_score):
    np.save(tmp_path / "a.npy", np.random.default_rng(0).normal(size=(600, 5)) + 3.0)
    good = request(tmp_path / "a.npy", tmp_path / "good", z_score=z_score)
    run(good)
    real = clustergrid.pipeline.kept.matrix_statistics

    def wrong(*given):
        found = real(*given)
        found.rows.mean[:] += 1
        found.columns.mean[:] += np.arange(5)
        found.columns.m2[:] *= np.arange(1, 6)
        return found

    asked = dataclasses.replace(good, directory=tmp_path / "run")
    with monkeypatch.context() as patched:
        patched.setattr(clustergrid.pipeline.kept, "matrix_statistics", wrong)
        run(asked)
    assert "statistics" in named(asked.directory)
    log = Log()
    run(asked, log)
    assert log.stages("kept") == {"ingest"}
    assert results(asked.directory) == results(good.directory)
    for array in ("statistics_row", "image"):
        ours, theirs = (open_array(a.directory / "arrays.zarr", array)[:] for a in (asked, good))
        np.testing.assert_array_equal(ours, theirs)
    assert distances(asked) == distances(good)
    assert named(asked.directory) == set()


def distances(asked):
    files = sorted((asked.directory / "arrays.zarr").glob("condensed_*/*/c/*/0/0"))
    assert files
    return {file.relative_to(asked.directory): file.read_bytes() for file in files}


def test_a_wrong_tree_is_merged_again_and_its_distances_stay(finished, copied, tiles):
    before = results(finished.directory)
    tree = np.load(copied.directory / "linkage_row.npy")
    tree[:, 2] *= 1.001
    buffer = io.BytesIO()
    np.save(buffer, tree)
    note_again(copied.directory, "linkage-row", "linkage_row.npy", buffer.getvalue())
    assert named(copied.directory) == {"linkage-row"}
    assert not {"image", "outputs", "linkage-row"} & state_of(copied.directory)["stages"].keys()
    run(copied)
    assert tiles == []
    assert results(copied.directory) == before


@pytest.mark.slow
def test_pictures_of_a_wrong_image_go(finished, copied):
    before = results(finished.directory)
    plot_run(copied.directory, SMALL, output="other")
    array = open_array(copied.directory / "arrays.zarr", "image", mode="r+")
    write_block(array, (0, 0), np.asarray(array[:]) * 1.01)
    opened = RunDirectory(copied.directory)
    entry = opened.state["stages"]["image"]
    opened.manifest("image").record(*stored_entries(opened.arrays, "image"))
    opened.finish("image", entry["key"], arrays=entry["arrays"])
    for name in ("figure", "other"):  # as if they had been drawn from it
        stage = "picture" if name == "figure" else "picture-other"
        note_again(copied.directory, stage, f"{name}.png", b"drawn from a wrong image")
    assert named(copied.directory) == {"image"}
    log = Log()
    run(copied, log)
    assert log.stages("finished") >= {"downsample", "picture"}
    assert results(copied.directory) == before
    assert not (copied.directory / "other.png").exists()
    assert named(copied.directory) == set()


def note_again(directory, stage, name, content):
    """Put other bytes into a file, and note them as if they were right."""
    opened = RunDirectory(directory)
    entry = opened.state["stages"][stage]
    (directory / name).write_bytes(content)
    known = ("key", "files", "arrays", "manifest", "time")
    facts = {fact: value for fact, value in entry.items() if fact not in known}
    opened.finish(stage, entry["key"], files=entry["files"], arrays=entry["arrays"], **facts)


def flip(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def test_of_damaged_bytes_only_these_are_made_again(finished, copied, tiles):
    flip(chunk(copied.directory, 4))
    assert named(copied.directory) == {"distance-row"}
    log = Log()
    run(copied, log)
    assert len(tiles) == 1
    assert {"linkage-row", "linkage-col", "picture"} <= log.stages("kept")
    assert results(copied.directory) == results(finished.directory)


@pytest.mark.parametrize("damage", ["flipped", "deleted"])
def test_a_damaged_report_is_put_aside_and_costs_no_result(copied, tiles, damage):
    report = copied.directory / "report" / "tree_row.html"
    report.parent.mkdir(exist_ok=True)
    report.write_text("<html>a report of Dask's</html>")
    run(copied)  # which notes it
    assert "report/tree_row.html" in state_of(copied.directory)["stages"]["outputs"]["files"]
    if damage == "flipped":
        flip(report)
    else:
        report.unlink()
    found = verify_run(copied.directory)
    assert [each.file for each in found.damages] == ["report/tree_row.html"]
    log = Log()
    run(copied, log)
    assert tiles == []
    assert {"ingest", "statistics", "linkage-row", "linkage-col", "picture"} <= log.stages("kept")
    assert not report.exists()
    after = verify_run(copied.directory)
    assert after.damages == ()
    aside = ("report/tree_row.html.damaged",) if damage == "flipped" else ()
    assert after.unknown == aside


@pytest.mark.slow
def test_a_damaged_picture_of_another_name_goes_with_the_next_run(copied):
    formats = dataclasses.replace(SMALL, formats=("png", "svg"))
    plot_run(copied.directory, formats, output="other")
    before = results(copied.directory)
    flip(copied.directory / "other.png")
    assert named(copied.directory) == {"picture-other"}
    log = Log()
    run(copied, log)
    assert "picture" in log.stages("kept")
    assert not list(copied.directory.glob("other.*"))
    assert results(copied.directory) == before
    assert verify_run(copied.directory).unknown == ()


@pytest.mark.slow
def test_a_withdrawal_that_is_killed_is_made_by_the_next_verify(
    finished, faulty, tmp_path, monkeypatch
):
    asked = dataclasses.replace(finished, directory=tmp_path / "wrong")
    run(asked)
    faulty.undo()
    real = RunDirectory._write_state
    writes = []

    def write(self, state):
        if len(writes) == kill_at:
            raise Killed
        writes.append(state)
        real(self, state)

    monkeypatch.setattr(RunDirectory, "_write_state", write)
    kill_at = None
    verify_run(shutil.copytree(asked.directory, tmp_path / "whole"))
    n_writes = len(writes)
    assert n_writes > 3
    for killed_at in range(n_writes):
        directory = shutil.copytree(asked.directory, tmp_path / str(killed_at))
        writes.clear()
        kill_at = killed_at
        with pytest.raises(Killed):
            verify_run(directory)
        kill_at = None
        assert "distance-row" in named(directory), killed_at
        state = state_of(directory)
        assert "finished" not in state
        assert not {"distance-row", "linkage-row", "image", "outputs"} & state["stages"].keys()
        if killed_at in (0, n_writes - 1):
            run(dataclasses.replace(asked, directory=directory))
            assert results(directory) == results(finished.directory)
