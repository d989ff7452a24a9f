"""Runs whose directory, and whose input, is in a bucket: the same bits, whatever happens.

The server is moto's, a process that speaks S3 over HTTP; what is compared with are runs in folders.
"""

import json
import os
import re
import signal
import time
import warnings

import numpy as np
import pytest
import scipy.sparse as sp

import tests.pipeline.runs as runs
from clustergrid.pipeline import clustermap, linkage, pdist
from clustergrid.pipeline.drawing import plot_run
from clustergrid.pipeline.request import ClusterChoice, FigureOptions, RunRequest
from clustergrid.pipeline.run import run
from clustergrid.pipeline.spec import AxisSpec
from clustergrid.pipeline.status import read_status
from clustergrid.pipeline.verify import verify_run
from clustergrid.storage import open_condensed
from clustergrid.storage.errors import ObjectStoreError, RunDirectoryError
from clustergrid.storage.ingest import ingest
from clustergrid.storage.matrix import open_matrix
from clustergrid.storage.object_path import ObjectPath
from clustergrid.storage.places import as_path, remove_tree
from tests.faults.harness import LOOK, Run, assert_same, one_line
from tests.storage.object_stores.servers import (
    KEY_ID,
    SECRET,
    download,
    environment,
    front,
    upload,
    use,
)

HERE = ClusterChoice(cluster="none")


@pytest.fixture
def bucket(object_server, monkeypatch):
    use(monkeypatch, object_server.endpoint)
    return object_server.make_bucket()


@pytest.fixture
def start():
    started = []

    def start(*arguments, **options):
        started.append(Run(*arguments, **options))
        return started[-1]

    yield start
    for each in started:
        each.close()


def request(path, directory, **options):
    options.setdefault("figure", FigureOptions(figsize_inches=(3.0, 3.0), dpi=40))
    options.setdefault("cluster", HERE)
    return RunRequest(input=str(path), directory=as_path(directory), **options)


def both(path, bucket, tmp_path, **options):
    """Run in a folder and in a bucket; return both directories, that of the bucket downloaded."""
    run(request(path, tmp_path / "here", **options))
    run(request(path, f"{bucket}/runs/1", **options))
    return tmp_path / "here", download(f"{bucket}/runs/1", tmp_path / "there")


def test_a_run_in_a_bucket_leaves_the_bits_of_one_in_a_folder(bucket, tmp_path):
    path = runs.table(tmp_path, runs.frame(200, 8))
    here, there = both(path, bucket, tmp_path, row=AxisSpec(engine="square"))
    assert_same(there, here)
    url = f"{bucket}/runs/1"
    status = read_status(url)
    assert (status.state, status.directory) == ("finished", url)
    assert {"ingest", "distance-row", "picture"} <= {stage.stage for stage in status.stages}
    report = verify_run(url)
    assert report.damages == report.unknown == ()
    assert "trees of rows" in " ".join(report.checks) or report.checks
    log = runs.Log()
    run(request(path, url, row=AxisSpec(engine="square")), log)
    assert log.stages("started") == set()
    files = plot_run(url, FigureOptions(figsize_inches=(2.0, 2.0), dpi=40), output="small")
    assert (ObjectPath.parse(url) / files["small_png"]).read_bytes().startswith(b"\x89PNG")
    for file in there.rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            assert KEY_ID.encode() not in content, file
            assert SECRET.encode() not in content, file


