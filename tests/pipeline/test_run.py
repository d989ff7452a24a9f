"""A run leaves what the design lists; the same command again computes what is not there."""

import dataclasses
import json
import os

import dask
import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr
from distributed import Client, LocalCluster
from scipy.cluster.hierarchy import fcluster, leaves_list
from scipy.cluster.hierarchy import linkage as scipy_linkage

import clustergrid.pipeline.run as run_module
from clustergrid.pipeline.errors import MemoryLimitError
from clustergrid.pipeline.escapes import escape_label
from clustergrid.pipeline.request import ClusterChoice, Cut, FigureOptions, RunRequest
from clustergrid.pipeline.run import run
from clustergrid.pipeline.spec import AxisSpec
from clustergrid.pipeline.status import read_status
from clustergrid.storage.errors import (
    DataTypeError,
    DataValueError,
    MissingFileError,
    RunDirectoryError,
)
from tests.pipeline.runs import SMALL, Log, frame, request, results, state_of, table

pytestmark = pytest.mark.quick_cases(one_in=16)

# What a run leaves


@pytest.mark.parametrize("name", ["a.csv", "a.parquet", "a.npy", "a.zarr"])
def test_a_finished_run_holds_what_the_design_lists(tmp_path, name):
    data = frame()
    path = table(tmp_path, data, name)
    log = Log()
    result = run(
        request(path, tmp_path / "run", row_cut=Cut(k=3), figure=FigureOptions(
            figsize_inches=(3, 3), dpi=40, formats=("png", "pdf", "svg"))), log
    )  # fmt: skip
    expected = {
        *("README.txt", "run.json", "progress.jsonl", "arrays.zarr", "manifest"),
        *("linkage_row.npy", "linkage_col.npy", "order_row.txt", "order_col.txt"),
        *("clusters_row.tsv", "figure.png", "figure.pdf", "figure.svg"),
    }
    in_place = name == "a.zarr"
    assert set(os.listdir(result.directory)) == expected | (set() if in_place else {"matrix.zarr"})
    assert set(result.files.values()) == {n for n in expected if "_" in n or "figure" in n}
    group = zarr.open_group(result.directory / "arrays.zarr", mode="r")
    state = state_of(result.directory)
    arrays = {stage: entry["arrays"] for stage, entry in state["stages"].items()}
    assert set(group) == {
        name.partition("/")[0]
        for each in arrays.values()
        for store, name in each
        if store == "arrays.zarr"
    }
    assert {name[:14] for _, name in arrays["distance-row"]} == {"condensed_row_"}
    assert arrays["statistics"] == [
        ["arrays.zarr", f"statistics_{axis}"] for axis in ("row", "col")
    ]
    assert state["matrix"]["used_in_place"] == in_place
    assert state["matrix"]["store"] == (path if in_place else "matrix.zarr")
    assert state["request"]["input"] == path
    assert state["shape"] == [40, 6]
    assert state["finished"] > 0
    assert {"clustergrid", "python", "zarr", "numpy"} <= state["versions"].keys()
    assert [stage["name"] for stage in state["plan"]]
    assert all(entry["time"] > 0 for entry in state["stages"].values())
    assert state["files"] == result.files
    assert ("ingest" in log.stages("finished")) == (not in_place)
    if not in_place:
        stored = xr.open_zarr(result.directory / "matrix.zarr", consolidated=False)["matrix"]
        np.testing.assert_array_equal(stored, data)
    tree = scipy_linkage(data.to_numpy(), "average")
    np.testing.assert_allclose(np.load(result.directory / "linkage_row.npy")[:, 2], tree[:, 2])
    labels = data.index if name != "a.npy" else pd.Index(map(str, range(len(data))))
    order = list(labels[leaves_list(tree)])
    assert (result.directory / "order_row.txt").read_text().splitlines() == order
    clusters = pd.read_csv(result.directory / "clusters_row.tsv", sep="\t", dtype={"label": str})
    assert list(clusters["label"]) == order
    assert list(clusters["position"]) == list(range(40))
    ours = clusters.set_index("label")["cluster"].reindex(labels)
    theirs = fcluster(tree, 3, "maxclust")
    assert len(set(zip(ours, theirs, strict=True))) == 3


