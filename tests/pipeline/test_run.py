"""A run leaves what the design lists; stopped anywhere, it goes on to the very same bits."""

import dataclasses
import json
import os
import shutil
from pathlib import Path

import dask
import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr
from distributed import Client, LocalCluster
from scipy.cluster.hierarchy import fcluster, leaves_list
from scipy.cluster.hierarchy import linkage as scipy_linkage

import clustergrid.pipeline.distance
import clustergrid.pipeline.run as run_module
from clustergrid.pipeline.drawing import plot_run
from clustergrid.pipeline.errors import MemoryLimitError
from clustergrid.pipeline.escapes import escape_label
from clustergrid.pipeline.kept import RunStages
from clustergrid.pipeline.request import ClusterChoice, Cut, FigureOptions, RunRequest
from clustergrid.pipeline.run import run
from clustergrid.pipeline.spec import AxisSpec
from clustergrid.pipeline.status import read_status
from clustergrid.storage.errors import (
    ClustergridError,
    DataTypeError,
    DataValueError,
    IntegrityError,
    MissingFileError,
    RunDirectoryError,
    StorageError,
)
from clustergrid.storage.grid import TriangleGrid
from clustergrid.storage.ingest import ingest
from clustergrid.storage.matrix import open_matrix
from clustergrid.storage.rundir import RunDirectory

SMALL = FigureOptions(figsize_inches=(3.0, 3.0), dpi=40)
N_TILES = 10  # of 1,600 rows


def frame(n=40, k=6, seed=0):
    values = np.random.default_rng(seed).normal(size=(n, k)).round(6)
    rows = pd.Index([f"g{i}" for i in range(n)], name="gene")
    return pd.DataFrame(values, index=rows, columns=[f"s{i}" for i in range(k)])


def table(folder, data=None, name="a.csv"):
    data = frame() if data is None else data
    if name.endswith(".csv"):
        data.to_csv(folder / name)
    elif name.endswith(".parquet"):
        data.to_parquet(folder / name)
    elif name.endswith(".npy"):
        np.save(folder / name, data.to_numpy())
    else:
        ingest(open_matrix(data), folder / name)
    return str(folder / name)


def request(path, directory, **options):
    options.setdefault("figure", SMALL)
    return RunRequest(input=str(path), directory=Path(directory), **options)


class Log:
    """Keeps events; raises like a signal at a certain one."""

    def __init__(self, stop_at=None):
        self.events, self.stop_at = [], stop_at

    def __call__(self, event):
        self.events.append(event)
        if len(self.events) == self.stop_at:
            raise KeyboardInterrupt

    def stages(self, *states):
        return {event.stage for event in self.events if event.state in states}


def results(directory):
    """The bytes of everything a run is for."""
    found = {}
    for name in ("linkage_row.npy", "linkage_col.npy", "order_row.txt", "order_col.txt",
                 "clusters_row.tsv", "figure.png"):  # fmt: skip
        file = Path(directory) / name
        found[name] = file.read_bytes() if file.exists() else None
    return found


def state_of(directory):
    return json.loads((Path(directory) / "run.json").read_text())


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run of ten tiles of rows: request and directory, to be copied."""
    folder = tmp_path_factory.mktemp("finished")
    path = table(folder, frame(1600, 5), "a.npy")
    asked = request(path, folder / "run", row_cut=Cut(k=4))
    run(asked)
    return asked


@pytest.fixture
def copied(finished, tmp_path):
    """A copy of the finished run, to be damaged."""
    shutil.copytree(finished.directory, tmp_path / "run")
    return dataclasses.replace(finished, directory=tmp_path / "run")


@pytest.fixture
def tiles(monkeypatch):
    """The tiles that are computed."""
    computed = []
    real = clustergrid.pipeline.distance.tile_distances

    def spy(given, rows, columns):
        computed.append((given.source.shape[0], rows.start, columns.start))
        return real(given, rows, columns)

    monkeypatch.setattr(clustergrid.pipeline.distance, "tile_distances", spy)
    return computed


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
        name for each in arrays.values() for store, name in each if store == "arrays.zarr"
    }
    assert [name[:14] for _, name in arrays["distance-row"]] == ["condensed_row_"]
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


# Killed


def forget(directory, *stages):
    """Undo what a run killed before these stages would not have noted."""
    opened = RunDirectory(directory)
    for stage in stages:
        opened.state["stages"].pop(stage, None)
    opened.update(finished=None)


def killed_after(directory, n_tiles):
    """Bring a finished run to where a kill would have left it after some tiles of the rows."""
    forget(directory, "distance-row", "distance-col", "linkage-row", "linkage-col", "limits",
           "image", "picture", "outputs")  # fmt: skip
    (directory / "manifest" / "distance-col.jsonl").unlink()
    notes = directory / "manifest" / "distance-row.jsonl"
    lines = notes.read_text().splitlines(keepends=True)
    tiles = [line for line in lines if "/c/" in line]
    assert len(tiles) == N_TILES
    kept = [line for line in lines if "/c/" not in line] + sorted(tiles, key=_tile)[:n_tiles]
    notes.write_text("".join(kept) + tiles[0][:-9])
    for name in ("linkage_row.npy", "linkage_col.npy", "figure.png", "order_row.txt"):
        (directory / name).unlink()
    for tile in range(n_tiles, N_TILES):
        chunk(directory, tile).unlink()


def _tile(line):
    return int(json.loads(line)["file"].split("/")[3])


def chunk(directory, tile, axis="row"):
    (array,) = directory.glob(f"arrays.zarr/condensed_{axis}_*")
    return array / "c" / str(tile) / "0" / "0"


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


@pytest.mark.parametrize(("now", "kept", "computed"), [(2048, 7, 3), (256, 7, 28)])
def test_tiles_cut_for_another_memory_are_finished_as_they_are(
    copied, finished, tiles, monkeypatch, now, kept, computed
):
    """Unless they were cut for more memory than there is now."""
    killed_after(copied.directory, kept)
    real = RunStages._stored_distances

    def recut(self, axis, given, grid):
        grid = TriangleGrid(n=grid.n, tile_edge=now) if grid.n == 1600 else grid
        return real(self, axis, given, grid)

    monkeypatch.setattr(RunStages, "_stored_distances", recut)
    run(copied)
    assert len([tile for tile in tiles if tile[0] == 1600]) == computed
    assert results(copied.directory) == results(finished.directory)


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
    with pytest.raises(StorageError, match="cannot read the linkage"):
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
    shutil.rmtree(chunk(copied.directory, 0).parents[3])
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


# Where tasks run


def test_a_small_run_starts_no_scheduler(tmp_path, monkeypatch):
    monkeypatch.setattr(run_module, "connect", None)
    told = []
    run(request(table(tmp_path), tmp_path / "run"), notice=told.append)
    assert not any("dashboard" in line for line in told)
    assert len(told) == 1


@pytest.mark.parametrize("how", ["address", "file"])
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
    assert reports == {"matrix.html", "tree_row.html", "tree_col.html", "picture.html"}
    assert "distance-tile" in (tmp_path / "run" / "report" / "tree_row.html").read_text()
