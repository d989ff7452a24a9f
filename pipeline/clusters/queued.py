"""Driver: a scheduler in this process whose workers are jobs of a batch queue."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from clustergrid.pipeline.clusters.choice import ClusterChoice
from clustergrid.pipeline.clusters.encryption import encrypted
from clustergrid.pipeline.clusters.jobqueue import (
    JobFolder,
    make_queue_cluster,
    processes_per_job,
)
from clustergrid.pipeline.clusters.roster import Roster
from clustergrid.pipeline.clusters.settings import free_port, scheduler_settings
from clustergrid.pipeline.clusters.watch import WorkerWatch
from clustergrid.storage.errors import DataValueError, StorageError

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["queue_client"]

_PATIENCE = "24h"
"""How long a run waits without any worker: queues may be long. A site overrides it by
``clustergrid.queue-timeout`` in Dask's configuration. Not by Dask's ``no-workers-timeout``, which
is a matter of minutes where schedulers stand by themselves."""
_SPARE_SECONDS = 600


@contextmanager
def queue_client(
    choice: ClusterChoice, folder: JobFolder, tell: Callable[[str], None]
) -> Iterator[Client]:
    """Start a scheduler, ask a queue for workers, and look after them.

    Parameters
    ----------
    choice
        Of a queue, as `resolve_choice` makes it.
    folder
        Where its jobs write, and certificates are kept while it lasts.
    tell
        Called with lines for people.

    Raises
    ------
    StorageError
        The queue refuses the jobs, no worker comes, or none is left.
    MissingExtraError
        A library is not installed.
    """
    import dask
    from distributed import Client

    from clustergrid.pipeline.jobs.known import QUEUES_BY_WORD
    from clustergrid.pipeline.worker import DeafToCtrlC

    patience_seconds = _patience_seconds()
    port = free_port(choice.dashboard_port)
    # The watch ends a run that nobody works for; the scheduler's own limit is behind it.
    timeout = f"{patience_seconds + _SPARE_SECONDS:.0f}s"
    with (
        encrypted(choice, folder.path) as tls_files,
        dask.config.set(scheduler_settings(port, timeout)),
        make_queue_cluster(choice, folder, dashboard_port=port, tls_files=tls_files) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        client.register_plugin(DeafToCtrlC())
        n_jobs = -(-(choice.workers or 1) // processes_per_job(choice.cluster))
        roster = Roster(queue=choice.cluster, n_jobs=n_jobs, patience_seconds=patience_seconds)
        queue = QUEUES_BY_WORD[choice.cluster]
        with WorkerWatch(cluster, queue, folder, roster, tell) as watch:
            tell(f"asked {choice.cluster} for {n_jobs} jobs of workers; starting with the first")
            watch.wait_for_first()
            try:
                yield client
            except Exception as error:
                if watch.verdict is None:
                    raise
                raise StorageError(watch.verdict) from error


def _patience_seconds() -> float:
    import dask
    from dask.utils import parse_timedelta

    asked = dask.config.get("clustergrid.queue-timeout", _PATIENCE)
    try:
        seconds = float(parse_timedelta(asked))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataValueError(
            f"clustergrid.queue-timeout in Dask's configuration is no time as 24h: {asked!r}"
        ) from error
    return seconds
