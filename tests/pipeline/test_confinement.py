"""A run directory writes nowhere else, and is as private as the user's other files."""

from __future__ import annotations

import contextlib
import os
import stat
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clustergrid.storage.errors import RunDirectoryError
from clustergrid.storage.links import refuse_links_out
from clustergrid.storage.manifest import Entry, Manifest
from clustergrid.storage.rundir import RunDirectory
from tests.pipeline.commands import COMMAND, SMALL, assert_one_line, frame

pytestmark = pytest.mark.quick_cases(one_in=16)

ROOT = Path(__file__).parents[2]


@pytest.fixture
def finished(call, tmp_path, monkeypatch):
    """A finished run, in a folder where it is the working directory."""
    monkeypatch.chdir(tmp_path)
    frame().to_csv("m.csv")
    assert call("run", "m.csv", "-o", "run", *SMALL, "--row-k", 3)[0] == 0
    return tmp_path / "run"


def run_again(call):
    return call("run", "m.csv", "-o", "run", *SMALL, "--row-k", 3)


def sign(directory: Path, change) -> None:
    """Change run.json as somebody who knows its format does: with the digest of itself."""
    run = RunDirectory(directory)
    change(run.state)
    run.update()


def try_everything(call):
    """Every command that reads a run directory; each may refuse, in one line."""
    for command in (["status", "run"], ["status", "run", "--json"],
                    ["plot", "run", *SMALL, "--cmap", "mako"],
                    ["verify", "run"],
                    ["run", "m.csv", "-o", "run", *SMALL, "--row-k", 3]):  # fmt: skip
        status, _, err = call(*command)
        assert status in (0, 1, 2)
        assert "Traceback" not in err, err


# Paths


OUTSIDE = [
    "/etc/hostname",
    "../precious.txt",
    "report/../../precious.txt",
    "run/../../precious.txt",
]


@pytest.fixture
def precious(tmp_path):
    """Files that nobody touches; how they were is checked in the end."""
    folder = tmp_path / "precious"
    folder.mkdir()
    files = [tmp_path / "precious.txt", folder / "0", folder / "zarr.json", folder / "run.json"]
    for file in files:
        file.write_text("precious")
    yield folder
    for file in files:
        assert file.read_text() == "precious", file
    assert {file.name for file in folder.iterdir()} == {"0", "zarr.json", "run.json"}


@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.parametrize("stage", ["picture", "linkage-row"])
def test_files_of_a_stage_do_not_lead_out(call, finished, precious, name, stage):
    def change(state):
        state["stages"][stage]["files"] = {name: "sha256:00"}
        state["stages"][stage]["results"] = "other"
        state["files"]["figure_png"] = name

    sign(finished, change)
    for command in (["plot", "run", *SMALL, "--cmap", "mako"],
                    ["run", "m.csv", "-o", "run", *SMALL, "--row-k", 3]):  # fmt: skip
        status, _, err = call(*command)
        assert status in (0, 1)
        assert status == 0 or "leads out of the run directory" in err


@pytest.mark.parametrize("store", ["/etc", "../precious", "arrays.zarr/../../precious"])
def test_arrays_of_a_stage_do_not_lead_out(call, finished, precious, store):
    def change(state):
        for entry in state["stages"].values():
            entry["arrays"] = [[store, name] for _, name in entry["arrays"]] or [[store, "x"]]

    sign(finished, change)
    try_everything(call)


def test_a_manifest_does_not_write_outside(call, finished, precious, tmp_path):
    manifest = Manifest(finished, "image")
    assert manifest.key is not None
    for name in ("../precious.txt", str(tmp_path / "precious.txt"), "x/../../precious.txt"):
        entry = Entry(file=name, size_bytes=1, digest="sha256:00", text="overwritten")
        manifest.begin(str(manifest.key), [entry])
        read = Manifest(finished, "image")
        assert not read.entries
        assert read.torn == 1
    (finished / "way").symlink_to(precious)
    for name in ("way/zarr.json", "order_row.txt", "README.txt"):
        entry = Entry(file=name, size_bytes=1, digest="sha256:00", text="overwritten")
        manifest.begin(str(manifest.key), [entry])
        with pytest.raises(RunDirectoryError, match="no metadata of Zarr"):
            Manifest(finished, "image").restore_metadata()
    try_everything(call)


LINKED = [
    *("arrays.zarr", "matrix.zarr", "manifest", "report", "arrays.zarr/image"),
    *("matrix.zarr/matrix/c", "figure.png", "run.json", "progress.jsonl", "linkage_row.npy"),
    *("README.txt", "order_row.txt", ".run.lock.1", "run.lock", ".writing-abc-run.json"),
    "clusters_row.tsv",
]
REFUSED = (
    "is not in the run directory|leads out|not a run directory|cannot be read"
    "|not as it was written|has format"
)


@pytest.mark.parametrize("name", LINKED)
def test_no_link_is_followed_out(call, finished, precious, name):
    path = finished / name
    if path.is_dir():
        path.rename(path.with_name(path.name + "-was"))
    else:
        path.unlink(missing_ok=True)
    path.parent.mkdir(exist_ok=True)
    is_folder = "." not in path.name or path.name.endswith(".zarr")
    path.symlink_to(precious if is_folder else precious / "run.json")
    for command in (["plot", "run", *SMALL, "--cmap", "mako"],
                    ["run", "m.csv", "-o", "run", *SMALL, "--row-k", 3]):  # fmt: skip
        answer = call(*command)
        assert_one_line(answer, REFUSED)
    assert call("status", "run")[0] in (0, 1)


def test_links_that_stay_inside_are_let_be(call, finished):
    (finished / "arrays.zarr").rename(finished / "elsewhere.zarr")
    (finished / "arrays.zarr").symlink_to("elsewhere.zarr")
    refuse_links_out(finished)
    assert run_again(call)[0] == 0


def test_pipes_and_circles_are_refused(finished):
    os.mkfifo(finished / "pipe")
    with pytest.raises(RunDirectoryError, match="neither a file nor a directory"):
        refuse_links_out(finished)
    (finished / "pipe").unlink()
    (finished / "circle").symlink_to("circle")
    with pytest.raises(RunDirectoryError, match="is a link to circle"):
        refuse_links_out(finished)


@given(st.text())
def test_no_name_leads_out(tmp_path_factory, name):
    root = tmp_path_factory.getbasetemp() / "named"
    if not root.exists():
        RunDirectory(root, create=True)
    with contextlib.suppress(RunDirectoryError):
        assert RunDirectory(root).file(name).is_relative_to(root.resolve())


@pytest.mark.parametrize("name", ["../a", "/tmp/a", "a/b", ".hidden", ""])
def test_the_name_of_a_figure_is_a_name(call, finished, name):
    status, _, err = call("plot", "run", *SMALL, "--name", name)
    assert status == 2
    assert "is not the name of a file" in err


# Permissions


def modes(directory: Path) -> dict[str, int]:
    return {
        str(path.relative_to(directory)): stat.S_IMODE(path.stat().st_mode)
        for path in (directory, *directory.rglob("*"))
    }


def test_files_of_a_run_follow_the_umask(tmp_path):
    mask = 0o077  # every bit that another mask may take
    frame().to_csv(tmp_path / "m.csv")
    done = subprocess.run(
        [*COMMAND, "run", "m.csv", "-o", "run", *SMALL, "--row-k", "3"],
        cwd=tmp_path, umask=mask, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = modes(tmp_path / "run")
    assert len(found) > 20
    assert not {name: oct(mode) for name, mode in found.items() if mode & mask}
