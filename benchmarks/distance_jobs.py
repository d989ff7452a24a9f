"""One measured process: the distances of a random matrix, ours or another library's.

    python benchmarks/distance_jobs.py LIBRARY METRIC ROWS COLUMNS DTYPE [OPTION=VALUE ...]

Prints a JSON object with the seconds of the call, and the peak memory of the whole process, the
matrix and the libraries included; the matrix is made in the same way for all.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

SEED = 20261122
_STATUS = Path("/proc/self/status")
WARM_ROWS = 3072
"""More than go to SciPy: so many rows and enough features take the engine that the whole takes."""


def grouped(n: int, k: int, dtype: str) -> Any:
    """30 groups of rows and noise, made in pieces so that the peak is not of this."""
    import numpy as np

    random = np.random.default_rng(SEED)
    centres = random.standard_normal((30, k))
    values = np.empty((n, k), dtype=dtype)
    for start in range(0, n, 1000):
        part = values[start : start + 1000]
        part[:] = random.standard_normal(part.shape) + centres[random.integers(30, size=len(part))]
    return values


def ours(data: Any, metric: str, options: dict[str, str]) -> float:
    from clustergrid.pipeline import pdist

    if options.pop("warm", "") == "no":
        pass
    else:
        pdist(data[:WARM_ROWS], metric)
    started = time.perf_counter()
    distances = pdist(data, metric, **options)  # type: ignore[arg-type]
    passed = time.perf_counter() - started
    del distances
    return passed


def scikit_learn(data: Any, metric: str, options: dict[str, str]) -> float:
    from sklearn.metrics import pairwise_distances

    jobs = int(options["n_jobs"]) if "n_jobs" in options else None
    pairwise_distances(data[:500], metric=metric, n_jobs=jobs)
    started = time.perf_counter()
    distances = pairwise_distances(data, metric=metric, n_jobs=jobs)
    passed = time.perf_counter() - started
    del distances
    return passed


def peak_bytes() -> int:
    """Most resident memory of this process.

    On Linux of its own memory map: what ``getrusage`` tells begins with the peak of the parent.
    """
    if _STATUS.exists():
        return status_bytes("VmHWM")
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # macOS counts bytes


def status_bytes(name: str) -> int:
    """Read one of the sizes that Linux tells of this process."""
    lines = _STATUS.read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) * 1024


def main() -> None:
    library, metric, n, k, dtype, *rest = sys.argv[1:]
    options = dict(option.split("=", 1) for option in rest)
    data = grouped(int(n), int(k), dtype)
    run = {"clustergrid": ours, "scikit-learn": scikit_learn}[library]
    passed = run(data, metric, options)
    print(json.dumps({"seconds": passed, "peak_bytes": peak_bytes()}))


if __name__ == "__main__":
    main()
