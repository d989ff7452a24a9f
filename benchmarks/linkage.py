"""Measure trees beside their peers: pairs of runs in turn, medians, one Markdown table.

    python benchmarks/linkage.py [--quick] [--readme PAGE] [NAME ...]

The names are those of `GROUPS`: condensed shipped memory single centroid trees optimal. Every row
knows what is wanted of it and says ok or missed. Inputs are seeded: 30 groups of rows and noise.

What is not counted: Numba's compilation; every call is made before on a few rows.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from distance_jobs import grouped
from paired import Pairs, Wanted, attempt, in_turn, row, run_job, seconds
from table import Group, run_command

REPEATS = 3
FEATURES = 50
WARM_ROWS = 8192
DTYPES = ("float64", "float32")


def distances(values: np.ndarray) -> np.ndarray:
    """Condensed Euclidean distances, in the type of the values."""
    from clustergrid.pipeline import pdist

    return pdist(values).to_numpy()  # type: ignore[no-any-return]


def paired_trees(name: str, condensed: np.ndarray, method: str, bound: float) -> str:
    """A row: our tree of a condensed matrix, and fastcluster's."""
    import fastcluster

    from clustergrid.pipeline import linkage

    def measure() -> str:
        pairs = in_turn(
            lambda: seconds(lambda: linkage(condensed, method)),
            lambda: seconds(lambda: fastcluster.linkage(condensed, method)),
            repeats=REPEATS,
        )
        return row(name, "fastcluster", pairs, Wanted(bound=bound))

    return attempt(name, measure)


def condensed(quick: bool) -> Iterator[str]:
    """Rows 1: trees of a condensed matrix, both types."""
    n = 5_000 if quick else 20_000
    for dtype, bound in zip(DTYPES, (4, 6), strict=True):
        found = distances(grouped(n, FEATURES, dtype))
        few = distances(grouped(WARM_ROWS, FEATURES, dtype))
        for method in ("average", "complete", "weighted", "ward"):
            warm(few, method)
            yield paired_trees(f"{method}, {n:,} rows, {dtype}", found, method, bound)


def warm(condensed: np.ndarray, method: str) -> None:
    from clustergrid.pipeline import linkage

    linkage(condensed, method)


def shipped(quick: bool) -> Iterator[str]:
    """Rows 2: the real matrix of the demo."""
    from clustergrid.pipeline.demo import endometrial_path
    from clustergrid.storage import open_matrix

    values = open_matrix(endometrial_path()).to_numpy()
    values = values[:5_000] if quick else values
    found, few = distances(values), distances(values[:WARM_ROWS])
    for method in ("average", "complete"):
        warm(few, method)
        name = f"{method}, the demo's {len(values):,} genes, {values.dtype}"
        yield paired_trees(name, found, method, 2.5)


def memory(quick: bool) -> Iterator[str]:
    """Row 3: peak memory beside the bytes of the condensed matrix, input included."""
    n = 5_000 if quick else 20_000
    with tempfile.TemporaryDirectory(prefix="clustergrid-bench-") as folder:
        for dtype in DTYPES:
            path = Path(folder, f"{dtype}.npy")
            np.save(path, distances(grouped(n, FEATURES, dtype)))
            for method in ("average", "complete", "weighted", "ward"):
                name = f"{method}, {n:,} rows, {dtype}: peak memory"

                def measure(path: Path = path, method: str = method, name: str = name) -> str:
                    job = run_job(method, path, script="linkage_jobs.py")
                    given = job.answer["input_bytes"]
                    used = job.resident_bytes - job.answer["library_bytes"]
                    pairs = Pairs(ours=[used / 1e9], theirs=[given / 1e9])
                    wanted = Wanted(bound=2.2, at_most=True)
                    return row(name, "its input", pairs, wanted, lambda value: f"{value:.2f} GB")

                yield attempt(name, measure)


def from_data(name: str, method: str, values: np.ndarray, bound: float) -> str:
    """A row: a tree straight from data, beside fastcluster's."""
    import fastcluster

    from clustergrid.pipeline import linkage

    def measure() -> str:
        linkage(values[:WARM_ROWS], method, engine="data")
        pairs = in_turn(
            lambda: seconds(lambda: linkage(values, method, engine="data")),
            lambda: seconds(lambda: fastcluster.linkage_vector(values, method)),
            repeats=REPEATS,
        )
        return row(name, "fastcluster, linkage_vector", pairs, Wanted(bound=bound))

    return attempt(name, measure)


