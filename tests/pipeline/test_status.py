"""Where a run stands, read from whatever its process left."""

import json
import os

import pytest

from clustergrid.pipeline.monitor import JsonLines, Progress
from clustergrid.pipeline.status import read_status
from clustergrid.storage.errors import RunDirectoryError
from clustergrid.storage.rundir import RunDirectory


@pytest.fixture
def directory(tmp_path):
    return RunDirectory(tmp_path / "run", create=True)


@pytest.fixture
def progress(directory):
    log = directory.path / "progress.jsonl"
    log.write_text('{"run": "started", "time": 1.0}\n')
    return Progress(JsonLines(log), interval_seconds=0)


def test_a_new_run_is_stopped(directory):
    status = read_status(directory.path)
    assert (status.state, status.stages, status.files) == ("stopped", (), {})
    assert str(status) == f"{directory.path}: stopped"


def test_a_run_under_way(directory, progress):
    with directory.locked():
        progress.kept("ingest")
        with progress.stage("distance-row", total=105, unit="tiles") as stage:
            stage.advance(21)
            status = read_status(directory.path)
    assert status.state == "running"
    assert [(s.stage, s.state, s.done, s.total) for s in status.stages] == [
        ("ingest", "kept", 0, 0),
        ("distance-row", "running", 21, 105),
    ]
    lines = str(status).splitlines()
    assert lines[2].split() == [
        *("distance-row", "running", "20", "%"),
        *(lines[2].split()[4], "s", "21", "of", "105", "tiles"),
    ]
    assert json.loads(json.dumps(status.as_dict()))["stages"][1]["done"] == 21


def test_a_run_that_failed(directory, progress):
    with pytest.raises(OSError, match="full"), progress.stage("ingest", total=2, unit="blocks"):
        raise OSError("full")
    status = read_status(directory.path)
    assert status.state == "stopped"
    assert status.stages[0].state == "failed"


def test_a_finished_run_and_its_files(directory, progress):
    directory.update(finished=2.0, files={"figure_png": "figure.png"})
    status = read_status(directory.path)
    assert status.state == "finished"
    assert str(status).splitlines()[-1].split() == ["figure_png", "figure.png"]


def test_only_the_latest_run_is_told_of(directory, progress):
    progress.kept("linkage-row")
    with (directory.path / "progress.jsonl").open("a") as log:
        log.write('{"run": "started", "time": 2.0}\n')
    progress.kept("linkage-col")
    assert [stage.stage for stage in read_status(directory.path).stages] == ["linkage-col"]


def test_torn_and_foreign_lines_are_left_out(directory, progress):
    progress.kept("ingest")
    log = directory.path / "progress.jsonl"
    whole = log.read_bytes()
    for odd in (b'{"stage": "x"', b'{"stage": "x"}\n', b"7\n", b"[]\n", b"null\n", b"\xff\xfe\n"):
        log.write_bytes(whole + odd)
        assert [stage.stage for stage in read_status(directory.path).stages] == ["ingest"]


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(RunDirectoryError, match="is not a run directory"):
        read_status(tmp_path)
    assert os.listdir(tmp_path) == []
