"""Driver: what a Dask worker process of ours does besides its tasks."""

from __future__ import annotations

import logging
import signal

from distributed import Worker, WorkerPlugin

__all__ = ["DeafToCtrlC"]


class DeafToCtrlC(WorkerPlugin):
    """Leaves it to the driver to end its workers: a terminal sends Ctrl-C to all of them at once.

    Left to themselves, each would print a traceback; so they would of a task that fails.
    """

    name = "clustergrid-signals"
    idempotent = True

    def setup(self, worker: Worker) -> None:
        """Run in a worker that starts, in its main thread."""
        del worker
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        # The error of a task goes to the driver, which tells it in one line. Here it would be
        # printed with its traceback, on the user's terminal.
        logging.getLogger("distributed.worker").setLevel(logging.CRITICAL)
