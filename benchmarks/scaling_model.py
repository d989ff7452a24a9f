"""How long trees take on clusters that nobody has here: arithmetic on what was measured here.

`scaling_calibration.py` measures the processor time and the returned bytes of every kind of task,
the driver's time, and what a task costs Dask. Here these are fitted as sums of powers of the rows
and features, counted for a cluster that is described, and divided by what it has of everything: a
stage takes as long as the scarcest. Nothing is measured, read or drawn here.

::

    seconds = max(cores, driver's process, files) + messages + what only the driver does

    cores             whole waves of tasks on all threads
    driver's process  scheduler: tasks x seconds of a task; results: bytes x seconds of a byte
    files             bytes read and written, at the least of all nodes' and the servers' bandwidth
    messages          what all tasks share, to every worker, each of which hands it on
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import nnls

from clustergrid.pipeline.planned import Plan
from clustergrid.pipeline.planning import plan_run
from clustergrid.pipeline.resources import DescribedCluster
from clustergrid.pipeline.spec import AxisSpec, RunSpec
from clustergrid.pipeline.summaries.plan import ListPass, square_columns

ITEMSIZE = 8
LIMITS = ("cores", "scheduler", "results", "files", "messages", "driver")

_LISTS = ("cluster-guesses", "cluster-lists")
_CONTRACTION = ("cluster-square", "cluster-distances")
_MERGE_BYTES = 32


@dataclass(frozen=True, kw_only=True)
class Site:
    """A cluster that is described: so many workers of it are used.

    Attributes
    ----------
    cores, worker_memory_bytes
        Of a worker.
    workers_a_node
        That share a network link.
    link_bytes_per_second, latency_seconds
        Of a node's network.
    files_bytes_per_second
        Of the file servers, together.
    driver_memory_bytes
        Of the driver's machine.
    """

    cores: int = 4
    worker_memory_bytes: int = 16 * 10**9
    workers_a_node: int = 8
    link_bytes_per_second: float = 3e9
    latency_seconds: float = 1e-3
    files_bytes_per_second: float = 20e9
    driver_memory_bytes: int = 256 * 10**9

    def nodes(self, workers: int) -> int:
        return math.ceil(workers / self.workers_a_node)

    def plan(self, tree: Tree, workers: int) -> Plan:
        """Plan the run as `clustergrid plan` does."""
        described = DescribedCluster(
            workers=workers, cores=self.cores, memory_bytes=self.worker_memory_bytes
        )
        row = AxisSpec(method=tree.method, metric=tree.metric, dtype="float64")
        return plan_run(
            RunSpec(row=row, column=AxisSpec(cluster=False)),
            (tree.n, tree.k),
            ITEMSIZE,
            described.resources(self.driver_memory_bytes),
            in_memory=False,
            ingest=False,
        )


@dataclass(frozen=True, kw_only=True)
class Tree:
    """What is asked for."""

    n: int
    k: int
    method: str
    metric: str = "euclidean"


@dataclass(frozen=True, kw_only=True)
class Load:
    """What a stage asks of a cluster.

    Attributes
    ----------
    tasks, core_seconds
        How many, and how long all of them take on one core.
    returned_bytes
        From tasks to the driver.
    shared_bytes
        From the driver to every worker.
    files_bytes
        Read and written by all tasks.
    driver_seconds
        While no task runs.
    barriers
        How often all tasks are waited for.
    """

    stage: str
    tasks: float = 1.0
    core_seconds: float = 0.0
    returned_bytes: float = 0.0
    shared_bytes: float = 0.0
    files_bytes: float = 0.0
    driver_seconds: float = 0.0
    barriers: int = 1


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """Seconds of a stage, and of each of `LIMITS` alone."""

    stage: str
    tasks: float
    seconds: float
    parts: Mapping[str, float]

    @property
    def limit(self) -> str:
        """Which of `LIMITS` takes the most."""
        return max(self.parts, key=lambda name: self.parts[name])


Term = Callable[[float, float], float]
_TERMS: dict[str, Term] = {
    "n": lambda n, k: n,
    "nk": lambda n, k: n * k,
    "nlogn": lambda n, k: n * math.log(n),
    "nn": lambda n, k: n * n,
    "nnk": lambda n, k: n * n * k,
}


@dataclass(frozen=True, kw_only=True)
class Fit:
    """A sum of powers of the rows n and the features k, with coefficients that are not negative.

    Examples
    --------
    >>> fit = Fit.of([(10, 2, 120.0), (20, 2, 440.0), (40, 2, 1680.0)], ("n", "nn"))
    >>> round(fit(1000, 2))
    1002000
    """

    terms: tuple[str, ...]
    coefficients: tuple[float, ...]

    @classmethod
    def of(cls, measured: Sequence[tuple[float, float, float]], terms: tuple[str, ...]) -> Fit:
        """Fit values at (n, k), so that shares of them are missed the least."""
        found = [each for each in measured if each[2] > 0]
        if not found:
            return cls(terms=terms, coefficients=(0.0,) * len(terms))
        rows = [[_TERMS[name](n, k) / value for name in terms] for n, k, value in found]
        scale = np.max(rows, axis=0)
        solution, _ = nnls(rows / scale, np.ones(len(found)))
        return cls(terms=terms, coefficients=tuple((solution / scale).tolist()))

    def __call__(self, n: float, k: float) -> float:
        pairs = zip(self.terms, self.coefficients, strict=True)
        return sum(coefficient * _TERMS[name](n, k) for name, coefficient in pairs)


class Calibration:
    """What `scaling_calibration.py` wrote, as functions of rows and features."""

    def __init__(self, measured: Mapping[str, Any]) -> None:
        self.measured = measured
        # Of the scheduler's and the driver's process alone; here workers take their share, too.
        self.task_seconds = float(measured["dask"]["task_cpu_seconds"])
        self.byte_seconds = float(measured["dask"]["received_byte_cpu_seconds"])
        self.together = float(measured["rates"]["cores_together"])

    def _of(self, method: str, value: Callable[[Any], float]) -> list[tuple[float, float, float]]:
        return [
            (each["n"], each["k"], value(each))
            for each in self.measured["stages"]
            if each["method"] == method
        ]

    def kinds(self, method: str) -> list[str]:
        """Names of the tasks that its trees are made by."""
        found = [each["tree"]["kinds"] for each in self.measured["stages"]
                 if each["method"] == method]  # fmt: skip
        return sorted({name for kinds in found for name in kinds})

    def core_seconds(self, method: str, kind: str) -> Fit:
        values = self._of(method, lambda each: _of_kind(each, kind, "cpu_seconds"))
        return Fit.of(values, ("n", "nk", "nn", "nnk"))

    def returned_bytes(self, method: str, kind: str) -> Fit:
        return Fit.of(self._of(method, lambda each: _of_kind(each, kind, "returned_bytes")),
                      ("n", "nlogn"))  # fmt: skip

    def repeats(self, method: str, kind: str) -> float:
        """How many tasks there are of a kind, in units of those of the first list pass."""
        shares = [
            _of_kind(each, kind, "tasks") / _list_pass(each["n"], each["k"], 1).n_tasks
            for each in self.measured["stages"]
            if each["method"] == method
        ]
        return float(np.median(shares))

    def tasks(self, method: str, kind: str) -> float:
        """Most tasks of a kind that there were."""
        return max(
            each for *_, each in self._of(method, lambda each: _of_kind(each, kind, "tasks"))
        )

    def driver_seconds(self, method: str) -> Fit:
        """Of the driver's process, the square of what is left apart."""
        return Fit.of(
            self._of(
                method,
                lambda each: (
                    each["tree"]["driver_cpu_seconds"] - each["tree"].get("square_cpu_seconds", 0.0)
                ),
            ),
            ("n", "nk"),
        )

    def shared_bytes(self, method: str) -> Fit:
        return Fit.of(self._of(method, lambda each: each["tree"]["shared_bytes"]), ("n", "nk"))

    def square_rows(self, method: str, n: int, most: int | None) -> float:
        """Clusters that rounds leave, if so many may be left."""
        found = [(each["n"], each["tree"].get("square_rows", 0.0))
                 for each in self.measured["stages"] if each["method"] == method]  # fmt: skip
        shares = [rows / rows_of for rows_of, rows in found]
        # Those of summaries are few, however many rows there are.
        is_share = max(shares, default=0.0) < 3 * min(shares, default=0.0)
        rows = max(shares) * n if is_share else max((rows for _, rows in found), default=0.0)
        return rows if most is None else min(rows, most)

    def square_seconds(self, method: str) -> float:
        """Of the driver, for a pair of the clusters that are left."""
        found = [
            each["tree"]["square_cpu_seconds"] / each["tree"]["square_rows"] ** 2
            for each in self.measured["stages"]
            if each["method"] == method and each["tree"].get("square_rows", 0.0) > 1000
        ]
        return float(np.median(found)) if found else 0.0

    def pass_seconds(self, stage: str) -> Fit:
        """Of a pass over the matrix: ``statistics`` or ``downsample``."""
        values = [
            (each["n"], each["k"], each[stage]["cpu_seconds"]) for each in self.measured["stages"]
        ]
        return Fit.of(values, ("n", "nk"))


