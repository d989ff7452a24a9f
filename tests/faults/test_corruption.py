"""Bits flipped, files cut off, deleted, swapped: all of it is found, named, and made again.

The files are found by walking a finished run, so what a later stage writes is damaged here too.
Only the log, the lock and Dask's reports for people are no results.
"""

from __future__ import annotations

import json
import re
import shutil
from collections import defaultdict

import dask
import numpy as np
import pytest
from distributed import LocalCluster

from clustergrid.pipeline.cli import main
from clustergrid.pipeline.request import ClusterChoice, Cut, FigureOptions, RunRequest
from clustergrid.pipeline.run import run
from clustergrid.pipeline.spec import AxisSpec
from clustergrid.pipeline.status import read_status
from tests.faults.conftest import labelled
from tests.faults.harness import assert_same, tile_files

pytestmark = pytest.mark.quick_cases(one_in=16)

NO_RESULTS = ("progress.jsonl", "run.lock", "report/")
CHUNKS_OF_AN_ARRAY = 4
FLIPS = ("first", "middle", "checksum", "last", "anywhere")
CUTS = ("empty", "half", "last byte")
DAMAGES = (*(f"flip {where}" for where in FLIPS), *(f"cut {where}" for where in CUTS),
           "longer", "deleted")  # fmt: skip


def make(folder, name="run", metric="euclidean", seed=0):
    """A finished run with everything that a run can leave: its request."""
    path = folder / f"{seed}.csv"
    labelled(1100, 9, seed).to_csv(path)
    colors = folder / "colors.tsv"
    colors.write_text("label\tkind\n" + "".join(f"g{i}\t#00ff00\n" for i in range(0, 1100, 2)))
    figure = FigureOptions(figsize_inches=(3.0, 3.0), dpi=40, formats=("png", "svg", "pdf"))
    asked = RunRequest(
        input=str(path), directory=folder / name, z_score=1, figure=figure, row_cut=Cut(k=5),
        column_cut=Cut(k=2), row=AxisSpec(metric=metric), row_colors=str(colors),
        dtype="float32", memory_bytes=10**9,
    )  # fmt: skip
    run(asked)
    return asked


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return make(tmp_path_factory.mktemp("finished"))


@pytest.fixture(scope="module")
def another(tmp_path_factory):
    """A run of another matrix, whose chunks are whole and wrong."""
    return make(tmp_path_factory.mktemp("another"), seed=1)


@pytest.fixture
def copied(finished, tmp_path):
    """Make a fresh copy of the finished run: its request."""

    def copy():
        directory = tmp_path / "run"
        shutil.rmtree(directory, ignore_errors=True)
        shutil.copytree(finished.directory, directory)
        return RunRequest(**{**_fields(finished), "directory": directory})

    return copy


def _fields(request):
    return {name: getattr(request, name) for name in request.__dataclass_fields__}


@pytest.fixture
def verify(capfd):
    """Run ``clustergrid verify``: its status, the files that it names, and its last line."""

    def verify(directory):
        capfd.readouterr()
        status = 0
        try:
            main(["verify", str(directory), "--json"])
        except SystemExit as leave:
            status = leave.code
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        said = [json.loads(line) for line in out.splitlines()]
        named = [d["file"] for line in said for d in line.get("damages", [])]
        return status, named, err

    return verify


def files_of(directory):
    """Everything that a run wrote and that is a result; of an array of many chunks, some."""
    chunks, others = defaultdict(list), []
    for file in sorted(directory.rglob("*")):
        name = file.relative_to(directory).as_posix()
        if not file.is_file() or name.startswith(NO_RESULTS):
            continue
        array = re.fullmatch(r"(.+)/c/[\d/]+", name)
        if array:
            chunks[array[1]].append(name)
        else:
            others.append(name)
    rng = np.random.default_rng(5)
    some = [
        name
        for names in chunks.values()
        for name in rng.permutation(names)[:CHUNKS_OF_AN_ARRAY].tolist()
    ]
    return sorted(others + some)


