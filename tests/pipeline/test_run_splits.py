"""Runs whose rows or columns are split by a table of categories: as `clustermap` splits them."""

import json

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from clustergrid.pipeline import clustermap
from clustergrid.pipeline.cli import main
from clustergrid.pipeline.drawing import plot_run
from clustergrid.pipeline.render import ClusterGrid
from clustergrid.pipeline.run import run
from clustergrid.pipeline.spec import AxisSpec
from clustergrid.pipeline.verify import verify_run
from clustergrid.storage.errors import ClustergridError
from tests.pipeline.runs import SMALL, Log, frame, request, table

pytestmark = pytest.mark.quick_cases(one_in=8)

KINDS = ["b", "a", "c", "a"] * 10


def categories(folder, index, kinds, name="groups.tsv"):
    path = folder / name
    pd.Series(kinds, index=index, name="kind").to_csv(path, sep="\t")
    return str(path)


@pytest.fixture
def asked(tmp_path):
    data = frame()
    groups = categories(tmp_path, [*data.index, "of another table"], [*KINDS, "d"])
    return request(table(tmp_path, data), tmp_path / "run", row_split=groups)


@pytest.fixture
def grids(monkeypatch):
    """Grids that were drawn."""
    drawn = []
    plot = ClusterGrid.plot

    def noted(grid, *args, **kws):
        drawn.append(grid)
        return plot(grid, *args, **kws)

    monkeypatch.setattr(ClusterGrid, "plot", noted)
    return drawn


@pytest.mark.parametrize("method", ["average", "single"])
def test_the_tree_is_that_of_a_clustermap(tmp_path, asked, grids, method):
    spec = AxisSpec(method=method)
    asked = request(asked.input, asked.directory, row_split=asked.row_split, row=spec, column=spec)
    done = run(asked)
    expected = clustermap(frame(), row_split=KINDS, method=method, figsize=(3, 3))
    found = np.load(done.directory / "linkage_row.npy")
    np.testing.assert_array_equal(found, expected.dendrogram_row.linkage)
    drawn, _ = grids
    assert drawn._slices == expected._slices
    assert drawn.dendrogram_row._parents == expected.dendrogram_row._parents
    titles = [text.get_text() for text in drawn.ax_row_dendrogram.texts]
    assert titles == [text.get_text() for text in expected.ax_row_dendrogram.texts]
    assert not verify_run(done.directory).damages
    assert not list((done.directory / "arrays.zarr").glob("part-*"))
    assert not list((done.directory / "arrays.zarr").glob("slices-*"))
    # Drawn again without the table, and cut otherwise where that is asked.
    kept = plot_run(done.directory, SMALL, output="again")
    assert grids[-1]._slices == expected._slices
    assert (done.directory / next(iter(kept.values()))).exists()
    plt.close("all")


@pytest.mark.slow
def test_another_table_is_another_tree(tmp_path, asked):
    run(asked)
    log = Log()
    run(asked, log)
    assert "linkage-row" in log.stages("kept")
    before = np.load(asked.directory / "linkage_row.npy")
    categories(tmp_path, frame().index, KINDS[::-1])
    run(asked)
    after = np.load(asked.directory / "linkage_row.npy")
    expected = clustermap(frame(), row_split=KINDS[::-1], figsize=(3, 3)).dendrogram_row.linkage
    np.testing.assert_array_equal(after, expected)
    assert not np.array_equal(before, after)
    run(request(asked.input, asked.directory))
    assert not (asked.directory / "row_split.tsv").exists()
    plain = clustermap(frame(), figsize=(3, 3)).dendrogram_row.linkage
    np.testing.assert_array_equal(np.load(asked.directory / "linkage_row.npy"), plain)
    plt.close("all")


def test_columns_are_split_on_the_command_line(tmp_path, capsys):
    data = frame()
    kinds = [1, 2, None, 1, 2, 1]
    groups = categories(tmp_path, data.columns, kinds)
    output = str(tmp_path / "run")
    options = ["--figsize", "3", "3", "--dpi", "40", "--cluster", "none"]
    main(["run", table(tmp_path, data), "-o", output, "--col-split", groups, *options])
    found = np.load(tmp_path / "run" / "linkage_col.npy")
    as_text = ["1.0", "2.0", None, "1.0", "2.0", "1.0"]
    expected = clustermap(data, col_split=as_text, figsize=(3, 3)).dendrogram_col.linkage
    np.testing.assert_array_equal(found, expected)
    state = json.loads((tmp_path / "run" / "run.json").read_text())
    assert state["request"]["col_split"] == groups
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main(["plot", output, "--col-split", groups])
    assert "--col-split FILE decides trees" in capsys.readouterr().err
    main(["plot", output, "--row-split", "2", "--figsize", "3", "3", "--dpi", "40"])
    with pytest.raises(SystemExit):
        main(["plot", output, "--row-split", "0"])
    with pytest.raises(SystemExit):
        main(["run", table(tmp_path, data), "-o", output, "--row-split", "no such file"])
    assert "no such file" in capsys.readouterr().err
    plt.close("all")


REFUSED = {
    "a label is missing": ("row_split has no category for 1 of 40 rows: 'g39'", {}, KINDS[:-1]),
    "one category": ("row_split has one category, 'a'", {}, ["a"] * 40),
    "not clustered": ("the rows are split by a table", {"row": AxisSpec(cluster=False)}, KINDS),
}


@pytest.mark.parametrize(("message", "options", "kinds"), REFUSED.values(), ids=REFUSED)
def test_tables_that_split_nothing_are_refused_before_anything_is_made(
    tmp_path, message, options, kinds
):
    groups = categories(tmp_path, frame().index[: len(kinds)], kinds)
    with pytest.raises(ClustergridError, match=message):
        run(request(table(tmp_path), tmp_path / "run", row_split=groups, **options))
    assert not list(tmp_path.glob("run/linkage*"))


def test_a_table_of_two_columns_is_refused(tmp_path):
    data = frame()
    pd.DataFrame({"a": KINDS, "b": KINDS}, index=data.index).to_csv(tmp_path / "two.csv")
    with pytest.raises(ClustergridError, match=r"two.csv has 2 columns of categories"):
        run(request(table(tmp_path), tmp_path / "run", row_split=str(tmp_path / "two.csv")))