def _of_kind(each: Any, kind: str, what: str) -> float:
    return float(each["tree"]["kinds"].get(kind, {}).get(what, 0.0))


def _list_pass(n: int, k: int, threads: int) -> ListPass:
    return ListPass(n_owners=n, n_features=k, threads=threads)


def loads(tree: Tree, site: Site, workers: int, calibration: Calibration) -> list[Load]:
    """Say what each stage of a run asks of a cluster.

    Parameters
    ----------
    tree
        What is asked for, of a matrix at rest.
    site, workers
        Where: the plan decides how much is cut into how many tasks.
    calibration
        What was measured.
    """
    plan = site.plan(tree, workers)
    planned = {stage.name: stage for stage in plan.stages}
    passes = [
        Load(
            stage=name,
            tasks=planned[name].tasks,
            core_seconds=calibration.pass_seconds(name)(tree.n, tree.k),
            files_bytes=planned[name].bytes_read,
        )
        for name in ("statistics", "downsample")
    ]
    picture = Load(stage="picture", driver_seconds=planned["picture"].seconds)
    return [passes[0], *_tree_loads(tree, workers * site.cores, plan, calibration), passes[1],
            picture]  # fmt: skip


def _tree_loads(tree: Tree, threads: int, plan: Plan, calibration: Calibration) -> list[Load]:
    planned = next(stage for stage in plan.stages if stage.name == "linkage-row")
    n, k, method = tree.n, tree.k, tree.method
    kinds = calibration.kinds(method)
    driver = calibration.driver_seconds(method)(n, k)
    shared = calibration.shared_bytes(method)(n, k)
    if planned.limits is None:  # tiles that nobody keeps
        return [
            Load(
                stage="tiles",
                tasks=planned.tasks,
                core_seconds=sum(calibration.core_seconds(method, kind)(n, k) for kind in kinds),
                returned_bytes=sum(
                    calibration.returned_bytes(method, kind)(n, k) for kind in kinds
                ),
                shared_bytes=shared,
                files_bytes=planned.bytes_read,
                barriers=3,
            ),
            Load(stage="rounds", driver_seconds=driver),
        ]
    left = calibration.square_rows(method, n, planned.limits.most_clusters)
    found = []
    for stage, names in (("lists", _LISTS), ("contraction", _CONTRACTION)):
        some = [name for name in kinds if name in names]
        found.append(
            Load(
                stage=stage,
                tasks=_tasks(stage, n, left, k, threads, calibration, method),
                core_seconds=sum(calibration.core_seconds(method, name)(n, k) for name in some),
                returned_bytes=sum(calibration.returned_bytes(method, name)(n, k) for name in some),
                shared_bytes=shared if stage == "lists" else 0.0,
                files_bytes=planned.bytes_read if stage == "lists" else 0.0,
                barriers=4 if stage == "lists" else 1,
            )
        )
    lists, contraction = found
    others = [name for name in kinds if name not in (*_LISTS, *_CONTRACTION)]
    again = max(0.0, _likely(planned) - 2.0) * contraction.core_seconds
    rounds = Load(
        stage="rounds",
        tasks=max([4.0 * threads, *(calibration.tasks(method, name) for name in others)]),
        core_seconds=again + sum(calibration.core_seconds(method, name)(n, k) for name in others),
        driver_seconds=driver + calibration.square_seconds(method) * left**2,
        barriers=10,
    )
    return [lists, rounds, contraction]


