"""A run in a bucket beside the same run in a folder: whole processes, in turn.

    python benchmarks/object_store.py [ROWS COLUMNS [REPEATS]]

The bucket is moto's, on loopback and on the same cores, which is what the server's own time is
taken from; so it is the overhead of the protocol that is measured, and no network. Each run is a
process (`clustergrid run --cluster none` on a random float32 matrix); both leave the same tree.
Prints one line of a table for distances at rest, and one for what is the default.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

from paired import HEADER, Wanted, in_turn, row, seconds  # noqa: E402

from clustergrid.storage.places import as_path, remove_tree  # noqa: E402
from tests.storage.object_stores.servers import ObjectServer, environment  # noqa: E402

KINDS = {"distances at rest": ["--row-engine", "square"], "default": []}


def run(matrix: Path, output: str, options: list[str], digests: set[str]) -> float:
    """Run into a new place; note the digest of the tree, and return the seconds."""
    remove_tree(as_path(output))
    words = ["run", str(matrix), "-o", output, "--cluster", "none", "--no-col-cluster", *options]
    command = [sys.executable, "-m", "clustergrid.pipeline.cli", *words]
    taken = seconds(lambda: subprocess.run(command, check=True, capture_output=True))
    tree = (as_path(output) / "linkage_row.npy").read_bytes()
    digests.add(hashlib.sha256(tree).hexdigest())
    return taken


def main() -> None:
    words = [int(word) for word in sys.argv[1:]]
    n, k, repeats = (*words, *(20_000, 500, 3)[len(words) :])
    folder = Path(tempfile.mkdtemp(prefix="clustergrid-bench-"))
    server = ObjectServer()
    os.environ.update(environment(server.endpoint))
    try:
        matrix = folder / "matrix.npy"
        np.save(matrix, np.random.default_rng(0).normal(size=(n, k)).astype(np.float32))
        there = f"{server.make_bucket()}/run"
        here = str(folder / "run")
        print(HEADER)
        for kind, options in KINDS.items():
            digests: set[str] = set()
            pairs = in_turn(
                lambda: run(matrix, there, options, digests),  # noqa: B023
                lambda: run(matrix, here, options, digests),  # noqa: B023
                repeats,
            )
            if len(digests) != 1:
                raise SystemExit("the trees differ")
            name = f"run in a bucket, {n:,} x {k:,} float32, {kind}"
            print(row(name, "run in a folder", pairs, Wanted(bound=3.0, at_most=True)))
    finally:
        server.close()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
