"""The reordered matrix and its pyramid as stages of a run, and pictures drawn without a matrix."""

import dataclasses
import shutil

import numpy as np
import pytest
import xarray as xr

import clustergrid.storage.pyramid_plan
from clustergrid.pipeline.drawing import plot_run
from clustergrid.pipeline.intake import matrix_key
from clustergrid.pipeline.prospect import prospective_plan
from clustergrid.pipeline.request import FigureOptions
from clustergrid.pipeline.run import run
from clustergrid.pipeline.spec import AxisSpec
from clustergrid.pipeline.status import read_status
from clustergrid.pipeline.verify import verify_run
from clustergrid.storage.arrays import open_array, write_block
from clustergrid.storage.chunks import stored_entries
from clustergrid.storage.errors import DataValueError
from clustergrid.storage.rundir import RunDirectory
from clustergrid.storage.source import ArraySource, ZarrSource
from tests.pipeline.runs import SMALL, Log, frame, request, state_of, table

pytestmark = pytest.mark.quick_cases(one_in=16)


@pytest.fixture
def asked(tmp_path):
    path = table(tmp_path, frame(1200, 5), "a.npy")
    return request(path, tmp_path / "run", reordered=True, pyramid=True, z_score=1)


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reordered")
    path = table(folder, frame(1200, 5), "a.npy")
    made = request(path, folder / "run", reordered=True, pyramid=True, z_score=1)
    return made, run(made)


@pytest.fixture
def finished(finished_run, tmp_path):
    made, _ = finished_run
    shutil.copytree(made.directory, tmp_path / "run")
    return dataclasses.replace(made, directory=tmp_path / "run")


def reordered(directory):
    return xr.open_zarr(directory / "reordered.zarr", consolidated=False)["matrix"].values


def expected(directory):
    data = frame(1200, 5).to_numpy()
    data = (data - data.mean(axis=0)) / data.std(axis=0, ddof=1)
    rows, columns = (
        [int(line) for line in (directory / f"order_{axis}.txt").read_text().splitlines()]
        for axis in ("row", "col")
    )
    return data[np.ix_(rows, columns)]


def test_a_run_leaves_the_matrix_in_the_order_of_its_trees(finished_run):
    made, result = finished_run
    np.testing.assert_allclose(reordered(made.directory), expected(made.directory), rtol=1e-12)
    assert result.files["reordered"] == "reordered.zarr"
    stages = {stage.name: stage for stage in result.plan.stages}
    size = 1200 * 5 * 8
    assert stages["reordered"].bytes_written == 2 * size
    assert stages["reordered"].disk_bytes == size
    assert stages["reordered"].peak_memory_bytes > 0
    assert stages["pyramid"].bytes_written == (600 * 3 + 300 * 2) * 32
    assert not (made.directory / "reorder-pieces").exists()
    assert "reordered" in str(prospective_plan(made))


def test_the_same_run_again_keeps_them(finished):
    log = Log()
    run(finished, log)
    assert log.stages("kept") >= {"reordered", "pyramid"}
    assert not log.stages("finished") & {"reordered", "pyramid"}


@pytest.mark.slow
def test_other_trees_make_them_again(finished):
    log = Log()
    run(dataclasses.replace(finished, row=AxisSpec(method="single")), log)
    assert log.stages("finished") >= {"reordered", "pyramid"}
    np.testing.assert_allclose(
        reordered(finished.directory), expected(finished.directory), rtol=1e-12
    )


def test_none_of_another_order_stays(finished):
    plain = dataclasses.replace(finished, reordered=False, pyramid=False)
    run(plain)
    assert (finished.directory / "reordered.zarr").exists()
    run(dataclasses.replace(plain, row=AxisSpec(method="single")))
    assert not (finished.directory / "reordered.zarr").exists()
    assert not state_of(finished.directory)["stages"].keys() & {"reordered", "pyramid"}
    assert not verify_run(finished.directory).unknown


class StopError(Exception):
    """Raised in place of a kill."""


def stopped_in(monkeypatch, asked, task):
    """Run until a task begins, as a kill would end it."""

    def stop(*_):
        raise StopError

    with monkeypatch.context() as patch:
        patch.setattr(task, stop)
        with pytest.raises(StopError):
            run(asked)