def test_the_log_is_json_lines_and_status_reads_it(finished):
    lines = (finished.directory / "progress.jsonl").read_text().splitlines()
    assert json.loads(lines[0])["run"] == "started"
    assert {json.loads(line).get("stage") for line in lines} >= {"ingest", "distance-row"}
    status = read_status(finished.directory)
    assert status.state == "finished"
    assert status.files["figure_png"] == "figure.png"


@pytest.mark.filterwarnings("ignore:Glyph")
def test_labels_of_any_kind_take_one_line(tmp_path):
    odd = [
        "a\nb",
        "a\tb",
        "<script>alert(1)</script>",
        "é ü",
        "\\n",
        "x\u2028y",
        "=1+1",
        "",
        "q\r",
    ]
    data = frame(9, 4)
    data.index = odd
    path = table(tmp_path, data, "a.parquet")
    figure = dataclasses.replace(SMALL, formats=("svg",))
    result = run(request(path, tmp_path / "run", row_cut=Cut(k=2), figure=figure))
    text = (result.directory / "order_row.txt").read_text(encoding="utf-8")
    order = leaves_list(np.load(result.directory / "linkage_row.npy"))
    assert text.splitlines() == text[:-1].split("\n") == [escape_label(odd[i]) for i in order]
    rows = (result.directory / "clusters_row.tsv").read_text(encoding="utf-8").splitlines()
    assert [len(row.split("\t")) for row in rows] == [3] * 10
    assert "<script>" not in (result.directory / "figure.svg").read_text(encoding="utf-8")


def test_duplicate_labels_are_fine(tmp_path):
    data = frame(8, 4)
    data.index = ["same"] * 8
    result = run(request(table(tmp_path, data), tmp_path / "run"))
    assert (result.directory / "order_row.txt").read_text() == "same\n" * 8


# The same command again


def test_the_same_command_again_computes_nothing(copied, tiles):
    before = results(copied.directory)
    log = Log()
    run(copied, log)
    assert log.stages("kept") == {
        *("ingest", "statistics", "linkage-row", "linkage-col", "picture"),
    }
    assert log.stages("started", "running", "finished") == set()
    assert tiles == []
    assert results(copied.directory) == before


def test_a_finished_run_starts_no_cluster_again(copied, monkeypatch):
    monkeypatch.setattr("clustergrid.pipeline.run_plan._SMALL_DISTANCE_BYTES", 0)
    monkeypatch.setattr(run_module, "connect", None)
    run(copied)


def test_another_look_keeps_every_tree(copied, tiles):
    before = results(copied.directory)
    log = Log()
    figure = dataclasses.replace(SMALL, heatmap={"cmap": "mako"})
    run(dataclasses.replace(copied, figure=figure), log)
    assert log.stages("kept") == {
        *("ingest", "statistics", "linkage-row", "linkage-col", "downsample"),
    }
    assert log.stages("finished") == {"picture"}
    after = results(copied.directory)
    assert after.pop("figure.png") != before.pop("figure.png")
    assert after == before
    assert tiles == []


def test_another_method_keeps_the_distances(copied, tiles):
    log = Log()
    ward = AxisSpec(method="ward")
    run(dataclasses.replace(copied, row=ward, column=copied.column), log)
    assert {"distance-row", "linkage-col"} <= log.stages("kept")
    assert tiles == []
    tree = scipy_linkage(np.load(copied.input), "ward")
    ours = np.load(copied.directory / "linkage_row.npy")
    np.testing.assert_allclose(ours[:, 2], tree[:, 2], rtol=1e-10)


def test_normalizing_keeps_only_the_matrix(copied):
    log = Log()
    run(dataclasses.replace(copied, z_score=1), log)
    assert log.stages("kept") == {"ingest", "statistics"}
    values = pd.DataFrame(np.load(copied.input))
    tree = scipy_linkage(((values - values.mean()) / values.std()).to_numpy(), "average")
    ours = np.load(copied.directory / "linkage_row.npy")
    np.testing.assert_allclose(ours[:, 2], tree[:, 2], rtol=1e-10)


