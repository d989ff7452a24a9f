"""Progress as events, lines and JSON."""

import io
import json

import pytest

from clustergrid.pipeline import monitor
from clustergrid.pipeline.monitor import JsonLines, PlainLines, Progress, make_progress


@pytest.fixture
def clock(monkeypatch):
    """A clock that is moved by hand."""

    class Clock:
        now = 1000.0

        def monotonic(self):
            return self.now

        def time(self):
            return 1.7e9 + self.now

    clock = Clock()
    monkeypatch.setattr(monitor, "time", clock)
    return clock


def test_a_stage_tells_where_it_stands(clock):
    events, more = [], []
    progress = Progress(events.append, more.append, interval_seconds=1)
    with progress.stage("distance-row", total=10, unit="tiles") as stage:
        for _ in range(10):
            clock.now += 0.3
            stage.advance()
    assert [event.state for event in events] == ["started", *["running"] * 2, "finished"]
    assert [event.done for event in events] == [0, 4, 8, 10]
    assert events[-1].seconds == 3.0
    assert events[-1].time == 1.7e9 + 1003
    assert {(event.stage, event.total, event.unit) for event in events} == {
        ("distance-row", 10, "tiles")
    }
    assert more == events


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_stage_that_an_exception_leaves_has_failed(error):
    events = []

    def work():
        with Progress(events.append).stage("linkage-row", total=5, unit="merges") as stage:
            stage.advance(2)
            raise error

    with pytest.raises(error):
        work()
    assert [event.state for event in events] == ["started", "failed"]
    assert events[-1].done == 2


def test_a_listener_that_raises_ends_the_stage():
    def interrupt(event):
        if event.state == "running":
            raise KeyboardInterrupt

    with (
        pytest.raises(KeyboardInterrupt),
        Progress(interrupt, interval_seconds=0).stage("x", total=2, unit="tiles") as stage,
    ):
        stage.advance()


def test_events_are_kept_as_json_lines(tmp_path):
    path = tmp_path / "progress.jsonl"
    for _ in range(2):  # an earlier run's lines stay
        progress = Progress(JsonLines(path))
        with progress.stage("statistics", total=4, unit="bytes"):
            pass
        progress.kept("linkage-row")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    states = ["started", "finished", "kept"]
    assert [line["state"] for line in lines] == states * 2
    assert set(lines[0]) == {"stage", "state", "done", "total", "unit", "seconds", "time"}


def test_plain_lines_are_few(clock):
    stream = io.StringIO()
    progress = Progress(PlainLines(stream, every_seconds=10), interval_seconds=1)
    with progress.stage("distance-row", total=2000, unit="tiles") as stage:
        for _ in range(25):
            clock.now += 1
            stage.advance(80)
    progress.kept("linkage-row")
    assert stream.getvalue().splitlines() == [
        "distance-row: 2,000 tiles",
        "distance-row: 40 % of 2,000 tiles",
        "distance-row: 80 % of 2,000 tiles",
        "distance-row: finished in 25.0 s",
        "linkage-row: kept from the earlier run",
    ]


def test_a_failed_stage_has_a_line():
    stream = io.StringIO()
    with (
        pytest.raises(ValueError),
        Progress(PlainLines(stream)).stage("ingest", total=1, unit="bytes"),
    ):
        raise ValueError
    assert stream.getvalue().splitlines()[-1].startswith("ingest: failed in")


def test_what_users_pass_becomes_progress():
    progress = Progress()
    assert make_progress(progress) is progress
    for nothing in (None, False):
        with make_progress(nothing).stage("x", total=1, unit="rows"):
            pass
    events = []
    with make_progress(events.append).stage("x", total=1, unit="rows"):
        pass
    assert len(events) == 2
    assert isinstance(make_progress(True), Progress)
