"""Nobody else reaches what a run opens, and what it reads runs nothing."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import io
import json
import os
import pickle
import re
import subprocess
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.ioloop import IOLoop
from tornado.websocket import websocket_connect

from clustergrid.pipeline.cluster import connect
from clustergrid.pipeline.request import ClusterChoice
from clustergrid.pipeline.resources import Resources
from clustergrid.storage.rundir import RunDirectory
from tests.pipeline.commands import COMMAND, SMALL, assert_one_line, frame

ROOT = Path(__file__).parents[2]


@pytest.fixture
def finished(call, tmp_path, monkeypatch):
    """A finished run, in a folder where it is the working directory."""
    monkeypatch.chdir(tmp_path)
    frame().to_csv("m.csv")
    assert call("run", "m.csv", "-o", "run", *SMALL, "--row-k", 3)[0] == 0
    return tmp_path / "run"


# Ports


def listening(pid: int) -> set[tuple[str, int]]:
    """Sockets at which a process and all its children listen."""
    found = set()
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for each in (process, *process.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                found |= {
                    (connection.laddr.ip, connection.laddr.port)
                    for connection in each.net_connections("inet")
                    if connection.status == psutil.CONN_LISTEN or not connection.raddr
                }
    return found


@pytest.mark.slow
def test_a_whole_run_listens_on_this_machine_only(tmp_path):
    """Scheduler, nannies, workers and dashboards: all processes, from first to last moment."""
    np.save(tmp_path / "m.npy", np.random.default_rng(0).normal(size=(6000, 20)).astype("f4"))
    process = subprocess.Popen(
        [*COMMAND, "run", "m.npy", "-o", "run", *SMALL, "--no-col-cluster",
         "--dashboard-port", "0"],
        cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    seen: set[tuple[str, int]] = set()
    while process.poll() is None:
        seen |= listening(process.pid)
        time.sleep(0.02)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "dashboard: http://127.0.0.1:" in err
    # The scheduler, its dashboard, a nanny, its worker, and the worker's page at least.
    assert len(seen) >= 5
    assert {ip for ip, _ in seen} == {"127.0.0.1"}


@pytest.fixture(scope="module")
def dashboard():
    """Port of the dashboard of a cluster of ours."""
    resources = Resources(memory_bytes=2 * 10**9, threads=1)
    with connect(ClusterChoice(dashboard_port=0), resources) as client:
        yield int(client.dashboard_link.rsplit(":", 1)[1].split("/")[0])


def open_websocket(port: int, path: str, origin: str) -> None:
    """Shake hands as a browser does for a page of an origin; raise where that is refused."""
    loop = IOLoop(make_current=False)
    request = HTTPRequest(
        f"ws://127.0.0.1:{port}{path}",
        headers={"Origin": origin, "Sec-WebSocket-Protocol": f"bokeh, {token(port)}"},
        connect_timeout=10,
    )

    async def shake() -> None:
        connection = await websocket_connect(request)
        connection.close()

    try:
        loop.run_sync(shake, timeout=20)
    finally:
        loop.close()


def token(port: int) -> str:
    """The token that the page carries, without which Bokeh's server answers nobody."""
    import urllib.request

    with urllib.request.urlopen(f"http://127.0.0.1:{port}/status", timeout=20) as page:
        found = re.search(r'"token":"([^"]+)"', page.read().decode())
    assert found
    return found[1]


# Dask makes the plugin of an event stream before it looks at the origin.
@pytest.mark.filterwarnings("ignore:Scheduler already contains a plugin")
@pytest.mark.parametrize("path", ["/status/ws", "/eventstream"])
def test_another_page_cannot_read_the_dashboard(dashboard, path):
    for origin in ("https://evil.example", "http://127.0.0.1:1", "http://localhost", "null"):
        with pytest.raises(HTTPClientError, match="403"):
            open_websocket(dashboard, path, origin)


def test_its_own_page_can(dashboard):
    for host in ("127.0.0.1", "localhost"):  # as through the ssh line that the command prints
        open_websocket(dashboard, "/status/ws", f"http://{host}:{dashboard}")


# Pickles


FORBIDDEN_IMPORTS = {
    "pickle",
    "cPickle",
    "cloudpickle",
    "dill",
    "joblib",
    "marshal",
    "shelve",
    "torch",
    "yaml",
}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}


