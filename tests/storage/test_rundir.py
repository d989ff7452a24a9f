"""Whatever moment a run is killed at, no note in its directory is of another result."""

import json
import os
import socket
import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
import psutil
import pytest

from clustergrid.storage.arrays import create_array, write_block
from clustergrid.storage.chunks import damaged_chunks, is_whole, missing_chunks, stored_entries
from clustergrid.storage.errors import RunDirectoryError, StorageError
from clustergrid.storage.holder import Holder, myself
from clustergrid.storage.rundir import FORMAT, RunDirectory, stage_key
from clustergrid.storage.runlock import LOCK, holder_of

pytestmark = pytest.mark.quick_cases(one_in=4)


@pytest.fixture
def run(tmp_path):
    return RunDirectory(tmp_path / "run", create=True)


def reopened(run):
    return RunDirectory(run.path)


def stored(store, shape=(4, 6), chunks=(2, 3), path="x"):
    array = create_array(str(store), path, shape=shape, chunks=chunks, dtype="float64")
    write_block(array, (0, 0), np.zeros(shape))
    return store / path


# The directory


def test_a_new_directory_says_what_it_is(run):
    state = json.loads((run.path / "run.json").read_text())
    assert state.pop("digest").startswith("sha256:")
    assert state == {"format": FORMAT, "stages": {}}
    assert "linkage_*.npy" in (run.path / "README.txt").read_text()
    assert reopened(run).state == run.state


def test_an_old_directory_is_opened_again(run):
    run.update(finished=1.5)
    assert RunDirectory(run.path, create=True).state["finished"] == 1.5
    run.update(finished=None)
    assert "finished" not in reopened(run).state


def test_a_directory_with_other_files_is_refused_and_left_as_it_is(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(RunDirectoryError, match=r"other files \(thesis.tex\)"):
        RunDirectory(tmp_path, create=True)
    assert os.listdir(tmp_path) == ["thesis.tex"]


def test_a_run_killed_while_it_made_the_directory_can_be_started_again(tmp_path):
    for name in ("README.txt", ".writing-12-run.json", LOCK):
        (tmp_path / name).touch()
    run = RunDirectory(tmp_path, create=True)
    with run.locked():
        assert not list(tmp_path.glob(".writing*"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"format": 99, "stages": {}}', "has format 99, and this clustergrid reads format 3"),
        ('{"stages": {}}', "has format None"),
        ("[]", "has format None"),
        ('{"format": 1}', "has format 1"),
        ('{"format"', "cannot be read"),
        ("\udcff", "cannot be read"),
    ],
)
def test_another_format_is_refused(tmp_path, text, says):
    (tmp_path / "run.json").write_bytes(text.encode(errors="surrogateescape"))
    for create in (False, True):
        with pytest.raises(RunDirectoryError, match=says):
            RunDirectory(tmp_path, create=create)


def test_what_is_no_run_directory_is_refused(tmp_path):
    file = tmp_path / "file"
    file.touch()
    for path in (tmp_path, tmp_path / "nothing", file):
        with pytest.raises(RunDirectoryError, match="is not a run directory"):
            RunDirectory(path)
    with pytest.raises(StorageError, match="it is a file"):
        RunDirectory(file, create=True)
    with pytest.raises(StorageError, match="cannot make the run directory"):
        RunDirectory(file / "below", create=True)


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x"])
def test_no_name_leads_out(run, name):
    with pytest.raises(RunDirectoryError, match="leads out"):
        run.file(name)


def test_no_link_leads_out(run, tmp_path):
    (run.path / "link").symlink_to(tmp_path)
    with pytest.raises(RunDirectoryError, match="leads out"):
        run.file("link/x")


# Files appear whole


def fail(error):
    raise error


