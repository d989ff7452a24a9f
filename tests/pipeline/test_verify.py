"""Verify finds every byte that changed, and results that do not mean what they should."""

import io
import shutil

import numpy as np
import pandas as pd
import pytest
import zarr

from clustergrid.pipeline.request import Cut, FigureOptions, RunRequest
from clustergrid.pipeline.run import run
from clustergrid.pipeline.spec import AxisSpec
from clustergrid.pipeline.verify import verify_run
from clustergrid.storage.arrays import open_array, write_block
from clustergrid.storage.chunks import stored_entries
from clustergrid.storage.errors import RunDirectoryError
from clustergrid.storage.ingest import ingest
from clustergrid.storage.matrix import open_matrix
from clustergrid.storage.rundir import RunDirectory

pytestmark = pytest.mark.quick_cases(one_in=16)

SMALL = FigureOptions(figsize_inches=(3, 3), dpi=40)
RESULTS = ("linkage_row.npy", "linkage_col.npy", "order_row.txt", "clusters_row.tsv", "figure.png")


@pytest.fixture(scope="module", params=["average", "single-float32", "centroid", "in-place"])
def finished(request, tmp_path_factory):
    """A finished run, its input named by labels."""
    folder = tmp_path_factory.mktemp("finished")
    values = np.random.default_rng(0).normal(size=(1300, 7))
    data = pd.DataFrame(values, [f"g{i}" for i in range(1300)], [f"s{i}" for i in range(7)])
    if request.param == "in-place":
        ingest(open_matrix(data), folder / "a.zarr", chunks=(700, 7))
        name, options = "a.zarr", {"z_score": 1}
    else:
        method, _, dtype = request.param.partition("-")
        data.astype(dtype or "float64").to_parquet(folder / "a.parquet")
        name, options = "a.parquet", {"row": AxisSpec(method=method)}
    asked = RunRequest(
        input=str(folder / name),
        directory=folder / "run",
        row_cut=Cut(k=4),
        figure=SMALL,
        **options,
    )
    run(asked)
    return asked


@pytest.fixture
def directory(finished, tmp_path):
    return shutil.copytree(finished.directory, tmp_path / "run")


def test_a_run_as_it_was_written_is_whole(directory):
    report = verify_run(directory)
    assert report.damages == ()
    assert report.unknown == ()
    assert {"statistics", "order of row", "distances of col", "tree of row", "image"} <= set(
        report.checks
    )
    every = [f for f in directory.rglob("*") if f.is_file()]
    logs = {"run.json", "progress.jsonl"}
    noted = [f for f in every if f.name not in logs and f.parent.name != "manifest"]
    assert report.n_bytes >= sum(f.stat().st_size for f in noted)
    assert "finished" in RunDirectory(directory).state
    assert report.unchecked == ""
    (directory / "stray").touch()
    assert verify_run(directory).unknown == ("stray",)


def test_damage_of_every_file_is_named_and_made_good(finished, directory):
    """Flips here; kills, cuts and deletions are injected in tests of whole processes."""
    files = sorted(f for f in directory.rglob("*") if f.is_file())
    reference = {name: (directory / name).read_bytes() for name in RESULTS}
    notes = [f for f in files if f.name == "run.json" or f.parent.name == "manifest"]
    written = {f: f.read_bytes() for f in notes}
    rng = np.random.default_rng(0)
    left = set()
    for file in [*notes, *(f for f in files if f not in notes)]:
        if file.name in ("run.json", "progress.jsonl"):
            continue
        for note, content in written.items():
            note.write_bytes(content)
        whole = file.read_bytes()
        damaged = bytearray(whole)
        damaged[rng.integers(len(whole))] ^= 1 << rng.integers(8)
        file.write_bytes(damaged)
        name = file.relative_to(directory).as_posix()
        report = verify_run(directory)
        assert {damage.file for damage in report.damages} == left | {name}
        assert "finished" not in RunDirectory(directory).state
        if len(file.parts) % 3:  # some are put back, the run makes the others again
            file.write_bytes(whole)
        elif file not in notes:
            left.add(name)
    assert left
    moved = RunRequest(**{**_fields(finished), "directory": directory})
    run(moved)
    assert verify_run(directory).damages == ()
    assert {name: (directory / name).read_bytes() for name in RESULTS} == reference


def test_what_was_not_checked_is_said(directory):
    RunDirectory(directory).update(finished=None)
    report = verify_run(directory)
    assert report.checks == report.damages == ()
    assert "was not checked: the run is not finished" in str(report)
    (directory / "README.txt").write_text("no")
    report = verify_run(directory)
    assert "was not checked: files are damaged" in str(report)
    assert str(report).endswith("README.txt: is not as it was written")


def _fields(asked):
    return {name: getattr(asked, name) for name in asked.__dataclass_fields__}


