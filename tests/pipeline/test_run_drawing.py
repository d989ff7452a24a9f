"""Trees and colours that a run is given, and its picture drawn again."""

import dataclasses
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.cluster.hierarchy import linkage as scipy_linkage

import clustergrid.pipeline.drawing
import clustergrid.pipeline.passes
from clustergrid.pipeline.drawing import plot_run
from clustergrid.pipeline.request import FORMATS, Cut
from clustergrid.pipeline.run import run
from clustergrid.pipeline.spec import AxisSpec
from clustergrid.pipeline.verify import verify_run
from clustergrid.storage.errors import (
    ClustergridError,
    DataValueError,
    IntegrityError,
    RunDirectoryError,
    StorageError,
)
from clustergrid.storage.rundir import RunDirectory
from tests.pipeline.runs import (
    SMALL,
    Log,
    chunk,
    forget,
    frame,
    request,
    results,
    state_of,
    table,
)

pytestmark = pytest.mark.quick_cases(one_in=16)

# Trees from files


def test_a_tree_that_is_given_is_used(tmp_path, tiles):
    data = frame()
    tree = scipy_linkage(data.to_numpy(), "complete")
    np.save(tmp_path / "tree.npy", tree)
    given = AxisSpec(linkage=str(tmp_path / "tree.npy"))
    asked = request(table(tmp_path, data), tmp_path / "run", row=given, row_cut=Cut(height=2.0))
    run(asked)
    np.testing.assert_array_equal(np.load(tmp_path / "run" / "linkage_row.npy"), tree)
    assert all(n == 6 for n, *_ in tiles)
    log = Log()
    run(asked, log)
    assert "linkage-row" in log.stages("kept")
    np.save(tmp_path / "tree.npy", scipy_linkage(data.to_numpy(), "single"))  # under one name
    log = Log()
    run(asked, log)
    assert "linkage-row" not in log.stages("kept")


def test_a_tree_of_something_else_is_refused(tmp_path):
    path = table(tmp_path)
    bad = {
        "small.npy": scipy_linkage(frame(39).to_numpy()),
        "wide.npy": np.zeros((39, 5)),
        "text.npy": np.array([["a"]]),
        "object.npy": np.array([[None]]),
    }
    for name, array in bad.items():
        np.save(tmp_path / name, array)
    (tmp_path / "no.npy").write_text("0 1 2 3")
    (tmp_path / "empty.npy").touch()
    np.savez(tmp_path / "zip.npz", tree=np.zeros((39, 4)))
    for name in (*bad, "no.npy", "empty.npy", "zip.npz"):
        for axis in ({"row": AxisSpec(linkage=str(tmp_path / name))},
                     {"column": AxisSpec(linkage=str(tmp_path / name))}):  # fmt: skip
            with pytest.raises(DataValueError, match=name):
                run(request(path, tmp_path / "run", **axis))
    with pytest.raises(StorageError, match="is a directory, not a regular file"):
        run(request(path, tmp_path / "run", row=AxisSpec(linkage=str(tmp_path))))


# Colours


def colors(folder, rows, name="colors.tsv", header=("label", "kind")):
    sep = "," if name.endswith(".csv") else "\t"
    lines = [sep.join(header), *(sep.join(row) for row in rows)]
    (folder / name).write_text("\n".join(lines) + "\n")
    return str(folder / name)


@pytest.mark.parametrize("name", ["colors.tsv", "colors.csv"])
def test_colours_are_kept_with_the_run(tmp_path, name):
    where = colors(tmp_path, [(f"s{i}", "#ff0000" if i % 2 else "") for i in range(5)], name)
    path = table(tmp_path)
    asked = request(path, tmp_path / "run", col_colors=where)
    assert run(asked).files["col_colors"] == "col_colors.tsv"
    os.unlink(where)
    files = plot_run(tmp_path / "run", dataclasses.replace(SMALL, dpi=50))
    assert files == {"figure_png": "figure.png"}
    run(dataclasses.replace(asked, col_colors=None))
    assert not (tmp_path / "run" / "col_colors.tsv").exists()