def test_a_file_appears_whole_or_not_at_all(run):
    run.write_text("a.txt", "old")
    for error in (RuntimeError, KeyboardInterrupt):
        with pytest.raises(error), run.publish("a.txt") as path:
            fail(path.write_text("ha") and error())
    assert (run.path / "a.txt").read_text() == "old"
    with run.publish("a.txt") as path:
        assert path.suffix == ".txt"
        path.write_text("new")
        assert (run.path / "a.txt").read_text() == "old"
    assert (run.path / "a.txt").read_text() == "new"
    assert not list(run.path.glob(".writing*"))


def test_a_full_disk_is_named_with_the_file(run):
    says = r"cannot write .*a\.txt: .*No space"
    with pytest.raises(StorageError, match=says), run.publish("a.txt"):
        raise OSError(28, os.strerror(28))


def test_any_label_can_be_written(run):
    run.write_text("a.txt", "\ud800 é\n")
    assert (run.path / "a.txt").read_bytes() == b"\\ud800 \xc3\xa9\n"


# Stages


def test_a_stage_is_finished_under_its_key_while_its_files_are_unchanged(run):
    key = stage_key(a=1)
    assert not run.is_finished("tree", key)
    run.write_text("tree.txt", "(a,b)")
    run.finish("tree", key, files=["tree.txt"], height=3)
    assert reopened(run).is_finished("tree", key)
    assert reopened(run).state["stages"]["tree"]["height"] == 3
    assert not run.is_finished("tree", stage_key(a=2))
    (run.path / "tree.txt").write_text("(b,a)")
    assert not run.is_finished("tree", key)
    (run.path / "tree.txt").unlink()
    assert not run.is_finished("tree", key)


def test_a_stage_is_finished_while_its_arrays_are_whole(run):
    array = stored(run.path / "arrays.zarr")
    manifest = run.manifest("image")
    manifest.begin("k", stored_entries(run.arrays, "x"))
    run.finish("image", "k", arrays=[("arrays.zarr", "x")])
    assert run.is_finished("image", "k")
    for file in (array / "c" / "1" / "1", array / "zarr.json", manifest.file):
        whole = file.read_bytes()
        file.unlink()
        assert not run.is_finished("image", "k")
        file.write_bytes(whole[:-1])
        assert not run.is_finished("image", "k")
        file.write_bytes(whole)
    assert run.is_finished("image", "k")


def test_a_manifest_of_another_question_finishes_no_stage(run):
    run.manifest("image").begin("of another")
    run.finish("image", "k")
    assert run.state["stages"]["image"]["manifest"] is None


def test_a_stage_that_begins_again_is_not_finished(run):
    run.finish("tree", "k")
    run.begin("tree")
    assert not reopened(run).is_finished("tree", "k")
    run.begin("never heard of")


def test_keys_tell_what_they_are_made_of_apart():
    keys = {stage_key(**parts) for parts in ({}, {"a": 1}, {"a": None}, {"a": "1"}, {"b": 1})}
    assert len(keys) == 5
    assert stage_key(a={"x": 1, "y": 2}) == stage_key(a={"y": 2, "x": 1})


def test_a_copy_of_the_input_is_no_result(run):
    stored(run.path / "arrays.zarr")
    assert not run.has_results
    run.finish("matrix", "k")
    run.finish("statistics", "k")
    run.manifest("distance-row").begin("k")
    assert not run.has_results
    run.manifest("distance-row").record(*stored_entries(run.arrays, "x"))
    assert run.has_results


def test_the_notes_of_a_limit_are_a_result(run):
    run.finish("limits", "k")
    assert run.has_results


# What run.json says


def flips(content, rng, number):
    for place in rng.integers(0, len(content), number):
        flipped = bytearray(content)
        flipped[place] ^= 1 << rng.integers(8)
        yield bytes(flipped)


def test_no_flip_of_the_state_goes_unseen(run):
    run.finish("tree", "k", files=["README.txt"], height=3)
    file = run.path / "run.json"
    whole = file.read_bytes()
    damages = [*flips(whole, np.random.default_rng(3), 200), whole[:40], b"", b"[]", b"{}"]
    for damage in damages:
        file.write_bytes(damage)
        if _says_the_same(damage, whole):
            continue
        with pytest.raises(RunDirectoryError):
            reopened(run)
    file.unlink()
    with pytest.raises(RunDirectoryError, match=r"run\.json is missing\. The same .* again"):
        reopened(run)


