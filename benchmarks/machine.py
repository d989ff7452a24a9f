"""What the machine can do: products, memory that was never touched, and chunks on disk."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial

import numpy as np
from products import cores, on_threads
from threadpoolctl import threadpool_limits

HEADER = "| the machine | one core | all cores |\n|---|---|---|"
_EDGE, _DEPTH = 2048, 1000
_TOUCHED_BYTES = 10**9
_CHUNKS = 48
_PAUSE_SECONDS = 6.0


def _median_seconds(
    function: Callable[[], object], repeats: int = 5, pause_seconds: float = 0.0
) -> float:
    taken = []
    for _ in range(repeats):
        time.sleep(pause_seconds)
        started = time.perf_counter()
        function()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def product_rate(dtype: str, threads: int) -> float:
    """GFLOP/s of products of a tile's shape, one BLAS thread in each of some threads."""
    random = np.random.default_rng(0)
    left = random.standard_normal((_EDGE, _DEPTH)).astype(dtype)
    right = random.standard_normal((_EDGE, _DEPTH)).astype(dtype)
    outs = [np.zeros((_EDGE, _EDGE), dtype=dtype) for _ in range(threads)]
    calls = 8

    def work(number: int) -> None:
        for _ in range(calls):
            np.matmul(left, right.T, out=outs[number])

    with threadpool_limits(1, user_api="blas"):
        on_threads(work, threads)
        seconds = _median_seconds(lambda: on_threads(work, threads))
    return 2 * _EDGE * _EDGE * _DEPTH * calls * threads / seconds / 1e9


def first_touch_rate(threads: int, pause_seconds: float = 0.0) -> float:
    """GB/s of writing to fresh NumPy arrays, some time after so much memory was given back.

    A virtual machine gives free memory back to its host after a while, and gets it again page by
    page, many times slower than its own kernel would hand it out.
    """

    def touch() -> None:
        fresh = np.empty(_TOUCHED_BYTES, dtype=np.uint8)
        part = -(-_TOUCHED_BYTES // threads)
        on_threads(lambda number: fresh[number * part : (number + 1) * part].fill(1), threads)

    touch()
    return _TOUCHED_BYTES / _median_seconds(touch, 3, pause_seconds) / 1e9


def copy_rate(threads: int) -> float:
    """GB/s of copying between arrays that were touched before (bytes written)."""
    source, target = (np.ones(_TOUCHED_BYTES // 4, dtype=np.uint8) for _ in range(2))
    part = -(-len(source) // threads)

    def work(number: int) -> None:
        region = slice(number * part, (number + 1) * part)
        for _ in range(4):
            target[region] = source[region]

    return 4 * len(source) / _median_seconds(lambda: on_threads(work, threads)) / 1e9


def write_rate(threads: int) -> float:
    """GB/s of writing 16 MB tiles as raw Zarr chunks with checksums, as the system buffers them."""
    from clustergrid.storage.arrays import create_array, write_block

    tile = np.random.default_rng(0).random((1, 2048, 2048), dtype=np.float32)

    def write() -> None:
        with tempfile.TemporaryDirectory() as store:
            array = create_array(
                store,
                "tiles",
                shape=(_CHUNKS, 2048, 2048),
                chunks=tile.shape,
                dtype="float32",
                compressed=False,
            )

            def work(number: int) -> None:
                for chunk in range(number, _CHUNKS, threads):
                    write_block(array, (chunk, 0, 0), tile)

            started = time.perf_counter()
            on_threads(work, threads)
            taken.append(time.perf_counter() - started)

    taken: list[float] = []
    for _ in range(3):
        write()
    return _CHUNKS * tile.nbytes / statistics.median(taken) / 1e9


def table() -> Iterable[str]:
    """Lines of a Markdown table."""
    yield HEADER

    def line(name: str, unit: str, rate: Callable[[int], float]) -> str:
        return f"| {name} | {rate(1):.3g} {unit} | {rate(cores()):.3g} {unit} |"

    shape = f"{_EDGE} x {_DEPTH} by {_DEPTH} x {_EDGE}"
    for dtype in ("float32", "float64"):
        yield line(
            f"{dtype} products, {shape}",
            "GFLOP/s",
            lambda threads, dtype=dtype: product_rate(dtype, threads),  # type: ignore[misc]
        )
    yield line("first touch of memory that was just freed", "GB/s", first_touch_rate)
    yield line(
        f"first touch of memory that was freed {_PAUSE_SECONDS:g} s before",
        "GB/s",
        partial(first_touch_rate, pause_seconds=_PAUSE_SECONDS),
    )
    yield line("copies in memory", "GB/s", copy_rate)
    yield line("raw Zarr chunks with checksums, into the system's buffers", "GB/s", write_rate)
