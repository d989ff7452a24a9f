"""Plan: seconds that a stage takes, from its work and the rates of a machine.

A stage is described by amounts (`StageWork`), a machine by amounts a second (`MachineRates`), and
an estimate is the one divided by the other: tasks share the cores, the driver works alone, the
store is one for all. That is a model, meant to tell minutes from hours; decision 009 says how far
it was off.

*Steps* are the unit of everything that is neither a matrix product nor a copy: one elementary
operation of NumPy on one float64 value that the processor has in its cache. The costs of our
kernels in steps were measured, and are constants here and in ``tree_work.py``, because a machine
that takes twice as long for a step takes about twice as long for them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from clustergrid.pipeline.metrics import SMALL_OBSERVATIONS, Engine, Metric, engine_for
from clustergrid.pipeline.resources import Resources
from clustergrid.pipeline.spec import AxisSpec
from clustergrid.storage.grid import BLOCK_ROWS

__all__ = [
    "ASSUMED_RATES",
    "MachineRates",
    "StageWork",
    "distance_work",
    "downsample_work",
    "estimate_seconds",
    "ingest_work",
    "picture_work",
    "rank_work",
    "startup_seconds",
    "statistics_work",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineRates:
    """What a machine does in a second.

    Attributes
    ----------
    product_float32_per_second, product_float64_per_second
        Floating-point operations of a matrix product on one core.
    steps_per_second
        Elementary operations on values in the cache, on one core.
    cores_together
        How much of its own speed a core has left while all others work too: 1 at best.
    fresh_bytes_per_second
        Memory that a process touches for the first time.
    written_bytes_per_second, read_bytes_per_second
        To a file of the file system where the run is, up to the medium, and back from it.
    measured
        Whether they were measured; otherwise they are assumed.

    Raises
    ------
    ValueError
        A rate is not positive.
    """

    product_float32_per_second: float
    product_float64_per_second: float
    steps_per_second: float
    cores_together: float
    fresh_bytes_per_second: float
    written_bytes_per_second: float
    read_bytes_per_second: float
    measured: bool = True

    def __post_init__(self) -> None:
        for name in self.__dataclass_fields__:
            value = getattr(self, name)
            if name != "measured" and not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} must be positive, got {value}")


ASSUMED_RATES = MachineRates(
    product_float32_per_second=3e10,
    product_float64_per_second=1.5e10,
    steps_per_second=2e9,
    cores_together=0.8,
    fresh_bytes_per_second=1e9,
    written_bytes_per_second=1e8,
    read_bytes_per_second=2e8,
    measured=False,
)
"""A slow machine of today: what a short run is estimated with, which is not worth measuring for."""

# Steps of one value, pair or entry, measured where a step took 0.17 ns.
_STATISTICS_STEPS = 60
_NORMS_STEPS = 10
_DOWNSAMPLE_STEPS = 12
_PRODUCT_FINISH_STEPS = {4: 25, 8: 45}
_COMPARE_STEPS = {"scipy": 6.0, "counts": 0.02, "sparse": 0.3, "precomputed": 0.0}
_LOOP_STEPS = {
    "braycurtis": 2.0,
    "canberra": 2.8,
    "jensenshannon": 20.0,
    "minkowski": 25.0,
    **dict.fromkeys(("chebyshev", "cityblock", "hamming"), 0.8),
}
_OTHER_LOOP_STEPS = 2.2
"""Of loops that compare booleans with weights."""
_QUICK_POWERS, _QUICK_POWER_STEPS = (0.5, 1.5, 3.0, 4.0), 3.0
"""Of minkowski: powers without a logarithm."""
_MISSING_STEPS = {"nan_euclidean": 1.2, "nan_correlation": 1.9, "nan_spearman": 9.0}
_RANK_STEPS = 15
"""Of a rank, times the logarithm of the row's length."""
_COVARIANCE_STEPS = 5
"""Of the third power of the features: eigenvalues, an inverse, and its root, on one core."""
_SPARSE_STEPS = 0.1, 6.0
"""Of a stored value that is looked up for a pair, and of one that both have."""
_CALL_STEPS = 30_000
"""A function of the user's: a call of Python, some microseconds."""

# Zarr's codecs on one core, bytes a second: checksum, and compression where there is one.
_DECODED_PER_SECOND = 6e8
_ENCODED_PER_SECOND = 1.5e8
_RAW_PER_SECOND = 1.5e9
_PARSED_PER_SECOND = 6e7
"""Text that becomes float64 numbers, as bytes of those."""

