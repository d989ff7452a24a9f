"""One measured process: the tree of a synthetic matrix, straight from its rows.

    python benchmarks/large_jobs.py KIND ROWS COLUMNS DTYPE METHOD METRIC MEMORY
    python benchmarks/large_jobs.py peer ROWS COLUMNS DTYPE METHOD METRIC -

KIND is ``low-rank`` or ``grouped``, or ``genes`` for the demo's matrix. A peer is SciPy's distances
and fastcluster's tree of grouped rows. Prints a JSON object: wall and CPU seconds of the call, its
peak memory, what the process held before, and how far the tree is sure to be one.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from distance_jobs import SEED, grouped, peak_bytes, status_bytes

RANK = 5
WARM_ROWS = 8192


def low_rank(n: int, k: int, dtype: str) -> Any:
    """Rows of five factors and a little noise: what expression of many genes looks like."""
    import numpy as np

    random = np.random.default_rng(SEED)
    loadings = random.standard_normal((RANK, k))
    values = np.empty((n, k), dtype=dtype)
    for start in range(0, n, 1000):
        part = values[start : start + 1000]
        factors = random.standard_normal((len(part), RANK))
        part[:] = factors @ loadings + 0.1 * random.standard_normal(part.shape)
    return values


def matrix(kind: str, n: int, k: int, dtype: str) -> Any:
    """Make the rows; of the genes all that there are, whatever is said."""
    if kind == "genes":
        from clustergrid.pipeline.demo import endometrial_path
        from clustergrid.storage import open_matrix

        return open_matrix(endometrial_path()).to_numpy()
    return (low_rank if kind == "low-rank" else grouped)(n, k, dtype)


def ours(values: Any, method: str, metric: str, memory: str) -> Any:
    from clustergrid.pipeline import linkage

    limit = None if memory == "-" else memory
    shown = sys.stderr.isatty()
    return linkage(values, method, metric, engine="data", memory=limit, progress=shown)


def scipy_and_fastcluster(values: Any, method: str, metric: str, memory: str) -> Any:
    import fastcluster
    from scipy.spatial.distance import pdist

    return fastcluster.linkage(pdist(values, metric), method)


def main() -> None:
    kind, rows, columns, dtype, method, metric, memory = sys.argv[1:]
    run = scipy_and_fastcluster if kind == "peer" else ours
    values = matrix(kind, int(rows), int(columns), dtype)
    run(values[:WARM_ROWS], method, metric, memory)  # libraries are loaded, functions compiled
    before = status_bytes("VmRSS")
    started, worked = time.perf_counter(), time.process_time()
    tree = run(values, method, metric, memory)
    answer = {
        "seconds": time.perf_counter() - started,
        "cpu_seconds": time.process_time() - worked,
        "peak_bytes": peak_bytes(),
        "held_bytes": before,
        "merges": len(tree),
        "last_height": float(tree[-1, 2]),
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
