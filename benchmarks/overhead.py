"""What manifests and checksums cost: whole runs with them and without, in turn.

    python benchmarks/overhead.py [ROWS COLUMNS [REPEATS]]

Each run is a process of its own (`clustergrid run --cluster none` on a random float32 matrix, rows
clustered). "Without" takes the CRC-32C codec out of every array that is written, and makes notes
and digests do nothing: what is left is not safe, and is what the others are compared with. Prints
one JSON object: medians in seconds, and the median of the ratios pair by pair.
"""

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np


def without_checks() -> None:
    """Take every checksum, digest and note out of this process."""
    import zarr
    from zarr.codecs import Crc32cCodec

    import clustergrid.pipeline.distance as distance
    import clustergrid.pipeline.kept as kept
    import clustergrid.storage.ingest as ingest
    from clustergrid.storage import rundir
    from clustergrid.storage.manifest import Entry, Manifest
    from clustergrid.storage.rundir import RunDirectory

    create = zarr.create_array

    def create_plain(*args, compressors=(), **kwargs):
        plain = [codec for codec in compressors if not isinstance(codec, Crc32cCodec)]
        return create(*args, compressors=plain or None, **kwargs)

    nothing = Entry(file="", size_bytes=0, digest="")
    zarr.create_array = create_plain
    for module in (distance, ingest):
        module.chunk_entry = lambda *args, **facts: nothing
    for module in (ingest, kept):
        module.stored_entries = lambda *args: []
        module.metadata_entry = lambda *args: nothing
    Manifest.begin = Manifest.record = lambda self, *entries: None
    RunDirectory.digest = lambda self, name: None
    rundir._refuse_unnoted = lambda *array: None


def run_once(mode: str, matrix: str, directory: str) -> None:
    if mode == "without":
        without_checks()
    from clustergrid.pipeline.cli import main

    main(["run", matrix, "-o", directory, "--no-col-cluster", "--cluster", "none",
          "--figsize", "4", "4", "--dpi", "80"])  # fmt: skip


def seconds(mode: str, matrix: Path, directory: Path) -> float:
    shutil.rmtree(directory, ignore_errors=True)
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, __file__, "--once", mode, str(matrix), str(directory)],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    return time.perf_counter() - started


def main() -> None:
    if sys.argv[1:2] == ["--once"]:
        run_once(*sys.argv[2:])
        return
    shape = tuple(map(int, sys.argv[1:3])) or (30_000, 500)
    repeats = int(sys.argv[3]) if len(sys.argv) > 3 else 3
    times: dict[str, list[float]] = {"with": [], "without": []}
    trees = {}
    with tempfile.TemporaryDirectory() as scratch:
        matrix = Path(scratch) / "matrix.npy"
        np.save(matrix, np.random.default_rng(0).normal(size=shape).astype(np.float32))
        for repeat in range(repeats):
            modes = list(times) if repeat % 2 else list(reversed(times))
            for mode in modes:
                directory = Path(scratch) / mode
                times[mode].append(seconds(mode, matrix, directory))
                trees[mode] = (directory / "linkage_row.npy").read_bytes()
                print(f"{mode}: {times[mode][-1]:.1f} s", file=sys.stderr, flush=True)
    assert trees["with"] == trees["without"]
    result = {
        "shape": shape,
        **{mode: round(statistics.median(each), 2) for mode, each in times.items()},
        "ratio": round(
            statistics.median(a / b for a, b in zip(times["with"], times["without"], strict=True)),
            3,
        ),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
