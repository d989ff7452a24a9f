"""Run directories in buckets: the lock, lines that grow, notes of what is there."""

import json
import os
import subprocess
import sys
import time

import pytest

from clustergrid.storage.errors import ObjectStoreError, RunDirectoryError, StorageError
from clustergrid.storage.holder import myself
from clustergrid.storage.lines import MOST_BYTES_PER_SECOND, ObjectLines
from clustergrid.storage.manifest import file_entry
from clustergrid.storage.object_path import ObjectPath
from clustergrid.storage.rundir import RunDirectory
from clustergrid.storage.verify import unknown_files, verify_bytes
from tests.storage.object_stores.servers import front, use


@pytest.fixture
def run(bucket):
    return RunDirectory(f"{bucket}/runs/1", create=True)


def lock_of(run, **changes):
    mine = myself()
    entry = {"host": mine.host, "pid": mine.pid, "started": mine.started, "boot": mine.boot}
    (run.path / "run.lock").write_text(json.dumps({**entry, **changes}))


def damages_of(run):
    return [str(damage) for damage in verify_bytes(run, threads=2, progress=lambda _: None)[0]]


def test_a_stage_is_finished_as_long_as_what_it_left_is_there(run, bucket):
    with run.locked():
        with run.publish("linkage_row.npy") as path:
            path.write_bytes(b"tree")
        manifest = run.manifest("matrix")
        manifest.begin("key")
        (run.path / "matrix.zarr/c").write_bytes(b"chunk")
        manifest.record(file_entry(run.path, "matrix.zarr/c"))
        run.finish("matrix", "key", files=["linkage_row.npy"])
        run.lines("progress.jsonl").append("{}\n")
    again = RunDirectory(f"{bucket}/runs/1")
    assert again.is_finished("matrix", "key")
    assert (again.path / "progress.jsonl").read_bytes() == b"{}\n"
    assert not (again.path / "run.lock").exists()
    assert damages_of(again) == []
    assert unknown_files(again) == ["README.txt"]
    (again.path / "matrix.zarr/c").write_bytes(b"chunks")
    assert not again.is_finished("matrix", "key")
    assert damages_of(again) == ["matrix.zarr/c: has 6 bytes and was written with 5"]
    (again.path / "linkage_row.npy").unlink()
    assert "linkage_row.npy: is missing" in damages_of(again)


def test_what_is_no_run_is_left_alone(bucket):
    ObjectPath.parse(f"{bucket}/thesis/chapter.tex").write_bytes(b"1")
    with pytest.raises(RunDirectoryError, match=r"holds other files .chapter.tex."):
        RunDirectory(f"{bucket}/thesis", create=True)
    with pytest.raises(StorageError, match="it is an object"):
        RunDirectory(f"{bucket}/thesis/chapter.tex", create=True)
    with pytest.raises(RunDirectoryError, match=r"s3://.*is not a run directory"):
        RunDirectory(f"{bucket}/none")


def test_names_that_lead_out_are_refused(run):
    with pytest.raises(RunDirectoryError, match="leads out"):
        run.file("../2/run.json")


def test_a_store_that_does_not_answer_mends_nothing(run, object_server, monkeypatch):
    """What cannot be asked for was not damaged: no run.json is begun anew."""
    with front(object_server, lambda *_: 403) as endpoint:
        use(monkeypatch, endpoint)
        with pytest.raises(ObjectStoreError, match="is denied"):
            RunDirectory(run.path, create=True)
        with pytest.raises(ObjectStoreError, match="is denied"):
            run.is_finished("a", "b") or run.digest("README.txt")


def test_the_second_process_is_refused_with_the_name_of_the_first(run):
    with (
        run.locked(),
        pytest.raises(RunDirectoryError, match=f"in use by process {os.getpid()} on "),
        RunDirectory(run.path).locked(),
    ):
        raise AssertionError("two at once")
    assert run.holder() is None


def test_the_lock_of_a_dead_process_is_taken_over(run):
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"],
                          capture_output=True, check=True)  # fmt: skip
    lock_of(run, pid=int(gone.stdout))
    with run.locked():
        assert run.holder() == myself()
    lock_of(run, host="elsewhere")
    with (
        pytest.raises(RunDirectoryError, match=r"on elsewhere.*delete s3://.*run.lock"),
        run.locked(),
    ):
        pass
    (run.path / "run.lock").write_bytes(b"no lock at all")
    with run.locked():
        pass