def _says_the_same(damage, whole):
    try:
        return json.loads(damage) == json.loads(whole)
    except ValueError:
        return False


@pytest.mark.parametrize("damage", [b"{", None])
def test_a_run_begins_a_damaged_state_anew(run, damage):
    run.finish("tree", "k")
    file = run.path / "run.json"
    if damage is None:
        file.unlink()
    else:
        file.write_bytes(damage)
    opened = RunDirectory(run.path, create=True)
    assert opened.state == {"format": FORMAT, "stages": {}}
    with opened.locked():
        assert "run.json" in opened.mended
    assert reopened(run).state == opened.state
    assert (run.path / "run.json.damaged").exists() == (damage is not None)


def test_the_readme_is_put_back(run):
    readme = run.path / "README.txt"
    text = readme.read_text()
    readme.write_text("no")
    with RunDirectory(run.path, create=True).locked():
        assert readme.read_text() == text


# The lock


def test_one_process_at_a_time(run):
    with run.locked():
        holder = run.holder()
        assert (holder.host, holder.pid) == (socket.gethostname(), os.getpid())
        with pytest.raises(RunDirectoryError) as refused, reopened(run).locked():
            pass
        assert f"process {os.getpid()} on {socket.gethostname()}" in str(refused.value)
        assert str(run.path / LOCK) in str(refused.value)
    assert run.holder() is None
    assert not (run.path / LOCK).exists()


def test_the_lock_goes_when_the_run_fails(run):
    with pytest.raises(RuntimeError), run.locked():
        raise RuntimeError
    assert not (run.path / LOCK).exists()


def write_lock(run, **entry):
    (run.path / LOCK).write_text(json.dumps(entry))


def dead_pid():
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


@pytest.mark.parametrize("kind", ["dead", "recycled", "torn", "empty"])
def test_a_stale_lock_is_taken_over(run, kind):
    here = socket.gethostname()
    if kind == "dead":
        write_lock(run, host=here, pid=dead_pid(), started=1.0)
    elif kind == "recycled":  # the number is that of another process now
        write_lock(run, host=here, pid=os.getppid(), started=1.0)
    else:
        (run.path / LOCK).write_text('{"host"' if kind == "torn" else "")
    assert run.holder() is None
    with run.locked():
        assert run.holder().pid == os.getpid()
    assert not list(run.path.glob("*lock*")) + list(run.path.glob(".run*"))


def test_a_zombie_holds_nothing(run):
    child = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not Holder(socket.gethostname(), child.pid, 1.0).is_alive
    child.wait()


def test_the_lock_of_another_host_is_believed(run):
    write_lock(run, host="far.example", pid=1, started=1.0)
    with pytest.raises(RunDirectoryError, match=r"process 1 on far\.example"), run.locked():
        pass
    assert holder_of(run.path) == Holder("far.example", 1, 1.0)


def test_setting_the_clock_gives_no_lock_away(run, monkeypatch):
    with run.locked():
        machine = psutil.boot_time()
        monkeypatch.setattr(psutil, "boot_time", lambda: machine + 3600)
        monkeypatch.setattr(psutil._psplatform, "boot_time", lambda: machine + 3600)
        assert holder_of(run.path) == myself()
        with pytest.raises(RunDirectoryError, match="in use by"), reopened(run).locked():
            pass


def test_a_lock_of_before_the_machine_started_is_taken_over(run):
    mine = myself()
    assert replace(mine, boot="another").is_alive is False
    assert replace(mine, host="far.example", boot="another").is_alive


def test_without_hard_links_there_is_a_lock_too(run, monkeypatch):
    def no_links(*paths):
        raise PermissionError(1, "no hard links here")

    monkeypatch.setattr(os, "link", no_links)
    with run.locked(), pytest.raises(RunDirectoryError, match="in use"), reopened(run).locked():
        pass
    assert not (run.path / LOCK).exists()


