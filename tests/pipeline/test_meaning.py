"""Verify blames nothing that is right, and says of everything that cannot be read what it is."""

import dataclasses
import shutil

import numpy as np
import pandas as pd
import pytest

import clustergrid.storage.ingest
from clustergrid.pipeline import meaning
from clustergrid.pipeline.keywords import MetricKeywords
from clustergrid.pipeline.request import Cut
from clustergrid.pipeline.run import run
from clustergrid.pipeline.spec import AxisSpec
from clustergrid.pipeline.verify import verify_run
from clustergrid.storage.arrays import open_array
from clustergrid.storage.chunks import stored_entries
from clustergrid.storage.condensed import open_condensed
from clustergrid.storage.errors import IntegrityError
from clustergrid.storage.manifest import Manifest
from clustergrid.storage.rundir import RunDirectory
from tests.pipeline.runs import SMALL, chunk, frame, request, state_of, table

pytestmark = pytest.mark.quick_cases(one_in=16)


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
    real, noted = clustergrid.storage.ingest.Target.note, []

    def note(self, *given):
        real(self, *given)
        noted.append(given)
        if len(noted) == 2:
            raise Killed

    asked = request(table(tmp_path), tmp_path / "run")
    with monkeypatch.context() as patched:
        patched.setattr(clustergrid.storage.ingest, "storage_chunks", lambda shape, size: (10, 6))
        patched.setattr(clustergrid.storage.ingest.Target, "note", note)
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


def missing_some(data):
    values = data.to_numpy(copy=True)
    values[np.random.default_rng(1).random(values.shape) < 0.05] = np.nan
    return pd.DataFrame(values, data.index, data.columns)


def spec(metric, **keywords):
    return AxisSpec(metric=metric, metric_kws=MetricKeywords.from_mapping(keywords))


NO_COLUMNS = AxisSpec(cluster=False)
WEIGHTS = np.linspace(0, 2, 9)
ASKED = [
    (spec("minkowski", p=3, w=WEIGHTS), {}),
    (spec("minkowski", p=np.inf), {}),
    (spec("seuclidean"), {}),
    (spec("seuclidean"), {"z_score": 0}),
    (spec("seuclidean", V=WEIGHTS + 1), {}),
    (spec("mahalanobis"), {}),
    (spec("mahalanobis"), {"standard_scale": 1}),
    (spec("mahalanobis", VI=np.diag(WEIGHTS + 1)), {}),
    (spec("spearman"), {"dtype": "float32"}),
    (spec("nan_euclidean"), {}),
    (spec("nan_correlation", min_periods=3), {}),
    (spec("nan_spearman"), {"z_score": 1}),
]


def replace_distances(directory, change):
    """Write changed tiles of the rows as if they had been computed so."""
    opened = RunDirectory(directory)
    manifest = opened.manifest("distance-row")
    for path, _ in arrays_of_distances(directory):
        array = open_array(opened.arrays, path, mode="r+")
        array[:] = change(np.asarray(array[:]))
        manifest.record(*stored_entries(opened.arrays, path))
    opened.state["stages"]["distance-row"]["manifest"] = opened.digest(manifest.name)
    opened.update()


def arrays_of_distances(directory):
    tiles = open_condensed(directory, "condensed_row").stored
    return [(f"{tiles.path}/{stack}", shape) for stack, shape in tiles.grid.stacks.items()]


@pytest.mark.parametrize(("row", "options"), ASKED)
def test_distances_with_keywords_are_compared_with_plain_ones(tmp_path, row, options):
    data = frame(60, 9)
    if row.metric.startswith("nan"):
        data = missing_some(data)
    path = table(tmp_path, data)
    asked = request(path, tmp_path / "run", row=row, column=NO_COLUMNS, **options)
    run(asked)
    report = verify_run(asked.directory)
    assert report.damages == ()
    assert report.unknown == ()
    assert "distances of row" in report.checks
    replace_distances(asked.directory, lambda values: values * 1.01)
    damages = verify_run(asked.directory).damages
    assert {damage.stage for damage in damages} == {"distance-row", "linkage-row"}
    assert any(f"'s {row.metric} distances of the same rows" in damage.what for damage in damages)


def test_booleans_that_are_no_distance_from_themselves(tmp_path):
    np.save(tmp_path / "a.npy", np.random.default_rng(0).random((60, 9)) < 0.5)
    asked = request(tmp_path / "a.npy", tmp_path / "run", row=spec("russellrao"), column=NO_COLUMNS)
    run(asked)
    report = verify_run(asked.directory)
    assert report.damages == ()
    assert "distances of row" in report.checks


def test_a_covariance_that_takes_too_long_is_not_made_again(tmp_path, monkeypatch):
    monkeypatch.setattr(meaning, "_MOST_COVARIED", 8)
    asked = request(
        table(tmp_path, frame(60, 9)), tmp_path / "run", row=spec("mahalanobis"), column=NO_COLUMNS
    )
    run(asked)
    (name,) = [n for n in verify_run(asked.directory).checks if n.startswith("distances")]
    assert (
        name == "distances of row (but no values: the covariance of 9 features is not made again)"
    )
    replace_distances(asked.directory, lambda values: -values)
    assert any("no distances" in damage.what for damage in verify_run(asked.directory).damages)


def test_a_run_without_its_keywords_is_damaged_and_mended(tmp_path):
    row = spec("cityblock", w=WEIGHTS)
    asked = request(table(tmp_path, frame(60, 9)), tmp_path / "run", row=row, column=NO_COLUMNS)
    run(asked)
    (asked.directory / "metric_kws_row.npz").unlink()
    report = verify_run(asked.directory)
    assert [damage.file for damage in report.damages] == ["metric_kws_row.npz"]
    run(asked)
    assert verify_run(asked.directory).damages == ()
    run(dataclasses.replace(asked, row=spec("cityblock")))
    assert not (asked.directory / "metric_kws_row.npz").exists()
    assert verify_run(asked.directory).damages == ()
