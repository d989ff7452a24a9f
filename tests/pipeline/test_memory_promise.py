"""Memory is kept: measured peak against what was promised, for each stage and engine.

In the manner of cubed's ``test_mem_utilization``: whole processes, given just the memory that the
plan says is the least. The run measures itself (``progress.jsonl``), and the test measures it from
outside, by the pages that the kernel counts.
"""

import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse

from clustergrid.pipeline.errors import MemoryLimitError
from clustergrid.pipeline.memory import _descendants
from clustergrid.pipeline.prospect import prospective_plan
from clustergrid.pipeline.request import ClusterChoice, FigureOptions, RunRequest
from clustergrid.pipeline.spec import AxisSpec
from clustergrid.storage.arrays import create_array, write_block

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

# Stages of the log that are parts of a stage of the plan.
PART_OF = {
    "matrix": "ingest",
    **{f"distance-{axis}-norms": f"distance-{axis}" for axis in ("row", "col")},
    **{f"duplicates-{axis}": f"linkage-{axis}" for axis in ("row", "col")},
    **{f"read-{axis}": f"linkage-{axis}" for axis in ("row", "col")},
    **{f"linkage-{axis}-rows": f"linkage-{axis}" for axis in ("row", "col")},
    **dict.fromkeys(("limits", "quantiles", *(f"quantiles-{i}" for i in (2, 3, 4))), "downsample"),
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """A run: its input, its options, and whether the plan puts rows of its tree at rest."""

    shape: tuple[int, int]
    dtype: str = "float64"
    form: str = "npy"
    metric: str = "euclidean"
    method: str = "average"
    engine: str | None = None
    cluster: str = "none"
    rows: bool = True
    columns: bool = True
    at_rest: bool = False
    options: tuple[str, ...] = field(default=())

    def __str__(self):
        shape = "x".join(map(str, self.shape))
        words = [shape, self.dtype, self.form, self.metric, self.method, self.cluster]
        words += [self.engine] if self.engine else []
        return "-".join([*words, *(option.strip("-") for option in self.options)])


def write_sparse(case, path):
    """An AnnData file of which five in a hundred values are stored, by rows or by columns."""
    form = case.form.removeprefix("h5ad-")
    rng = np.random.default_rng(0)
    values = scipy.sparse.random(*case.shape, 0.05, form, case.dtype, random_state=rng)
    anndata.AnnData(values).write_h5ad(path)
    return path


def write_input(case, folder):
    if case.form.startswith("h5ad"):
        return write_sparse(case, folder / "input.h5ad")
    rng = np.random.default_rng(0)
    values = rng.standard_normal(case.shape).astype(case.dtype)
    values[: len(values) // 50] = values[0]  # some are identical
    if case.metric == "precomputed":
        points = values[:, :10].astype(np.float64)
        squares = np.square(points).sum(axis=1)
        products = squares[:, None] + squares - 2 * points @ points.T
        np.fill_diagonal(products, 0.0)
        values = np.sqrt(np.maximum(products, 0.0)).astype(case.dtype)
    if case.method == "ward" or case.form == "zarr-columns":
        values += np.arange(case.shape[1], dtype=case.dtype)
    path = folder / f"input.{case.form.split('-')[0]}"
    if case.form == "npy":
        np.save(path, values)
    elif case.form == "csv":
        pd.DataFrame(values).to_csv(path, index=False)
    elif case.form == "parquet":
        pd.DataFrame(values, columns=[f"c{i}" for i in range(case.shape[1])]).to_parquet(path)
    else:
        chunks = {
            "zarr-columns": (case.shape[0], 20),
            "zarr-squares": (900, 900),
            "zarr-large": (3000, 3000),
        }
        array = create_array(
            path, "x", shape=case.shape, dtype=case.dtype, chunks=chunks[case.form]
        )
        write_block(array, (0, 0), values)
        return path / "x"
    return path


def least_memory(case, path):
    """What the plan says would do."""
    with pytest.raises(MemoryLimitError) as refused:
        prospective_plan(request_of(case, path, 1_000_000))
    return refused.value.needed_bytes


def request_of(case, path, memory_bytes):
    ordered = "--optimal-ordering" in case.options
    spec = AxisSpec(method=case.method, metric=case.metric, optimal_ordering=ordered)
    figure = FigureOptions(dpi=600) if "--dpi" in case.options else FigureOptions()
    if "median" in case.options:
        figure = replace(figure, heatmap={"aggregate": "median"})
    return RunRequest(
        input=str(path),
        directory=Path("run"),
        row=replace(spec, engine=case.engine) if case.rows else AxisSpec(cluster=False),
        column=spec if case.columns else AxisSpec(cluster=False),
        memory_bytes=memory_bytes,
        cluster=ClusterChoice(cluster=case.cluster),
        figure=figure,
        reordered="--pyramid" in case.options,
        pyramid="--pyramid" in case.options,
    )


def proportional_bytes(pid):
    """PSS of a process: its pages, each shared by those that map it."""
    try:
        with open(f"/proc/{pid}/smaps_rollup") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("Pss:"))
    except (OSError, StopIteration):
        return 0


def watched(command, folder):
    """Run a command; return the greatest sum of its processes' memory that was seen."""
    process = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True)
    peak = 0

    def watch():
        nonlocal peak
        while process.poll() is None:
            pids = (process.pid, *_descendants(process.pid))
            peak = max(peak, sum(map(proportional_bytes, pids)))
            time.sleep(0.1)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        _, errors = process.communicate()
    finally:
        process.kill()  # of a test that is given up, too
        thread.join()
    assert process.returncode == 0, errors
    return peak


