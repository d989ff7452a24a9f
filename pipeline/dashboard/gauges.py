"""Driver: where runs are, as gauges for Prometheus, in the scheduler's process.

Dask serves the registry of its process at ``/metrics``. Everything has the label ``run`` (the run
directory) and ``stage``, so that runs of one scheduler do not get in each other's way; names end
in their units, and none in ``_total``, which is for counters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from clustergrid.pipeline.dashboard.runs import ACTIVE, Runs, RunSeen, StageSeen

if TYPE_CHECKING:
    from prometheus_client.core import GaugeMetricFamily

__all__ = ["GAUGES", "RunGauges"]

_SHOWN_SECONDS = 600.0
"""Of a run that is over: a few scrapes see its end, and old runs do not stay for ever."""

Value = Callable[[StageSeen], float | None]

_FAMILIES: tuple[tuple[str, str, Value], ...] = (
    (
        "clustergrid_stage_running",
        "Whether the stage is under way (1) or over (0).",
        lambda stage: float(stage.is_open),
    ),
    (
        "clustergrid_stage_done",
        "Units of the stage that are done, what an earlier run did included.",
        lambda stage: stage.event.done,
    ),
    (
        "clustergrid_stage_size",
        "Units of the stage in all; missing where that is not known.",
        lambda stage: stage.event.total or None,
    ),
    (
        "clustergrid_stage_elapsed_seconds",
        "Seconds since the stage started.",
        lambda stage: stage.event.seconds,
    ),
    (
        "clustergrid_stage_remaining_seconds",
        "Seconds that the stage will take yet, at the rate of late.",
        lambda stage: stage.event.seconds_left if stage.is_open else None,
    ),
    (
        "clustergrid_stage_done_bytes",
        "Bytes of what is done, where units have a size.",
        lambda stage: stage.event.bytes or None,
    ),
    (
        "clustergrid_stage_bytes_per_second",
        "Bytes a second that were done since the stage started.",
        lambda stage: stage.bytes_per_second or None,
    ),
    (
        "clustergrid_clusters_left",
        "Clusters of the tree that are not merged yet.",
        lambda stage: stage.event.clusters_left,
    ),
    (
        "clustergrid_height",
        "Height of the tree that was reached.",
        lambda stage: stage.event.height,
    ),
)


class RunGauges:
    """A collector of the runs of all schedulers of this process, whose registry is one."""

    def __init__(self) -> None:
        self._watched: list[Runs] = []

    def watch(self, runs: Runs) -> bool:
        """Show these runs too; False where prometheus_client is not installed."""
        try:
            from prometheus_client import REGISTRY
        except ImportError:
            return False
        if not self._watched:
            REGISTRY.register(self)
        self._watched.append(runs)
        return True

    def forget(self, runs: Runs) -> None:
        """Show these runs no longer."""
        if not any(each is runs for each in self._watched):
            return
        self._watched = [each for each in self._watched if each is not runs]
        if not self._watched:
            from prometheus_client import REGISTRY

            REGISTRY.unregister(self)

    def describe(self) -> list[GaugeMetricFamily]:
        """Claim no names: there may be no runs yet."""
        return []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Make the families of now."""
        from prometheus_client.core import GaugeMetricFamily

        shown = self._shown()
        for name, what, value in _FAMILIES:
            family = GaugeMetricFamily(name, what, labels=["run", "stage", "unit"])
            for run in shown:
                for stage in list(run.stages.values()):
                    number = value(stage)
                    if number is not None:
                        family.add_metric([run.name, stage.event.stage, stage.event.unit], number)
            if family.samples:
                yield family

    def _shown(self) -> list[RunSeen]:
        """Find runs under way or over of late; of one directory only the last that began."""
        found: dict[str, RunSeen] = {}
        for runs in self._watched:
            now = runs.now()
            for run in runs:
                lately = run.ended is not None and now - run.ended < _SHOWN_SECONDS
                if run.state == ACTIVE or lately:
                    found[run.name] = run
        return list(found.values())


GAUGES = RunGauges()
"""The one of this process; in Prometheus' registry while there is a scheduler to show runs of."""
