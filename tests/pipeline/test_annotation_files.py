"""Annotations that a run is given as tables, keeps, and draws."""

import dataclasses
import os

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import clustergrid.pipeline.drawing
from clustergrid.pipeline.annotation_files import stored_annotations, typed_column
from clustergrid.pipeline.drawing import plot_run
from clustergrid.pipeline.run import run
from clustergrid.pipeline.stored_run import open_stored_stages
from clustergrid.pipeline.verify import verify_run
from clustergrid.storage.errors import ClustergridError
from clustergrid.storage.rundir import RunDirectory
from tests.pipeline.runs import SMALL, Log, frame, request, table

COLUMNS = {
    "numbers": (["1", " 2.5", "", "1e3"], [1, 2.5, np.nan, 1000]),
    "booleans": (["True", "false", "NA", "TRUE"], [True, False, pd.NA, True]),
    "dates": (
        ["2020-01-31", "2020-01-31T12:00", "nan", "1999-12-31"],
        [*pd.to_datetime(["2020-01-31", "2020-01-31 12:00"], format="ISO8601"), pd.NaT,
         pd.Timestamp("1999-12-31")],
    ),
    "words": (["a", "1", "None", "b c"], ["a", "1", np.nan, "b c"]),
    "no dates": (["2020-13-45", "2020-01-01", "x", ""], ["2020-13-45", "2020-01-01", "x", np.nan]),
    "nothing": (["", "NA", "", ""], [np.nan] * 4),
}  # fmt: skip


@pytest.mark.parametrize(("text", "values"), COLUMNS.values(), ids=COLUMNS)
def test_columns_are_what_all_of_their_cells_are(text, values):
    found = typed_column(pd.Series(text, index=list("pqrs")))
    assert list(found.index) == list("pqrs")
    pd.testing.assert_series_equal(
        found.astype(object), pd.Series(values, index=list("pqrs"), dtype=object), check_names=False
    )


def annotations(folder, rows, header="label\tstage\tage\tday", name="samples.tsv"):
    lines = [header, *("\t".join(row) for row in rows)]
    (folder / name).write_text("\n".join(lines) + "\n")
    return str(folder / name)


ROWS = [
    ("s0", "=cmd|x", "40", "2020-01-01"),
    ("s2", "late", "", "2021-06-30"),
    ("s1", "late", "71.5", ""),
    ("of another table", "early", "3", ""),
]


@pytest.fixture
def annotated(tmp_path):
    where = annotations(tmp_path, ROWS)
    return request(table(tmp_path), tmp_path / "run", col_annotations=where), where


def test_they_are_kept_with_the_run(annotated, tmp_path):
    asked, where = annotated
    assert run(asked).files["col_annotations"] == "col_annotations.tsv"
    os.unlink(where)
    assert plot_run(tmp_path / "run", dataclasses.replace(SMALL, dpi=50))
    assert not verify_run(tmp_path / "run").damages
    kept = (tmp_path / "run" / "col_annotations.tsv").read_text()
    assert "another" not in kept
    assert "'=cmd|x" in kept  # a spreadsheet shows it, and computes nothing
    run(dataclasses.replace(asked, col_annotations=None))
    assert not (tmp_path / "run" / "col_annotations.tsv").exists()


def test_they_come_back_as_they_were(annotated, tmp_path):
    asked, _ = annotated
    run(asked)
    directory = RunDirectory(tmp_path / "run")
    with directory.locked():
        matrix = open_stored_stages(directory, clustergrid.pipeline.drawing.Progress()).matrix
        found = stored_annotations(directory, 1, matrix)
        assert stored_annotations(directory, 0, matrix) is None
    assert list(found.index) == ["s0", "s2", "s1"]
    assert found["stage"].tolist() == ["=cmd|x", "late", "late"]
    np.testing.assert_array_equal(found["age"], [40, np.nan, 71.5])
    assert found["day"].dtype.kind == "M"


def test_other_annotations_are_another_picture(annotated, tmp_path, monkeypatch):
    asked, _ = annotated
    run(asked)
    drawn = (tmp_path / "run" / "figure.png").read_bytes()
    annotations(tmp_path, [(*row[:2], "50", row[3]) for row in ROWS])
    log = Log()
    run(asked, log)
    assert "picture" not in log.stages("kept")
    assert (tmp_path / "run" / "figure.png").read_bytes() != drawn
    log = Log()
    run(asked, log)
    assert "picture" in log.stages("kept")


def test_they_are_drawn(annotated, monkeypatch):
    asked, _ = annotated
    grids = []
    monkeypatch.setattr(
        clustergrid.pipeline.drawing.plt if hasattr(clustergrid.pipeline.drawing, "plt") else plt,
        "close",
        grids.append,
    )
    run(asked)
    figure = grids[0]
    titles = [legend.get_title().get_text() for legend in figure.legends]
    assert "stage" in titles
    labels = {ax.get_label() for ax in figure.axes}
    assert {"legend of age", "legend of day"} <= labels


@pytest.mark.parametrize(
    ("rows", "header", "says"),
    [
        ([("nobody", "x")], "label\tkind", "none of the labels"),
        ([("s0", "x"), ("s0", "y")], "label\tkind", "'s0' more than once"),
        ([("s0",)], "label", "no column of annotations"),
        ([("s0", "inf")], "label\tkind", "infinite"),
    ],
)
def test_what_cannot_be_shown_is_refused_first(tmp_path, rows, header, says):
    where = annotations(tmp_path, rows, header)
    log = Log()
    with pytest.raises(ClustergridError, match=says):
        run(request(table(tmp_path), tmp_path / "run", col_annotations=where), log)
    assert log.stages("finished") == {"ingest"}


def test_rows_without_labels_are_matched_by_number(tmp_path):
    where = annotations(tmp_path, [(str(i), "ab"[i % 2]) for i in range(12)], "row\tkind")
    path = table(tmp_path, frame(12, 4), "a.npy")
    assert "row_annotations" in run(request(path, tmp_path / "run", row_annotations=where)).files
