"""Driver: Dask's performance report of a stage, in the run directory."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from clustergrid.storage.rundir import RunDirectory

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["stage_report"]


@contextmanager
def stage_report(client: Client | None, directory: RunDirectory, name: str) -> Iterator[None]:
    """Keep Dask's performance report of a stage as one page that needs no network.

    A stage that fails leaves none: the scheduler that would make it may be what failed.
    """
    if client is None:
        yield
        return
    from distributed import performance_report

    report = performance_report(mode="inline")
    with client.as_current():
        report.__enter__()
    yield
    try:
        with directory.publish(name) as path, client.as_current():
            report.filename = str(path)
            report.__exit__(None, None, None)
    except Exception as error:
        # A page for people is not worth the result of the stage.
        warnings.warn(f"there is no performance report {name}: {error}", stacklevel=2)
