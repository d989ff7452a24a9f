"""The peer that cannot be beaten: the bare matrix products of the tiles on and above the diagonal.

Two threads take tiles in turn, each with one BLAS thread, and write into a buffer of their own
that is used again: no norms, no distances, no result.
"""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Callable

import numpy as np
from threadpoolctl import threadpool_limits

EDGES = (512, 1024, 2048)


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def on_threads(work: Callable[[int], None], threads: int) -> None:
    """Call `work` with the number of the thread, in threads."""
    running = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()


def tile_products(matrix: np.ndarray, edge: int, threads: int | None = None) -> None:
    """All products ``matrix[i] @ matrix[j].T`` of tiles i <= j, thrown away."""
    threads = threads or cores()
    slabs = [slice(start, start + edge) for start in range(0, len(matrix), edge)]
    tiles = iter([(i, j) for i in range(len(slabs)) for j in range(i, len(slabs))])
    buffers = [np.zeros(edge * edge, dtype=matrix.dtype) for _ in range(threads)]
    lock = threading.Lock()

    def work(number: int) -> None:
        while True:
            with lock:
                tile = next(tiles, None)
            if tile is None:
                return
            left, right = (matrix[slabs[index]] for index in tile)
            out = buffers[number][: len(left) * len(right)].reshape(len(left), len(right))
            np.matmul(left, right.T, out=out)

    with threadpool_limits(1, user_api="blas"):
        on_threads(work, threads)


def best_edge(matrix: np.ndarray) -> int:
    """Tile edge with which the products take least, each measured twice."""
    taken = {}
    for _, edge in itertools.product(range(2), EDGES):
        started = time.perf_counter()
        tile_products(matrix, edge)
        passed = time.perf_counter() - started
        taken[edge] = min(passed, taken.get(edge, passed))
    return min(taken, key=lambda edge: taken[edge])
