"""Stopped or damaged anywhere, a run goes on to the very same bits."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from clustergrid.pipeline.kept import RunStages
from clustergrid.pipeline.run import run
from clustergrid.pipeline.spec import AxisSpec
from clustergrid.pipeline.status import read_status
from clustergrid.pipeline.verify import verify_run
from clustergrid.storage.errors import ClustergridError, IntegrityError, RunDirectoryError
from clustergrid.storage.rundir import RunDirectory
from tests.pipeline.runs import (
    N_TILES,
    SMALL,
    Log,
    chunk,
    forget,
    frame,
    killed_after,
    request,
    results,
    table,
)

pytestmark = pytest.mark.quick_cases(one_in=16)

# Killed


@pytest.mark.parametrize("n_tiles", [0, 1, 7, 10])
def test_a_killed_run_goes_on_at_the_tile_where_it_stopped(copied, finished, tiles, n_tiles):
    killed_after(copied.directory, n_tiles)
    assert read_status(copied.directory).state == "stopped"
    log = Log()
    run(copied, log)
    assert len([tile for tile in tiles if tile[0] == 1600]) == N_TILES - n_tiles
    assert ("distance-row" in log.stages("kept")) == (n_tiles == N_TILES)
    assert results(copied.directory) == results(finished.directory)


@pytest.mark.parametrize("damage", ["missing", "flipped", "truncated"])
@pytest.mark.parametrize("noted", ["tile", "stage"])
def test_a_tile_that_was_noted_and_is_damaged_is_computed_again(
    copied, finished, tiles, damage, noted
):
    if noted == "tile":
        killed_after(copied.directory, 7)
    else:
        forget(copied.directory, "linkage-row", "linkage-col")
    file = chunk(copied.directory, 3)
    if damage == "missing":
        file.unlink()
    else:
        content = bytearray(file.read_bytes())
        content[1000] ^= 4
        file.write_bytes(content[: 5000 if damage == "truncated" else None])
    run(copied)
    rows = [tile for tile in tiles if tile[0] == 1600]
    assert len(rows) == (4 if noted == "tile" else 1)
    assert (1600, 0, 1536) in rows
    assert results(copied.directory) == results(finished.directory)


def test_tiles_of_zeros_are_at_rest_too(tmp_path, tiles):
    path = str(tmp_path / "a.npy")
    np.save(path, np.ones((1100, 3)))
    asked = request(path, tmp_path / "run", column=AxisSpec(cluster=False))
    run(asked)
    assert len(tiles) == 6
    forget(asked.directory, "linkage-row")
    run(asked)
    assert len(tiles) == 6


def test_interrupted_anywhere_the_results_are_the_same(finished, tmp_path):
    reference = results(finished.directory)
    asked = dataclasses.replace(finished, directory=tmp_path / "run")
    stopped = 0
    for stop_at in np.random.default_rng(7).integers(1, 12, size=10):
        try:
            run(asked, Log(stop_at=stop_at))
        except KeyboardInterrupt:
            stopped += 1
            assert read_status(asked.directory).state == "stopped"
            assert not (asked.directory / "run.lock").exists()
    assert stopped > 2
    run(asked)
    assert results(asked.directory) == reference
    assert read_status(asked.directory).state == "finished"


def test_distances_replaced_by_others_are_not_taken_for_the_first(copied, finished):
    """Euclidean, then cityblock killed half-way, then euclidean again."""

    def stop(event):
        if event.stage == "distance-row" and event.state == "finished":
            raise KeyboardInterrupt

    forget(copied.directory, "linkage-row")
    cityblock = AxisSpec(metric="cityblock")
    with pytest.raises(KeyboardInterrupt):
        run(dataclasses.replace(copied, row=cityblock), stop)
    assert read_status(copied.directory).state == "stopped"
    log = Log()
    run(copied, log)
    assert "distance-row" not in log.stages("kept")
    assert results(copied.directory) == results(finished.directory)


def test_an_image_replaced_by_another_is_not_taken_for_the_first(copied, finished, monkeypatch):
    (copied.directory / "figure.png").unlink()
    real = RunDirectory.finish

    def stop(self, stage, *args, **kwargs):
        if stage == "image":
            raise KeyboardInterrupt
        real(self, stage, *args, **kwargs)

    monkeypatch.setattr(RunDirectory, "finish", stop)
    larger = dataclasses.replace(SMALL, dpi=55)
    with pytest.raises(KeyboardInterrupt):
        run(dataclasses.replace(copied, figure=larger))
    monkeypatch.undo()
    run(copied)
    assert results(copied.directory) == results(finished.directory)


@pytest.mark.parametrize(
    ("edge", "largest", "computed"), [(2048, 2048, 3), (256, 512, 3), (256, 256, 28)]
)
def test_tiles_that_were_cut_otherwise_are_finished_as_they_are(
    copied, finished, tiles, monkeypatch, edge, largest, computed
):
    """Unless they were cut for more memory than there is now."""
    killed_after(copied.directory, 7)
    real = RunStages._stored_distances

    def recut(self, axis, asked, given, tiling):
        if axis == 0:
            tiling = dataclasses.replace(tiling, tile_edge=edge, largest_edge=largest)
        return real(self, axis, asked, given, tiling)

    monkeypatch.setattr(RunStages, "_stored_distances", recut)
    run(copied)
    assert len([tile for tile in tiles if tile[0] == 1600]) == computed
    assert results(copied.directory) == results(finished.directory)


@pytest.mark.parametrize(("largest", "computed"), [(512, 0), (256, 28)])
def test_complete_tiles_are_read_where_there_is_memory_for_them(
    copied, finished, tiles, monkeypatch, tmp_path, largest, computed
):
    real = RunStages._stored_distances

    def recut(self, axis, asked, given, tiling):
        if axis == 0:
            tiling = dataclasses.replace(
                tiling, tile_edge=256, largest_edge=256, largest_read_edge=largest
            )
        return real(self, axis, asked, given, tiling)

    monkeypatch.setattr(RunStages, "_stored_distances", recut)
    complete = dataclasses.replace(copied, row=AxisSpec(method="complete"))
    run(complete)
    assert len([tile for tile in tiles if tile[0] == 1600]) == computed
    fresh = dataclasses.replace(complete, directory=tmp_path / "fresh")
    run(fresh)
    assert results(complete.directory) == results(fresh.directory)


@pytest.mark.parametrize("damage", ["missing", "flipped"])
def test_a_damaged_copy_of_the_matrix_is_made_again(tmp_path, damage):
    path = table(tmp_path)
    asked = request(path, tmp_path / "run")
    run(asked)
    file = tmp_path / "run" / "matrix.zarr" / "matrix" / "c" / "0" / "0"
    if damage == "missing":
        file.unlink()
    else:
        content = bytearray(file.read_bytes())
        content[40] ^= 1
        file.write_bytes(content)
    single = dataclasses.replace(asked, row=AxisSpec(method="single"))
    log = Log()
    run(single, log)
    assert "ingest" in log.stages("finished")
    fresh = dataclasses.replace(single, directory=tmp_path / "fresh")
    run(fresh)
    assert results(single.directory) == results(fresh.directory)


def test_a_damaged_input_that_is_used_in_place_is_named(tmp_path):
    path = table(tmp_path, name="a.zarr")
    file = tmp_path / "a.zarr" / "matrix" / "c" / "0" / "0"
    content = bytearray(file.read_bytes())
    content[40] ^= 1
    file.write_bytes(content)
    with pytest.raises(IntegrityError, match=r"'matrix' in .*a\.zarr is damaged in rows 0 to 40"):
        run(request(path, tmp_path / "run"))


def test_a_torn_log_is_gone_on_with(copied):
    log = copied.directory / "progress.jsonl"
    log.write_bytes(log.read_bytes()[:-20])
    run(copied)
    assert read_status(copied.directory).state == "finished"
    assert {stage.state for stage in read_status(copied.directory).stages} == {"kept"}


# The input


def test_an_input_that_changes_while_it_is_copied_is_refused(tmp_path):
    path = table(tmp_path, frame(1600, 5), "a.npy")

    def change(event):
        if event.stage == "ingest" and event.state == "started":
            table(tmp_path, frame(1600, 5, seed=1), "a.npy")

    asked = request(path, tmp_path / "run")
    with pytest.raises(RunDirectoryError, match=r"changed while it was read \(.*mtime_ns"):
        run(asked, change)
    assert read_status(tmp_path / "run").state == "stopped"
    run(asked)
    fresh = run(dataclasses.replace(asked, directory=tmp_path / "fresh"))
    assert results(asked.directory) == results(fresh.directory)


def test_an_input_that_changes_where_it_is_used_is_refused(tmp_path):
    path = table(tmp_path, frame(1600, 5), "a.zarr")

    def change(event):
        if event.stage == "distance-row" and event.state == "started":
            (tmp_path / "a.zarr" / "more").touch()

    with pytest.raises(RunDirectoryError, match="changed while it was read"):
        run(request(path, tmp_path / "run"), change)
    assert read_status(tmp_path / "run").state == "stopped"


@pytest.mark.parametrize("name", [pytest.param("a.csv", marks=pytest.mark.slow), "a.npy"])
def test_few_long_rows_are_copied_once(tmp_path, name):
    values = np.random.default_rng(0).normal(size=(50, 60_000)).astype(np.float32)
    path = table(tmp_path, pd.DataFrame(values).add_prefix("c"), name)
    asked = request(path, tmp_path / "run", column=AxisSpec(cluster=False))
    run(asked)
    log = Log()
    run(asked, log)
    assert "ingest" in log.stages("kept")
    assert log.stages("finished") == set()


@pytest.mark.slow
@pytest.mark.parametrize("label", ["gene", "column"])
def test_labels_that_were_damaged_are_copied_again(tmp_path, label):
    asked = request(table(tmp_path, name="a.parquet"), tmp_path / "run")
    run(asked)
    (file,) = (f for f in (tmp_path / "run/matrix.zarr" / label / "c").rglob("*") if f.is_file())
    content = bytearray(file.read_bytes())
    content[20] ^= 4
    file.write_bytes(content)
    single = dataclasses.replace(asked, row=AxisSpec(method="single"))
    log = Log()
    run(single, log)
    assert "ingest" in log.stages("finished")
    fresh = run(dataclasses.replace(single, directory=tmp_path / "fresh"))
    assert results(single.directory) == results(fresh.directory)


def test_a_run_that_is_refused_leaves_the_finished_one_as_it_was(copied, tmp_path):
    colors = tmp_path / "colors.tsv"
    colors.write_text("label\tkind\n0\t#ff0000\n")
    before = {file: file.read_bytes() for file in copied.directory.rglob("*") if file.is_file()}
    with pytest.raises(ClustergridError):
        run(dataclasses.replace(copied, row_colors=str(colors), memory_bytes=1_000_000))
    log = copied.directory / "progress.jsonl"
    before[log] = log.read_bytes()
    assert {f: f.read_bytes() for f in copied.directory.rglob("*") if f.is_file()} == before


def test_a_note_that_was_torn_loses_no_other(copied, finished, tiles):
    killed_after(copied.directory, 7)
    run(copied)
    report = verify_run(copied.directory)
    assert report.unknown == ()
    assert report.damages == ()
    assert len([tile for tile in tiles if tile[0] == 1600]) == N_TILES - 7
    assert results(copied.directory) == results(finished.directory)