_SECOND_PASS = "clustergrid.pipeline.reordering._put_together"
_LEVEL = "clustergrid.pipeline.pyramids.write_region"


@pytest.mark.slow
def test_no_half_written_matrix_stays_in_a_run_that_does_not_ask_for_it(monkeypatch, asked):
    stopped_in(monkeypatch, asked, _SECOND_PASS)
    assert np.isnan(reordered(asked.directory)).all()
    assert (asked.directory / "reorder-pieces").exists()
    run(dataclasses.replace(asked, reordered=False, pyramid=False))
    for left in ("reordered.zarr", "reorder-pieces", "manifest/reordered.jsonl"):
        assert not (asked.directory / left).exists()
    assert not verify_run(asked.directory).unknown
    run(asked)
    np.testing.assert_allclose(reordered(asked.directory), expected(asked.directory), rtol=1e-12)
    assert not verify_run(asked.directory).damages


@pytest.mark.parametrize("is_reordered", [True, False])
def test_no_half_written_pyramid_stays_in_a_run_that_does_not_ask_for_it(
    monkeypatch, asked, is_reordered
):
    stopped_in(monkeypatch, asked, _LEVEL)
    assert (asked.directory / "reordered.zarr/pyramid").exists()
    before = state_of(asked.directory)["stages"]["reordered"]
    run(dataclasses.replace(asked, reordered=is_reordered, pyramid=False))
    for left in ("reordered.zarr/pyramid", "manifest/pyramid.jsonl"):
        assert not (asked.directory / left).exists()
    assert state_of(asked.directory)["stages"]["reordered"] == before
    np.testing.assert_allclose(reordered(asked.directory), expected(asked.directory), rtol=1e-12)
    report = verify_run(asked.directory)
    assert not report.damages
    assert not report.unknown
    run(asked)
    assert not verify_run(asked.directory).damages
    assert "pyramid" in verify_run(asked.directory).checks


@pytest.mark.slow
def test_what_a_killed_run_began_is_gone_on_with_where_it_is_asked_for(monkeypatch, asked):
    stopped_in(monkeypatch, asked, _SECOND_PASS)

    def refuse(*_):
        raise AssertionError("a block was taken apart again")

    monkeypatch.setattr("clustergrid.pipeline.reordering._take_apart", refuse)
    run(asked)
    np.testing.assert_allclose(reordered(asked.directory), expected(asked.directory), rtol=1e-12)


@pytest.mark.slow
def test_pieces_of_a_manifest_that_is_lost_are_not_taken_for_this_order(monkeypatch, asked):
    plan = "clustergrid.pipeline.reorder_plan"
    monkeypatch.setattr(f"{plan}.storage_chunks", lambda shape, itemsize: (100, 5))
    monkeypatch.setattr(f"{plan}._MOST_BYTES", 2**9)
    monkeypatch.setattr(f"{plan}._LEAST_BYTES", 1)
    stopped_in(monkeypatch, asked, _SECOND_PASS)
    (asked.directory / "manifest/reordered.jsonl").unlink()
    run(dataclasses.replace(asked, row=AxisSpec(method="single")))
    np.testing.assert_allclose(reordered(asked.directory), expected(asked.directory), rtol=1e-12)


def test_a_finished_run_gets_them_later(tmp_path, asked):
    run(dataclasses.replace(asked, reordered=False, pyramid=False))
    assert not (asked.directory / "reordered.zarr").exists()
    log = Log()
    run(asked, log)
    assert log.stages("finished") >= {"reordered", "pyramid"}
    assert log.stages("kept") >= {"linkage-row", "picture"}


def test_verify_looks_at_them(finished):
    report = verify_run(finished.directory)
    assert not report.damages
    assert not report.unknown
    assert {"reordered matrix", "pyramid"} <= set(report.checks)
    assert "reordered" in str(read_status(finished.directory).as_dict())