def test_a_lock_that_was_taken_meanwhile_is_not_overwritten(run, object_server, monkeypatch):
    """Between the look at a stale lock and its exchange, another process took it over."""
    lock_of(run, pid=2**22 + 1)
    looked = []

    def answer(method, path, headers):
        if method == "PUT" and "If-Match" in headers and not looked:
            looked.append(path)
            with pytest.MonkeyPatch.context() as patch:
                use(patch, object_server.endpoint)
                lock_of(run)

    with front(object_server, answer) as endpoint:
        use(monkeypatch, endpoint)
        with pytest.raises(RunDirectoryError, match="in use by process"), run.locked():
            pass
    assert looked[0].endswith("run.lock")
    assert b"token" not in (run.path / "run.lock").read_bytes()


def test_a_lock_whose_answer_was_lost_is_ones_own(run, object_server, monkeypatch):
    drops = iter(["drop"])

    def answer(method, path, headers):
        is_create = method == "PUT" and "If-None-Match" in headers
        return next(drops, None) if is_create else None

    with front(object_server, answer) as endpoint:
        use(monkeypatch, endpoint)
        with run.locked():
            assert run.holder() == myself()
    assert next(drops, None) is None
    assert not (run.path / "run.lock").exists()


def test_a_store_without_conditional_writes_is_refused(run, object_server, monkeypatch):

    def answer(method, path, headers):
        if method == "PUT":
            headers.pop("If-None-Match", None)

    with front(object_server, answer) as endpoint:
        use(monkeypatch, endpoint)
        with pytest.raises(RunDirectoryError, match="conditional writes"), run.locked():
            pass
        lock_of(run, host="elsewhere")
        with pytest.raises(RunDirectoryError, match="on elsewhere"), run.locked():
            pass


def test_lines_grow_in_memory_and_are_put_whole(bucket):
    lines = ObjectLines(ObjectPath.parse(f"{bucket}/log"))
    lines.append("a\n")
    assert lines.read() == b"a\n"
    assert not lines.path.exists()
    lines.flush()
    lines.append("b\n")
    lines.flush()
    assert lines.path.read_bytes() == b"a\nb\n"
    lines.append("c\n")
    lines.replace("d\n")
    lines.flush()
    assert lines.path.read_bytes() == b"d\n"
    lines.append("e\n")
    lines.remove()
    lines.flush()
    assert not lines.path.exists()


def test_a_long_log_is_not_put_all_the_time(bucket):
    lines = ObjectLines(ObjectPath.parse(f"{bucket}/log"))
    lines.append("a\n" * MOST_BYTES_PER_SECOND)
    lines.flush_if_due()
    first = lines.path.stat().st_size
    lines.append("b\n")
    lines.flush_if_due()  # two seconds have to pass
    assert lines.path.stat().st_size == first == 2 * MOST_BYTES_PER_SECOND
    lines.flush()
    assert lines.path.stat().st_size == first + 2


def test_notes_are_put_while_the_run_goes_on(run):
    with run.locked():
        manifest = run.manifest("matrix")
        manifest.begin("key")
        (run.path / "matrix.zarr/c").write_bytes(b"chunk")
        manifest.record(file_entry(run.path, "matrix.zarr/c"))
        deadline = time.monotonic() + 60
        while b"matrix.zarr/c" not in manifest.file.read_bytes():
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_lines_that_could_not_be_put_stop_the_run(bucket, object_server, monkeypatch):
    lines = ObjectLines(ObjectPath.parse(f"{bucket}/log"))
    lines.append("a\n")
    with front(object_server, lambda *_: 403) as endpoint:
        use(monkeypatch, endpoint)
        with pytest.raises(ObjectStoreError, match="is denied"):
            lines.flush()
        with pytest.raises(ObjectStoreError, match="is denied"):
            lines.append("b\n")
    use(monkeypatch, object_server.endpoint)
    lines.flush()
    lines.append("b\n")
    lines.flush()
    assert lines.path.read_bytes() == b"a\nb\n"