def _likely(planned: Any) -> float:
    return planned.passes.likely if planned.passes is not None else 2.0


def _tasks(
    stage: str, n: int, left: float, k: int, threads: int, calibration: Calibration, method: str
) -> float:
    cut = _list_pass(n, k, threads)
    if stage == "lists":
        return max(1.0, calibration.repeats(method, "cluster-lists")) * cut.n_tasks
    if method == "ward":
        rows = min(_list_pass(max(1, int(left)), k, threads).rows, max(1, int(left)))
        return max(1.0, left * left / 2 / (rows * square_columns(rows, sends=True)))
    return max(4.0 * threads, left * left / 2 / 2**20)


def predict(load: Load, site: Site, workers: int, calibration: Calibration) -> Prediction:
    """Predict how long a stage takes, and what it waits for."""
    threads = workers * site.cores
    nodes = site.nodes(workers)
    waves = math.ceil(load.tasks / threads)
    # Each wave is of whole tasks; the last one may leave threads idle.
    cores = waves * load.core_seconds / max(1.0, load.tasks) / calibration.together
    scheduler = load.tasks * calibration.task_seconds if load.core_seconds else 0.0
    results = load.returned_bytes * max(calibration.byte_seconds, 1 / site.link_bytes_per_second)
    files = load.files_bytes / min(site.files_bytes_per_second, nodes * site.link_bytes_per_second)
    hops = math.ceil(math.log2(workers + 1))
    messages = (
        hops * load.shared_bytes / site.link_bytes_per_second
        + 2 * load.barriers * site.latency_seconds * hops
    )
    parts = {
        "cores": cores,
        "scheduler": scheduler,
        "results": results,
        "files": files,
        "messages": messages,
        "driver": load.driver_seconds,
    }
    # The scheduler and what takes results are one process.
    seconds = max(cores, scheduler + results, files) + messages + load.driver_seconds
    return Prediction(stage=load.stage, tasks=load.tasks, seconds=seconds, parts=parts)


def predict_run(tree: Tree, site: Site, workers: int, calibration: Calibration) -> list[Prediction]:
    """Predict every stage of a run.

    Raises
    ------
    MemoryLimitError
        The plan refuses it.
    """
    return [
        predict(load, site, workers, calibration)
        for load in loads(tree, site, workers, calibration)
    ]
