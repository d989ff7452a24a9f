"""The input or the options changed between two runs; tiles that a killed run still writes.

What a fingerprint promises: of a file, its size, its time to the nanosecond, and its first and last
megabyte; of a directory, the names, sizes and times of its files. Whoever changes bytes in the
middle of a large file and puts size and time back is not noticed by `run`, which would have to read
terabytes for it; that case is written down here, too.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from clustergrid.pipeline.cli import main
from tests.faults.conftest import labelled, values
from tests.faults.harness import LOOK, assert_same, contents, one_line, until

pytestmark = pytest.mark.quick_cases(one_in=16)

OPTIONS = [*LOOK, "--memory", "1GB", "--cluster", "none"]


@pytest.fixture
def call(capfd):
    """Run the command in this process: its status, and what it says."""

    def call(*arguments):
        capfd.readouterr()
        status = 0
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as leave:
            status = leave.code
        return status, capfd.readouterr().err

    return call


# The input


def rewrite(path, change):
    """Change bytes in place, and put the time back."""
    before = path.stat()
    content = bytearray(path.read_bytes())
    change(content)
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def flip(position):
    def change(content):
        content[position] ^= 1

    return change


def file_of(folder, kind):
    path = folder / f"a.{kind}"
    if kind == "npy":
        np.save(path, values(300, 6))
    elif kind == "parquet":
        labelled(300, 6).to_parquet(path)
    elif kind == "h5ad":
        anndata = pytest.importorskip("anndata")
        data = labelled(300, 6)
        found = anndata.AnnData(data.to_numpy(), pd.DataFrame(index=data.index),
                                pd.DataFrame(index=data.columns))  # fmt: skip
        found.layers["twice"] = 2 * data.to_numpy()
        found.write_h5ad(path)
    else:
        labelled(300, 6).to_csv(path)
    return path


KINDS = ["npy", "csv", "csv.gz", "parquet", "h5ad"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("change", ["touched", "a byte", "longer", "another file"])
def test_a_file_that_changed_is_refused_with_what_changed(call, tmp_path, kind, change):
    path = file_of(tmp_path, kind)
    command = ["run", path, "-o", tmp_path / "run", *OPTIONS]
    status, err = call(*command)
    assert status == 0, err
    before = contents(tmp_path / "run")
    says = f"{tmp_path / 'run'} holds results of another input"
    if change == "touched":
        os.utime(path, ns=(1, 1))
        what = "mtime_ns was "
    elif change == "a byte":
        rewrite(path, flip(path.stat().st_size // 2))
        what = "sha256_of_ends was "
    elif change == "longer":
        with path.open("ab") as file:
            file.write(b"\n")
        what = "size was "
    else:
        command[1] = shutil.copy(path, tmp_path / f"b.{kind}")
        what = "url was "
    status, err = call(*command)
    assert status == 1
    line = err.splitlines()[-1]
    assert says in line
    assert what in line
    assert contents(tmp_path / "run") == before
    assert not (tmp_path / "run" / "run.lock").exists()


def test_another_layer_is_another_input(call, tmp_path):
    path = file_of(tmp_path, "h5ad")
    assert call("run", path, "-o", tmp_path / "run", *OPTIONS)[0] == 0
    status, err = call("run", path, "-o", tmp_path / "run", *OPTIONS, "--layer", "twice")
    assert status == 1
    assert "layer was None and is twice" in err.splitlines()[-1]


def test_a_zarr_chunk_that_was_written_again_is_noticed(call, tmp_path, make_input):
    path = shutil.copytree(make_input("d.zarr", 600, 8), tmp_path / "d.zarr")
    command = ["run", path, "-o", tmp_path / "run", *OPTIONS]
    assert call(*command)[0] == 0
    chunk = path / "matrix" / "c" / "0" / "0"
    chunk.write_bytes(chunk.read_bytes())  # the same bytes, at another time
    status, err = call(*command)
    assert status == 1
    assert "sha256_of_listing was " in err.splitlines()[-1]


@pytest.mark.slow
def test_bytes_in_the_middle_with_time_and_size_put_back_are_not_noticed(call, tmp_path):
    """Nobody promises that; the copy in the run is what the results are of, and stays so."""
    path = tmp_path / "a.npy"
    np.save(path, values(60_000, 12))
    size = path.stat().st_size
    assert size > 2 * 2**20 + 1000
    command = ["run", path, "-o", tmp_path / "run", *OPTIONS, "--no-row-cluster"]
    assert call(*command)[0] == 0
    before = contents(tmp_path / "run")
    rewrite(path, flip(size // 2))
    status, err = call(*command)
    assert status == 0
    assert "ingest: kept from the earlier run" in err
    assert contents(tmp_path / "run") == before


@pytest.mark.slow
def test_an_input_that_changes_while_it_is_copied_is_not_mixed(tmp_path, make_input, start):
    """Killed in the copy, the next run finds another file: it copies that one, whole."""
    path = tmp_path / "a.csv"
    labelled(4000, 40, seed=1).to_csv(path)
    command = ["run", path, *OPTIONS, "--no-row-cluster"]
    run = start(*command, "-o", tmp_path / "run")
    assert run.wait_for("ingest")
    run.kill()
    labelled(4000, 40, seed=2).to_csv(path)
    for name in ("run", "fresh"):
        ended = start(*command, "-o", tmp_path / name).end()
        assert ended.status == 0, ended.err
    ours, theirs = contents(tmp_path / "run"), contents(tmp_path / "fresh")
    assert ours == theirs


# The options


_TREES = {"linkage-row", "linkage-col"}
CHANGES = [
    # options of the second run; stages that are kept, besides statistics and the copy of the
    # matrix; stages that run again
    (["--cmap", "mako"], {*_TREES, "downsample"}, {"picture"}),
    (["--dpi", "60"], _TREES, {"downsample", "picture"}),
    (["--robust"], {*_TREES, "downsample"}, {"quantiles", "picture"}),
    (["--row-k", "3"], {*_TREES, "picture"}, set()),
    (["--method", "ward"], {"distance-row", "distance-col"},
     {"read-row", "read-col", "downsample", "picture"}),
    (["--row-method", "single"], {"distance-row", "linkage-col"},
     {"read-row", "downsample", "picture"}),
    (["--col-metric", "cityblock"], {"linkage-row"}, {"distance-col", "downsample", "picture"}),
    (["--z-score", "columns"], set(),
     {"distance-row", "distance-col", "downsample", "picture"}),
    (["--no-row-cluster"], {"linkage-col"}, {"downsample", "picture"}),
    (["--memory", "2GB"], {*_TREES, "picture"}, set()),
]  # fmt: skip


@pytest.mark.parametrize(("options", "kept", "again"), CHANGES, ids=lambda o: " ".join(sorted(o)))
def test_changed_options_keep_what_does_not_depend_on_them(call, tmp_path, options, kept, again):
    path = file_of(tmp_path, "csv")
    command = ["run", path, *OPTIONS]
    assert call(*command, "-o", tmp_path / "run")[0] == 0
    status, err = call(*command, *options, "-o", tmp_path / "run")
    assert status == 0, err
    lines = err.splitlines()
    said = {line.split(":")[0] for line in lines if line.endswith("kept from the earlier run")}
    assert said == kept | {"ingest", "statistics"}
    finished = {line.split(":")[0] for line in lines if ": finished in" in line}
    assert again <= finished
    assert not finished & kept
    assert call(*command, *options, "-o", tmp_path / "fresh")[0] == 0
    ours, theirs = contents(tmp_path / "run"), contents(tmp_path / "fresh")
    assert {n: ours.get(n) for n in theirs if not n.startswith("key")} == {
        n: digest for n, digest in theirs.items() if not n.startswith("key")
    }


@pytest.mark.slow
def test_there_and_back_again(call, tmp_path):
    """Options that change and change back never mix what belongs to one with the other."""
    path = file_of(tmp_path, "npy")
    sets = [[], ["--metric", "cosine"], ["--z-score", "rows"], ["--dtype", "float64"]]
    fresh = []
    for number, options in enumerate(sets):
        directory = tmp_path / f"fresh{number}"
        assert call("run", path, *OPTIONS, *options, "-o", directory)[0] == 0
        fresh.append((directory / "linkage_row.npy").read_bytes())
    assert all(a != b for a, b in pairwise(fresh))
    rng = np.random.default_rng(6)
    for number in rng.integers(0, len(sets), size=8):
        assert call("run", path, *OPTIONS, *sets[number], "-o", tmp_path / "run")[0] == 0
        assert (tmp_path / "run" / "linkage_row.npy").read_bytes() == fresh[number]


# A cluster that outlives its driver


@pytest.mark.slow
def test_tiles_of_a_killed_driver_do_not_harm_the_next_run(
    tmp_path, make_input, start, dask_processes
):
    """A worker held still in the middle of its tiles writes them later, under another question."""
    path = make_input("a.npy", 4200, 16)
    where = ["--memory", "2GB", "--scheduler-file", dask_processes.file]
    command = ["run", path, *LOOK, *where, "--no-col-cluster"]
    fresh, directory = tmp_path / "fresh", tmp_path / "run"
    for metric, target in (("cityblock", fresh), ("euclidean", directory)):
        run = start(*command, "--metric", metric, "-o", target)
        if target == fresh:
            assert run.end().status == 0
    assert any(event.stage == "distance-row" and event.done >= 2 for event in run.events())
    worker = dask_processes.worker()
    worker.send_signal(signal.SIGSTOP)  # tiles are under way, and queued
    try:
        run.kill()
        # Another worker, so that the next run gets somewhere while the first one holds its tiles.
        dask_processes.start_worker()
        dask_processes.worker()
        next_run = start(*command, "--metric", "cityblock", "-o", directory)
        until(lambda: list(directory.glob("run.lock")), "the next run does not begin")
        time.sleep(3.0)
    finally:
        worker.send_signal(signal.SIGCONT)
    ended = next_run.end()
    assert ended.status == 0, ended.err
    assert_same(directory, fresh)
    # What the first worker was at has been written by now, into nobody's array.
    time.sleep(2.0)
    assert {n: d for n, d in contents(directory).items() if n in contents(fresh)} == contents(fresh)


@pytest.mark.slow
def test_no_worker_left_is_one_line_after_a_while(tmp_path, make_input, start, dask_processes):
    dask_processes.restart(no_workers_timeout="4s")
    path = make_input("a.npy", 4200, 16)
    command = ["run", path, *LOOK, "--memory", "1GB", "--no-col-cluster", "-o", tmp_path / "run"]
    run = start(*command, "--scheduler-file", dask_processes.file)
    assert run.wait_for("distance-row")
    dask_processes.kill_nanny()
    said = one_line(run.end())
    assert "no Dask worker was left for 4 s" in said
    assert "the same command goes on from here" in said
    ended = start(*command, "--cluster", "none").end()
    assert ended.status == 0, ended.err