def rewrite(directory, stage, path, change):
    """Write other values into an array, and note them as if they were right."""
    array = open_array(directory / "arrays.zarr", path, mode="r+")
    values = np.asarray(array[:])
    change(values)
    write_block(array, (0,) * values.ndim, values)
    opened = RunDirectory(directory)
    entry = opened.state["stages"][stage]
    opened.manifest(stage).record(*stored_entries(opened.arrays, path))
    opened.finish(stage, entry["key"], arrays=entry["arrays"])


def republish(directory, stage, name, content):
    opened = RunDirectory(directory)
    entry = opened.state["stages"][stage]
    (directory / name).write_bytes(content)
    opened.finish(stage, entry["key"], files=entry["files"], arrays=entry["arrays"])


def condensed(directory, axis):
    return RunDirectory(directory).state["stages"][f"distance-{axis}"]["arrays"][0][1]


def names_of(report):
    return [damage.file for damage in report.damages]


def test_distances_that_are_wrong_are_found(directory):
    def change(values):
        values[:, :, :] *= 1.5

    rewrite(directory, "distance-row", condensed(directory, "row"), change)
    report = verify_run(directory)
    assert all("differs from SciPy" in damage.what for damage in report.damages[:-1])
    assert "linkage_row.npy" in names_of(report)  # whose heights are not these


def test_tiles_that_are_not_symmetric_are_found(directory):
    def change(values):
        values[0, 2, 5] = np.nextafter(values[0, 2, 5], np.inf)

    rewrite(directory, "distance-col", condensed(directory, "col"), change)
    (damage,) = verify_run(directory).damages
    assert damage.what == "is not symmetric with a diagonal of zeros"
    assert damage.file.endswith("/c/0/0/0")


def test_statistics_and_images_that_are_wrong_are_found(directory):
    rewrite(directory, "statistics", "statistics_row", lambda values: values[1].__iadd__(1e-3))
    rewrite(directory, "image", "image", lambda values: values.__imul__(1.01))
    assert set(names_of(verify_run(directory))) == {
        "arrays.zarr/statistics_row", "arrays.zarr/image",
    }  # fmt: skip


def test_orders_and_clusters_that_are_wrong_are_found(directory):
    order = (directory / "order_row.txt").read_bytes()
    lines = order.splitlines(keepends=True)
    republish(directory, "outputs", "order_row.txt", b"".join([lines[1], lines[0], *lines[2:]]))
    assert [damage.what for damage in verify_run(directory).damages] == [
        "is not the order of the tree"
    ]
    opened = RunDirectory(directory)
    opened.update(finished=1.0)
    opened.finish("outputs", "", files=["order_row.txt"])
    republish(directory, "outputs", "order_row.txt", b"".join(lines[1:]))
    clusters = (directory / "clusters_row.tsv").read_bytes()
    (directory / "clusters_row.tsv").write_bytes(clusters.replace(b"\t1\n", b"\t2\n"))
    assert [damage.what for damage in verify_run(directory).damages] == [
        "is no permutation of the labels", "is not the cut of the tree",
    ]  # fmt: skip


def test_trees_that_are_wrong_are_found(finished, directory):
    def publish(linkage):
        buffer = io.BytesIO()
        np.save(buffer, linkage)
        republish(directory, "linkage-row", "linkage_row.npy", buffer.getvalue())
        RunDirectory(directory).update(finished=1.0)
        return [d for d in verify_run(directory).damages if d.file == "linkage_row.npy"]

    tree = np.load(directory / "linkage_row.npy")
    entry = RunDirectory(directory).state["stages"]["linkage-row"]

    def renew():
        opened = RunDirectory(directory)
        opened.state["stages"]["linkage-row"] = entry
        opened.update(finished=1.0)

    twice = tree.copy()
    twice[5, 0] = twice[4, 0]
    (found,) = publish(twice)
    assert "is no tree" in found.what
    renew()
    higher = tree.copy()
    higher[:, 2] *= 1.001
    (found,) = publish(higher)
    assert "and their distance is" in found.what
    renew()
    if finished.row.method != "centroid":
        lower = tree.copy()
        lower[-1, 2] = 0.0
        (found,) = publish(lower)
        assert found.what == f"merge {len(tree) - 1} is lower than the one before it"


def test_a_damaged_state_is_said_and_anothers_work_is_not_disturbed(directory):
    state = directory / "run.json"
    whole = state.read_text()
    with RunDirectory(directory).locked(), pytest.raises(RunDirectoryError, match="is in use by"):
        verify_run(directory)
    state.write_text(whole.replace('"clustergrid"', '"clusterGrid"', 1))
    with pytest.raises(RunDirectoryError, match="is not as it was written"):
        verify_run(directory)


def test_an_input_that_is_used_in_place_is_compared(finished, directory, tmp_path):
    if not finished.input.endswith(".zarr"):
        pytest.skip("of a copy the run needs the input no more")
    group = zarr.open_group(finished.input, mode="r+")
    before = dict(group.attrs)
    group.attrs["more"] = 1
    try:
        (damage,) = verify_run(directory).damages
        assert damage.what == "is not what it was for the run"
    finally:
        group.attrs.put(before)
