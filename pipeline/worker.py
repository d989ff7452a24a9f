"""Driver: what a Dask worker process of ours does besides its tasks."""

from __future__ import annotations

import signal

from distributed import Worker, WorkerPlugin

__all__ = ["DeafToCtrlC"]


class DeafToCtrlC(WorkerPlugin):
    """Leaves it to the driver to end its workers: a terminal sends Ctrl-C to all of them at once.

    Left to themselves, each would print a traceback.
    """

    name = "clustergrid-signals"
    idempotent = True

    def setup(self, worker: Worker) -> None:
        """Run in a worker that starts, in its main thread."""
        del worker
        signal.signal(signal.SIGINT, signal.SIG_IGN)