def check(case, folder):
    path = write_input(case, folder)
    memory = least_memory(case, path)
    rounds = prospective_plan(request_of(case, path, memory)).tree(0)
    assert case.at_rest == (rounds is not None and rounds.rows_at_rest)
    command = [sys.executable, "-m", "clustergrid.pipeline.cli", "run", str(path), "-o", "run"]
    command += ["--memory", str(memory), "--cluster", case.cluster]
    command += ["--metric", case.metric, "--method", case.method, *case.options]
    command += ["--row-engine", case.engine] if case.engine else []
    command += [] if case.rows else ["--no-row-cluster"]
    command += [] if case.columns else ["--no-col-cluster"]
    outside = watched(command, folder)
    state = json.loads((folder / "run" / "run.json").read_text())
    promised = {stage["name"]: stage["peak_memory_bytes"] for stage in state["plan"]}
    measured = {}
    for line in (folder / "run" / "progress.jsonl").read_text().splitlines():
        event = json.loads(line)
        if event.get("stage", "verify").startswith("verify"):
            continue
        stage = PART_OF.get(event["stage"], event["stage"])
        measured[stage] = max(measured.get(stage, 0), event["peak_memory_bytes"])
    ratios = {}
    for stage, peak in measured.items():
        ratios[stage] = round(peak / promised.get(stage, memory), 2)
    whole = max(outside, state["peak_memory_bytes"]) / memory
    print(f"\n{case}: memory {memory / 1e6:.0f} MB, whole {whole:.2f}, {ratios}")
    if os.environ.get("CLUSTERGRID_MEMORY_TABLE"):
        with open(os.environ["CLUSTERGRID_MEMORY_TABLE"], "a") as table:
            table.write(json.dumps({"case": str(case), "memory": memory, "whole": whole, **ratios}))
            table.write("\n")
    assert {stage for stage, ratio in ratios.items() if ratio > 1} == set()
    assert whole <= 1
    assert len(ratios) >= 4


def test_small_matrices(tmp_path):
    check(Case(shape=(1500, 60), columns=False), tmp_path)


