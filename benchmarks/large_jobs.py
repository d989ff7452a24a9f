"""One measured process: the tree of a synthetic matrix, straight from its rows.

    python benchmarks/large_jobs.py KIND ROWS COLUMNS DTYPE METHOD METRIC MEMORY
    python benchmarks/large_jobs.py peer ROWS COLUMNS DTYPE METHOD METRIC -
    python benchmarks/large_jobs.py stored ROWS COLUMNS DTYPE METHOD METRIC MEMORY

KIND is ``low-rank`` or ``grouped``; ``genes`` for the demo's matrix; ``hub``, or ``hub-varied``
where no row is constant, for a larger one of such genes, of which two in five say nothing. A
peer is SciPy's distances and fastcluster's tree of grouped rows. Of ``stored`` another process puts
the distances of grouped rows at rest before, and this one makes the tree of them alone. Prints a
JSON object: wall and CPU seconds of the call, its peak memory, what the process held before, and
how far the tree is sure to be one; of ``stored`` how often the distances were read, too.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from typing import Any

from distance_jobs import SEED, grouped, peak_bytes, status_bytes

RANK = 5
WARM_ROWS = 8192
HUB = ("hub", "hub-varied")


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


def hub(n: int, dtype: str, *, varied: bool) -> Any:
    """Genes of the demo's matrix and more like them, in which two rows in five make hubs.

    Three in five are genes that vary, as they are; where more are wanted than there are, mixtures
    of two of them (the second has up to half of the weight) and a twentieth of noise. One in ten is
    constant (if `varied`, but for 1e-4 of noise), at levels that differ by some thousandths. One in
    five is zero but for one to three samples with a few counts. One in ten is identical to one of
    these two kinds. Rows are in a random order.
    """
    import numpy as np

    genes = matrix("genes", 0, 0, dtype)
    genes = genes[np.ptp(genes, axis=1) > 0]
    random = np.random.default_rng(SEED)
    k = genes.shape[1]
    n_constant, n_sparse, n_same = n // 10, n // 5, n // 10
    n_genes = n - n_constant - n_sparse - n_same
    values = np.empty((n, k), dtype)

    def pick() -> Any:
        return genes[random.permutation(len(genes))[np.arange(n_genes) % len(genes)]]

    values[:n_genes] = pick()
    mixed = values[len(genes) : n_genes]
    if len(mixed):
        share = random.uniform(0, 0.5, (len(mixed), 1))
        noise = mixed.std(axis=1, keepdims=True) / 20 * random.standard_normal(mixed.shape)
        mixed[:] = (1 - share) * mixed + share * pick()[len(genes) :] + noise
    constant, sparse, same = np.split(values[n_genes:], [n_constant, n_constant + n_sparse])
    constant[:] = 1e-3 * random.standard_normal((n_constant, 1))
    if varied:
        constant += 1e-4 * random.standard_normal(constant.shape)
    sparse[:] = 0
    for _ in range(3):
        counts = random.poisson(1.0, n_sparse) * random.lognormal(0, 0.2, n_sparse)
        sparse[np.arange(n_sparse), random.integers(k, size=n_sparse)] += np.log2(1 + counts)
    if varied:
        sparse[np.ptp(sparse, axis=1) == 0, 0] = 1
    same[:] = values[n_genes + random.integers(n_constant + n_sparse, size=n_same)]
    return values[random.permutation(n)]


def matrix(kind: str, n: int, k: int, dtype: str) -> Any:
    """Make the rows; of the genes all that there are, whatever is said, and of hubs all columns."""
    if kind in HUB:
        return hub(n, dtype, varied=kind == "hub-varied")
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


def put_at_rest(n: int, k: int, dtype: str, metric: str, store: str) -> None:
    """Let another process put the distances of grouped rows at rest."""
    make = (
        "import sys; from distance_jobs import grouped; from clustergrid.pipeline import pdist; "
        "n, k, dtype, metric, store = sys.argv[1:]; "
        "pdist(grouped(int(n), int(k), dtype), metric, store=store)"
    )
    arguments = (str(n), str(k), dtype, metric, store)
    subprocess.run([sys.executable, "-c", make, *arguments], check=True, cwd=sys.path[0])


def tree_at_rest(store: str, method: str, memory: str) -> dict[str, float]:
    """Make the tree of distances at rest, and count how often they are read."""
    from clustergrid.pipeline import linkage, pdist
    from clustergrid.pipeline.stored import tree
    from clustergrid.pipeline.stored.source import StoredSource
    from clustergrid.storage.condensed import open_condensed

    sources = []

    class Counted(StoredSource):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            sources.append(self)

    tree.StoredSource = Counted  # type: ignore[misc]
    stored = open_condensed(store)
    few = pdist(grouped(WARM_ROWS // 2, 50, stored.dtype.name))
    linkage(few, method, engine="tiles")
    del few
    limit = None if memory == "-" else memory
    answer = measured(lambda: linkage(stored, method, engine="tiles", memory=limit))
    return {**answer, "reads": sources[-1].reads, "stored_bytes": stored_bytes(stored)}


def stored_bytes(stored: Any) -> float:
    """Bytes of the distances that are counted as one read."""
    return float(stored.grid.n_values * stored.dtype.itemsize)


def measured(make: Any) -> dict[str, float]:
    """Make a tree, and say what that took."""
    before = status_bytes("VmRSS")
    started, worked = time.perf_counter(), time.process_time()
    tree = make()
    return {
        "seconds": time.perf_counter() - started,
        "cpu_seconds": time.process_time() - worked,
        "peak_bytes": peak_bytes(),
        "held_bytes": before,
        "merges": len(tree),
        "last_height": float(tree[-1, 2]),
    }


def main() -> None:
    kind, rows, columns, dtype, method, metric, memory = sys.argv[1:]
    if kind == "stored":
        with tempfile.TemporaryDirectory(prefix="clustergrid-bench-") as store:
            put_at_rest(int(rows), int(columns), dtype, metric, store)
            print(json.dumps(tree_at_rest(store, method, memory)))
        return
    run = scipy_and_fastcluster if kind == "peer" else ours
    values = matrix(kind, int(rows), int(columns), dtype)
    run(values[:WARM_ROWS], method, metric, memory)  # libraries are loaded, functions compiled
    print(json.dumps(measured(lambda: run(values, method, metric, memory))))


if __name__ == "__main__":
    main()
