"""Rows that were measured again take the place of those of the same name."""

import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def row(name, seconds):
    return f"| {name} | {seconds} s | a limit | 1x | 1x | at most 1x | ok | 1 |"


def test_measurements_of_two_rows_are_published_too(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)  # they are programs, which import one another
    from paired import HEADER
    from table import run_command

    page = tmp_path / "page.md"
    old = "\n".join([HEADER, row("time", 9), row("memory", 9), row("other", 9), "", "Note."])
    page.write_text(f"Before.\n<!-- some:start -->\n{old}\n<!-- some:end -->\nAfter.\n")
    monkeypatch.setattr(sys, "argv", ["some.py", "--readme", str(page), "tree"])
    groups = {"tree": lambda quick: ["\n".join([row("time", 1), row("memory", 2), row("new", 3)])]}
    run_command("", "some", groups, {}, note="")
    new = "\n".join([HEADER, row("time", 1), row("memory", 2), row("other", 9), row("new", 3)])
    assert page.read_text() == (
        f"Before.\n<!-- some:start -->\n{new}\n\nNote.\n<!-- some:end -->\nAfter.\n"
    )
