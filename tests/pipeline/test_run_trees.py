"""Trees in the pictures of runs: slices, colours of clusters, scales of heights."""

from dataclasses import replace
from typing import Any

import click
import matplotlib.pyplot as plt
import pytest
from click.testing import CliRunner

from clustergrid.pipeline.drawing import plot_run
from clustergrid.pipeline.options import figure_options, make_figure
from clustergrid.pipeline.render import ClusterGrid
from clustergrid.pipeline.request import FigureOptions
from clustergrid.pipeline.run import run
from clustergrid.pipeline.spec import AxisSpec
from clustergrid.storage.errors import DataValueError
from tests.pipeline.runs import SMALL, Log, request, table


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[ClusterGrid]:
    """All grids that are plotted, in order."""
    grids: list[ClusterGrid] = []
    plot = ClusterGrid.plot

    def noting(self: ClusterGrid, *args: Any, **kws: Any) -> ClusterGrid:
        grids.append(self)
        return plot(self, *args, **kws)

    monkeypatch.setattr(ClusterGrid, "plot", noting)
    return grids


def asked_for(*arguments: str) -> FigureOptions:
    found: list[FigureOptions] = []

    @click.command()
    @figure_options
    def command(**options: Any) -> None:
        found.append(make_figure(options))

    done = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return found[0]


def test_options_become_keywords() -> None:
    plain = asked_for()
    assert not [name for name in plain.heatmap if "tree" in name or "split" in name]
    asked = asked_for("--row-split", "3", "--col-tree-k", "2", "--tree-scale", "sqrt")
    assert asked.heatmap == {
        "row_split": 3,
        "row_tree_style": {"k": None, "scale": "sqrt", "axis": False},
        "col_tree_style": {"k": 2, "scale": "sqrt", "axis": False},
    }
    assert (asked.cuts(0), asked.cuts(1)) == ([3], [2])


def test_a_run_is_drawn_in_slices(tmp_path: Any, drawn: list[ClusterGrid]) -> None:
    path = table(tmp_path)
    run(request(path, tmp_path / "run"))
    figure = replace(
        SMALL, heatmap={"row_split": 4, "col_split": 2, "row_tree_style": {"k": 3, "axis": True}}
    )
    log = Log()
    plot_run(tmp_path / "run", figure, log, output="split")
    assert not log.stages("started") & {"linkage-row", "linkage-col", "distance-row"}
    plain, split = drawn
    assert plain._slices[0].count == 1
    assert [along.count for along in split._slices] == [4, 2]
    assert len(set(split.dendrogram_row.dendrogram["color_list"])) > 1
    pictures = [plt.imread(tmp_path / "run" / f"{name}.png") for name in ("figure", "split")]
    assert pictures[0].shape != pictures[1].shape or (pictures[0] != pictures[1]).any()


@pytest.mark.parametrize("keywords", [{"row_split": 41}, {"row_tree_style": {"k": 41}}])
def test_more_clusters_than_rows_are_refused_before_anything_is_computed(
    tmp_path: Any, keywords: dict[str, Any]
) -> None:
    log = Log()
    asked = request(table(tmp_path), tmp_path / "run", figure=replace(SMALL, heatmap=keywords))
    with pytest.raises(DataValueError, match="cannot be cut into 41 clusters: there are 40"):
        run(asked, log)
    assert "linkage-row" not in log.stages("started")


def test_slices_of_rows_that_are_not_clustered_are_refused(tmp_path: Any) -> None:
    figure = replace(SMALL, heatmap={"row_split": 2})
    with pytest.raises(DataValueError, match="rows are not clustered: there is no tree to cut"):
        request(table(tmp_path), tmp_path / "run", row=AxisSpec(cluster=False), figure=figure)