def test_an_axis_that_is_not_clustered_keeps_no_tree(copied):
    run(dataclasses.replace(copied, row=AxisSpec(cluster=False), row_cut=Cut()))
    left = set(os.listdir(copied.directory))
    assert "linkage_row.npy" not in left
    assert "clusters_row.tsv" not in left
    order = (copied.directory / "order_row.txt").read_text().splitlines()
    assert order == [str(i) for i in range(1600)]
    run(copied)
    assert (copied.directory / "linkage_row.npy").exists()


@pytest.mark.slow
def test_pictures_of_other_results_do_not_stay(tmp_path):
    path = table(tmp_path)
    both = dataclasses.replace(SMALL, formats=("png", "svg"))
    run(request(path, tmp_path / "run", figure=both))
    run(request(path, tmp_path / "run"))
    assert (tmp_path / "run" / "figure.svg").exists()  # it is still true
    run(request(path, tmp_path / "run", figure=both))
    run(request(path, tmp_path / "run", row=AxisSpec(method="single")))
    assert not (tmp_path / "run" / "figure.svg").exists()
    assert (tmp_path / "run" / "figure.png").exists()


@pytest.mark.parametrize("name", ["linkage_row.npy", "order_row.txt", "clusters_row.tsv",
                                  "figure.png", "README.txt"])  # fmt: skip
@pytest.mark.parametrize("damage", ["deleted", "changed"])
def test_a_damaged_result_is_made_again(copied, name, damage, tiles):
    before = results(copied.directory)
    file = copied.directory / name
    if damage == "deleted":
        file.unlink()
    else:
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)
    run(copied)
    assert results(copied.directory) == before
    assert tiles == []


# Refused


def test_a_changed_input_is_refused_with_what_changed(tmp_path):
    path = table(tmp_path)
    run(request(path, tmp_path / "run"))
    before = results(tmp_path / "run")
    table(tmp_path, frame(41))
    with pytest.raises(RunDirectoryError, match=r"size was \d+ and is \d+"):
        run(request(path, tmp_path / "run"))
    assert results(tmp_path / "run") == before
    with pytest.raises(RunDirectoryError, match=r"url was .*a\.csv and is .*b\.csv"):
        run(request(table(tmp_path, name="b.csv"), tmp_path / "run"))


def test_an_input_that_could_not_be_used_may_be_mended(tmp_path):
    data = frame()
    data.iloc[3, 2] = np.nan
    path = table(tmp_path, data)
    with pytest.raises(DataValueError, match=r"g3"):
        run(request(path, tmp_path / "run"))
    assert read_status(tmp_path / "run").state == "stopped"
    path = table(tmp_path)
    run(request(path, tmp_path / "run"))
    fresh = run(request(path, tmp_path / "fresh"))
    assert results(tmp_path / "run") == results(fresh.directory)


def test_nothing_is_left_of_a_run_without_input(tmp_path):
    with pytest.raises(MissingFileError):
        run(request(tmp_path / "a.csv", tmp_path / "run"))
    with pytest.raises(ValueError, match="nocmap"):
        run(request(table(tmp_path), tmp_path / "run", figure=FigureOptions(
            heatmap={"cmap": "nocmap"})))  # fmt: skip
    with pytest.raises(DataTypeError, match="nocolor"):
        run(request(table(tmp_path), tmp_path / "run", figure=FigureOptions(
            legends={"": {"a": "nocolor"}})))  # fmt: skip
    assert not (tmp_path / "run").exists()


def test_what_does_not_fit_is_refused_before_anything_is_computed(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, np.zeros((12_000, 2), np.float32))
    asked = request(path, tmp_path / "run", memory_bytes=300_000_000,
                    column=AxisSpec(cluster=False))  # fmt: skip
    log = Log()
    with pytest.raises(MemoryLimitError, match="would do"):
        run(asked, log)
    assert log.events == []
    assert read_status(asked.directory).state == "stopped"
    path = table(tmp_path)
    run(request(path, tmp_path / "run"))


