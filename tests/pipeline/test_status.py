"""Where a run stands, read from whatever its process left."""

import json
import os

import pytest

from clustergrid.pipeline import status as status_module
from clustergrid.pipeline.monitor import JsonLines, Progress
from clustergrid.pipeline.status import read_status
from clustergrid.storage.errors import RunDirectoryError
from clustergrid.storage.rundir import RunDirectory

TORN = b'{"stage": "x", "state": "running", "done": null, "total": 1, "unit": "", "seconds": 1}\n'


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
    assert (status.started, status.seconds) == (None, 0.0)
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
    assert lines[1].split() == ["stage", "state", "time", "peak", "rate", "done"]
    words = lines[3].replace(",", "").split()
    assert words[:4] == ["distance-row", "running", "20", "%"]
    assert words[words.index("of") - 1 :][:4] == ["21", "of", "105", "tiles"]
    assert json.loads(json.dumps(status.as_dict()))["stages"][1]["done"] == 21


def write(directory, *entries):
    log = directory.path / "progress.jsonl"
    log.write_text("".join(json.dumps(entry) + "\n" for entry in entries))


def entry(**fields):
    event = {"stage": "distance-row", "state": "running", "done": 60, "total": 105}
    return event | {"unit": "tiles", "seconds": 3605.0, "time": 4605.0} | fields


def test_everything_that_is_known_is_told(directory, monkeypatch):
    monkeypatch.setattr(status_module.time, "time", lambda: 4705.0)
    known = entry(kept=21, bytes=60 * 8 * 4096**2, rate=0.25, seconds_left=7322.0)
    known |= {"peak_memory_bytes": 3_149_000_000, "peak_driver_bytes": 1, "peak_worker_bytes": 2}
    ingest = entry(stage="ingest", state="finished", unit="bytes", done=10**9, total=10**9)
    ingest |= {"bytes": 10**9, "rate": 2.5e8, "peak_memory_bytes": 4_000_000_000, "seconds": 4.0}
    write(directory, {"run": "started", "time": 1000.0}, ingest, known)
    with directory.locked():
        status = read_status(directory.path)
    assert (status.started, status.seconds) == (1000.0, 3705.0)
    assert status.peak_memory_bytes == 4_000_000_000
    stage = status.stages[1]
    assert (stage.kept, stage.rate, stage.seconds_left) == (21, 0.25, 7322.0)
    assert stage.silent_seconds == 100.0
    lines = str(status).splitlines()
    assert lines[0].startswith(f"{directory.path}: running, started ")
    assert lines[0].endswith(", 1 h 1 min long, peak memory 4 GB")
    assert lines[2].split("  ")[-1] == "1 GB of 1 GB"
    assert "250 MB/s" in lines[2]
    assert "0.25 tiles/s" in lines[3]
    assert "3.15 GB" in lines[3]
    assert lines[3].endswith(
        "60 of 105 tiles, 8.05 GB, 21 kept from the earlier run, 2 h 2 min left, "
        "silent for 1 min 40 s"
    )


@pytest.mark.parametrize("state", ["running", "failed", "finished"])
def test_the_note_is_told_of_a_stage_that_is_not_finished(directory, state):
    note = "rounds: 1,234 clusters left, height 3.21"
    write(directory, {"run": "started", "time": 1000.0}, entry(note=note, state=state))
    status = read_status(directory.path)
    assert status.stages[0].note == note
    assert str(status).endswith(note) == (state != "finished")


def test_a_stage_whose_process_died_has_stopped(directory):
    write(directory, {"run": "started", "time": 1000.0}, entry(seconds_left=3.0))
    status = read_status(directory.path)
    assert (status.state, status.seconds) == ("stopped", 3605.0)
    stage = status.stages[0]
    assert (stage.state, stage.seconds_left, stage.silent_seconds) == ("stopped", None, 0.0)


def test_the_log_of_an_earlier_version_is_read(directory):
    """Its events had fewer fields."""
    write(directory, {"run": "started", "time": 1000.0}, entry(state="finished"))
    stage = read_status(directory.path).stages[0]
    assert (stage.done, stage.rate, stage.peak_memory_bytes, stage.note) == (60, 0.0, 0, "")


def test_the_peak_of_a_finished_run_is_that_of_all_of_it(directory):
    write(directory, {"run": "started", "time": 1.0}, entry(peak_memory_bytes=5))
    directory.update(peak_memory_bytes=7)
    assert read_status(directory.path).peak_memory_bytes == 5  # of an earlier run
    directory.update(finished=2.0)
    assert read_status(directory.path).peak_memory_bytes == 7


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
    for odd in (
        b'{"stage": "x"',
        b'{"stage": "x"}\n',
        b"7\n",
        b"[]\n",
        TORN,
        b"null\n",
        b"\xff\xfe\n",
    ):
        log.write_bytes(whole + odd)
        assert [stage.stage for stage in read_status(directory.path).stages] == ["ingest"]


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(RunDirectoryError, match="is not a run directory"):
        read_status(tmp_path)
    assert os.listdir(tmp_path) == []
