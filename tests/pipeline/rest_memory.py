"""The memory of a tree whose rows are at rest, or in memory, measured in a process of its own."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Measured", "measured"]

SCRIPT = """
import json, sys
import numpy as np
from clustergrid.pipeline.execution import SerialExecutor
from clustergrid.pipeline.hierarchy.certified import Limits
from clustergrid.pipeline.keywords import MetricKeywords
from clustergrid.pipeline.monitor import Progress
from clustergrid.pipeline.normalize import Normalization, matrix_statistics
from clustergrid.pipeline.operands import distance_input
from clustergrid.pipeline.points.tree import point_tree
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
        MetricKeywords.from_mapping({}), dtype=np.dtype("float64"),
        features_at_once=BLOCK_FEATURES, executor=executor, progress=progress, name="distance",
    )
    limits = Limits(most_clusters=asked["most_clusters"], n_neighbors=16)
    made = summary_tree if asked["method"] == "ward" else point_tree
    return made(
        given, asked["method"], None, limits=limits, at_rest=at_rest, executor=executor,
        progress=progress, name="linkage-row",
    )


def rows(n, k):
    random = np.random.default_rng(0)
    centres = random.normal(size=(400, k))
    for start in range(0, n, 500):
        of = random.integers(0, len(centres), min(500, n - start))
        yield centres[of] + 0.2 * random.normal(size=(len(of), k))


where, at_rest, asked = sys.argv[1], sys.argv[2] == "rest", json.loads(sys.argv[3])
few = ArraySource(np.concatenate(list(rows(3000, 20))))
tree(few, (where, "few") if at_rest else None)  # compiles, and loads what there is to load
shape = asked["n"], asked["k"]
put_at_rest(rows(*shape), shape=shape, dtype=np.dtype("float64"), store=where, path="matrix")
before = peak_bytes()
Z = tree(ZarrSource(where, "matrix"), (where, "points") if at_rest else None)
print(json.dumps({"share": (peak_bytes() - before) / (8 * shape[0] * shape[1]), "Z": Z.tolist()}))
"""


@dataclass(frozen=True)
class Measured:
    """What a tree took beside the process, as a share of its matrix in float64; and the tree."""

    share: float
    Z: Any


def measured(folder: Path, where: str, **asked: Any) -> Measured:
    """Make a tree whose rows are at ``"rest"`` or in ``"memory"``.

    `asked` has its `n`, `k` and `method` (of ward clusters are means), and `most_clusters`.
    """
    command = [sys.executable, "-c", SCRIPT, str(folder), where, json.dumps(asked)]
    found = subprocess.run(command, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert list(folder.glob("points*")) == []
    return Measured(**json.loads(found.stdout))
