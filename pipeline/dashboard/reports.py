"""Driver: Dask's performance report of each stage, in the run directory."""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from html import escape
from typing import TYPE_CHECKING

from clustergrid.pipeline.monitor import Watcher
from clustergrid.storage.rundir import RunDirectory

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["StageReports"]

_QUICK_SECONDS = 1.0
"""A report takes the scheduler 0.6 s: of a stage that ended sooner it is not worth that."""

_ICON = re.compile('<link rel="shortcut icon"[^>]*>')
"""The one thing that Dask's template would fetch from elsewhere."""

_ALWAYS = ("distance-row", "distance-col", "picture")
"""Stages that leave a report however quick they were."""


class StageReports(Watcher):
    """Surrounds the stages of a run with what makes Dask tell of them.

    The tasks of a stage are a span, ``("clustergrid", stage)``, with one inside for every stage
    inside; and a stage that is inside no other, and takes its time, leaves a performance report.

    Parameters
    ----------
    client
        Whose scheduler reports.
    directory
        The run directory, locked: reports go to ``report/``.
    """

    def __init__(self, client: Client, directory: RunDirectory) -> None:
        self._client, self._directory = client, directory
        self._open = 0
        self._is_able = True

    def around(self, stage: str) -> AbstractContextManager[None]:
        """Surround a stage."""
        return self._around(stage)

    @contextmanager
    def _around(self, stage: str) -> Iterator[None]:
        is_inside = self._open > 0
        tags = (stage,) if is_inside else ("clustergrid", stage)
        report = nullcontext() if is_inside or not self._is_able else self._report(stage)
        self._open += 1
        try:
            with report, _span(*tags):
                yield
        finally:
            self._open -= 1

    @contextmanager
    def _report(self, stage: str) -> Iterator[None]:
        """Keep Dask's performance report of what is inside, a page that needs no network.

        A stage that fails leaves none: the scheduler that would make it may be what failed. Nor
        do most that are over in a moment.
        """
        from distributed import performance_report

        name = f"report/{re.sub(r'[^A-Za-z0-9_.-]', '-', stage)}.html"
        report = performance_report(mode="inline")
        try:
            with self._client.as_current():
                report.__enter__()
        except Exception as error:  # a scheduler that unpickles nothing never reports
            self._give_up(name, error)
        started = time.monotonic()
        yield
        if not self._is_able:
            return
        try:
            if stage not in _ALWAYS and time.monotonic() - started < _QUICK_SECONDS:
                return
            with self._directory.publish(name) as path, self._client.as_current():
                report.filename = str(path)
                # In place of the code that called, which would be this.
                code = escape(f"clustergrid, stage {stage}")
                self._client.sync(report.__aexit__, None, None, None, code=code)
                page = path.read_text(encoding="utf-8")
                path.write_text(_ICON.sub("", page, count=1), encoding="utf-8")
        except Exception as error:
            self._give_up(name, error)

    def _give_up(self, name: str, error: Exception) -> None:
        """Say that there are no reports: a page for people is not worth the result of a stage."""
        self._is_able = False
        warnings.warn(
            f"there is no performance report {name}, nor of later stages: {error}", stacklevel=3
        )


@contextmanager
def _span(*tags: str) -> Iterator[None]:
    """Tag what is submitted inside."""
    from distributed import span

    tagged = span(*tags)
    tagged.__enter__()
    try:
        yield
    finally:
        # A stage that a generator opened may be left where that is forgotten, in another thread.
        with suppress(ValueError):
            tagged.__exit__(None, None, None)
