"""The command around groups of measurements: which of them run, and where their table goes."""

from __future__ import annotations

import argparse
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from paired import HEADER, say
from run import machine as describe_machine

Group = Callable[[bool], Iterable[str]]
"""Takes whether a quick look is enough, and gives rows of the table, or lines about it."""


def run_command(
    description: str,
    mark: str,
    groups: Mapping[str, Group],
    about: Mapping[str, Group],
    *,
    note: str,
) -> None:
    """Measure what the command line names.

    Parameters
    ----------
    description
        What ``--help`` says.
    mark
        The page's lines between ``<!-- mark:start -->`` and ``<!-- mark:end -->`` are replaced.
    groups, about
        Measurements by their names: rows of the table, and what is printed below it.
    note
        How it was measured; the machine is added.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer rows, fewer runs")
    parser.add_argument(
        "--readme", type=Path, help="put the table into this page: the whole, or the rows of NAMEs"
    )
    parser.add_argument("names", nargs="*", choices=[*groups, *about, []])
    arguments = parser.parse_args()
    os.environ.setdefault("PYTHONWARNINGS", "ignore")  # of the processes that are started
    warnings.simplefilter("ignore")
    lines = []
    names = arguments.names or [*groups, *about]
    for line in _report(names, groups, about, note, quick=arguments.quick):
        print(line, flush=True)
        lines += line.splitlines()  # a measurement may be of two rows
    if arguments.readme:
        start, end = f"<!-- {mark}:start -->", f"<!-- {mark}:end -->"
        before, rest = arguments.readme.read_text(encoding="utf-8").split(start, 1)
        published, after = rest.split(end, 1)
        if arguments.names:
            lines = _with_rows_replaced(published.strip().splitlines(), lines)
        text = "\n".join(lines)
        arguments.readme.write_text(f"{before}{start}\n{text}\n{end}{after}", encoding="utf-8")


def _report(
    names: Iterable[str],
    groups: Mapping[str, Group],
    about: Mapping[str, Group],
    note: str,
    *,
    quick: bool,
) -> Iterator[str]:
    lines: list[str] = []
    for name in names:
        if name in groups:
            say(name)
            lines += groups[name](quick)
    if lines:
        yield from (HEADER, *lines, "", f"{note}{describe_machine()}.")
    for name in names:
        if name in about:
            say(name)
            yield ""
            yield from about[name](quick)


def _with_rows_replaced(published: list[str], measured: list[str]) -> list[str]:
    """Put rows that were measured again into the place of those of the same name, new ones last."""
    rows = {_name(line): line for line in measured if _is_row(line)}
    lines = [rows.pop(_name(line), line) if _is_row(line) else line for line in published]
    last = max((place for place, line in enumerate(lines) if _is_row(line)), default=-1)
    return [*lines[: last + 1], *rows.values(), *lines[last + 1 :]]


def _is_row(line: str) -> bool:
    """Whether a line is one of the first table: that of the machine has fewer columns."""
    return line.startswith("| ") and line.count("|") == HEADER.splitlines()[0].count("|")


def _name(row: str) -> str:
    return row.split("|")[1]