@pytest.mark.slow
def test_a_chunk_that_was_lost_or_changed_is_made_again_and_no_other(bucket, tmp_path):
    path = runs.table(tmp_path, runs.frame(1600, 4))
    url, options = f"{bucket}/runs/1", {"row": AxisSpec(engine="square"), "memory_bytes": 10**9}
    run(request(path, url, **options))
    before = download(url, tmp_path / "before")
    root = ObjectPath.parse(url)
    tiles = sorted(
        name for name, _ in root.files() if re.match(r"arrays.zarr/condensed_row\w+/tiles/c/", name)
    )
    assert len(tiles) > 2
    etags = {name: found.etag for name, found in root.files()}
    changed = bytearray((root / tiles[0]).read_bytes())
    changed[100] ^= 8
    (root / tiles[0]).write_bytes(bytes(changed))
    (root / tiles[1]).unlink()
    report = verify_run(url)
    assert [str(damage) for damage in report.damages] == [
        f"{tiles[0]}: fails its checksum: bytes of it changed", f"{tiles[1]}: is missing",
    ]  # fmt: skip
    put = []
    with pytest.MonkeyPatch.context() as patch:
        original = ObjectPath.write_bytes
        patch.setattr(ObjectPath, "write_bytes", lambda self, content: (
            put.append(str(self)), original(self, content))[1])  # fmt: skip
        run(request(path, url, **options))
    assert_same(download(url, tmp_path / "after"), before)
    assert {name: found.etag for name, found in root.files() if name in tiles} == {
        name: etags[name] for name in tiles
    }
    assert not any("linkage_row" in name for name in put), "the tree was made again"


def test_what_a_command_says_is_one_line_without_secrets(bucket, tmp_path, call, object_server):
    path = runs.table(tmp_path)
    word = ["run", path, "-o", f"{bucket}/runs/1", *LOOK]
    status, out, err = call(*word)
    assert status == 0, err
    assert call("status", f"{bucket}/runs/1")[0] == 0
    assert call("plan", path, "-o", f"{bucket}/runs/1")[0] == 0
    assert call("verify", f"{bucket}/runs/1")[0] == 0
    answers = [
        (call("run", path, "-o", "s3://nobody-has-it/run"), "there is no bucket s3://nobody-has-it"),
        (call("run", path, "-o", f"s3://{KEY_ID}:{SECRET}@b/run"), "has a login"),
        (call("status", f"{bucket}/runs/2"), f"{bucket}/runs/2 is not a run directory"),
        (call("run", f"{bucket}/none.zarr", "-o", f"{bucket}/runs/2"), "no such file"),
        (call("run", f"{bucket}/runs/1/matrix.zarr", *word[2:]), "one is in the other"),
    ]  # fmt: skip
    with front(object_server, lambda *_: 403) as endpoint, pytest.MonkeyPatch.context() as patch:
        use(patch, endpoint)
        answers.append((call(*word), f"access to {bucket}/runs/1.* is denied"))
    for (status, out, err), says in answers:
        assert status in (1, 2), (out, err)
        assert re.search(says, err.splitlines()[-1]), err
        assert "Traceback" not in err
        assert KEY_ID not in out + err
        assert SECRET not in out + err


def test_python_puts_intermediate_arrays_into_buckets(bucket, tmp_path):
    data = runs.frame(300, 6)
    given = pdist(data, store=f"{bucket}/store")
    assert np.array_equal(given.to_numpy(), pdist(data, store=tmp_path / "store").to_numpy())
    assert np.array_equal(open_condensed(f"{bucket}/store").to_numpy(), given.to_numpy())
    assert np.array_equal(linkage(given), linkage(data))
    stored = f"{bucket}/input.zarr"
    ingest(open_matrix(data), stored)
    there = clustermap(open_matrix(stored), store=f"{bucket}/map", figsize=(3, 3))
    here = clustermap(data, figsize=(3, 3))
    for axis in ("row", "col"):
        ours, theirs = (getattr(g, f"dendrogram_{axis}").linkage for g in (there, here))
        assert np.array_equal(ours, theirs)