def test_colours_match_labels_that_are_numbers(tmp_path):
    data = frame(12, 4)
    data.index = pd.Index(range(100, 112))
    where = colors(tmp_path, [(str(i), "red") for i in range(100, 112)])
    for name in ("a.csv", "a.parquet"):
        result = run(request(table(tmp_path, data, name), tmp_path / name[2:], row_colors=where))
        assert "row_colors" in result.files
    by_number = colors(tmp_path, [(str(i), "red") for i in range(12)], "numbers.tsv")
    run(request(table(tmp_path, data, "a.npy"), tmp_path / "npy", row_colors=by_number))


@pytest.mark.parametrize(
    ("rows", "header", "says"),
    [
        ([("g1", "nocolor")], ("l", "kind"), "nocolor"),
        ([("g1", "red"), ("g1", "blue")], ("l", "kind"), "'g1' more than once"),
        ([("nobody", "red")], ("l", "kind"), "none of the labels"),
        ([("g1",)], ("l",), "no column of colours"),
        ([], (), "cannot read the colours"),
    ],
)
def test_colours_that_are_none_are_refused_first(tmp_path, rows, header, says):
    where = colors(tmp_path, rows, header=header)
    if not header:
        Path(where).write_text("")
    log = Log()
    with pytest.raises(ClustergridError, match=says):
        run(request(table(tmp_path), tmp_path / "run", row_colors=where), log)
    assert log.stages("finished") == {"ingest"}


# Drawing again


def test_drawing_again_recomputes_nothing(copied, tiles):
    before = results(copied.directory)
    shutil.rmtree(chunk(copied.directory, 0).parents[4])
    log = Log()
    figure = dataclasses.replace(SMALL, heatmap={"cmap": "mako"}, formats=("png", "svg"))
    files = plot_run(copied.directory, figure, log, output="again")
    assert files == {"again_png": "again.png", "again_svg": "again.svg"}
    assert all((copied.directory / name).stat().st_size for name in files.values())
    assert log.stages("started") == {"picture"}
    assert log.stages("kept") == {"downsample"}
    assert results(copied.directory) == before
    assert not (copied.directory / "run.lock").exists()
    log = Log()
    plot_run(copied.directory, dataclasses.replace(SMALL, dpi=60), log)
    assert log.stages("finished") == {"picture", "downsample"}
    assert tiles == []
    run(copied)  # which is asked for the first figure again
    assert results(copied.directory) == before


def test_drawing_again_needs_no_input_unless_it_was_used_in_place(tmp_path):
    path = table(tmp_path)
    run(request(path, tmp_path / "run"))
    os.unlink(path)
    plot_run(tmp_path / "run", dataclasses.replace(SMALL, dpi=50))
    path = table(tmp_path, name="a.zarr")
    run(request(path, tmp_path / "in-place"))
    plot_run(tmp_path / "in-place", dataclasses.replace(SMALL, dpi=50))
    (tmp_path / "a.zarr" / "new").touch()
    with pytest.raises(RunDirectoryError, match="another input"):
        plot_run(tmp_path / "in-place", SMALL)


@pytest.mark.parametrize("damage", ["missing", "flipped"])
def test_a_damaged_image_is_made_again(copied, damage):
    before = results(copied.directory)
    (copied.directory / "figure.png").unlink()
    file = copied.directory / "arrays.zarr" / "image" / "c" / "0" / "0"
    if damage == "missing":
        file.unlink()
    else:
        content = bytearray(file.read_bytes())
        content[10] ^= 8
        file.write_bytes(content)
    run(copied)
    assert results(copied.directory) == before


def test_an_unfinished_run_is_not_drawn(copied):
    forget(copied.directory, "linkage-row")
    with pytest.raises(RunDirectoryError, match="is not finished"):
        plot_run(copied.directory, SMALL)
    with pytest.raises(RunDirectoryError, match="is not a run directory"):
        plot_run(copied.directory.parent, SMALL)


def test_a_matrix_that_lost_a_chunk_is_not_drawn(copied):
    chunk = next(f for f in (copied.directory / "matrix.zarr/matrix/c").rglob("*") if f.is_file())
    chunk.unlink()
    with pytest.raises(IntegrityError, match=r"chunks of the matrix .* are missing"):
        plot_run(copied.directory, dataclasses.replace(SMALL, dpi=60))


def test_a_run_that_was_started_with_other_options_is_not_finished(copied):
    with pytest.raises(KeyboardInterrupt):
        run(dataclasses.replace(copied, row=AxisSpec(method="ward")), Log(stop_at=4))
    with pytest.raises(RunDirectoryError, match="is not finished"):
        plot_run(copied.directory, SMALL)