def single(quick: bool) -> Iterator[str]:
    """Row 4: single linkage from data."""
    n = 5_000 if quick else 20_000
    name = f"single, {n:,} x {FEATURES} from data"
    yield from_data(name, "single", grouped(n, FEATURES, "float64"), 5)


def centroid(quick: bool) -> Iterator[str]:
    """Row 5: centroid linkage from data."""
    n = 5_000 if quick else 30_000
    name = f"centroid, {n:,} x {FEATURES} from data"
    yield from_data(name, "centroid", grouped(n, FEATURES, "float64"), 3)


def random_tree(n: int) -> np.ndarray:
    """A tree of pairs merged at random, as deep as such trees are."""
    random = np.random.default_rng(20261122)
    return tree_of(n, lambda live: random.integers(live, size=2))


def chain(n: int) -> np.ndarray:
    """A tree in which every merge adds one leaf."""
    merges = np.arange(1, n, dtype=np.float64)
    tree = np.stack([merges, n + merges - 2, merges, merges + 1], axis=1)
    tree[0, :2] = 0, 1
    return tree


def tree_of(n: int, choose: Callable[[int], np.ndarray]) -> np.ndarray:
    live, sizes = list(range(n)), np.ones(2 * n - 1)
    tree = np.empty((n - 1, 4))
    for t in range(n - 1):
        pair = []
        for place in choose(len(live)):
            place = min(int(place), len(live) - 1)
            live[place], live[-1] = live[-1], live[place]
            pair.append(live.pop())
        sizes[n + t] = sizes[pair[0]] + sizes[pair[1]]
        tree[t] = min(pair), max(pair), t + 1.0, sizes[n + t]
        live.append(n + t)
    return tree


def trees(quick: bool) -> Iterator[str]:
    """Row 6: what is made of a tree, of a million leaves."""
    from clustergrid.pipeline import cut, leaf_order, write_newick

    n = 100_000 if quick else 1_000_000

    def newick(tree: np.ndarray) -> None:
        write_newick(tree, io.StringIO())

    work: dict[str, tuple[Callable[[np.ndarray], Any], float]] = {
        "leaf order": (leaf_order, 2),
        "cut into 1,000": (lambda tree: cut(tree, k=1000), 2),
        "Newick": (newick, 15),
    }
    for kind, make in (("a random tree", random_tree), ("a chain", chain)):
        tree = make(n)
        for what, (function, limit) in work.items():
            name = f"{what}, {kind} of {n:,} leaves"

            def measure(
                tree: np.ndarray = tree, function: Any = function, limit=limit, name: str = name
            ) -> str:
                function(chain(WARM_ROWS))
                taken = [seconds(lambda: function(tree)) for _ in range(REPEATS)]
                wanted = Wanted(bound=1, at_most=True)
                return row(name, "the limit", Pairs(ours=taken, theirs=[limit] * REPEATS), wanted)

            yield attempt(name, measure)


def optimal(quick: bool) -> Iterator[str]:
    """Row 7: the optimal order of leaves, beside SciPy's."""
    from scipy.cluster.hierarchy import optimal_leaf_ordering

    from clustergrid.pipeline import linkage
    from clustergrid.pipeline import optimal_leaf_ordering as ours

    n = 1_500 if quick else 5_000
    values = grouped(n, FEATURES, "float64")
    found = distances(values)
    name = f"optimal ordering, {n:,} leaves"

    def measure() -> str:
        few = distances(values[:300])
        ours(linkage(few, "average"), few)
        tree = linkage(found, "average")
        pairs = in_turn(
            lambda: seconds(lambda: ours(tree, found)),
            lambda: seconds(lambda: optimal_leaf_ordering(tree, found)),
            repeats=1,
        )
        return row(name, "SciPy", pairs, Wanted(bound=10))

    yield attempt(name, measure)


GROUPS: dict[str, Group] = {
    "condensed": condensed,
    "shipped": shipped,
    "memory": memory,
    "single": single,
    "centroid": centroid,
    "trees": trees,
    "optimal": optimal,
}
NOTE = (
    "Ours and the peer in turn in one process (a process each for peak memory, less what its "
    "libraries take), medians of so many runs as the last column says (fewer "
    "where they take over a minute); compilation excluded by a call on few rows. "
)


if __name__ == "__main__":
    run_command(str(__doc__), "linkage", GROUPS, {}, note=NOTE)