@pytest.mark.slow
def test_a_sparse_input_in_a_bucket_and_pieces_of_reordering(bucket, tmp_path):
    anndata = pytest.importorskip("anndata")
    values = sp.random(400, 30, 0.2, "csr", np.float32, np.random.default_rng(0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of formats to come
        anndata.AnnData(values).write_zarr(tmp_path / "a.zarr")
    url = upload(tmp_path / "a.zarr", f"{bucket}/a.zarr")
    options = {"reordered": True, "pyramid": True}
    run(request(tmp_path / "a.zarr", tmp_path / "here", **options))
    run(request(url, f"{bucket}/runs/1", **options))
    here, there = tmp_path / "here", download(f"{bucket}/runs/1", tmp_path / "there")
    ours, theirs = ({f.relative_to(d): f.read_bytes() for f in (d / "reordered.zarr").rglob("*")
                     if f.is_file() and f.name != "zarr.json"} for d in (there, here))  # fmt: skip
    assert ours.keys() == theirs.keys()
    assert ours == theirs
    assert runs.results(there) == runs.results(here)
    assert not any("pieces" in str(file) for file in there.rglob("*"))
    assert verify_run(f"{bucket}/runs/1").damages == ()


@pytest.fixture
def large(tmp_path):
    """Rows whose distances take some seconds, and of which a local cluster has workers."""
    values = np.random.default_rng(0).normal(size=(5010, 24)).astype(np.float32)
    np.save(tmp_path / "a.npy", values)
    return tmp_path / "a.npy"


WORDS = ["--row-engine", "square", "--memory", "1GB", *LOOK]


@pytest.mark.slow
@pytest.mark.parametrize("where", [["--cluster", "none"], ["--dashboard-port", "0"]])
def test_a_run_that_is_killed_goes_on_with_the_same_bits(start, large, bucket, tmp_path, where):
    run(request(large, tmp_path / "here", row=AxisSpec(engine="square"), memory_bytes=10**9))
    url = f"{bucket}/runs/{len(where)}"
    moments = [("ingest", 0.05), *(("distance-row", late) for late in (0.0, 2.0, 4.0))]
    moments += [("linkage-row", 0.5), ("downsample", 0.0), ("picture", 0.2)]
    kept = []
    for stage, seconds in moments:
        under_way = start("run", large, "-o", url, *WORDS, *where)
        if under_way.wait_for(stage):
            time.sleep(seconds)
        under_way.kill()
        kept.append(sum("/tiles/c/" in name for name, _ in ObjectPath.parse(url).files()))
    assert kept == sorted(kept), "tiles that were there were lost"
    assert kept[2] > 0, "no tile was at rest when it was killed"
    ended = start("run", large, "-o", url, *WORDS, *where).end()
    assert ended.status == 0, ended.err
    assert_same(download(url, tmp_path / "there"), tmp_path / "here")
    assert verify_run(url).damages == ()


@pytest.mark.slow
def test_tiles_that_were_noted_before_a_kill_are_not_computed_again(start, large, bucket):
    url = f"{bucket}/runs/1"
    under_way = start("run", large, "-o", url, *WORDS, "--cluster", "none")
    assert under_way.wait_for("distance-row")
    notes = ObjectPath.parse(url) / "manifest/distance-row.jsonl"
    deadline = time.monotonic() + 60.0
    while not (notes.exists() and "/c/" in notes.read_text()) and time.monotonic() < deadline:
        time.sleep(0.2)  # they are put every few seconds
    under_way.kill()
    noted = notes.read_text().count("/c/")
    ended = start("run", large, "-o", url, *WORDS, "--cluster", "none").end()
    assert ended.status == 0
    assert noted
    verified = [event.total for event in ended.events if event.stage == "verify-row"]
    assert verified
    assert verified[0] >= noted


@pytest.mark.slow
def test_the_second_process_is_refused_and_the_first_goes_on(start, large, bucket, tmp_path):
    url = f"{bucket}/runs/1"
    first = start("run", large, "-o", url, *WORDS, "--cluster", "none")
    assert first.wait_for("distance-row")
    with first.paused():
        second = start("run", large, "-o", url, *WORDS, "--cluster", "none").end()
        assert f"is in use by process {first.pid} on {os.uname().nodename}" in one_line(second)
        assert read_status(url).state == "running"
    assert first.end().status == 0


@pytest.mark.slow
def test_a_signal_leaves_a_run_that_goes_on(start, large, bucket):
    url = f"{bucket}/runs/1"
    under_way = start("run", large, "-o", url, *WORDS, "--cluster", "none")
    assert under_way.wait_for("distance-row")
    time.sleep(1.0)
    under_way.signal(signal.SIGTERM)
    ended = under_way.end()
    assert ended.status == 143
    assert not (ObjectPath.parse(url) / "run.lock").exists()
    assert read_status(url).state == "stopped"
    assert start("run", large, "-o", url, *WORDS, "--cluster", "none").end().status == 0


@pytest.mark.slow
def test_a_store_that_fails_for_a_while_and_one_that_ends(
    start, large, bucket, tmp_path, object_server
):
    run(request(large, tmp_path / "here", row=AxisSpec(engine="square"), memory_bytes=10**9))
    url, until, refused = f"{bucket}/runs/1", [0.0], []

    def answer(method, path, headers):
        if refused and method == "PUT":
            return 403
        return 500 if time.monotonic() < until[0] else None

    with front(object_server, answer) as endpoint:
        said = environment(endpoint)
        under_way = start("run", large, "-o", url, *WORDS, "--cluster", "none", environment=said)
        assert under_way.wait_for("distance-row")
        until[0] = time.monotonic() + 8.0
        assert under_way.wait_for("linkage-row"), under_way.end().err
        refused.append(True)
        ended = under_way.end()
        assert re.search(rf"access to {url}/.* is denied", one_line(ended))
        assert SECRET not in ended.err
        refused.clear()
        remove_tree(ObjectPath.parse(f"{url}/run.lock"))  # which it was not allowed to give back
        (ObjectPath.parse(url) / "run.lock").unlink(missing_ok=True)
        again = start("run", large, "-o", url, *WORDS, "--cluster", "none", environment=said).end()
        assert again.status == 0, again.err
        assert "distance-row" not in again.stages("started")
    assert_same(download(url, tmp_path / "there"), tmp_path / "here")


@pytest.mark.slow
def test_workers_of_a_cluster_write_into_the_bucket(large, bucket, tmp_path):
    upload(large.parent, f"{bucket}/inputs")
    choice = ClusterChoice(cluster="local", dashboard_port=0)
    options = {"row": AxisSpec(engine="square"), "memory_bytes": 2 * 10**9}
    run(request(f"{bucket}/inputs/a.npy", f"{bucket}/runs/1", cluster=choice, **options))
    run(request(f"{bucket}/inputs/a.npy", tmp_path / "here", **options))
    there = download(f"{bucket}/runs/1", tmp_path / "there")
    assert list((there / "report").glob("*.html"))
    assert_same(there, tmp_path / "here")


@pytest.mark.slow
def test_rows_at_rest_are_in_the_bucket_and_go(large, bucket, tmp_path):
    options = {"row": AxisSpec(method="ward"), "memory_bytes": 600 * 10**6}
    here = run(request(large, tmp_path / "here", **options))
    run(request(large, f"{bucket}/runs/1", **options))
    assert here.files["linkage_row"]
    there = download(f"{bucket}/runs/1", tmp_path / "there")
    assert runs.results(there) == runs.results(tmp_path / "here")
    assert not list((there / "arrays.zarr").glob("points*"))


@pytest.mark.slow
def test_an_input_that_changed_is_refused(bucket, tmp_path):
    stored = f"{bucket}/input.zarr"
    ingest(open_matrix(runs.frame(300, 6)), stored)
    run(request(stored, f"{bucket}/runs/1"))
    state = json.loads((ObjectPath.parse(bucket) / "runs/1/run.json").read_text())
    assert state["request"]["input"] == stored
    ingest(open_matrix(runs.frame(300, 6, seed=1)), stored)
    with pytest.raises(RunDirectoryError, match="holds results of another input"):
        run(request(stored, f"{bucket}/runs/1"))


@pytest.mark.slow
def test_a_store_that_cannot_be_reached_loses_nothing(bucket, tmp_path, object_server):
    path, url = runs.table(tmp_path), f"{bucket}/runs/1"
    run(request(path, url))
    before = download(url, tmp_path / "before")
    with front(object_server, lambda *_: 403) as endpoint, pytest.MonkeyPatch.context() as patch:
        use(patch, endpoint)
        with pytest.raises(ObjectStoreError, match="is denied"):
            run(request(path, url))
    run(request(path, url))
    assert_same_results(download(url, tmp_path / "after"), before)


def assert_same_results(ours, theirs):
    assert runs.results(ours) == runs.results(theirs)
