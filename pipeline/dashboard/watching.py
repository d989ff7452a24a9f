"""Driver: lets people watch a run that is on a Dask cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clustergrid.pipeline.dashboard.address import find_dashboard, keep_dashboard
from clustergrid.pipeline.dashboard.events import Look, RunEvents
from clustergrid.pipeline.dashboard.reports import StageReports
from clustergrid.pipeline.dashboard.runs import TOPIC
from clustergrid.pipeline.monitor import Progress
from clustergrid.pipeline.spec import AxisSpec
from clustergrid.storage.readers.location import Location
from clustergrid.storage.rundir import RunDirectory

if TYPE_CHECKING:
    from distributed import Client

    from clustergrid.pipeline.request import RunRequest

__all__ = ["watch_run"]

_DASK_PAGE = "status"


@contextmanager
def watch_run(
    client: Client | None,
    request: RunRequest,
    directory: RunDirectory,
    shape: tuple[int, int],
    progress: Progress,
    notice: Callable[[str], None],
) -> Iterator[None]:
    """Let people watch what is done inside the context: on the dashboard, and in reports.

    Parameters
    ----------
    client
        Whose scheduler is told; None: nobody is.
    request, directory, shape
        The run, its directory (locked), and the shape of its matrix.
    progress
        Whose events are sent.
    notice
        Called with lines for people: where the dashboard is, and why something cannot be watched.
    """
    if client is None:
        yield
        return
    brought = _bring_page(client)
    page = TOPIC if brought.is_taken else _DASK_PAGE
    address = find_dashboard(client, page, host=brought.host, machine=brought.machine)
    if not brought.has_dashboard or address is None:
        address = None
        notice("the scheduler has no dashboard where the run could be watched")
    for line in [] if address is None else address.lines:
        notice(line)
    if brought.why:
        notice(f"the dashboard has no page of the run, only Dask's own: {brought.why}")
    keep_dashboard(directory, address)
    reports = StageReports(client, directory)
    with _kept_no_longer(directory), ExitStack() as watchers:
        if brought.is_taken:
            events = _events_of(client, request, directory, shape)
            watchers.enter_context(_end_told(events))
            watchers.enter_context(progress.watched(events))
        watchers.enter_context(progress.watched(reports))
        yield


@contextmanager
def _kept_no_longer(directory: RunDirectory) -> Iterator[None]:
    """Forget in the end where the run was watched."""
    try:
        yield
    except BaseException:
        # A disk that is full, for instance, would otherwise tell of this, and not of what it ended.
        with suppress(OSError):
            keep_dashboard(directory, None)
        raise
    keep_dashboard(directory, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Brought:
    """What became of the page that was brought to a scheduler.

    Attributes
    ----------
    why
        Why the scheduler did not take it; empty where it did.
    has_dashboard
        Whether it has one; not known, and taken for granted, of one that does not take the page.
    host, machine
        As in `find_dashboard`.
    """

    why: str = ""
    has_dashboard: bool = True
    host: str = ""
    machine: str = ""

    @property
    def is_taken(self) -> bool:
        return not self.why


def _bring_page(client: Client) -> _Brought:
    """Bring the page to the scheduler, where it stays for the next run."""
    from clustergrid.pipeline.dashboard.plugin import RunsPlugin, describe_dashboard

    try:
        client.register_plugin(RunsPlugin())
        found = client.run_on_scheduler(describe_dashboard)
        where = {name: str(found[name]) for name in ("host", "machine")}
        return _Brought(has_dashboard=bool(found["has_page"]), **where)
    except ImportError as error:
        return _Brought(why=f"the scheduler's environment lacks clustergrid ({error})")
    except Exception as error:  # of another version, for instance
        return _Brought(why=f"the scheduler does not take it ({type(error).__name__}: {error})")


def _events_of(
    client: Client, request: RunRequest, directory: RunDirectory, shape: tuple[int, int]
) -> RunEvents:
    rows, columns = (_words_of(request.axis(axis)) for axis in (0, 1))
    return RunEvents(
        client,
        name=str(directory.path),
        asked=(
            f"{Location.parse(request.input).shown}, {shape[0]:,} rows x {shape[1]:,} columns; "
            f"rows: {rows}; columns: {columns}"
        ),
        look=Look.of(request.figure.heatmap),
    )


def _words_of(axis: AxisSpec) -> str:
    if not axis.cluster:
        return "not clustered"
    return (
        "a given tree"
        if axis.linkage is not None
        else f"{axis.method} linkage of {axis.found_metric.name} distances"
    )


@contextmanager
def _end_told(events: RunEvents) -> Iterator[None]:
    """Say how what is inside ends."""
    try:
        yield
    except Exception as error:
        events.end("failed", str(error))
        raise
    except BaseException:  # Ctrl-C, or a queue's warning
        events.end("stopped")
        raise
    events.end("finished")