def dangers(source: str) -> list[str]:
    """What in a module could run what a file holds, or a shell."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [a.name for a in node.names if a.name.split(".")[0] in FORBIDDEN_IMPORTS]
        elif isinstance(node, ast.ImportFrom):
            if (node.module or "").split(".")[0] in FORBIDDEN_IMPORTS:
                found.append(str(node.module))
        elif isinstance(node, ast.Call):
            found += [f"line {node.lineno}: {why}" for why in dangers_of_call(node)]
    return found


def dangers_of_call(node: ast.Call) -> list[str]:
    name = ast.unparse(node.func)
    keywords = {word.arg: word.value for word in node.keywords}
    last = name.rpartition(".")[2]
    found = []
    if name in FORBIDDEN_CALLS or name in ("os.system", "os.popen"):
        found.append(f"calls {name}")
    if last in ("read_pickle", "to_pickle", "load_module"):
        found.append(f"calls {name}")
    loads = (name.split(".")[0] in ("np", "numpy") and last == "load") or last == "read_array"
    allow = keywords.get("allow_pickle")
    if loads and not (isinstance(allow, ast.Constant) and allow.value is False):
        found.append(f"{name} without allow_pickle=False")
    if isinstance(allow, ast.Constant) and allow.value is True:
        found.append(f"{name} with allow_pickle=True")
    shell = keywords.get("shell")
    if shell is not None and not (isinstance(shell, ast.Constant) and shell.value is False):
        found.append(f"{name} with a shell")
    return found


SOURCES = sorted(path for top in ("pipeline", "storage") for path in (ROOT / top).rglob("*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_unpickles_or_evaluates(path):
    assert dangers(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    ["import pickle", "from joblib import load", "def f():\n    import yaml", "import torch.nn",
     "eval('1')", "exec(x)", "np.load(p)", "numpy.load(p, allow_pickle=True)", "pd.read_pickle(p)",
     "np.load(p, allow_pickle=flag)", "subprocess.run(c, shell=True)", "os.system(c)",
     "np.lib.format.read_array(f)"],
)  # fmt: skip
def test_a_danger_is_seen(source):
    assert dangers(source)


def test_what_is_no_danger_is_let_be():
    assert dangers("np.load(p, allow_pickle=False)\nre.compile('a')\nf.eval()\njson.load(f)") == []


class Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return (os.mkdir, (str(self.mark),))


def object_npy(payload: Payload) -> bytes:
    """An ``.npy`` that NumPy itself would unpickle."""

    buffer = io.BytesIO()
    np.save(buffer, np.array([payload], dtype=object), allow_pickle=True)
    return buffer.getvalue()


def test_the_payload_works(tmp_path):
    payload = Payload(tmp_path / "mark")
    np.load(io.BytesIO(object_npy(payload)), allow_pickle=True)
    assert payload.mark.is_dir()
    payload.mark.rmdir()
    pickle.loads(pickle.dumps(payload))
    assert payload.mark.is_dir()


def try_everything(call):
    """Every command that reads a run directory; each may refuse, in one line."""
    for command in (["status", "run"], ["status", "run", "--json"],
                    ["plot", "run", *SMALL, "--cmap", "mako"],
                    ["verify", "run"],
                    ["run", "m.csv", "-o", "run", *SMALL, "--row-k", 3]):  # fmt: skip
        status, _, err = call(*command)
        assert status in (0, 1, 2)
        assert "Traceback" not in err, err


@pytest.mark.slow
def test_pickles_in_the_place_of_every_file_run_nothing(call, finished, tmp_path):
    whole = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    assert len(whole) > 20
    mark = tmp_path / "mark"
    for path in whole:
        for each, before in whole.items():
            each.parent.mkdir(parents=True, exist_ok=True)
            each.write_bytes(before)
        is_npy = path.suffix == ".npy"
        path.write_bytes(object_npy(Payload(mark)) if is_npy else pickle.dumps(Payload(mark)))
        for command in (["status", "run"], ["plot", "run", *SMALL, "--cmap", "mako"],
                        ["run", "m.csv", "-o", "run", *SMALL, "--row-k", 3]):  # fmt: skip
            status, _, err = call(*command)
            assert status in (0, 1), (path, err)
            assert "Traceback" not in err, (path, err)
            assert not mark.exists(), path


def sign(directory: Path, change) -> None:
    """Change run.json as somebody who knows its format does: with the digest of itself."""
    run = RunDirectory(directory)
    change(run.state)
    run.update()


def resign_files(directory: Path) -> None:
    """Note what the files of all stages are now."""

    def change(state):
        for entry in state["stages"].values():
            for name in entry["files"]:
                digest = hashlib.sha256((directory / name).read_bytes()).hexdigest()
                entry["files"][name] = f"sha256:{digest}"

    sign(directory, change)


def test_a_pickled_tree_whose_digest_is_right_runs_nothing(call, finished, tmp_path):
    mark = tmp_path / "mark"
    (finished / "linkage_row.npy").write_bytes(object_npy(Payload(mark)))
    resign_files(finished)
    assert_one_line(call("plot", "run", *SMALL), "not a linkage matrix")
    try_everything(call)
    assert not mark.exists()


@pytest.mark.parametrize("store", ["arrays.zarr", "matrix.zarr"])
def test_zarr_arrays_of_pickles_run_nothing(call, finished, tmp_path, store):
    mark = tmp_path / "mark"
    names = sorted(path.parent.name for path in (finished / store).glob("*/zarr.json"))
    assert names
    content = pickle.dumps(np.array([Payload(mark)], dtype=object))
    old = {"zarr_format": 2, "shape": [1], "chunks": [1], "dtype": "|O", "fill_value": None,
           "order": "C", "compressor": None, "filters": [{"id": "pickle"}]}  # fmt: skip
    for name in names:
        array = finished / store / name
        (array / "zarr.json").unlink()
        (array / ".zarray").write_text(json.dumps(old))
        (array / "0").write_bytes(content)
    (finished / store / "zarr.json").unlink()
    (finished / store / ".zgroup").write_text('{"zarr_format": 2}')
    resign_files(finished)
    try_everything(call)
    assert not mark.exists()


def test_zarr_codecs_of_pickles_run_nothing(call, finished, tmp_path):
    mark = tmp_path / "mark"
    for file in (finished / "arrays.zarr").glob("*/zarr.json"):
        metadata = json.loads(file.read_text())
        metadata["codecs"] = [{"name": "numcodecs.pickle", "configuration": {"protocol": 5}}]
        file.write_text(json.dumps(metadata))
        for chunk in (file.parent / "c").rglob("*"):
            if chunk.is_file():
                chunk.write_bytes(pickle.dumps(Payload(mark)))
    resign_files(finished)
    try_everything(call)
    assert not mark.exists()
