"""The memory of a tree whose means are at rest, measured in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

N, K = 16_000, 1500

SCRIPT = f"""
import json, sys
import numpy as np
from clustergrid.pipeline.execution import SerialExecutor
from clustergrid.pipeline.hierarchy.certified import Limits
from clustergrid.pipeline.keywords import MetricKeywords
from clustergrid.pipeline.monitor import Progress
from clustergrid.pipeline.normalize import Normalization, matrix_statistics
from clustergrid.pipeline.operands import distance_input
from clustergrid.pipeline.row_reader import put_at_rest
from clustergrid.pipeline.summaries.tree import summary_tree
from clustergrid.storage.grid import BLOCK_FEATURES
from clustergrid.storage.source import ArraySource, ZarrSource


def peak_bytes():
    with open("/proc/self/status") as status:
        lines = dict(line.split(":", 1) for line in status)
    return int(lines["VmHWM"].split()[0]) * 1024


def tree(source, at_rest):
    executor, progress = SerialExecutor(), Progress()
    given = distance_input(
        source, matrix_statistics(source, executor, progress), Normalization(), "euclidean",
        MetricKeywords.from_mapping({{}}), dtype=np.dtype("float64"),
        features_at_once=BLOCK_FEATURES, executor=executor, progress=progress, name="distance",
    )
    limits = Limits(most_clusters=1000, n_neighbors=16)
    return summary_tree(
        given, "ward", None, limits=limits, at_rest=at_rest, executor=executor,
        progress=progress, name="linkage-row",
    )


def rows(n, k):
    random = np.random.default_rng(0)
    centres = random.normal(size=(400, k))
    for start in range(0, n, 500):
        of = random.integers(0, len(centres), min(500, n - start))
        yield centres[of] + 0.2 * random.normal(size=(len(of), k))


where, at_rest = sys.argv[1], sys.argv[2] == "rest"
few = ArraySource(np.concatenate(list(rows(3000, 20))))
tree(few, (where, "few") if at_rest else None)  # compiles, and loads what there is to load
shape = ({N}, {K})
put_at_rest(rows(*shape), shape=shape, dtype=np.dtype("float64"), store=where, path="matrix")
before = peak_bytes()
Z = tree(ZarrSource(where, "matrix"), (where, "points") if at_rest else None)
print(json.dumps({{"bytes": peak_bytes() - before, "Z": Z.tolist()}}))
"""


def run(folder: Path, where: str):
    found = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder), where], capture_output=True, text=True
    )
    assert found.returncode == 0, found.stderr
    return json.loads(found.stdout)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_means_at_rest_take_a_part_of_the_memory_of_the_matrix(tmp_path):
    rest = run(tmp_path, "rest")
    assert rest["bytes"] < 0.8 * N * K * 8
    assert list(tmp_path.glob("points*")) == []
    here = run(tmp_path, "memory")
    assert here["bytes"] > 1.9 * N * K * 8
    assert rest["Z"] == here["Z"]