_SCHEDULED_TASK_SECONDS = 1e-3
_THREAD_TASK_SECONDS = 1e-4
_PICTURE_SECONDS = 1.5
_LEAF_SECONDS = 2e-5
_IMPORT_SECONDS = 1.0
_COMPILER_SECONDS = 1.0
_LOCAL_CLUSTER_SECONDS = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StageWork:
    """What a stage has to do.

    Attributes
    ----------
    product_operations, product_itemsize
        Floating-point operations of matrix products in tasks, and bytes of their values.
    steps
        Elementary operations in tasks.
    decoded_bytes, encoded_bytes, raw_bytes
        Bytes that tasks read through Zarr's codecs, write compressed, and write as they are.
    disk_read_bytes, disk_written_bytes
        Bytes that come from the medium for the first time, and go to it.
    again_bytes, matrix_bytes
        Bytes of the matrix that are read again, and how large it is: one that memory can hold
        comes from there.
    driver_decoded_bytes, driver_shared_steps
        Likewise, of the threads of the driver's process.
    fresh_bytes
        Memory that the driver touches for the first time.
    driver_steps
        Elementary operations of the driver, on one core.
    driver_seconds
        What does not depend on any rate.
    """

    product_operations: float = 0.0
    product_itemsize: int = 8
    steps: float = 0.0
    decoded_bytes: float = 0.0
    encoded_bytes: float = 0.0
    raw_bytes: float = 0.0
    disk_read_bytes: float = 0.0
    disk_written_bytes: float = 0.0
    again_bytes: float = 0.0
    matrix_bytes: float = 0.0
    driver_decoded_bytes: float = 0.0
    driver_shared_steps: float = 0.0
    fresh_bytes: float = 0.0
    driver_steps: float = 0.0
    driver_seconds: float = 0.0


