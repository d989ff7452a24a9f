"""One measured process: a tree, ours or fastcluster's.

    python benchmarks/linkage_jobs.py LIBRARY METHOD DISTANCES

Prints a JSON object with the seconds of the call, the peak memory of the process, the bytes of the
condensed matrix that it was given (a ``.npy`` file), and what the process took before it was read.
"""

from __future__ import annotations

import json
import sys
import time

from distance_jobs import peak_bytes


def library_bytes() -> int:
    """What the libraries take once all of them are loaded, and their functions compiled."""
    import fastcluster
    import numpy as np

    from clustergrid.pipeline import linkage

    few = np.random.default_rng(0).random(3000 * 2999 // 2)
    linkage(few, "average")
    fastcluster.linkage(few[:45], "average")
    return peak_bytes() - few.nbytes


def main() -> None:
    library, method, path = sys.argv[1:]
    import numpy as np

    used = library_bytes()
    distances = np.load(path)
    started = time.perf_counter()
    if library == "clustergrid":
        from clustergrid.pipeline import linkage

        tree = linkage(distances, method)
    else:
        import fastcluster

        tree = fastcluster.linkage(distances, method)
    passed = time.perf_counter() - started
    assert len(tree) > 0
    answer = {
        "seconds": passed,
        "peak_bytes": peak_bytes(),
        "input_bytes": distances.nbytes,
        "library_bytes": used,
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
