"""Driver: a Dask scheduler that somebody else started."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from clustergrid.pipeline.clusters.choice import ClusterChoice
from clustergrid.pipeline.security import (
    check_hosts,
    make_security,
    refuse_plain,
    why_closed,
    wrong_certificate,
)
from clustergrid.storage.errors import StorageError

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["join"]

_CONNECT_SECONDS = 30
_WORKERS_SECONDS = 300


@contextmanager
def join(choice: ClusterChoice) -> Iterator[Client]:
    """Join a running scheduler, once it has a worker.

    Raises
    ------
    StorageError
        It cannot be reached, is not trusted or does not trust us, would be joined in the open, or
        no worker comes.
    """
    from distributed import Client

    where = choice.scheduler or str(choice.scheduler_file)
    address = choice.scheduler or _read_address(where)
    refuse_plain(address, choice)
    security = make_security(address, choice)
    try:
        wrong = security and wrong_certificate(address, security, _CONNECT_SECONDS)
        if wrong:
            raise StorageError(f"cannot join the Dask scheduler {where}: {wrong}")
        client = Client(address, timeout=_CONNECT_SECONDS, security=security, set_as_default=False)
    except StorageError:
        raise
    except (OSError, ValueError, RuntimeError) as error:
        raise StorageError(
            f"cannot reach the Dask scheduler {where}: {why_closed(address, error)}"
        ) from error
    with client:
        refuse_plain(str(client.scheduler_info(n_workers=0)["address"]), choice)
        try:
            client.wait_for_workers(1, timeout=_WORKERS_SECONDS)
        except TimeoutError as error:
            raise StorageError(
                f"no worker joined the Dask scheduler {where} within {_WORKERS_SECONDS} s"
            ) from error
        check_hosts(client.scheduler_info(n_workers=-1)["workers"], choice)
        _warn_of_endless_waiting(client, where)
        yield client


def _warn_of_endless_waiting(client: Client, where: str) -> None:
    """Say so where a run could hang: the settings of a scheduler are its owner's."""
    import dask

    name = "distributed.scheduler.no-workers-timeout"
    try:
        timeout = client.run_on_scheduler(dask.config.get, name, None)
    except ValueError:  # a scheduler that unpickles nothing
        return
    if timeout is None:
        warnings.warn(
            f"the Dask scheduler {where} lets a run wait for ever when its workers are gone: "
            f"start it with {name} set, as in deploy/dask.yaml",
            stacklevel=2,
        )


def _read_address(scheduler_file: str) -> str:
    """Read what ``dask scheduler --scheduler-file`` wrote."""
    try:
        with open(scheduler_file, encoding="utf-8") as file:
            content = json.load(file)
    except (OSError, ValueError) as error:
        raise StorageError(f"cannot read the scheduler file {scheduler_file}: {error}") from error
    if not (isinstance(content, dict) and isinstance(content.get("address"), str)):
        raise StorageError(f"there is no address in the scheduler file {scheduler_file}")
    return str(content["address"])