def estimate_seconds(
    work: StageWork, tasks: int, rates: MachineRates, resources: Resources
) -> float:
    """Estimate how long a stage takes.

    Parameters
    ----------
    work, tasks
        What it has to do, and in how many pieces the parallel part is cut.
    rates
        Of one machine; all machines of a cluster are taken to be like it, and their file system
        to be one that is as fast as its.
    resources
        How many tasks run at once, and where.

    Examples
    --------
    >>> work = StageWork(product_operations=3e12)
    >>> alone = Resources(memory_bytes=10**9, threads=1)
    >>> two = Resources(memory_bytes=10**9, threads=2)
    >>> round(estimate_seconds(work, 100, ASSUMED_RATES, alone))
    200
    >>> round(estimate_seconds(work, 100, ASSUMED_RATES, two))
    125
    """
    product = (
        rates.product_float32_per_second
        if work.product_itemsize == 4
        else rates.product_float64_per_second
    )
    # The codecs' rates are those of the machine that they were measured on.
    pace = rates.steps_per_second / 6e9
    one_core = (
        work.product_operations / product
        + work.steps / rates.steps_per_second
        + work.decoded_bytes / (_DECODED_PER_SECOND * pace)
        + work.encoded_bytes / (_ENCODED_PER_SECOND * pace)
        + work.raw_bytes / (_RAW_PER_SECOND * pace)
    )
    read = work.disk_read_bytes
    if work.matrix_bytes > _cached_bytes(resources):
        read += work.again_bytes
    store = (
        read / rates.read_bytes_per_second
        + work.disk_written_bytes / rates.written_bytes_per_second
    )
    cores = resources.reading_threads
    shared = (
        work.driver_decoded_bytes / (_DECODED_PER_SECOND * pace)
        + work.driver_shared_steps / rates.steps_per_second
    )
    driver = (
        shared / (cores * _together(cores, rates))
        + work.fresh_bytes / rates.fresh_bytes_per_second
        + work.driver_steps / rates.steps_per_second
        + work.driver_seconds
    )
    tasks = max(1, tasks)
    # The last wave of tasks may leave cores idle.
    waves = -(-tasks // resources.threads)
    parallel = one_core * waves / tasks / _together(resources.threads, rates)
    overhead = _SCHEDULED_TASK_SECONDS if resources.worker_processes else _THREAD_TASK_SECONDS
    return max(parallel, tasks * overhead) + store + driver


def _cached_bytes(resources: Resources) -> float:
    """Bytes of files that the memory of a machine with tasks keeps: half of it, about."""
    worker = resources.worker_memory_bytes if resources.elsewhere else None
    return (worker or resources.memory_bytes) / 2


def _together(cores: int, rates: MachineRates) -> float:
    return 1.0 if cores == 1 else rates.cores_together


def startup_seconds(shape: tuple[int, int], resources: Resources, *, whole_run: bool) -> float:
    """Seconds before the first stage: libraries, the compiler, worker processes."""
    seconds = _IMPORT_SECONDS if whole_run else 0.0
    if max(shape) > SMALL_OBSERVATIONS:
        seconds += _COMPILER_SECONDS
    return seconds + (_LOCAL_CLUSTER_SECONDS if resources.local_workers and whole_run else 0.0)


def ingest_work(matrix_bytes: int, *, from_text: bool) -> StageWork:
    """Of the copy of the matrix: read, perhaps parsed, compressed, written."""
    return StageWork(
        encoded_bytes=matrix_bytes,
        disk_read_bytes=matrix_bytes,
        disk_written_bytes=matrix_bytes,
        driver_seconds=matrix_bytes / _PARSED_PER_SECOND if from_text else 0.0,
    )


def statistics_work(values: int, matrix_bytes: int) -> StageWork:
    """Of the pass for the statistics; no bytes where the matrix is in memory."""
    return StageWork(
        steps=_STATISTICS_STEPS * values, decoded_bytes=matrix_bytes, disk_read_bytes=matrix_bytes
    )


def distance_work(
    spec: AxisSpec,
    n: int,
    k: int,
    *,
    itemsize: int,
    bytes_read: int,
    tiles_bytes: int,
    matrix_bytes: int = 0,
    is_boolean: bool = False,
    density: float | None = None,
    tile_edge: int = BLOCK_ROWS,
) -> StageWork:
    """Of the distances of `n` observations of `k` features, their norms included.

    Parameters
    ----------
    spec, n, k
        What is computed.
    itemsize
        Bytes of a distance.
    bytes_read
        From the store, by all tasks.
    tiles_bytes
        To the store; 0 where the distances stay in memory.
    matrix_bytes
        Of the matrix in the store, which `bytes_read` are of.
    is_boolean
        Whether the matrix holds booleans.
    density
        Share of the values that are stored, where these alone are compared; else None.
    tile_edge
        Observations along an edge of a tile.
    """
    metric = spec.found_metric
    engine = engine_for(metric, n, k, is_boolean=is_boolean)
    pairs = n * n / 2
    steps: float = _NORMS_STEPS * n * k
    products = 0.0
    if density is not None:
        looked_up, common = _SPARSE_STEPS
        steps = (_NORMS_STEPS * n * density + (looked_up + common * density) * density * pairs) * k
        steps += _PRODUCT_FINISH_STEPS[8] * pairs
    elif engine == "product":
        products = 2 * pairs * k
        steps += _PRODUCT_FINISH_STEPS[itemsize] * pairs
    elif engine == "function":
        steps += (_CALL_STEPS + k) * pairs
    else:
        steps += _compare_steps(metric, engine) * pairs * k + _PRODUCT_FINISH_STEPS[8] * pairs
    driver_steps = 0.0
    if metric.name == "mahalanobis":
        driver_steps = _COVARIANCE_STEPS * float(k) ** 3
        passes = 1 + n / tile_edge  # for the norms, then with every other slab of rows
        if metric.keywords.VI is None:
            passes += 1
        # In double precision, whatever the distances are.
        products += 2.0 * n * k * k * passes * (2 if itemsize == 4 else 1)
        if engine == "scipy":
            steps += pairs * k * k
    return StageWork(
        driver_steps=driver_steps,
        product_operations=products,
        product_itemsize=itemsize,
        steps=steps,
        decoded_bytes=bytes_read,
        again_bytes=bytes_read,
        matrix_bytes=matrix_bytes,
        raw_bytes=tiles_bytes,
        disk_written_bytes=tiles_bytes,
        fresh_bytes=0 if tiles_bytes else n * n * itemsize,
    )


def _compare_steps(metric: Metric, engine: Engine) -> float:
    """Of a feature of a pair."""
    if engine == "missing":
        return _MISSING_STEPS[metric.name]
    if engine != "direct":
        return _COMPARE_STEPS[engine]
    if metric.loop == "minkowski" and metric.keywords.p in _QUICK_POWERS:
        return _QUICK_POWER_STEPS
    return _LOOP_STEPS.get(metric.loop or "", _OTHER_LOOP_STEPS)


def rank_work(n: int, k: int, matrix_bytes: int, ranks_bytes: int) -> StageWork:
    """Of the ranks of `n` rows of `k` features.

    Parameters
    ----------
    n, k
        What is ranked.
    matrix_bytes, ranks_bytes
        From the store, and to it; 0 where they are in memory.
    """
    return StageWork(
        steps=_RANK_STEPS * n * k * math.log2(max(2, k)),
        decoded_bytes=matrix_bytes,
        again_bytes=matrix_bytes,
        matrix_bytes=matrix_bytes,
        encoded_bytes=ranks_bytes,
        disk_written_bytes=ranks_bytes,
    )


def downsample_work(values: int, matrix_bytes: int) -> StageWork:
    """Of the picture's pass; no bytes where the matrix is in memory."""
    return StageWork(
        steps=_DOWNSAMPLE_STEPS * values,
        decoded_bytes=matrix_bytes,
        again_bytes=matrix_bytes,
        matrix_bytes=matrix_bytes,
    )


def picture_work(leaves: int, files: int) -> StageWork:
    """Of the figure, with dendrograms of so many leaves."""
    return StageWork(driver_seconds=files * (_PICTURE_SECONDS + _LEAF_SECONDS * leaves))
