"""The command says what it does, and ends every failure with one line and a status."""

import gzip
import json
import os
import re
import shutil
import signal
import stat
import tempfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.cluster.hierarchy import linkage as scipy_linkage

import clustergrid.pipeline.run as run_module
from clustergrid.pipeline.cli import main
from clustergrid.pipeline.status import read_status
from tests.pipeline.commands import SMALL, frame

pytestmark = pytest.mark.quick_cases(one_in=4)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working directory with an input."""
    monkeypatch.chdir(tmp_path)
    frame().to_csv("a.csv")
    return tmp_path


def assert_fails(answer, says, status=1):
    """One clear line, and a status."""
    code, out, err = answer
    lines = [line for line in err.splitlines() if line.startswith("clustergrid:")]
    assert code == status, err
    assert len(lines) == 1, err
    assert re.search(says, lines[0]), err
    assert "Traceback" not in err
    assert "Warning" not in err
    assert err.splitlines()[-1] == lines[0]
    assert out == ""


def lines_of(out):
    return [json.loads(line) for line in out.splitlines()]


# Commands


def test_run_plot_and_status(call, folder):
    status, out, err = call("run", "a.csv", "-o", "run", *SMALL, "--row-k", 3)
    assert status == 0
    assert "clusters_row   run/clusters_row.tsv" in out
    assert "distance-row: finished" in err
    assert "30 rows x 5 columns" in err
    assert "finished in" not in err.splitlines()[-1] or "picture" in err.splitlines()[-1]
    status, out, err = call("status", "run")
    assert (status, err) == (0, "")
    assert out.startswith("run: finished, started ")
    status, out, err = call("plot", "run", *SMALL, "--cmap", "mako", "--name", "m", "--format",
                            "svg", "--format", "pdf")  # fmt: skip
    assert status == 0
    assert out.split() == ["run/m.svg", "run/m.pdf"]
    assert "downsample: kept from the earlier run" in err
    status, out, err = call("run", "a.csv", "-o", "run", *SMALL, "--row-k", 3)
    assert status == 0
    assert "linkage-row: kept from the earlier run" in err
    assert "picture: kept from the earlier run" in err


def test_json_is_all_there_is_on_standard_output(call, folder):
    status, out, err = call("run", "a.csv", "-o", "run", *SMALL, "--json")
    assert (status, err) == (0, "")
    lines = lines_of(out)
    assert {tuple(line) for line in lines} == {("event",), ("notice",), ("result",)}
    assert lines[-1]["result"]["files"]["figure_png"] == "figure.png"
    stages = {line["event"]["stage"] for line in lines if "event" in line}
    assert {"ingest", "statistics", "distance-row", "distance-col", "picture"} <= stages
    status, out, err = call("status", "run", "--json")
    assert (status, err) == (0, "")
    assert lines_of(out)[0]["state"] == "finished"
    status, out, err = call("plan", "a.csv", "--json")
    assert (status, err) == (0, "")
    assert lines_of(out)[0]["shape"] == [30, 5]
    status, out, err = call("plot", "run", *SMALL, "--json")
    assert (status, err) == (0, "")
    assert lines_of(out)[-1] == {"figure": "run/figure.png"}


def test_help(call):
    for command in ([], ["run"], ["plan"], ["plot"], ["status"], ["demo"]):
        status, out, err = call(*command, "--help")
        assert (status, err) == (0, "")
        assert "Usage: clustergrid" in out
        assert "115 tumours" not in out
    status, out, _ = call("--version")
    assert status == 0
    assert "clustergrid" in out
    status, out, err = call()
    assert (status, out) == (2, "")
    assert "Usage:" in err


# Options


def test_options_reach_the_engines(call, folder):
    np.save("a.npy", frame(40, 6).to_numpy())
    status, _, err = call(
        "run", "a.npy", "-o", "run", *SMALL, "--row-method", "ward", "--col-metric", "cityblock",
        "--col-method", "complete", "--standard-scale", "rows", "--col-height", "2.5",
        "--dtype", "float32", "--layer", "",
    )  # fmt: skip
    assert status == 1  # a .npy has no layers
    assert "layer" in err
    status, _, err = call(
        "run", "a.npy", "-o", "run", *SMALL, "--row-method", "ward", "--col-metric", "cityblock",
        "--col-method", "complete", "--standard-scale", "rows", "--col-height", "2.5",
        "--dtype", "float32",
    )  # fmt: skip
    assert status == 0, err
    values = np.load("a.npy")
    low, high = values.min(1, keepdims=True), values.max(1, keepdims=True)
    values = (values - low) / (high - low)
    for name, tree in (
        ("row", scipy_linkage(values, "ward")),
        ("col", scipy_linkage(values.T, "complete", "cityblock")),
    ):
        ours = np.load(f"run/linkage_{name}.npy")
        np.testing.assert_allclose(ours[:, 2], tree[:, 2], rtol=1e-5)
    assert Path("run/clusters_col.tsv").exists()
    state = json.loads(Path("run/run.json").read_text())
    assert state["request"]["dtype"] == "float32"
    assert state["request"]["standard_scale"] == 0


def test_z_score_of_columns(call, folder):
    assert call("run", "a.csv", "-o", "run", *SMALL, "--z-score", "columns")[0] == 0
    values = frame()
    values = (values - values.mean()) / values.std()
    tree = scipy_linkage(values.to_numpy(), "average")
    np.testing.assert_allclose(np.load("run/linkage_row.npy")[:, 2], tree[:, 2])


def test_an_axis_is_left_in_its_order(call, folder):
    assert call("run", "a.csv", "-o", "run", *SMALL, "--no-row-cluster")[0] == 0
    assert not Path("run/linkage_row.npy").exists()
    assert Path("run/order_row.txt").read_text().split() == [f"g{i}" for i in range(30)]


def test_trees_from_files(call, folder):
    tree = scipy_linkage(frame().to_numpy(), "single")
    np.save("tree.npy", tree)
    assert call("run", "a.csv", "-o", "run", *SMALL, "--row-linkage", "tree.npy")[0] == 0
    np.testing.assert_array_equal(np.load("run/linkage_row.npy"), tree)


def png(path):
    return np.asarray(Image.open(path).convert("RGB"))


def test_the_figure_is_as_asked(call, folder):
    """Within the margins that are cut off, which are a few percent."""
    assert call("run", "a.csv", "-o", "run", "--figsize", 4, 3, "--dpi", 50)[0] == 0
    small = png("run/figure.png").shape
    assert call("plot", "run", "--figsize", 4, 3, "--dpi", 100, "--name", "b")[0] == 0
    large = png("run/b.png").shape
    for n_pixels, inches in ((large[1], 4), (large[0], 3)):
        assert 0.9 * inches * 100 < n_pixels <= 1.05 * inches * 100
    np.testing.assert_allclose(large[:2], 2 * np.array(small[:2]), atol=6)


def test_colours_and_limits_of_the_body(call, folder):
    from clustergrid.pipeline.render.colormaps import get_colormap

    call("run", "a.csv", "-o", "run", *SMALL)
    pictures = {}
    for name, options in {
        "mako": ["--cmap", "mako"],
        "flat": ["--cmap", "mako", "--vmin", 100, "--vmax", 200],
        "robust": ["--cmap", "mako", "--robust"],
        "center": ["--cmap", "vlag", "--center", 0],
        "bare": ["--cmap", "mako", "--no-row-labels", "--no-col-labels"],
        "legend": ["--legend", "tumour=red", "--legend", "a=b=#0000ff", "--cbar-label", "log2"],
    }.items():
        status, _, err = call("plot", "run", *SMALL, *options, "--name", name)
        assert status == 0, err
        pictures[name] = png(f"run/{name}.png")
    lowest = np.array(get_colormap("mako")(0.0)[:3]) * 255
    n_lowest = {
        name: (np.abs(picture - lowest).max(axis=2) < 3).sum() for name, picture in pictures.items()
    }
    assert n_lowest["flat"] > 20 * n_lowest["mako"]
    assert n_lowest["robust"] > n_lowest["mako"]
    ink = {name: (pictures[name] < 90).all(axis=2).sum() for name in ("bare", "mako")}
    assert ink["bare"] < ink["mako"]
    red = np.all(pictures["legend"] == [255, 0, 0], axis=2).sum()
    blue = np.all(pictures["legend"] == [0, 0, 255], axis=2).sum()
    assert min(red, blue) > 10
    assert not np.array_equal(pictures["center"], pictures["mako"])


def test_colours_beside_the_body(call, folder):
    rows = "".join(f"g{i}\t{'#ff0000' if i < 15 else '#0000ff'}\t\n" for i in range(30))
    Path("rows.tsv").write_text("label\tkind\tnone\n" + rows)
    Path("cols.csv").write_text("label,kind\n" + "".join(f"s{i},#00ff00\n" for i in range(5)))
    options = ["--row-colors", "rows.tsv", "--col-colors", "cols.csv"]
    status, _, err = call("run", "a.csv", "-o", "run", *SMALL, *options)
    assert status == 0, err
    picture = png("run/figure.png")
    counts = [np.all(picture == color, axis=2).sum()
              for color in ([255, 0, 0], [0, 0, 255], [0, 255, 0])]  # fmt: skip
    assert min(counts) > 30


# Usage errors


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["frobnicate"], "No such command"),
        (["run"], "Missing argument 'INPUT'"),
        (["run", "a.csv"], "'-o'"),
        (["run", "a.csv", "-o", "r", "--nonsense"], "--nonsense"),
        (["run", "a.csv", "-o", "r", "--metric", "foo"], "Unknown Distance Metric: 'foo'"),
        (["run", "a.csv", "-o", "r", "--method", "foo"], "--method"),
        (["run", "a.csv", "-o", "r", "--method", "ward", "--metric", "cosine"], "ward"),
        (["run", "a.csv", "-o", "r", "--memory", "lots"], "not a size in bytes: 'lots'"),
        (["run", "a.csv", "-o", "r", "--row-k", "0"], "--row-k"),
        (["run", "a.csv", "-o", "r", "--row-k", "2", "--row-height", "1"], "not both"),
        (["run", "a.csv", "-o", "r", "--no-row-cluster", "--row-k", "2"], "no tree to cut"),
        (["run", "a.csv", "-o", "r", "--z-score", "rows", "--standard-scale", "rows"], "both"),
        (["run", "a.csv", "-o", "r", "--row-linkage", "none.npy"], "does not exist"),
        (["run", "a.csv", "-o", "r", "--row-colors", "none.tsv"], "does not exist"),
        (["run", "a.csv", "-o", "r", "--format", "gif"], "gif"),
        (["run", "a.csv", "-o", "r", "--dpi", "1"], "--dpi"),
        (["run", "a.csv", "-o", "r", "--figsize", "0", "3"], "inches"),
        (["run", "a.csv", "-o", "r", "--vmin", "3", "--vmax", "2"], "vmin must be below"),
        (["run", "a.csv", "-o", "r", "--legend", "red"], "LABEL=COLOUR"),
        (["run", "a.csv", "-o", "r", "--cluster", "cloud"], "cloud"),
        (["run", "a.csv", "-o", "r", "--scheduler-file", "none.json"], "does not exist"),
        (["run", "a.csv", "-o", "r", "--scheduler", "a", "--scheduler-file", "a.csv"], "not both"),
        (["plot", "none"], "does not exist"),
        (["plot", ".", "--name", "../x"], "not the name of a file"),
        (["status", "a.csv"], "is a file"),
    ],
)
def test_usage_errors_are_2(call, folder, arguments, says):
    assert_fails(call(*arguments), says, status=2)
    assert os.listdir() == ["a.csv"]


# Failures


def test_debug_shows_where(call, folder):
    for arguments in (
        ["--debug", "run", "b.csv", "-o", "r"],
        ["run", "b.csv", "-o", "r", "--debug"],
    ):
        with pytest.raises(FileNotFoundError):
            main(arguments)
    assert_fails(call("run", "b.csv", "-o", "r"), r"no such file or directory: .*b\.csv")


def bad_inputs():
    def text(name, content):
        return lambda: Path(name).write_text(content)

    def array(values):
        return lambda: np.save("b.npy", values)

    table = frame()
    with_nan = table.copy()
    with_nan.iloc[[4, 7], 2] = np.nan
    return {
        "missing": ("b.csv", lambda: None, r"no such file or directory: .*b\.csv"),
        "suffix": ("b.xyz", text("b.xyz", "1"), r"'\.xyz' is not one of"),
        "no suffix": ("b", text("b", "1"), "'none' is not one of"),
        "cell": ("b.csv", text("b.csv", "x,a,b\ng,1,2\nh,1,hello\n"), "hello"),
        "ragged": ("b.csv", text("b.csv", "x,a,b\ng,1,2\nh,1,2,3\n"), "h|line 3|row"),
        "empty": ("b.csv", text("b.csv", ""), "b.csv"),
        "no rows": ("b.csv", text("b.csv", "x,a,b\n"), "no rows"),
        "no columns": ("b.csv", text("b.csv", "x\ng\nh\n"), "column"),
        "nan": ("b.csv", lambda: with_nan.to_csv("b.csv"), "'g4', 'g7'.*--no-row-cluster"),
        "one row": ("b.csv", text("b.csv", "x,a,b\ng,1,2\n"), "one row only.*--no-row-cluster"),
        "one column": ("b.csv", text("b.csv", "x,a\ng,1\nh,2\n"), "one column only"),
        "vector": ("b.npy", array(np.arange(4)), "shape"),
        "words": ("b.npy", array(np.array([["a"]])), "b.npy"),
        "complex": ("b.npy", array(np.ones((3, 3), complex)), "complex"),
        "no shape": ("b.npy", array(np.ones((0, 3))), "no rows"),
        "truncated": ("b.csv.gz", lambda: Path("b.csv.gz").write_bytes(
            gzip.compress(table.to_csv().encode())[:200]), r"b\.csv\.gz"),
        "no parquet": ("b.parquet", text("b.parquet", "PAR1"), r"b\.parquet"),
        "no zarr": ("b.zarr", lambda: os.mkdir("b.zarr"), r"b\.zarr"),
        "directory": ("b", lambda: os.mkdir("b"), "directory"),
        "constant": ("b.csv", text("b.csv", "x,a,b\ng,1,1\nh,1,2\n"), "constant"),
        "protocol": ("foo://b.csv", lambda: None, "foo"),
    }  # fmt: skip


@pytest.mark.parametrize("kind", list(bad_inputs()))
def test_bad_input_is_one_line(call, folder, kind):
    name, make, says = bad_inputs()[kind]
    make()
    options = ["--row-metric", "correlation"] if kind == "constant" else []
    assert_fails_after_progress(call("run", name, "-o", "run", *SMALL, *options), says)
    if Path("run").exists():
        assert read_status(Path("run")).state == "stopped"
        assert not list(Path("run").glob("figure*"))


def assert_fails_after_progress(answer, says):
    code, out, err = answer
    assert_fails((code, out, err), says)


def test_bad_output_is_one_line(call, folder):
    Path("file").touch()
    assert_fails(call("run", "a.csv", "-o", "file"), "it is a file")
    assert_fails(call("run", "a.csv", "-o", "file/run"), "cannot make the run directory")
    os.mkdir("other")
    Path("other/thesis.tex").touch()
    assert_fails(call("run", "a.csv", "-o", "other"), "holds other files")
    assert_fails(call("status", "other"), "is not a run directory")
    assert_fails(call("plot", "other"), "is not a run directory")
    os.mkdir("old")
    Path("old/run.json").write_text('{"format": 0, "stages": {}}')
    for arguments in (["run", "a.csv", "-o", "old"], ["status", "old"], ["plot", "old"]):
        assert_fails(call(*arguments), "has format 0")


def test_a_directory_that_cannot_be_written_is_one_line(call):
    # Root may write everywhere, so be somebody else. pytest's own directories are not for all.
    folder = Path(tempfile.mkdtemp())
    try:
        frame().to_csv(folder / "a.csv")
        call("run", folder / "a.csv", "-o", folder / "run", *SMALL)
        for path in [folder / "run", folder]:
            path.chmod(0o555)
        (folder / "a.csv").chmod(0o444)
        nobody = os.geteuid() == 0
        if nobody:
            os.seteuid(65534)
        try:
            answers = [
                call("run", folder / "a.csv", "-o", folder / "new"),
                call("run", folder / "a.csv", "-o", folder / "run", *SMALL),
            ]
        finally:
            if nobody:
                os.seteuid(0)
        assert_fails(answers[0], "cannot make the run directory .*Permission denied")
        assert_fails(answers[1], "cannot write to the run directory .*Permission denied")
    finally:
        folder.chmod(stat.S_IRWXU)
        (folder / "run").chmod(stat.S_IRWXU)
        shutil.rmtree(folder)


def test_what_does_not_fit_is_refused_with_what_would_do(call, folder):
    np.save("big.npy", np.zeros((12_000, 2), np.float32))
    says = "needs .* and the run may use 300 MB.*--memory '.*' would do"
    assert_fails(call("plan", "big.npy", "--memory", "300MB"), says)
    assert_fails(call("run", "big.npy", "-o", "run", "--memory", "300MB"), says)
    assert read_status(Path("run")).state == "stopped"
    assert call("run", "a.csv", "-o", "run", *SMALL)[0] == 0


def test_an_unreachable_scheduler_is_one_line(call, folder, monkeypatch):
    monkeypatch.setattr("clustergrid.pipeline.clusters.joined._CONNECT_SECONDS", 1)
    answer = call("run", "a.csv", "-o", "run", *SMALL, "--scheduler", "tcp://127.0.0.1:9")
    assert_fails(answer, "cannot reach the Dask scheduler tcp://127.0.0.1:9")
    for content in ("{}", "[]", "address", ""):
        Path("bad.json").write_text(content)
        answer = call("run", "a.csv", "-o", "run", *SMALL, "--scheduler-file", "bad.json")
        assert_fails(answer, r"(cannot read|no address in) the scheduler file bad\.json")
    assert call("run", "a.csv", "-o", "run", *SMALL)[0] == 0


def test_no_cluster_where_none_is_wanted(call, folder, monkeypatch):
    monkeypatch.setattr("clustergrid.pipeline.run_plan._SMALL_DISTANCE_BYTES", 0)
    monkeypatch.setattr("clustergrid.pipeline.clusters.local.local_client", None)
    status, _, err = call("run", "a.csv", "-o", "run", *SMALL, "--cluster", "none")
    assert status == 0
    assert "dashboard" not in err


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (RuntimeError("two\nlines"), r"RuntimeError: two lines \(run with --debug"),
        (MemoryError("Unable to allocate 9 GiB"), "out of memory: Unable to allocate"),
        (OSError(28, "No space left on device"), "No space left"),
        (type("KilledWorker", (Exception,), {})("x"), "a Dask worker died again and again"),
        (type("FutureCancelledError", (BaseException,), {})("x"), "the Dask cluster was lost"),
    ],
)
def test_errors_that_nobody_foresaw_are_one_line_too(call, folder, monkeypatch, error, says):
    def fail(*_args, **_kwargs):
        raise error

    monkeypatch.setattr(run_module, "run", fail)
    assert_fails(call("run", "a.csv", "-o", "run"), says)


def test_warnings_of_libraries_are_not_shown_and_ours_are_lines(call, folder, monkeypatch):
    import warnings

    import clustergrid.pipeline.run

    def warn(*_args, **_kwargs):
        warnings.warn("of a library", DeprecationWarning, stacklevel=1)
        warnings.warn_explicit("of\nours", UserWarning, clustergrid.pipeline.run.__file__, 1)
        warnings.warn_explicit("theirs", UserWarning, np.__file__, 1)
        raise RuntimeError("end")

    monkeypatch.setattr(run_module, "run", warn)
    before = warnings.showwarning
    _, _, err = call("run", "a.csv", "-o", "run")
    assert err.splitlines()[0] == "clustergrid: warning: of ours"
    assert len(err.splitlines()) == 2
    assert warnings.showwarning is before


def test_handlers_of_signals_are_put_back(call, folder):
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    call("plan", "a.csv")
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
