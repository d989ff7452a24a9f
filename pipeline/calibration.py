"""Driver: what this machine does in a second, measured in some tenths of one.

Products, steps and memory are measured with NumPy alone, and the file system with one file in the
directory that is asked about, so nothing is loaded that a small run does not need. Products on one
core are measured at their best, and everything else as it is at that moment, with whatever else
runs.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np

from clustergrid.pipeline._blas import single_blas_thread
from clustergrid.pipeline.estimate import ASSUMED_RATES, MachineRates
from clustergrid.pipeline.planned import Plan

__all__ = ["LONG_SECONDS", "calibrated", "measure_rates"]

LONG_SECONDS = 30.0
"""A plan that takes longer on a slow machine is worth measuring this one for."""

_ROWS, _FEATURES = 512, 256
_STEP_VALUES = 2**14
_MOST_BYTES = 2**27
_PART_BYTES = 2**22
_SECONDS_EACH = 0.03
_MOST_SECONDS = 0.15


def calibrated(plan: Plan, directory: Path | None, threads: int) -> Plan:
    """Estimate the seconds of a plan anew, with rates of this machine, where it is long.

    Parameters
    ----------
    plan
        Whose seconds are from assumed rates.
    directory
        Where the run writes; None: its file system is not measured.
    threads
        Cores of this machine that work at once.

    Returns
    -------
    Plan
        The very same one where it is so short that measuring is not worth its time.
    """
    if plan.seconds <= LONG_SECONDS:
        return plan
    return plan.with_rates(measure_rates(directory, threads=threads))


def measure_rates(directory: Path | None, *, threads: int) -> MachineRates:
    """Measure this machine, and the file system of a directory.

    Parameters
    ----------
    directory
        Where to write a temporary file; None: the rates of the file system are assumed. They are
        too where it cannot be written, which the run will say.
    threads
        Cores that work at once.
    """
    with single_blas_thread():
        float32, float64 = (_product_rate(np.dtype(name)) for name in ("float32", "float64"))
        together = _share_together(threads) if threads > 1 else 1.0
    written, read = _file_rates(directory)
    return MachineRates(
        product_float32_per_second=float32,
        product_float64_per_second=float64,
        steps_per_second=_steps_rate(),
        cores_together=together,
        fresh_bytes_per_second=_fresh_rate(),
        written_bytes_per_second=written,
        read_bytes_per_second=read,
    )


def _times(work: Callable[[], object]) -> list[float]:
    """Seconds of some work that is done again and again for a moment; the first is left out."""
    work()
    times: list[float] = []
    while sum(times) < _SECONDS_EACH:
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return times


def _product_times(dtype: np.dtype[np.floating]) -> list[float]:
    """Seconds of products as the distances are made of, on one core."""
    left = np.linspace(0, 1, _ROWS * _FEATURES, dtype=dtype).reshape(_ROWS, _FEATURES)
    right, out = left[::-1].copy(), np.empty((_ROWS, _ROWS), dtype)
    return _times(lambda: np.matmul(left, right.T, out=out))


def _product_rate(dtype: np.dtype[np.floating]) -> float:
    return 2.0 * _ROWS * _ROWS * _FEATURES / min(_product_times(dtype))


def _share_together(threads: int) -> float:
    """Share of its own speed that a core has while all of them work."""
    dtype = np.dtype(np.float64)
    alone = min(_product_times(dtype))
    with ThreadPoolExecutor(threads) as pool:
        times = list(pool.map(lambda _: np.mean(_product_times(dtype)), range(threads)))
    return min(1.0, float(alone / np.mean(times)))


def _steps_rate() -> float:
    """Elementary operations a second on values in the cache."""
    left = np.linspace(0, 1, _STEP_VALUES)
    right, out = left[::-1].copy(), np.empty(_STEP_VALUES)

    def work() -> None:
        np.subtract(left, right, out=out)
        np.multiply(out, out, out=out)
        np.add(out, left, out=out)

    return 3.0 * _STEP_VALUES / float(np.mean(_times(work)))


def _fresh_rate() -> float:
    """Bytes a second of memory that is touched for the first time.

    It is measured once: the second time, a virtual machine has the pages already.
    """
    block = np.empty(_MOST_BYTES // 8)

    def touch(start: int) -> int:
        part = block[start // 8 : (start + _PART_BYTES) // 8]
        part.fill(1.0)
        return part.nbytes

    return _rate_of_parts(touch)


def _rate_of_parts(
    work: Callable[[int], int], finish: Callable[[], object] = lambda: None
) -> float:
    """Bytes a second of one part after another, until some time has passed or all are done.

    Parameters
    ----------
    work
        Does the part that starts at a byte, and returns how many bytes it was.
    finish
        What belongs to the work, at its end.
    """
    done = 0
    started = time.perf_counter()
    while done < _MOST_BYTES and time.perf_counter() - started < _MOST_SECONDS:
        amount = work(done)
        if not amount:
            break
        done += amount
    finish()
    return done / (time.perf_counter() - started)


def _file_rates(directory: Path | None) -> tuple[float, float]:
    """Bytes a second to a file, up to the medium, and back from it."""
    assumed = (ASSUMED_RATES.written_bytes_per_second, ASSUMED_RATES.read_bytes_per_second)
    if directory is None:
        return assumed
    # Zeros are what some file systems do not write at all.
    part = np.random.default_rng(0).bytes(_PART_BYTES)
    try:
        with tempfile.TemporaryFile(dir=directory) as temporary:
            file = temporary.fileno()
            written = _rate_of_parts(lambda _: os.write(file, part), lambda: os.fsync(file))
            # Of the medium, where the system can be told to forget what it has of the file.
            with suppress(AttributeError, OSError):
                os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
            os.lseek(file, 0, os.SEEK_SET)
            return written, _rate_of_parts(lambda _: len(os.read(file, _PART_BYTES)))
    except OSError:
        return assumed
