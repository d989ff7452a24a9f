"""Driver: the stages bound to whatever a user of Python has."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from clustergrid.pipeline.execution import (
    DaskExecutor,
    Executor,
    ThreadsExecutor,
    active_client,
    available_memory_bytes,
    resources_of,
)
from clustergrid.pipeline.footprint import DRIVER_BYTES
from clustergrid.pipeline.monitor import Listener, Progress, make_progress
from clustergrid.pipeline.sizes import parse_bytes
from clustergrid.pipeline.stages import Stages
from clustergrid.storage.matrix import open_matrix
from clustergrid.storage.readers.location import Location

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["open_stages"]


def open_stages(
    data: Any,
    *,
    pivot_kws: dict[str, Any] | None = None,
    z_score: int | None = None,
    standard_scale: int | None = None,
    dtype: object = None,
    memory: str | int | None = None,
    store: str | os.PathLike[str] | None = None,
    client: Client | None = None,
    progress: Progress | Listener | bool | None = None,
) -> Stages:
    """Open whatever the user has and bind the stages to it.

    Parameters
    ----------
    data
        Anything that `open_matrix` takes.
    pivot_kws
        For tidy data: keywords of `pandas.DataFrame.pivot`.
    z_score, standard_scale, dtype
        As in `Stages`.
    memory
        What the run may use, as ``"8GB"`` or bytes; by default most of what is free.
    store
        Directory in which intermediate arrays are put at rest.
    client
        Dask client to run on. Without it, lazy data run on the active client if there is one,
        and everything else in this process.
    progress
        True for bars, a callback, or a `Progress`.
    """
    # Absolute: workers have working directories of their own.
    where = None if store is None else Location.parse(store).url
    matrix = open_matrix(data, pivot_kws=pivot_kws, store=where)
    if client is None and not isinstance(matrix.variable._data, np.ndarray):
        client = active_client()
    executor: Executor = ThreadsExecutor() if client is None else DaskExecutor(client)
    in_memory = isinstance(matrix.variable._data, np.ndarray)
    charged = DRIVER_BYTES + (int(matrix.nbytes) if in_memory else 0)
    memory_bytes = available_memory_bytes(charged) if memory is None else parse_bytes(memory)
    return Stages(
        matrix,
        z_score=z_score,
        standard_scale=standard_scale,
        dtype=dtype,
        executor=executor,
        resources=resources_of(executor, memory_bytes),
        store=where,
        progress=make_progress(progress),
    )