@pytest.mark.parametrize(
    ("file", "again"),
    [
        ("matrix/c/0/0", {"reordered"}),
        ("pyramid/1/maximum/c/0/0", {"pyramid"}),
        ("pyramid/1/mean/zarr.json", set()),  # put back from the manifest
    ],
)
def test_a_flipped_bit_is_found_and_mended(finished, file, again):
    path = finished.directory / "reordered.zarr" / file
    before = path.read_bytes()
    content = bytearray(before)
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    damages = verify_run(finished.directory).damages
    assert {damage.file for damage in damages} == {f"reordered.zarr/{file}"}
    log = Log()
    run(finished, log)
    assert log.stages("finished") & {"reordered", "pyramid"} >= again
    assert path.read_bytes() == before
    assert not verify_run(finished.directory).damages


@pytest.mark.parametrize(
    ("array", "stage", "what"),
    [
        ("matrix", "reordered", "is not that of the matrix"),
        ("pyramid/1/mean", "pyramid", "two by two cells"),
    ],
)
def test_values_that_were_written_wrong_are_found(finished, array, stage, what):
    group = str(finished.directory / "reordered.zarr")
    opened = open_array(group, array, mode="r+")
    write_block(opened, (0, 0), opened[:] + 1)
    directory = RunDirectory(finished.directory)
    manifest = directory.manifest(stage)
    manifest.record(*stored_entries(group, array))
    entry = directory.state["stages"][stage]
    entry["manifest"] = directory.digest(manifest.name)
    directory.update()
    damages = verify_run(finished.directory).damages
    # Of a matrix that is another one the pyramid is wrong, too.
    assert stage in {damage.stage for damage in damages}
    assert any(what in damage.what for damage in damages if damage.stage == stage)
    run(finished)
    assert not verify_run(finished.directory).damages


def test_the_tile_of_a_pyramid_is_part_of_its_key(monkeypatch, finished):
    monkeypatch.setattr("clustergrid.pipeline.reordered_store.TILE", 256)
    assert clustergrid.storage.pyramid_plan.TILE == 512
    log = Log()
    run(finished, log)
    assert "pyramid" in log.stages("finished")


# Pictures drawn again


@pytest.mark.parametrize("aggregate", ["mean", "max_abs", "median"])
def test_drawing_again_at_the_same_pixels_reads_no_matrix(monkeypatch, tmp_path, aggregate):
    figure = FigureOptions(
        figsize_inches=(3.0, 3.0),
        dpi=40,
        heatmap={"aggregate": aggregate, "yticklabels": False, "xticklabels": False},
    )
    path = table(tmp_path, frame(1200, 5), "a.npy")
    made = request(path, tmp_path / "run", figure=figure)
    run(made)
    image = state_of(tmp_path / "run")["stages"]["image"]
    assert image["aggregate"] == aggregate

    def refuse(*_):
        raise AssertionError("the matrix was read")

    for source in (ArraySource, ZarrSource):
        monkeypatch.setattr(source, "read", refuse)
    for change in ({"cmap": "vlag"}, {"vmin": -1.0, "vmax": 1.0}, {"center": 0.0}):
        other = dataclasses.replace(figure, heatmap={**figure.heatmap, **change})
        plot_run(tmp_path / "run", other, output="again")
    assert state_of(tmp_path / "run")["stages"]["image"] == image
    smaller = dataclasses.replace(figure, figsize_inches=(2.0, 2.0))
    with pytest.raises(AssertionError, match="was read"):
        plot_run(tmp_path / "run", smaller)


@pytest.mark.slow
def test_verify_checks_an_image_of_any_aggregate(tmp_path):
    path = table(tmp_path, frame(1200, 5), "a.npy")
    for aggregate in ("max_abs", "min", "median"):
        figure = dataclasses.replace(SMALL, heatmap={"aggregate": aggregate})
        made = request(path, tmp_path / "run", figure=figure)
        run(made)
        assert not verify_run(tmp_path / "run").damages
    directory = RunDirectory(tmp_path / "run")
    directory.state["stages"]["image"]["aggregate"] = "max"
    directory.update()
    damages = verify_run(tmp_path / "run").damages
    assert ["is not the max of" in damage.what for damage in damages] == [True] * len(damages)
    assert damages
    assert matrix_key(directory)


def test_an_aggregate_that_there_is_not_is_refused_first():
    with pytest.raises(DataValueError, match="aggregate must be one of"):
        FigureOptions(heatmap={"aggregate": "mode"})
