"""A disk that is full, or read-only: one line that names it, and a run that goes on afterwards.

The disk is a small tmpfs. The run is held still as a stage begins, the rest of the disk is filled,
and the run goes on, so that the disk is full in that very stage.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
from contextlib import contextmanager

import pytest

from clustergrid.pipeline.status import read_status
from clustergrid.pipeline.verify import verify_run
from tests.faults.harness import LOOK, assert_same, one_line

pytestmark = pytest.mark.slow

NO_ROOM = r"cannot (write|create) .*{disk}.*(No space left on device|requested and \d+ written)"
COMMAND = ["--memory", "1GB", "--cluster", "none", "--no-col-cluster", "--row-k", "4"]


class Disk:
    """A small disk that can be filled, emptied and write-protected."""

    def __init__(self, path):
        self.path = path
        self._filler = path / "filler"

    def remount(self, options):
        subprocess.run(["mount", "-o", f"remount,{options}", self.path], check=True)

    def fill(self, *, leave_bytes=0):
        """Leave no room but some bytes."""
        free = os.statvfs(self.path)
        size = free.f_bavail * free.f_frsize - leave_bytes
        descriptor = os.open(self._filler, os.O_CREAT | os.O_WRONLY)
        try:
            os.posix_fallocate(descriptor, 0, max(1, size))
        finally:
            os.close(descriptor)

    def empty(self):
        self._filler.unlink(missing_ok=True)


@contextmanager
def mounted(path, size):
    path.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount a small disk; a limit on file sizes is tested anyway")
    answer = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", path], check=False
    )
    if answer.returncode:
        pytest.skip("no tmpfs can be mounted here; a limit on file sizes is tested anyway")
    try:
        yield Disk(path)
    finally:
        subprocess.run(["umount", path], check=True)


@pytest.fixture
def disk(tmp_path):
    with mounted(tmp_path / "disk", "96m") as disk:
        yield disk


@pytest.fixture(scope="module")
def whole(make_input, tmp_path_factory):
    """Runs that have room, made when they are asked for."""
    made = {}

    def get(start, name, n, *options):
        if name not in made:
            made[name] = tmp_path_factory.mktemp("whole") / "run"
            command = ["run", make_input(name, n, 12), *LOOK, *COMMAND, *options]
            ended = start(*command, "-o", made[name]).end()
            assert ended.status == 0, ended.err
        return made[name]

    return get


def assert_is_resumable(directory):
    """Nothing half-written counts as done."""
    assert read_status(directory).state == "stopped"
    assert not (directory / "run.lock").exists()
    assert verify_run(directory).damages == ()
    assert not list(directory.glob("figure*"))
    assert not list(directory.rglob(".writing*"))


@pytest.mark.parametrize(
    ("name", "stage"),
    [
        *(("a.npy", stage) for stage in ("ingest", "statistics", "distance-row", "linkage-row",
                                         "picture", "downsample")),
        ("a.csv.gz", "ingest"), ("a.csv.gz", "distance-row"),
    ],
)  # fmt: skip
def test_a_disk_that_is_full_in_a_stage(disk, make_input, start, whole, name, stage):
    n = 2200
    directory = disk.path / "run"
    command = ["run", make_input(name, n, 12), *LOOK, *COMMAND, "-o", directory]
    run = start(*command)
    assert run.wait_for(stage)
    with run.paused():
        disk.fill(leave_bytes=4096)
    ended = run.end()
    assert re.search(NO_ROOM.format(disk=disk.path), one_line(ended)), ended.err
    disk.empty()
    assert_is_resumable(directory)
    ended = start(*command).end()
    assert ended.status == 0, ended.err
    assert_same(directory, whole(start, name, n))


@pytest.mark.parametrize("size", ["8k", "40k", "200k", "2m", "9m", "15m"])
def test_disks_that_are_too_small(tmp_path, make_input, start, whole, size):
    """Wherever it strikes: the first file, the copy, the tiles, the tree, the picture."""
    with mounted(tmp_path / "disk", size) as disk:
        directory = disk.path / "run"
        command = ["run", make_input("a.npy", 2200, 12), *LOOK, *COMMAND, "-o", directory]
        for _ in range(2):  # the second run finds no more room than the first
            ended = start(*command).end()
            said = one_line(ended)
            assert re.search(rf"{disk.path}", said), said
            assert re.search(r"No space left on device|needs .*[kMG]?B", said), said
        disk.remount("size=96m")
        if (directory / "run.json").exists():
            assert_is_resumable(directory)
        ended = start(*command).end()
        assert ended.status == 0, ended.err
        assert_same(directory, whole(start, "a.npy", 2200))


def test_workers_that_find_no_room(disk, make_input, start, whole, dask_processes):
    """The error of a task on a worker is the line of the run."""
    directory = disk.path / "run"
    options = [*COMMAND, "--scheduler-file", dask_processes.file]
    command = ["run", make_input("b.npy", 2600, 12), *LOOK, *options, "-o", directory]
    run = start(*command)
    assert run.wait_for("distance-row")
    with run.paused():
        disk.fill(leave_bytes=2**20)
    ended = run.end()
    assert re.search(NO_ROOM.format(disk=disk.path), one_line(ended)), ended.err
    disk.empty()
    assert_is_resumable(directory)
    ended = start(*command).end()
    assert ended.status == 0, ended.err
    assert_same(directory, whole(start, "b.npy", 2600, *options))


def test_a_disk_that_is_read_only_from_the_start(disk, make_input, start):
    directory = disk.path / "run"
    disk.remount("ro")
    command = ["run", make_input("a.npy", 2200, 12), *LOOK, *COMMAND, "-o", directory]
    said = one_line(start(*command).end())
    assert f"cannot make the run directory {directory}" in said
    assert os.strerror(errno.EROFS) in said


@pytest.mark.parametrize("stage", ["ingest", "distance-row", "linkage-row", "picture"])
def test_a_disk_that_becomes_read_only(disk, make_input, start, whole, stage):
    """As a file system does that found an error."""
    directory = disk.path / "run"
    command = ["run", make_input("a.npy", 2200, 12), *LOOK, *COMMAND, "-o", directory]
    run = start(*command)
    assert run.wait_for(stage)
    with run.paused():
        try:
            disk.remount("ro")
        except subprocess.CalledProcessError:
            pytest.skip("the run had a file open for writing just then")
    said = one_line(run.end())
    assert os.strerror(errno.EROFS) in said
    assert str(disk.path) in said
    said = one_line(start(*command).end())  # nothing can be written, the lock neither
    assert "Read-only file system" in said
    assert str(disk.path) in said
    disk.remount("rw")
    ended = start(*command).end()
    assert ended.status == 0, ended.err
    assert_same(directory, whole(start, "a.npy", 2200))