def test_two_runs_at_once_are_refused(tmp_path):
    path = table(tmp_path)
    refused = []

    def again(event):
        if not refused:
            with pytest.raises(RunDirectoryError, match=f"in use by process {os.getpid()}") as says:
                run(request(path, tmp_path / "run"))
            assert read_status(tmp_path / "run").state == "running"
            refused.append(says)

    run(request(path, tmp_path / "run"), again)
    assert refused


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"row_cut": Cut(k=41)}, "rows cannot be cut into 41 clusters: there are 40"),
        ({"column_cut": Cut(k=7)}, "columns cannot be cut into 7 clusters: there are 6"),
    ],
)
def test_a_cut_into_too_many_is_refused_first(tmp_path, options, says):
    log = Log()
    with pytest.raises(DataValueError, match=says):
        run(request(table(tmp_path), tmp_path / "run", **options), log)
    assert log.stages("finished") == {"ingest"}


@pytest.mark.parametrize(
    "make",
    [
        lambda: RunRequest(input="a", directory="b", row=AxisSpec(cluster=False), row_cut=Cut(k=2)),
        lambda: RunRequest(input="a", directory="b", column=AxisSpec(cluster=False, linkage="x")),
        lambda: RunRequest(input="a", directory="b", z_score=0, standard_scale=0),
        lambda: Cut(k=2, height=1.0),
        lambda: Cut(height=float("nan")),
        lambda: FigureOptions(formats=()),
        lambda: FigureOptions(formats=("gif",)),
        lambda: FigureOptions(figsize_inches=(0.0, 3.0)),
        lambda: FigureOptions(figsize_inches=(float("inf"), 3.0)),
        lambda: FigureOptions(heatmap={"vmin": 2.0, "vmax": 1.0}),
        lambda: FigureOptions(heatmap={"center": float("nan")}),
        lambda: ClusterChoice(cluster="cloud"),
        lambda: ClusterChoice(scheduler="a", scheduler_file="b"),
    ],
)
def test_requests_that_contradict_themselves_cannot_be_made(make):
    with pytest.raises(ValueError):
        make()


# Where tasks run


def test_a_small_run_starts_no_scheduler(tmp_path, monkeypatch):
    monkeypatch.setattr(run_module, "connect", None)
    told = []
    run(request(table(tmp_path), tmp_path / "run"), notice=told.append)
    assert not any("dashboard" in line for line in told)
    assert len(told) == 1


@pytest.mark.parametrize("how", ["address", pytest.param("file", marks=pytest.mark.slow)])
def test_a_scheduler_is_joined_and_gives_the_same_bits(finished, tmp_path, how):
    patient = {"distributed.scheduler.no-workers-timeout": "300s"}
    with (
        dask.config.set(patient),
        LocalCluster(
            n_workers=1, threads_per_worker=2, processes=False, dashboard_address="127.0.0.1:0"
        ) as cluster,
    ):
        if how == "address":
            choice = ClusterChoice(scheduler=cluster.scheduler_address)
        else:
            file = tmp_path / "scheduler.json"
            file.write_text(json.dumps(cluster.scheduler.identity()))
            choice = ClusterChoice(scheduler_file=str(file))
        told = []
        asked = dataclasses.replace(finished, directory=tmp_path / "run", cluster=choice)
        run(asked, notice=told.append)
        names = set(cluster.scheduler.task_prefixes)
        assert {"distance-tile", "statistics", "downsample"} <= names
        with Client(cluster, set_as_default=False) as client:  # it is still there
            assert client.submit(int, 3).result() == 3
    assert results(tmp_path / "run") == results(finished.directory)
    assert any(line.startswith("dashboard: http://") for line in told)
    assert any("ssh -N -L" in line for line in told)
    reports = {report.name for report in (tmp_path / "run" / "report").iterdir()}
    assert {"distance-row.html", "distance-col.html", "picture.html"} <= reports
    assert "distance-tile" in (tmp_path / "run" / "report" / "distance-row.html").read_text()
