"""One measured process: a tree of a condensed matrix.

    python benchmarks/linkage_jobs.py METHOD DISTANCES

Prints a JSON object with the peak memory of the process, the bytes of the condensed matrix that it
was given (a ``.npy`` file), and what the process held before it was read.
"""

from __future__ import annotations

import json
import sys

from distance_jobs import peak_bytes, status_bytes


def main() -> None:
    method, path = sys.argv[1:]
    import numpy as np

    from clustergrid.pipeline import linkage

    # Libraries are loaded and functions compiled before it counts.
    linkage(np.random.default_rng(0).random(3000 * 2999 // 2), method)
    before = status_bytes("VmRSS")
    distances = np.load(path)
    tree = linkage(distances, method)
    assert len(tree) > 0
    answer = {
        "peak_bytes": peak_bytes(),
        "input_bytes": distances.nbytes,
        "library_bytes": before,
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