def test_of_many_that_take_over_a_stale_lock_one_gets_it(run):
    for _ in range(20):
        write_lock(run, host=socket.gethostname(), pid=dead_pid_once(), started=1.0)
        inside, most, failures = [0], [0], []
        barrier = threading.Barrier(4)

        def compete(inside=inside, most=most, failures=failures, barrier=barrier):
            directory = reopened(run)
            barrier.wait()
            try:
                with directory.locked():
                    inside[0] += 1
                    most[0] = max(most[0], inside[0])
                    inside[0] -= 1
            except RunDirectoryError:
                failures.append(1)

        threads = [threading.Thread(target=compete) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert most[0] == 1


_DEAD = []


def dead_pid_once():
    if not _DEAD:
        _DEAD.append(dead_pid())
    return _DEAD[0]


def test_the_state_is_read_again_under_the_lock(run):
    other = reopened(run)
    run.update(finished=2.0)
    with other.locked():
        assert other.state["finished"] == 2.0


def test_a_process_knows_when_it_started():
    assert myself().is_alive


# Chunks


def test_missing_chunks_are_found(tmp_path):
    array = stored(tmp_path)
    assert missing_chunks(tmp_path, "x") == []  # though all of it are zeros
    (array / "c" / "0" / "1").unlink()
    assert missing_chunks(tmp_path, "x") == [(0, 1)]
    assert damaged_chunks(tmp_path, "x") == {(0, 1)}
    assert not is_whole(tmp_path, "x")
    assert not is_whole(tmp_path, "y")


@pytest.mark.parametrize("compressed", [True, False])
def test_every_flip_and_truncation_is_found(tmp_path, compressed):
    rng = np.random.default_rng(0)
    array = create_array(
        str(tmp_path), "x", shape=(2, 40), chunks=(1, 40), dtype="f8", compressed=compressed
    )
    write_block(array, (0, 0), rng.normal(size=(2, 40)))
    file = tmp_path / "x" / "c" / "1" / "0"
    whole = file.read_bytes()
    damages = [whole[:length] for length in rng.integers(0, len(whole), 20)]
    for place in rng.integers(0, len(whole), 60):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << rng.integers(8)
        damages.append(bytes(flipped))
    for damage in [*damages, whole + b"\0"]:
        file.write_bytes(damage)
        assert damaged_chunks(tmp_path, "x") == {(1, 0)}
    file.write_bytes(whole)
    assert damaged_chunks(tmp_path, "x") == set()


def test_only_the_chunks_that_are_asked_for_are_read(tmp_path):
    array = stored(tmp_path)
    (array / "c" / "0" / "1").write_bytes(b"")
    seen = []
    assert damaged_chunks(tmp_path, "x", [(0, 0), (9, 0)], progress=seen.append) == {(9, 0)}
    assert sum(seen) == 2
    assert damaged_chunks(tmp_path, "x", [(0, 1)]) == {(0, 1)}


def test_a_whole_chunk_that_is_another_one_is_damaged(tmp_path):
    array = create_array(str(tmp_path / "a.zarr"), "x", shape=(2, 9), chunks=(1, 9), dtype="f8")
    write_block(array, (0, 0), np.arange(18.0).reshape(2, 9))
    entries = {entry.file: entry for entry in stored_entries(tmp_path / "a.zarr", "x")}
    assert damaged_chunks(tmp_path / "a.zarr", "x", entries=entries) == set()
    chunks = tmp_path / "a.zarr" / "x" / "c"
    (chunks / "1" / "0").write_bytes((chunks / "0" / "0").read_bytes())
    assert damaged_chunks(tmp_path / "a.zarr", "x") == set()
    assert damaged_chunks(tmp_path / "a.zarr", "x", entries=entries) == {(1, 0)}
    del entries["a.zarr/x/c/0/0"]
    assert damaged_chunks(tmp_path / "a.zarr", "x", entries=entries) == {(0, 0), (1, 0)}
