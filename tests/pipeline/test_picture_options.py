"""Palettes and tracks of annotations, as the command takes them and runs draw them."""

import json

import click
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from clustergrid.pipeline.cli import main
from clustergrid.pipeline.picture_options import parse_palettes, parse_tracks
from clustergrid.pipeline.render import ClusterGrid
from clustergrid.pipeline.render.annotations import Bars
from tests.pipeline.runs import table

TABLE = """label\tstage\tage\tdone
s0\tearly\t3\tTrue
s1\tlate\t4\tFalse
s2\tlate\t5\tTrue
s3\tearly\t9\t
s4\tearly\t2\tTrue
s5\tlate\t\tFalse
"""


def test_palettes_are_colormaps_or_colours_by_label():
    entries = ("age=viridis", "stage=early:#fff,a:b:red", "x y=a=b:blue")
    found = parse_palettes(None, None, entries)
    assert found == {
        "age": "viridis",
        "stage": {"early": "#fff", "a:b": "red"},
        "x y": {"a=b": "blue"},
    }
    for odd in ("age", "age=", "=viridis", "stage=early:", "stage=early:red,late"):
        with pytest.raises(click.BadParameter, match="neither TITLE=COLORMAP"):
            parse_palettes(None, None, (odd,))


def test_tracks_are_of_a_kind_that_there_is():
    assert parse_tracks(None, None, ("age=bars", "a=b=points")) == {"age": "bars", "a=b": "points"}
    for odd in ("age", "age=boxes", "=bars"):
        with pytest.raises(click.BadParameter, match="TITLE=bars or TITLE=points"):
            parse_tracks(None, None, (odd,))


@pytest.fixture
def grids(monkeypatch):
    drawn = []
    plot = ClusterGrid.plot

    def noted(grid, *args, **kws):
        drawn.append(grid)
        return plot(grid, *args, **kws)

    monkeypatch.setattr(ClusterGrid, "plot", noted)
    yield drawn
    plt.close("all")


def scale_of(grid, title):
    return grid._panels._scales[title]


def test_a_run_draws_them_and_draws_them_again_otherwise(tmp_path, grids, capsys):
    (tmp_path / "samples.tsv").write_text(TABLE)
    output = str(tmp_path / "run")
    small = ["--figsize", "4", "3", "--dpi", "40"]
    command = ["run", table(tmp_path), "-o", output, "--cluster", "none", *small]
    command += ["--col-annotations", str(tmp_path / "samples.tsv"), "--track", "age=bars"]
    colors = "stage=early:#0072B2,late:#D55E00"
    main([*command, "--palette", colors, "--palette", "done=True:red,False:blue"])
    (grid,) = grids
    assert scale_of(grid, "stage").colors == (to_rgb("#0072B2"), to_rgb("#D55E00"))
    by_label = dict(zip(scale_of(grid, "done").labels, scale_of(grid, "done").colors, strict=True))
    assert by_label == {True: to_rgb("red"), False: to_rgb("blue")}
    (age,) = (each for each in grid._panels._axes[1] if each.title == "age")
    assert isinstance(age.kind, Bars)
    np.testing.assert_array_equal(age.values.values, [3, 4, 5, 9, 2, np.nan])
    asked = json.loads((tmp_path / "run" / "run.json").read_text())["request"]["figure"]
    assert asked["tracks"] == {"age": "bars"}
    main(["plot", output, *small, "--palette", "age=cividis"])
    assert scale_of(grids[-1], "age").colormap.name == "cividis"
    capsys.readouterr()
    for odd, message in (
        (["--track", "height=bars"], "no annotation is called 'height': there are 'stage', 'age'"),
        (["--track", "stage=bars"], "must be numbers to be drawn as Bars"),
        (["--palette", "stage=early:red"], "has no colour for 'late'"),
    ):
        with pytest.raises(SystemExit):
            main([*command[:-2], *odd])
        assert message in capsys.readouterr().err
    assert len(grids) == 2
