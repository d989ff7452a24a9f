"""Driver: hears of runs in the scheduler's process, and shows them there."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from distributed.diagnostics.plugin import SchedulerPlugin

from clustergrid.pipeline.dashboard.gauges import GAUGES
from clustergrid.pipeline.dashboard.page import add_page
from clustergrid.pipeline.dashboard.runs import TOPIC, Runs

if TYPE_CHECKING:
    from distributed import Scheduler

__all__ = ["RunsPlugin", "describe_dashboard"]


class RunsPlugin(SchedulerPlugin):
    """Adds ``/clustergrid`` to the dashboard and gauges to ``/metrics``, for good.

    It outlives the driver that brought it, so that a run can be looked at when it is over; the next
    driver finds it there.

    Attributes
    ----------
    runs
        What it heard, once it is in a scheduler.
    has_page
        Whether the scheduler has a dashboard that the page could be added to.
    """

    name = "clustergrid-runs"
    idempotent = True

    def __init__(self) -> None:
        self.runs = Runs()
        self.has_page = False

    async def start(self, scheduler: Scheduler) -> None:
        """Begin to show runs."""
        self.has_page = add_page(scheduler, self.runs)
        GAUGES.watch(self.runs)

    async def close(self) -> None:
        """Show no gauges any more; the scheduler stops its pages itself."""
        GAUGES.forget(self.runs)

    def log_event(self, topic: str, msg: Any) -> None:
        """Hear a message; whoever has a client may send any."""
        if topic != TOPIC:
            return
        # What is none of ours, or of another version.
        with suppress(KeyError, TypeError, ValueError, OverflowError):
            self.runs.hear(msg)

    def remove_client(self, scheduler: Scheduler, client: str) -> None:
        """Note the runs whose driver is gone."""
        del scheduler
        self.runs.client_left(client)


def describe_dashboard(dask_scheduler: Scheduler) -> dict[str, Any]:
    """Say where a scheduler's dashboard is; run on the scheduler, in whose answer all is plain.

    Returns
    -------
    dict
        ``"has_page"``, whether the page of runs is there; ``"host"``, the address where the
        dashboard listens; ``"machine"``, the name of the machine that it is on.
    """
    plugin = dask_scheduler.plugins.get(RunsPlugin.name)
    return {
        "has_page": bool(getattr(plugin, "has_page", False)),
        "host": str(getattr(dask_scheduler.http_server, "address", "")),
        "machine": socket.gethostname(),
    }