# Pictures of other results


def formats(*suffixes, **options):
    return dataclasses.replace(SMALL, formats=suffixes, **options)


def pictures(directory):
    return {file.name for suffix in FORMATS for file in directory.glob(f"*.{suffix}")}


@pytest.mark.slow
def test_a_picture_of_another_tree_does_not_stay_in_another_format(tmp_path):
    asked = request(table(tmp_path), tmp_path / "run", figure=formats("png"))
    run(asked)
    now = dataclasses.replace(asked, figure=formats("svg"))
    run(now)
    assert pictures(asked.directory) == {"figure.png", "figure.svg"}  # both of the same tree
    run(dataclasses.replace(now, row=AxisSpec(method="single")))
    assert pictures(asked.directory) == {"figure.svg"}


@pytest.mark.slow
def test_a_picture_of_another_name_is_kept_until_the_tree_is_another(copied):
    plot_run(copied.directory, formats("png"), output="other")
    plot_run(copied.directory, formats("svg"), output="other")
    log = Log()
    plot_run(copied.directory, formats("svg"), log, output="other")
    assert log.stages("kept") == {"picture"}
    run(dataclasses.replace(copied, row_cut=Cut(k=5)))
    assert pictures(copied.directory) == {"figure.png", "other.png", "other.svg"}
    assert verify_run(copied.directory).damages == ()
    run(dataclasses.replace(copied, row=AxisSpec(method="single")))
    assert pictures(copied.directory) == {"figure.png"}
    assert "picture-other" not in state_of(copied.directory)["stages"]
    report = verify_run(copied.directory)
    assert (report.damages, report.unknown) == ((), ())


class Killed(BaseException):
    """A kill, which nobody catches."""


@pytest.mark.slow
def test_a_kill_leaves_no_picture_of_another_tree_for_good(tmp_path, monkeypatch):
    asked = request(table(tmp_path), tmp_path / "run")
    run(asked)
    plot_run(asked.directory, formats("png", "svg"), output="other")
    single = dataclasses.replace(asked, row=AxisSpec(method="single"))
    real = RunDirectory._write_state

    def run_killed_at_write(request, n):
        """Whether it was killed as the n-th state was written while the picture was drawn."""
        writes = []

        def write(self, state):
            if drawing:
                writes.append(state)
            if len(writes) == n:
                raise Killed
            real(self, state)

        with monkeypatch.context() as patched:
            patched.setattr(RunDirectory, "_write_state", write)
            try:
                run(request)
            except Killed:
                return True
        return False

    drawing = []
    real_key = clustergrid.pipeline.drawing._results_key

    def results_key(*given):
        drawing.append(True)
        return real_key(*given)

    monkeypatch.setattr(clustergrid.pipeline.drawing, "_results_key", results_key)
    for n in range(1, 20):
        drawing.clear()
        moved = dataclasses.replace(single, directory=tmp_path / f"killed-{n}")
        shutil.copytree(asked.directory, moved.directory)
        was_killed = run_killed_at_write(moved, n)
        named = {damage.file for damage in verify_run(moved.directory).damages}
        assert not named & {"figure.png", "other.png", "other.svg"}
        run(moved)
        assert pictures(moved.directory) == {"figure.png"}, n
        if not was_killed:
            break
    assert n > 5


@pytest.mark.slow
def test_a_killed_plot_leaves_no_picture_without_a_note_of_its_name(copied, monkeypatch):
    plot_run(copied.directory, formats("png"), output="other")

    def killed(*given):
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(clustergrid.pipeline.drawing, "_draw_files", killed)
        with pytest.raises(Killed):
            plot_run(copied.directory, formats("png", heatmap={"cmap": "mako"}), output="other")
    run(dataclasses.replace(copied, row=AxisSpec(method="single")))
    assert pictures(copied.directory) == {"figure.png"}


def test_a_plot_leaves_no_pieces(copied, monkeypatch):
    monkeypatch.setattr(clustergrid.pipeline.passes, "QUICK_SECONDS", -1.0)
    plot_run(copied.directory, dataclasses.replace(SMALL, dpi=60), output="other")
    assert "picture-other" in state_of(copied.directory)["stages"]
    assert not (copied.directory / "pieces").exists()
