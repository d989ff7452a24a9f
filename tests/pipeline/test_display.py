"""Bars on a terminal, one a stage, also of stages within stages; plain lines elsewhere."""

import io
from dataclasses import replace

import pytest

from clustergrid.pipeline.display import Bars, terminal_listener
from clustergrid.pipeline.monitor import PlainLines, Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    return Terminal()


def test_the_stream_decides(terminal, capsys):
    assert isinstance(terminal_listener(terminal), Bars)
    assert isinstance(terminal_listener(io.StringIO()), PlainLines)
    assert isinstance(terminal_listener(), PlainLines)


def test_a_bar_of_a_stage(terminal):
    progress = Progress(Bars(terminal), interval_seconds=0)
    with progress.stage("distance-row", total=4, unit="tiles") as stage:
        for _ in range(4):
            stage.advance()
    progress.kept("linkage-row")
    shown = terminal.getvalue()
    assert "distance-row" in shown
    assert "100%" in shown
    assert "of 4 tiles" in shown
    assert "linkage-row      kept from the earlier run" in shown


def test_a_bar_tells_the_rate_and_what_was_kept(terminal):
    events = []
    with Progress(events.append, interval_seconds=0).stage(
        "distance-row", total=8, unit="tiles", kept=4
    ) as stage:
        stage.advance(2)
    bars = Bars(terminal)
    for event in events:
        bars(replace(event, rate=0.5, seconds_left=4.0 if event.state == "running" else None))
        if bars._display is not None:
            bars._display.refresh()
    shown = terminal.getvalue()
    assert "4.0 s left of 8 tiles, 0.5 tiles/s, 4 kept" in shown
    assert "of 8 tiles, 4 kept" in shown


def test_a_bar_has_the_note_while_the_stage_runs(terminal):
    bars, events = Bars(terminal), []
    with Progress(events.append, interval_seconds=0).stage(
        "linkage-row", total=8, unit="merges"
    ) as stage:
        stage.advance(2, lambda: "6 clusters left, height 3.21")
    for event in events:
        before = terminal.tell()
        bars(replace(event, rate=0.5))
        if bars._display is not None:
            bars._display.refresh()
        is_shown = "6 clusters left, height 3.21" in terminal.getvalue()[before:]
        assert is_shown == (event.state == "running")


def test_why_a_stage_is_done_so_has_a_line(terminal):
    progress = Progress(Bars(terminal), interval_seconds=0)
    with progress.stage("linkage-row", total=8, unit="tiles", why="engine data: [no] distances"):
        pass
    assert terminal.getvalue().count("linkage-row      engine data: [no] distances") == 1


def test_stages_within_stages_and_of_unknown_length(terminal):
    progress = Progress(Bars(terminal), interval_seconds=0)
    with progress.stage("picture", total=1, unit="files"):
        progress.kept("limits")
        with progress.stage("ingest", total=0, unit="blocks") as stage:
            stage.total = 3
            stage.advance(3)
        with progress.stage("downsample", total=2, unit="rows"):
            pass
    shown = terminal.getvalue()
    assert shown.count("100%") >= 3
    assert all(name in shown for name in ("picture", "ingest", "downsample", "limits"))


def test_a_stage_that_fails_leaves_the_terminal_usable(terminal):
    progress = Progress(Bars(terminal))
    for error in (KeyboardInterrupt, OSError):
        with pytest.raises(error), progress.stage("distance-row", total=4, unit="tiles"):
            raise error
    assert terminal.getvalue().endswith("\x1b[?25h")  # the cursor is shown again
    with progress.stage("distance-row", total=1, unit="tiles"):
        pass


def test_names_are_not_markup(terminal):
    progress = Progress(Bars(terminal))
    with progress.stage("[red]x", total=1, unit="[b]"):
        pass
    assert "[red]x" in terminal.getvalue()


def test_plain_lines():
    stream = io.StringIO()
    progress = Progress(PlainLines(stream, every_seconds=0), interval_seconds=0)
    with progress.stage("ingest", total=0, unit="blocks"):
        pass
    with progress.stage("distance-row", total=4, unit="tiles") as stage:
        stage.advance(2)
    progress.kept("linkage-row")
    assert [line.split(" in ")[0].split(",")[0] for line in stream.getvalue().splitlines()] == [
        "ingest: started",
        "ingest: finished",
        "distance-row: 4 tiles",
        "distance-row: 50 % of 4 tiles",
        "distance-row: finished",
        "linkage-row: kept from the earlier run",
    ]
