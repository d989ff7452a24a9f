"""Time small heatmaps in one warm process, clustergrid and seaborn in turn.

    python benchmarks/warm.py [REPEATS]

Prints one JSON object: medians in seconds, and the median of the ratios pair by pair.
"""

import json
import statistics
import sys
import time

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import seaborn
from sklearn.datasets import load_iris

from clustergrid.pipeline import clustermap


def seconds(function) -> float:
    started = time.perf_counter()
    function()
    passed = time.perf_counter() - started
    plt.close("all")
    return passed


def main() -> None:
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    iris = load_iris(as_frame=True).data
    ours, theirs = [], []
    for _ in range(repeats + 2):
        ours.append(seconds(lambda: clustermap(iris)))
        theirs.append(seconds(lambda: seaborn.clustermap(iris)))
    ours, theirs = ours[2:], theirs[2:]
    result = {
        "clustergrid": statistics.median(ours),
        "seaborn": statistics.median(theirs),
        "ratio": statistics.median(b / a for a, b in zip(ours, theirs, strict=True)),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
