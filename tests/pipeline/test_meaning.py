"""Verify blames nothing that is right, and says of everything that cannot be read what it is."""

import dataclasses
import shutil

import numpy as np
import pytest

import clustergrid.storage.ingest
from clustergrid.pipeline.request import Cut
from clustergrid.pipeline.run import run
from clustergrid.pipeline.spec import AxisSpec
from clustergrid.pipeline.verify import verify_run
from clustergrid.storage.errors import IntegrityError
from clustergrid.storage.manifest import Manifest
from clustergrid.storage.rundir import RunDirectory
from tests.pipeline.runs import SMALL, chunk, frame, request, state_of, table


class Killed(BaseException):
    """A kill, which nobody catches."""


CITYBLOCK = AxisSpec(metric="cityblock")


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ({"row": CITYBLOCK}, {"row": AxisSpec(cluster=False)}),
        ({"row": CITYBLOCK}, {"row": AxisSpec(linkage="tree.npy")}),
        ({}, {"row": AxisSpec(cluster=False), "z_score": 0}),
        ({}, {"row": AxisSpec(cluster=False), "dtype": "float32"}),
    ],
)
def test_distances_of_an_earlier_question_are_not_judged_by_this_one(
    tmp_path, monkeypatch, before, now
):
    monkeypatch.chdir(tmp_path)
    asked = request(table(tmp_path), tmp_path / "run", **before)
    run(asked)
    shutil.copy(tmp_path / "run" / "linkage_row.npy", "tree.npy")
    run(dataclasses.replace(asked, **{"row": AxisSpec(), **now}))
    assert "distance-row" in state_of(asked.directory)["stages"]
    report = verify_run(asked.directory)
    assert report.damages == ()
    assert "distances of row" not in report.checks
    assert "distances of col" in report.checks
    tile = chunk(asked.directory, 0)
    tile.write_bytes(tile.read_bytes()[:-1])
    assert [damage.stage for damage in verify_run(asked.directory).damages] == ["distance-row"]


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e10])
def test_means_are_as_near_as_their_values_are_large(tmp_path, scale):
    values = np.random.default_rng(0).normal(size=(60, 3000)) * scale
    np.save(tmp_path / "a.npy", values - values.mean(axis=1, keepdims=True))
    no_columns = AxisSpec(cluster=False)
    asked = request(tmp_path / "a.npy", tmp_path / "run", column=no_columns)
    run(asked)
    assert verify_run(asked.directory).damages == ()


def test_metadata_of_a_copy_that_was_killed_may_be_newer_than_its_note(tmp_path, monkeypatch):
    real, noted = clustergrid.storage.ingest._Target.note, []

    def note(self, *given):
        real(self, *given)
        noted.append(given)
        if len(noted) == 2:
            raise Killed

    asked = request(table(tmp_path), tmp_path / "run")
    with monkeypatch.context() as patched:
        patched.setattr(clustergrid.storage.ingest, "storage_chunks", lambda shape, size: (10, 6))
        patched.setattr(clustergrid.storage.ingest._Target, "note", note)
        with pytest.raises(Killed):
            run(asked)
    metadata = asked.directory / "matrix.zarr" / "matrix" / "zarr.json"
    entry = Manifest(asked.directory, "matrix").entries["matrix.zarr/matrix/zarr.json"]
    assert metadata.read_text() != entry.text
    report = verify_run(asked.directory)
    assert report.damages == ()
    assert "matrix.zarr/matrix/zarr.json" not in report.unknown


def forget_note(directory, stage, file):
    """Take a file out of the notes, so that its bytes are compared with nothing."""
    opened = RunDirectory(directory)
    manifest = opened.manifest(stage)
    manifest.forget([file.relative_to(directory).as_posix()])
    opened.state["stages"][stage]["manifest"] = opened.digest(manifest.name)
    opened.update()


def flip(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize(
    ("stage", "array"),
    [
        ("distance-row", "condensed_row_*/tiles"),
        ("image", "image"),
        ("statistics", "statistics_row"),
    ],
)
def test_a_result_that_cannot_be_read_is_damage(tmp_path, stage, array):
    few_pixels = dataclasses.replace(SMALL, dpi=20)
    asked = request(table(tmp_path), tmp_path / "run", row_cut=Cut(k=3), figure=few_pixels)
    run(asked)
    before = (asked.directory / "figure.png").read_bytes()
    (file,) = asked.directory.glob(f"arrays.zarr/{array}/c/*/0*")
    file = file if file.is_file() else file / "0"
    flip(file)
    forget_note(asked.directory, stage, file)
    damages = verify_run(asked.directory).damages
    if stage != "statistics":  # which are computed again by whoever cannot read them
        assert stage in {damage.stage for damage in damages}
        assert any("cannot be read" in damage.what for damage in damages)
    run(asked)
    assert verify_run(asked.directory).damages == ()
    assert (asked.directory / "figure.png").read_bytes() == before


def test_an_order_that_is_no_text_is_damage(tmp_path):
    asked = request(table(tmp_path), tmp_path / "run")
    run(asked)
    opened = RunDirectory(asked.directory)
    (asked.directory / "order_row.txt").write_bytes(b"\xff\xfe")
    opened.finish("outputs", "", files=opened.state["stages"]["outputs"]["files"])
    (damage,) = verify_run(asked.directory).damages
    assert (damage.file, damage.stage) == ("order_row.txt", "outputs")
    assert damage.what.startswith("cannot be read: ")


@pytest.mark.parametrize("in_place", [False, True])
def test_a_matrix_that_cannot_be_read_is_named(tmp_path, in_place, monkeypatch):
    asked = request(table(tmp_path, frame(), "a.zarr" if in_place else "a.csv"), tmp_path / "run")
    run(asked)

    def unreadable(*given):
        raise ValueError("a codec's own words")

    monkeypatch.setattr("clustergrid.storage.source.read_region", unreadable)
    if in_place:
        with pytest.raises(IntegrityError, match="a codec's own words"):
            verify_run(asked.directory)
        return
    damages = verify_run(asked.directory).damages
    assert {damage.stage for damage in damages} == {"matrix"}
    assert "matrix" not in state_of(asked.directory)["stages"]
