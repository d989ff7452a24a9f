"""Driver: the Dask cluster that a command runs on, started or joined."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from clustergrid.pipeline.clusters.choice import ClusterChoice
from clustergrid.pipeline.clusters.jobqueue import JobFolder
from clustergrid.pipeline.resources import Resources
from clustergrid.storage.errors import ClustergridError, StorageError

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["connect", "part_of"]

_RESUMABLE = "the same command goes on from here"


@contextmanager
def connect(
    choice: ClusterChoice,
    resources: Resources,
    *,
    folder: JobFolder | None = None,
    tell: Callable[[str], None] | None = None,
) -> Iterator[Client | None]:
    """Start or join a Dask cluster; None where everything runs in this process.

    Parameters
    ----------
    choice
        Where tasks shall run.
    resources
        Memory and threads of this machine, for workers that are started here.
    folder
        Where jobs of workers leave what; None: below the user's home.
    tell
        Called with lines for people, also from other threads.

    Raises
    ------
    StorageError
        The named scheduler cannot be reached, is not trusted or does not trust us, or would be
        joined in the open; a queue gives no workers; or the scheduler is lost, or all workers are,
        while the run lasts.
    """
    started = _client(
        choice,
        resources,
        folder or JobFolder(path=Path.home() / ".clustergrid" / f"jobs-{uuid.uuid4().hex[:8]}"),
        tell or (lambda line: None),
    )
    if started is None:
        yield None
        return
    with started as client, _losses_said_plainly(client):
        yield client


def part_of(choice: ClusterChoice) -> AbstractContextManager[bool]:
    """Play the part of this process in a cluster whose processes all run the same command.

    Returns
    -------
    context manager of bool
        Whether this process drives the run. With ``mpi`` the others have been scheduler or workers
        until the run ended; otherwise there are no others.
    """
    if choice.cluster == "mpi" and not choice.is_remote:
        from clustergrid.pipeline.clusters.mpi import taking_part

        return taking_part(choice)
    return nullcontext(True)


def _client(
    choice: ClusterChoice, resources: Resources, folder: JobFolder, tell: Callable[[str], None]
) -> AbstractContextManager[Client] | None:
    """Choose who starts or joins a cluster; None where nobody does."""
    if choice.is_remote:
        from clustergrid.pipeline.clusters.joined import join

        return join(choice)
    if choice.is_queue:
        from clustergrid.pipeline.clusters.queued import queue_client

        return queue_client(choice, folder, tell)
    if choice.cluster == "allocation":
        from clustergrid.pipeline.clusters.allocation import allocation_client

        return allocation_client(choice, folder, tell)
    if choice.cluster == "mpi":
        from clustergrid.pipeline.clusters.mpi import mpi_client

        return mpi_client(tell)
    if choice.cluster == "kubernetes":
        from clustergrid.pipeline.clusters.kubernetes import kubernetes_client

        return kubernetes_client(choice, tell)
    if choice.cluster == "local":
        from clustergrid.pipeline.clusters.local import local_client

        return local_client(choice, resources)
    return None


@contextmanager
def _losses_said_plainly(client: Client) -> Iterator[None]:
    """Turn what Dask raises when workers or the scheduler are gone into one line about that.

    A client that lost its scheduler raises whatever the call stumbles over, also AttributeError.
    """
    from distributed.scheduler import NoWorkerError

    try:
        yield
    except ClustergridError:
        raise
    except NoWorkerError as error:
        raise StorageError(
            f"no Dask worker was left for {error.timeout:.0f} s. Start workers; {_RESUMABLE}"
        ) from error
    except Exception as error:
        if client.status == "running":
            raise
        raise StorageError(f"the Dask cluster was lost; {_RESUMABLE}") from error
