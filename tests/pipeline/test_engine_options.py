"""``engine=`` wherever a tree is asked for in Python."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr

import clustergrid.pipeline  # noqa: F401 - registers the accessor
from clustergrid.pipeline import clustermap, linkage, plan
from clustergrid.storage.errors import DataValueError

VALUES = np.random.default_rng(0).normal(size=(40, 12))


@pytest.fixture(autouse=True)
def figures():
    with plt.rc_context({"backend": "agg"}):
        yield
    plt.close("all")


def engines_of(events):
    """The engine of each tree, as the first event of its stage tells."""
    return {
        event.stage: event.note.removeprefix("engine ").partition(":")[0]
        for event in events
        if event.stage in ("linkage-row", "linkage-col") and event.state == "started"
    }


@pytest.mark.parametrize(
    ("options", "row", "column"),
    [
        ({}, "scipy", "scipy"),
        ({"engine": "data"}, "data", "data"),
        ({"row_engine": "data"}, "data", "scipy"),
        ({"engine": "data", "col_engine": "square"}, "data", "square"),
        ({"engine": "data", "col_method": "average", "col_engine": "square"}, "data", "square"),
    ],
)
def test_clustermap(options, row, column):
    events = []
    grid = clustermap(VALUES, method="single", figsize=(3, 3), progress=events.append, **options)
    assert engines_of(events) == {"linkage-row": row, "linkage-col": column}
    np.testing.assert_array_equal(grid.dendrogram_row.linkage, linkage(VALUES, "single"))


def test_an_engine_that_cannot_is_refused_before_anything_is_computed(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("something was computed")

    monkeypatch.setattr("clustergrid.pipeline.stages.Stages.linkage", refuse)
    for options in ({"engine": "fast"}, {"col_engine": "none"}, {"row_engine": "rows"}):
        with pytest.raises(DataValueError, match="engine"):
            clustermap(VALUES, **options)
    with pytest.raises(DataValueError, match="engine='condensed' works on"):
        plan(VALUES, engine="condensed")
    with pytest.raises(DataValueError, match="leaves could be ordered optimally"):
        plan(VALUES, engine="tiles", optimal_ordering=True)


def test_an_axis_without_a_tree_needs_no_engine():
    events = []
    options = {"engine": "data", "figsize": (3, 3), "progress": events.append}
    clustermap(VALUES, row_method="single", col_cluster=False, **options)
    given = linkage(VALUES.T)
    clustermap(VALUES, row_method="single", col_linkage=given, **options)
    assert set(engines_of(events)) == {"linkage-row"}


def test_the_accessor():
    array = xr.DataArray(VALUES, dims=("gene", "sample"))
    events = []
    columns = array.clustergrid.linkage(
        dim="sample", method="median", engine="data", progress=events.append
    )
    assert engines_of(events) == {"linkage-row": "data"}
    np.testing.assert_allclose(columns, linkage(VALUES.T, "median"), rtol=1e-12)
    array.clustergrid.clustermap(
        method="single", row_engine="square", figsize=(3, 3), progress=events.append
    )
    assert engines_of(events) == {"linkage-row": "square", "linkage-col": "scipy"}
    planned = array.clustergrid.plan(method="single", engine="data")
    engines = {stage.name: stage.engine for stage in planned.stages}
    assert engines["linkage-row"] == engines["linkage-col"] == "single, data"
    assert "distance-row" not in engines
    text = str(planned)
    assert "single, data" in text
    assert "grown from tiles that nobody keeps" in text


def test_a_plan_without_an_axis():
    planned = plan(VALUES, method="single", engine="data", col_cluster=False)
    assert [stage.name for stage in planned.stages][1:2] == ["linkage-row"]
