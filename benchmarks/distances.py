"""Measure distances beside their peers: pairs of runs in turn, medians, one Markdown table.

    python benchmarks/distances.py [--quick] [--readme PAGE] [NAME ...]

The names are those of `GROUPS`: products store scipy scikit-learn loops boolean spearman workers
memory sparse machine breakdown. Every row knows what is wanted of it and says ok or missed.

What is not counted: Numba's compilation and the loading of libraries. Every call is made before on
the first 3,072 rows of the same matrix, which are enough to go to the same engine. Peak memory is
that of whole processes. Inputs are seeded: 30 groups of rows and noise.
"""

from __future__ import annotations

import statistics
import tempfile
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import machine
import numpy as np
from breakdown import Profile
from distance_jobs import WARM_ROWS
from paired import Wanted, attempt, in_turn, row, seconds
from processes import memory, scikit_learn
from products import best_edge, cores, tile_products
from scaling import workers
from sizes import FAST, Size
from table import Group, run_command


def pdist_seconds(data: Any, metric: str, **options: Any) -> float:
    from clustergrid.pipeline import pdist

    return seconds(lambda: pdist(data, metric, **options))


def stored_seconds(data: Any, metric: str) -> float:
    """Time to the condensed store in a fresh directory, with its files in the system's buffers."""
    with tempfile.TemporaryDirectory(prefix="clustergrid-bench-") as store:
        return pdist_seconds(data, metric, store=store)


def products(quick: bool, *, stored: bool = False) -> Iterator[str]:
    """Rows 1 and 2: beside the bare products of the tiles."""
    size = Size(n=20_000, k=1_000, dtype="float32")
    data = size.matrix(quick)
    edge = best_edge(data)
    ours = stored_seconds if stored else pdist_seconds
    wanted = Wanted(bound=2.5 if stored else 1.6, at_most=True)
    for metric in FAST:
        name = f"{metric}, {size.name(quick)}, {'to the store' if stored else 'to memory'}"

        def measure(metric: str = metric, name: str = name) -> str:
            ours(data[:WARM_ROWS], metric)
            pairs = in_turn(
                partial(ours, data, metric),
                lambda: seconds(lambda: tile_products(data, edge)),
            )
            return row(name, f"bare products, tiles of {edge}", pairs, wanted)

        yield attempt(name, measure)


def against_scipy(
    metric: str,
    data: np.ndarray,
    what: str,
    bound: float,
    *,
    quick: bool,
    floor: Callable[[], None] | None = None,
    **keywords: Any,
) -> str:
    """One metric beside `scipy.spatial.distance.pdist`, and what the `floor` alone would reach."""
    from scipy.spatial.distance import pdist as peer

    label = metric + "".join(f" {name}={value:g}" for name, value in keywords.items())
    name = f"{label}, {what}"

    def measure() -> str:
        pdist_seconds(data[:WARM_ROWS], metric, **keywords)
        pairs = in_turn(
            lambda: pdist_seconds(data, metric, **keywords),
            lambda: seconds(lambda: peer(data, metric, **keywords)),
            repeats=1 if quick else 5,
        )
        peer_name = "SciPy"
        if floor is not None:
            best = min(seconds(floor) for _ in range(3))
            peer_name = f"SciPy (bare products: {min(pairs.theirs) / best:.1f}x)"
        return row(name, peer_name, pairs, Wanted(bound=bound))

    return attempt(name, measure)


def scipy(quick: bool) -> Iterator[str]:
    """Row 3: products in float64."""
    size = Size(n=20_000, k=1_000, dtype="float64")
    data = size.matrix(quick)
    floor = partial(tile_products, data, best_edge(data))
    for metric in FAST:
        yield against_scipy(metric, data, size.name(quick), 25, quick=quick, floor=floor)


def loops(quick: bool) -> Iterator[str]:
    """Row 5: metrics that are no product."""
    size = Size(n=5_000, k=500, dtype="float64", quick=3_000)
    data = np.abs(size.matrix(quick))
    for metric, keywords in (
        ("cityblock", {}),
        ("chebyshev", {}),
        ("minkowski", {"p": 3}),
        ("minkowski", {"p": 1.5}),
        ("canberra", {}),
        ("braycurtis", {}),
        ("jensenshannon", {}),
    ):
        yield against_scipy(metric, data, size.name(quick), 4, quick=quick, **keywords)


BOOLEAN = (
    "dice",
    "hamming",
    "jaccard",
    "kulczynski1",
    "rogerstanimoto",
    "russellrao",
    "sokalmichener",
    "sokalsneath",
    "yule",
)


