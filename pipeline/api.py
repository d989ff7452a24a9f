"""Driver: the public functions around the picture: distances, trees and plans."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clustergrid.pipeline.calibration import calibrated
from clustergrid.pipeline.execution import available_cores, available_memory_bytes
from clustergrid.pipeline.keywords import MetricKeywords
from clustergrid.pipeline.metrics import Function, get_metric
from clustergrid.pipeline.monitor import Listener, Progress, make_progress
from clustergrid.pipeline.opening import open_stages
from clustergrid.pipeline.ordering import order_leaves
from clustergrid.pipeline.planning import Plan, parse_bytes, plan_run
from clustergrid.pipeline.precomputed import given_distances, stored_distances
from clustergrid.pipeline.prospect import CLUSTER_NOTE, look_at
from clustergrid.pipeline.resources import DescribedCluster
from clustergrid.pipeline.run_plan import check_scratch, check_store, existing_folder, refuse_unseen
from clustergrid.pipeline.spec import AxisSpec, RunSpec, distance_dtype
from clustergrid.pipeline.square import PRECOMPUTED, is_precomputed
from clustergrid.pipeline.tree_engine import check_engine
from clustergrid.pipeline.trees import condensed_tree, tiles_tree
from clustergrid.storage.condensed import CondensedDistances
from clustergrid.storage.errors import DataValueError
from clustergrid.storage.readers.location import Location

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["linkage", "pdist", "plan"]

Store = str | os.PathLike[str] | None
Progresses = Progress | Listener | bool | None


def pdist(
    data: Any,
    metric: str | Function = "euclidean",
    *,
    p: float | None = None,
    w: Any = None,
    V: Any = None,
    VI: Any = None,
    min_periods: int | None = None,
    dtype: Any = None,
    memory: str | int | None = None,
    store: Store = None,
    client: Client | None = None,
    progress: Progresses = None,
) -> CondensedDistances:
    """Distances between all pairs of rows.

    Parameters
    ----------
    data
        ``(n, k)``: anything that `clustergrid.storage.open_matrix` takes.
    metric
        One of `clustergrid.pipeline.metrics.METRICS`, under SciPy's names and aliases, or a
        function of two vectors, which is called for every pair. ``"precomputed"``: `data` are
        distances, a square matrix or SciPy's condensed vector (an array, a Zarr array, the path of
        one), which are checked, and read from where they are.
    p
        Of minkowski: the power, above 0; 2 by default.
    w
        ``(k,)`` weights of the features, not negative; of most of SciPy's metrics.
    V
        Of seuclidean: ``(k,)`` variances of the features; by default those of the data.
    VI
        Of mahalanobis: ``(k, k)`` inverse of the features' covariance matrix; by default that of
        the data.
    min_periods
        Of nan_euclidean, nan_correlation and nan_spearman: least number of features that two rows
        must both have, 1 and of the correlations 2 by default.
    dtype
        float32 or float64; by default that of the data, integers and bools as float64.
    memory
        What may be used, as ``"8GB"`` or bytes; by default most of what is free.
    store
        Directory for the distances at rest; by default they are kept in memory.
    client
        Dask client to run on. Without it, lazy data run on the client that is active, if there is
        one, and everything else in threads of this process.
    progress
        True for bars, or a callback for events.

    Returns
    -------
    CondensedDistances
        Tiles of the upper triangle; ``to_numpy()`` gives SciPy's condensed order.

    Raises
    ------
    ValueError
        The metric is unknown, values are not finite, a row has no distance under the metric,
        there are fewer than two rows, or a keyword has a value or a length that it cannot have.
    TypeError
        The data are not numbers, or the metric does not take a keyword.
    MemoryLimitError
        The distances do not fit.

    Examples
    --------
    >>> d = pdist([[0, 0], [3, 4], [0, 1]], "cityblock")
    >>> d.to_numpy().tolist()
    [7.0, 1.0, 6.0]
    >>> pdist([[0, 0], [3, 4], [0, 1]], "cityblock", w=[1, 0]).to_numpy().tolist()
    [3.0, 0.0, 3.0]
    """
    keywords = MetricKeywords.from_mapping(
        {"p": p, "w": w, "V": V, "VI": VI, "min_periods": min_periods}
    )
    get_metric(metric, keywords)
    if is_precomputed(metric):
        found = given_distances(data, dtype=dtype, client=client, progress=progress)
        if found is not None:
            return found if store is None else stored_distances(found, store, client, progress)
    stages = open_stages(
        data, dtype=dtype, memory=memory, store=store, client=client, progress=progress
    )
    return stages.distances(0, metric=metric, metric_kws=keywords)


def linkage(
    data: Any,
    method: str = "average",
    metric: str | Function = "euclidean",
    *,
    metric_kws: Mapping[str, Any] | None = None,
    optimal_ordering: bool = False,
    engine: str | None = None,
    dtype: Any = None,
    memory: str | int | None = None,
    store: Store = None,
    client: Client | None = None,
    progress: Progresses = None,
) -> np.ndarray:
    """Exact hierarchical clustering of the rows.

    Parameters
    ----------
    data
        ``(n, k)`` observations, anything that `clustergrid.storage.open_matrix` takes; or a
        condensed distance matrix, SciPy's vector or what `pdist` gave.
    method
        single, complete, average, weighted, centroid, median or ward.
    metric
        As in `pdist`; not used where `data` are distances.
    metric_kws
        Keywords of the metric, as ``{"p": 3}``: those of `pdist`.
    optimal_ordering
        Turn the leaves so that neighbours are nearest in sum. Up to 20,000 observations that
        differ, no order that the tree allows has a smaller sum of distances between neighbours. Of
        more, subtrees of up to 4,000 are ordered so, then the tree above them with only the ends of
        each, and so on: the order is the best of all within each part, and never worse than
        without. It takes ``10 n ** 2`` bytes up to 20,000 observations, 160 MB of more; and, unless
        the tree is made from rows, a copy of the distances.
    engine
        What the tree is made from: ``"scipy"`` (SciPy itself), ``"square"`` (the square of the
        distances, in memory), ``"condensed"`` (a condensed matrix that is given, which is neither
        copied nor changed), ``"tiles"`` (tiles of distances, at rest or in memory, which are read a
        few times), ``"data"`` (the rows, without a matrix of distances; of centroid and median
        those of Euclidean distances). By default it follows from the method, the metric and the
        shape, as `clustergrid.pipeline.tree_engine.rows_engines` says: of more than 8,192 rows the
        tree is made from these. Only where that does not fit the memory, another one that does
        takes its place, and `plan` says so. The last three need memory for lists of near
        observations, and go on in what there is. Heights of two engines agree to 1e-10 in double
        precision; in single precision those of ``"square"`` are rounded to it. Where distances tie,
        several trees are right, and engines may differ; that of single linkage is the same to the
        bit from every engine of rows but ``"scipy"`` and ``"tiles"``.
    dtype, memory, store, client, progress
        As in `pdist`. Where `data` are distances, these are beside what `memory` counts; store and
        client are for rows.

    Returns
    -------
    numpy.ndarray
        ``(n - 1, 4)`` float64, as `scipy.cluster.hierarchy.linkage` returns it.

    Raises
    ------
    ValueError
        As in `pdist`; the method is unknown, or does not go with the metric.
    TypeError
        As in `pdist`.
    MemoryLimitError
        No engine, or not the one that was asked for, fits the memory.

    Examples
    --------
    >>> linkage([[0.0], [1.0], [5.0]], "single").tolist()
    [[0.0, 1.0, 1.0, 2.0], [2.0, 3.0, 4.0, 3.0]]
    """
    keywords = MetricKeywords.from_mapping(metric_kws)
    get_metric(metric, keywords)
    if is_precomputed(metric):
        found = given_distances(data, dtype=dtype, client=client, progress=progress)
        data = data if found is None else found
    if isinstance(data, CondensedDistances):
        AxisSpec(method=method)
        check_engine(engine, method, PRECOMPUTED)
        return tiles_tree(
            data,
            method,
            engine=engine,
            optimal_ordering=optimal_ordering,
            memory_bytes=_memory_bytes(memory),
            progress=make_progress(progress),
            name="linkage",
        )
    if isinstance(data, list | tuple) and all(isinstance(value, Real) for value in data):
        data = np.asarray(data)
    if isinstance(data, np.ndarray) and data.ndim == 1:
        AxisSpec(method=method)
        check_engine(engine, method, PRECOMPUTED)
        condensed = np.ascontiguousarray(data, dtype=distance_dtype(data.dtype, dtype))
        shown = make_progress(progress)
        tree = condensed_tree(
            condensed,
            method,
            engine=engine,
            memory_bytes=_memory_bytes(memory),
            progress=shown,
            name="linkage",
        )
        if not optimal_ordering:
            return tree
        return order_leaves(tree, condensed, progress=shown, name="ordering")
    stages = open_stages(
        data, dtype=dtype, memory=memory, store=store, client=client, progress=progress
    )
    return stages.linkage(
        0,
        method=method,
        metric=metric,
        metric_kws=keywords,
        optimal_ordering=optimal_ordering,
        engine=engine,
    )


def _memory_bytes(memory: str | int | None) -> int:
    return available_memory_bytes() if memory is None else parse_bytes(memory)


def plan(
    data: Any,
    *,
    method: str = "average",
    metric: str | Function = "euclidean",
    row_cluster: bool = True,
    col_cluster: bool = True,
    z_score: int | None = None,
    standard_scale: int | None = None,
    optimal_ordering: bool = False,
    dtype: Any = None,
    memory: str | int | None = None,
    store: Store = None,
    client: Client | None = None,
    cluster: DescribedCluster | None = None,
    metric_kws: Mapping[str, Any] | None = None,
    engine: str | None = None,
) -> Plan:
    """Say what `clustermap` of the same arguments would do: stages, tasks, bytes, memory, seconds.

    Nothing is computed. Of files only the description is read; how many rows a long text has is
    estimated from its beginning. Where the work is long, this machine is measured for half a
    second, so that the seconds are its own.

    Parameters
    ----------
    data, method, metric, row_cluster, col_cluster, z_score, standard_scale, optimal_ordering
        As in `clustermap`.
    dtype, store, client
        As in `clustermap`.
    memory
        What may be used on this machine, as ``"8GB"`` or bytes; by default most of what is free.
        With a described cluster: on the machine of the driver, by default as much as a worker has.
    cluster
        A `clustergrid.pipeline.planning.DescribedCluster`, which need not be there. It is planned
        for as ``clustergrid run`` would use it: stages meet in a store.
    metric_kws, engine
        As in `clustermap`.

    Raises
    ------
    MemoryLimitError
        It would not fit the memory; the message says what would do.
    DiskSpaceError
        It would not fit the file system of the store; so does this message.
    DataValueError
        Rows or ranks would be at rest where the client's workers cannot read them: they are on
        other machines, and there is no store.

    Examples
    --------
    >>> import numpy as np
    >>> p = plan(np.zeros((2000, 50)), memory="2GB")
    >>> [stage.name for stage in p.stages][:3]
    ['statistics', 'distance-row', 'linkage-row']
    >>> from clustergrid.pipeline.planning import DescribedCluster
    >>> cluster = DescribedCluster(workers=100, cores=16, memory_bytes=64 * 10**9)
    >>> plan(np.zeros((2000, 50)), cluster=cluster).resources.threads
    1600
    """
    if cluster is not None and client is not None:
        raise DataValueError("give a client or describe a cluster, not both")
    matrix, resources, held = look_at(data, memory, store, client)
    if cluster is not None:
        limit = cluster.memory_bytes if memory is None else parse_bytes(memory)
        resources, held = cluster.resources(limit), 0
    distances, keywords = (
        distance_dtype(matrix.dtype, dtype),
        MetricKeywords.from_mapping(metric_kws),
    )

    def axis(clustered: bool) -> AxisSpec:
        return AxisSpec(
            cluster=clustered,
            method=method,
            metric=metric,
            metric_kws=keywords,
            optimal_ordering=optimal_ordering,
            dtype=distances,
            engine=engine if clustered else None,
        )

    spec = RunSpec(
        row=axis(row_cluster),
        column=axis(col_cluster),
        z_score=z_score,
        standard_scale=standard_scale,
    )
    matrix.check_features(spec)
    planned = plan_run(
        spec,
        matrix.shape,
        matrix.dtype.itemsize,
        resources,
        in_memory=store is None and cluster is None,
        ingest=matrix.ingest if cluster is None else True,
        matrix_bytes_held=held,
        chunks=matrix.chunks if cluster is None else None,
        source_chunks=matrix.source_chunks,
        is_boolean=matrix.dtype == np.bool_,
        is_floating=matrix.dtype.kind == "f",
        n_stored=matrix.n_stored if cluster is None else None,
    )
    notes = [*planned.notes, *([matrix.note] if matrix.note else [])]
    notes += [CLUSTER_NOTE] if cluster else []
    where = None if store is None else Location.parse(store)
    folder = Path(where.url) if where is not None and where.is_local else None
    if folder is not None:
        check_store(folder, planned)
        folder = existing_folder(folder)
    elif store is None and cluster is None:
        refuse_unseen(planned)
        if planned.peak_disk_bytes:
            check_scratch(planned)
    return replace(calibrated(planned, folder, available_cores()), notes=tuple(notes))
