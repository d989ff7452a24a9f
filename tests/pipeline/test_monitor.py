"""Progress as events, lines and JSON."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from clustergrid.pipeline import monitor
from clustergrid.pipeline.monitor import JsonLines, PlainLines, Progress, make_progress
from clustergrid.storage.errors import StorageError


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


@pytest.mark.parametrize(
    ("error", "state"), [(ValueError, "failed"), (KeyboardInterrupt, "stopped")]
)
def test_a_stage_that_an_error_leaves_has_failed_and_a_signal_stops_it(error, state):
    events = []

    def work():
        with Progress(events.append).stage("linkage-row", total=5, unit="merges") as stage:
            stage.advance(2)
            raise error

    with pytest.raises(error):
        work()
    assert [event.state for event in events] == ["started", state]
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
    assert set(lines[0]) == {
        *("stage", "state", "done", "total", "unit", "kept", "bytes", "rate", "time"),
        *("seconds", "seconds_left", "note", "is_news", "clusters_left", "height"),
        *("peak_memory_bytes", "peak_driver_bytes", "peak_worker_bytes"),
    }


def test_what_an_earlier_run_did_counts_as_done_and_not_for_the_rate(clock):
    events = []
    progress = Progress(events.append, interval_seconds=1)
    with progress.stage("distance-row", total=100, unit="tiles", kept=60, unit_bytes=8) as stage:
        for _ in range(20):
            clock.now += 1
            stage.advance(1)
    assert [event.done for event in events[:3]] == [60, 61, 62]
    assert {event.kept for event in events} == {60}
    assert events[0].rate == 0
    assert {event.rate for event in events[1:-1]} == {1.0}
    assert events[10].bytes == 70 * 8
    assert events[10].seconds_left == 30
    # Where the end is known there is no time left, and where nothing is done nobody knows it.
    assert events[0].seconds_left is None
    assert events[-1].seconds_left is None


def test_the_time_left_follows_the_rate_of_late(clock):
    events = []
    with Progress(events.append, interval_seconds=0).stage(
        "linkage-row", total=1000, unit="merges"
    ) as stage:
        for step in [10.0] * 10 + [1.0] * 100:  # it warms up
            clock.now += step
            stage.advance()
    last = events[-2]
    assert last.rate == pytest.approx(110 / 200)
    assert last.seconds_left == pytest.approx(890, rel=0.02)


def test_the_rate_of_late_is_kept_in_little_memory():
    pace = monitor._Pace(0.0)
    for second in range(1, 200_000):
        rate = pace.units_a_second(float(second), 3 * second)
    assert rate == pytest.approx(3)
    assert len(pace._marks) < 1000


def test_the_unit_of_bytes_is_a_byte():
    events = []
    with Progress(events.append).stage("ingest", total=5, unit="bytes"):
        pass
    assert [event.bytes for event in events] == [0, 5]


PEAKS = """
import numpy as np
from clustergrid.pipeline.memory import MemorySampler
from clustergrid.pipeline.monitor import Progress

events = []
with MemorySampler() as memory:
    progress = Progress(events.append, interval_seconds=0, memory=memory)
    with progress.stage("ingest", total=1, unit="blocks") as stage:
        block = np.ones(20_000_000)
        stage.advance()
        del block
    with progress.stage("statistics", total=1, unit="blocks"):
        pass
print(*(event.peak_memory_bytes for event in events))
"""


def test_the_peak_of_a_stage_is_measured():
    # In a process of its own: what else this one started may end meanwhile, and is counted.
    done = subprocess.run(
        [sys.executable, "-c", PEAKS], capture_output=True, text=True, check=True, timeout=120
    )
    peaks = [int(word) for word in done.stdout.split()]
    base = peaks[0]
    assert base > 10_000_000
    assert [peak > base + 150_000_000 for peak in peaks] == [False, True, True, False, False]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no full device")
def test_a_full_disk_is_named():
    progress = Progress(JsonLines(Path("/dev/full")), interval_seconds=0)
    with (
        pytest.raises(StorageError, match=r"cannot write \d+ bytes to /dev/full: .*No space left"),
        progress.stage("ingest", total=1, unit="blocks"),
    ):
        pass


def test_a_full_disk_does_not_hide_why_a_stage_failed():
    def full(event):
        if event.state == "failed":
            raise StorageError("full")

    with pytest.raises(KeyboardInterrupt), Progress(full).stage("x", total=1, unit="tiles"):
        raise KeyboardInterrupt


def test_a_note_is_made_when_listeners_are_told(clock):
    events, made = [], []

    def note(step):
        made.append(step)
        return f"step {step}"

    with Progress(events.append, interval_seconds=10).stage(
        "linkage-row", total=100, unit="merges"
    ) as stage:
        for step in range(100):
            clock.now += 1
            # What has nothing to say leaves the note as it was.
            stage.advance(1, None if step % 10 == 9 else lambda step=step: note(step))
    assert [event.note for event in events] == [
        "",
        *(f"step {9 + 10 * i - 1}" for i in range(10)),
        "step 98",
    ]
    assert len(made) == len(events) - 1


def test_a_note_is_in_the_line_and_in_the_log(clock, tmp_path):
    stream, log = io.StringIO(), tmp_path / "progress.jsonl"
    progress = Progress(PlainLines(stream, every_seconds=0), JsonLines(log), interval_seconds=0)
    with progress.stage("linkage-row", total=100, unit="merges") as stage:
        clock.now += 4
        stage.advance(40, lambda: "rounds: 60 clusters left, height 3.21")
    assert stream.getvalue().splitlines() == [
        "linkage-row: 100 merges",
        "linkage-row: 40 % of 100 merges, 10 merges/s, 6.0 s left, "
        "rounds: 60 clusters left, height 3.21",
        "linkage-row: finished in 4.0 s",
    ]
    notes = [json.loads(line)["note"] for line in log.read_text().splitlines()]
    assert notes == ["", *["rounds: 60 clusters left, height 3.21"] * 2]


def test_why_a_stage_is_done_so_is_told_once(clock):
    stream, events = io.StringIO(), []
    progress = Progress(PlainLines(stream, every_seconds=0), events.append, interval_seconds=0)
    with progress.stage("linkage-row", total=9, unit="tiles", kept=3, why="engine data") as stage:
        stage.advance(6)
    assert stream.getvalue().splitlines()[0] == "linkage-row: 9 tiles, 3 of them kept; engine data"
    assert [event.note for event in events] == ["engine data", "", ""]


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
        "distance-row: 40 % of 2,000 tiles, 80 tiles/s, 15 s left",
        "distance-row: 80 % of 2,000 tiles, 80 tiles/s, 5.0 s left",
        "distance-row: finished in 25.0 s",
        "linkage-row: kept from the earlier run",
    ]


def test_plain_lines_say_what_was_kept_and_how_much_there_is(clock):
    stream = io.StringIO()
    progress = Progress(PlainLines(stream, every_seconds=0), interval_seconds=0)
    with progress.stage("distance-row", total=105, unit="tiles", kept=21) as stage:
        clock.now += 4
        stage.advance(21)
    with progress.stage("ingest", total=0, unit="bytes") as stage:
        clock.now += 2
        stage.advance(3 * 10**9)
        stage.total = stage.done
    assert stream.getvalue().splitlines() == [
        "distance-row: 105 tiles, 21 of them kept",
        "distance-row: 40 % of 105 tiles, 5.25 tiles/s, 12 s left",
        "distance-row: finished in 4.0 s",
        "ingest: started",
        "ingest: 3 GB, 1.5 GB/s",
        "ingest: finished in 2.0 s",
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