def boolean(quick: bool) -> Iterator[str]:
    """Row 6: every boolean metric that the installed SciPy has."""
    from scipy.spatial.distance import pdist as peer

    size = Size(n=10_000, k=2_000, dtype="float32", quick=4_000)
    data = size.matrix(quick) > 1.0
    for metric in BOOLEAN:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                peer(data[:3], metric)
        except ValueError:
            continue  # SciPy has dropped it
        what = f"{size.rows(quick):,} x {size.k:,} bool"
        yield against_scipy(metric, data, what, 20, quick=quick)


def spearman(quick: bool) -> Iterator[str]:
    """Row 7: ranks and correlation; SciPy computes in float64 whatever it is given."""
    from scipy.spatial.distance import pdist as peer
    from scipy.stats import rankdata

    for dtype in ("float64", "float32"):
        size = Size(n=10_000, k=1_000, dtype=dtype, quick=4_000)
        data = size.matrix(quick)
        name = f"spearman, {size.name(quick)}"

        def measure(data: np.ndarray = data, name: str = name) -> str:
            pdist_seconds(data[:WARM_ROWS], "spearman")
            pairs = in_turn(
                lambda: pdist_seconds(data, "spearman"),
                lambda: seconds(lambda: peer(rankdata(data, axis=1), "correlation")),
                repeats=1 if quick else 3,
            )
            return row(name, "SciPy's rankdata and pdist", pairs, Wanted(bound=20))

        yield attempt(name, measure)


def sparse(quick: bool) -> Iterator[str]:
    """Row 10: the same values as CSR and dense, both ours."""
    from scipy.sparse import csr_array

    size = Size(n=20_000, k=2_000, dtype="float32")
    full = size.matrix(quick)
    for zeros, bound in ((0.90, 1.0), (0.98, 3.0)):
        chosen = np.random.default_rng(0).random(full.shape, dtype=np.float32) < zeros
        for metric in (*FAST, "jaccard"):
            dense = np.where(chosen, np.float32(0), full)
            if metric == "jaccard":
                dense = dense != 0
            what = f"{size.rows(quick):,} x {size.k:,} {dense.dtype}, {zeros:.0%} zeros"
            name = f"{metric}, {what}, CSR"

            def measure(
                metric: str = metric, dense: np.ndarray = dense, name: str = name, bound=bound
            ) -> str:
                compressed = csr_array(dense)
                pdist_seconds(compressed[:WARM_ROWS], metric)
                pdist_seconds(dense[:WARM_ROWS], metric)
                pairs = in_turn(
                    lambda: pdist_seconds(compressed, metric),
                    lambda: pdist_seconds(dense, metric),
                    repeats=1 if quick else 3,
                )
                return row(name, "dense, ours", pairs, Wanted(bound=bound))

            yield attempt(name, measure)


def breakdown(quick: bool) -> Iterator[str]:
    """Where the time of the first row goes."""
    from clustergrid.pipeline import pdist

    size = Size(n=20_000, k=1_000, dtype="float32")
    data = size.matrix(quick)
    edge = best_edge(data)
    bare = statistics.median(seconds(lambda: tile_products(data, edge)) for _ in range(3))
    yield f"Bare products of the tiles (edge {edge}): {bare:.2f} s"
    with tempfile.TemporaryDirectory(prefix="clustergrid-bench-") as scratch:
        for where, options in (("memory", {}), ("the store", {"store": scratch})):
            pdist_seconds(data[:WARM_ROWS], "euclidean", **options)
            profile = Profile()
            profile.run(partial(pdist, data, "euclidean", **options))
            yield ""
            yield f"euclidean, {size.name(quick)}, to {where}: "
            yield from profile.lines(cores())


GROUPS: dict[str, Group] = {
    "products": products,
    "store": partial(products, stored=True),
    "scipy": scipy,
    "scikit-learn": scikit_learn,
    "loops": loops,
    "boolean": boolean,
    "spearman": spearman,
    "workers": workers,
    "memory": memory,
    "sparse": sparse,
}
ABOUT: dict[str, Group] = {"machine": lambda quick: machine.table(), "breakdown": breakdown}


NOTE = (
    "Ours and the peer in turn in one process (whole processes for peak memory, scikit-learn and "
    "workers), medians of so many runs as the last column says (fewer where they take over a "
    f"minute); compilation excluded by a call on the first {WARM_ROWS:,} rows. "
)


if __name__ == "__main__":
    run_command(str(__doc__), "distances", GROUPS, ABOUT, note=NOTE)