def harm(file, damage, rng):
    content = bytearray(file.read_bytes())
    size = len(content)
    if damage == "deleted":
        file.unlink()
        return
    if damage.startswith("flip"):
        position = {"first": 0, "middle": size // 2, "checksum": max(0, size - 3),
                    "last": size - 1, "anywhere": rng.integers(size)}[damage[5:]]  # fmt: skip
        content[position] ^= 1 << int(rng.integers(8))
    elif damage.startswith("cut"):
        content = content[: {"empty": 0, "half": size // 2, "last byte": size - 1}[damage[4:]]]
    else:
        content.append(0)
    file.write_bytes(content)


def test_the_walk_finds_every_kind_of_file(finished):
    names = files_of(finished.directory)
    for kind in (r"run\.json", r"README\.txt", r"figure\.png", r"figure\.svg", r"linkage_row\.npy",
                 r"linkage_col\.npy", r"order_row\.txt", r"order_col\.txt", r"clusters_row\.tsv",
                 r"clusters_col\.tsv", r"row_colors\.tsv", r"manifest/.+",
                 r"arrays\.zarr/zarr\.json",
                 r"arrays\.zarr/condensed_row\w*/tiles/c/\d/0/0",
                 r"arrays\.zarr/condensed_row\w*/border/c/\d/0/0",
                 r"arrays\.zarr/condensed_row\w*/labels/c/\d",
                 r"arrays\.zarr/condensed_col\w*/tiles/c/.+",
                 r"arrays\.zarr/condensed_row\w*/tiles/zarr\.json",
                 r"arrays\.zarr/condensed_row\w*/zarr\.json", r"arrays\.zarr/image/c/.+",
                 r"arrays\.zarr/image_row_edges/c/.+", r"arrays\.zarr/statistics_row/c/.+",
                 r"matrix\.zarr/matrix/c/.+", r"matrix\.zarr/gene/c/.+",
                 r"matrix\.zarr/column/c/.+",
                 r"matrix\.zarr/zarr\.json"):  # fmt: skip
        assert any(re.fullmatch(kind, name) for name in names), kind


def test_a_run_that_nobody_damaged_is_whole(copied, verify):
    asked = copied()
    assert verify(asked.directory)[:2] == (0, [])
    run(asked)
    assert verify(asked.directory)[:2] == (0, [])


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_damage_of_every_file_is_named(finished, copied, verify):
    rng = np.random.default_rng(1)
    missed, found = [], 0
    for name in files_of(finished.directory):
        for damage in DAMAGES:
            asked = copied()
            harm(asked.directory / name, damage, rng)
            status, named, err = verify(asked.directory)
            if name == "run.json":  # without it nothing else can be said
                named = [name] if name in err else []
            if status == 1 and set(named) == {name}:
                found += 1
            else:
                missed.append((name, damage, status, named, err))
    print(f"\n{found} of {found + len(missed)} damages detected and named")
    assert not missed, "\n".join(map(str, missed))
    assert found > 300


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_what_was_damaged_is_made_again_and_nothing_else(finished, copied, verify):
    rng = np.random.default_rng(2)
    failed = []
    for name in files_of(finished.directory):
        for damage in ("flip anywhere", str(rng.choice(DAMAGES[5:-1])), "deleted"):
            asked = copied()
            harm(asked.directory / name, damage, rng)
            verify(asked.directory)
            before = tile_files(asked.directory)
            run(asked)
            try:
                assert_same(asked.directory, finished.directory)
                assert verify(asked.directory)[:2] == (0, [])
            except AssertionError as error:
                failed.append((name, damage, str(error)[:400]))
                continue
            after = tile_files(asked.directory)
            written = {tile for tile in after if after[tile] != before.get(tile)}
            tile = re.fullmatch(r"arrays\.zarr/condensed_row\w*/\w+/c/(\d+)/0/0", name)
            # A tile that nothing notes any more cannot be told from one of another question.
            allowed = set(after) if name == "manifest/distance-row.jsonl" else set()
            if not written <= ({name} if tile else allowed):
                failed.append((name, damage, f"tiles {sorted(written)} were computed again"))
    assert not failed, "\n".join(map(str, failed))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_what_is_lost_or_cut_off_is_noticed_by_the_run_itself(finished, copied):
    """Bytes that changed and kept their number are for `verify`, or for whoever reads them."""
    rng = np.random.default_rng(3)
    failed = []
    for name in files_of(finished.directory):
        for damage in (str(rng.choice(DAMAGES[5:-1])), "deleted"):
            asked = copied()
            harm(asked.directory / name, damage, rng)
            run(asked)
            try:
                assert_same(asked.directory, finished.directory)
            except AssertionError as error:
                failed.append((name, damage, str(error)[:400]))
    assert not failed, "\n".join(map(str, failed))


def chunks_of(directory, array):
    """Chunks of the first array of this name, in their order."""
    folder = next((directory / "arrays.zarr").glob(f"{array}*"))
    folder = folder / "tiles" if array.startswith("condensed") else folder
    return sorted((folder / "c").rglob("0"), key=lambda file: file.parts)


def tiles_of(directory):
    return [file for file in chunks_of(directory, "condensed_row") if file.is_file()]


def test_chunks_that_were_exchanged_are_named(finished, copied, verify):
    asked = copied()
    first, second = tiles_of(asked.directory)[1:3]
    contents = first.read_bytes(), second.read_bytes()
    assert contents[0] != contents[1]
    assert len(contents[0]) == len(contents[1])
    second.write_bytes(contents[0])
    first.write_bytes(contents[1])
    status, named, err = verify(asked.directory)
    names = {file.relative_to(asked.directory).as_posix() for file in (first, second)}
    assert (status, set(named)) == (1, names)
    assert "2 of the files" in err
    run(asked)
    assert_same(asked.directory, finished.directory)


@pytest.mark.parametrize("array", ["condensed_row", "condensed_col", "image", "statistics_row"])
def test_a_whole_chunk_of_another_run_is_named(finished, another, copied, verify, array):
    asked = copied()
    file = next(f for f in chunks_of(asked.directory, array) if f.is_file())
    theirs = next(f for f in chunks_of(another.directory, array) if f.is_file())
    assert file.read_bytes() != theirs.read_bytes()
    shutil.copy(theirs, file)
    status, named, _ = verify(asked.directory)
    assert (status, named) == (1, [file.relative_to(asked.directory).as_posix()])
    run(asked)
    assert_same(asked.directory, finished.directory)


def test_garbage_in_the_log_disturbs_nothing(finished, copied, verify):
    asked = copied()
    log = asked.directory / "progress.jsonl"
    rubbish = b'\x00\xff{"stage": 3}\n[]\nnull\n{"run": []}\n' + b"{" * 1000
    log.write_bytes(rubbish + log.read_bytes()[:-7])
    assert verify(asked.directory)[:2] == (0, [])
    assert read_status(asked.directory).state == "finished"
    run(asked)
    assert_same(asked.directory, finished.directory)
    log.unlink()
    assert read_status(asked.directory).state == "finished"
    run(asked)
    assert_same(asked.directory, finished.directory)


def test_damage_in_a_directory_of_several_kinds_is_all_named(finished, copied, verify):
    asked = copied()
    rng = np.random.default_rng(8)
    tile = tiles_of(asked.directory)[2].relative_to(asked.directory).as_posix()
    names = {tile, "linkage_row.npy", "order_col.txt", "figure.svg", "matrix.zarr/zarr.json"}
    for name, damage in zip(sorted(names), DAMAGES, strict=False):
        harm(asked.directory / name, damage, rng)
    status, named, _ = verify(asked.directory)
    assert (status, set(named)) == (1, names)
    run(asked)
    assert_same(asked.directory, finished.directory)


def test_an_input_in_place_that_is_damaged_is_named(tmp_path, verify, make_input):
    path = shutil.copytree(make_input("b.zarr", 600, 8), tmp_path / "b.zarr")
    asked = RunRequest(input=str(path), directory=tmp_path / "run", memory_bytes=10**9)
    run(asked)
    assert verify(asked.directory)[:2] == (0, [])
    harm(path / "matrix" / "c" / "1" / "0", "flip middle", np.random.default_rng(4))
    status, named, err = verify(asked.directory)
    assert status == 1
    assert named == [str(path)] or f"{path} is damaged" in err


@pytest.mark.slow
def test_a_run_on_a_cluster_leaves_nothing_that_verify_does_not_know(tmp_path, verify, make_input):
    path = make_input("c.npy", 700, 8)
    with (
        dask.config.set({"distributed.scheduler.no-workers-timeout": "60s"}),
        LocalCluster(
            n_workers=1, threads_per_worker=2, processes=False, dashboard_address="127.0.0.1:0"
        ) as cluster,
    ):
        choice = ClusterChoice(scheduler=cluster.scheduler_address)
        directory = tmp_path / "run"
        run(RunRequest(input=str(path), directory=directory, cluster=choice))
    assert list((directory / "report").glob("*.html"))
    assert verify(directory)[:2] == (0, [])