CASES = [
    # Inputs.
    Case(shape=(30_000, 300), form="npy", columns=False, rows=False),
    Case(shape=(20_000, 300), form="csv", columns=False, rows=False),
    Case(shape=(100_000, 100), form="parquet", columns=False, rows=False),
    Case(shape=(30_000, 1500), form="zarr-columns", columns=False, rows=False),
    Case(engine="square", shape=(6000, 6000), form="zarr-large", dtype="float32", columns=False),
    # Sparse ones, compressed by rows and by columns.
    Case(engine="square", shape=(12_000, 4000), form="h5ad-csr", dtype="float32", columns=False),
    Case(engine="square", shape=(9000, 6000), form="h5ad-csc", metric="cosine", columns=False),
    Case(engine="square", shape=(8000, 8000), form="h5ad-csr", metric="jaccard", columns=False),
    Case(
        engine="square",
        shape=(9000, 5000),
        form="h5ad-csr",
        dtype="float32",
        cluster="local",
        columns=False,
    ),
    # Pictures of medians; matrices in clustered order, and their pyramids.
    Case(
        shape=(40_000, 800),
        dtype="float32",
        columns=False,
        rows=False,
        options=("--aggregate", "median"),
    ),
    *(
        Case(
            shape=(60_000, 1500),
            dtype="float32",
            cluster=cluster,
            columns=False,
            rows=False,
            options=("--pyramid",),
        )
        for cluster in ("none", "local")
    ),
    # Engines of distances, on threads.
    Case(engine="square", shape=(8000, 300), metric="cityblock", method="complete"),
    Case(shape=(6000, 500), metric="chebyshev", method="single", dtype="float32"),
    Case(
        engine="square", shape=(2500, 20_000), metric="correlation", dtype="float32", columns=False
    ),
    Case(
        engine="square", shape=(5000, 2000), metric="cosine", method="weighted", form="zarr-squares"
    ),
    Case(shape=(1500, 80), metric="sqeuclidean"),
    # Engines of trees.
    Case(engine="square", shape=(5000, 100), method="ward", options=("--robust",)),
    Case(
        engine="square",
        shape=(5000, 100),
        method="centroid",
        dtype="float32",
        options=("--dpi", "600"),
    ),
    Case(engine="square", shape=(6000, 100), columns=False, options=("--optimal-ordering",)),
    Case(
        engine="square",
        shape=(7000, 50),
        dtype="float32",
        cluster="local",
        options=("--optimal-ordering",),
    ),
    Case(
        engine="square",
        shape=(6000, 300),
        method="centroid",
        columns=False,
        options=("--optimal-ordering",),
    ),
    # Of rows, whose distances nobody keeps.
    Case(shape=(25_000, 100), method="single", columns=False),
    Case(shape=(16_000, 200), method="single", dtype="float32", cluster="local", columns=False),
    Case(shape=(20_000, 150), method="centroid", columns=False),
    # ... by rounds of proved merges: by default of so many rows, in the least memory, with or
    # without workers, from points of any metric and from means.
    Case(shape=(20_000, 60), columns=False),
    Case(shape=(16_000, 200), method="complete", columns=False, cluster="local"),
    Case(shape=(15_000, 40), metric="cityblock", columns=False, engine="data"),
    Case(shape=(20_000, 200), method="ward", dtype="float32", columns=False),
    Case(shape=(12_000, 300), metric="correlation", columns=False, cluster="local"),
    Case(shape=(12_000, 80), columns=False, options=("--optimal-ordering",)),
    Case(
        shape=(20_500, 400),
        dtype="float32",
        columns=False,
        engine="data",
        options=("--optimal-ordering",),
    ),
    # ... whose rows and means do not fit, and are at rest: means of clusters, wide ones, points,
    # with or without workers.
    *(
        Case(
            shape=shape,
            method=method,
            metric=metric,
            dtype="float32",
            columns=False,
            engine="data",
            cluster=cluster,
            at_rest=True,
            options=options,
        )
        for shape, method, metric, cluster, options in (
            ((5000, 4000), "ward", "euclidean", "none", ()),
            ((5000, 4000), "average", "correlation", "local", ()),
            ((2500, 20_000), "ward", "euclidean", "none", ()),
            ((2500, 4000), "average", "euclidean", "none", ()),
        )
    ),
    # Few, whose square does not fit.
    Case(shape=(8000, 30), method="weighted", columns=False),
    # Tiles that are read a few times, where they are.
    Case(shape=(9000, 9000), metric="precomputed", dtype="float32", columns=False),
    # Worker processes.
    Case(engine="square", shape=(9000, 400), cluster="local"),
    Case(engine="square", shape=(7000, 5000), cluster="local", dtype="float32", columns=False),
    Case(
        engine="square", shape=(6000, 300), cluster="local", method="median", options=("--robust",)
    ),
    Case(engine="square", shape=(5500, 200), cluster="local", metric="cityblock", dtype="float32"),
]


@pytest.mark.slow
@pytest.mark.timeout(1200)  # noise at rest, in the least memory, is read again and again
@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_stage_keeps_its_promise(case, tmp_path):
    check(case, tmp_path)
