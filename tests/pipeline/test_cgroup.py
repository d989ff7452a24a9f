"""Memory that control groups leave: both versions, nested, in containers, and for real."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from clustergrid.pipeline import execution
from clustergrid.pipeline.cgroup import control_group_free_bytes
from clustergrid.pipeline.execution import available_memory_bytes

V2 = "31 23 0:28 {root} /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw"
V1 = "35 31 0:32 {root} /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory"
OTHER = "34 31 0:31 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids"


@pytest.fixture
def system(tmp_path):
    """A file system of control groups, written by hand."""

    def make(mounts, own, groups):
        files = {
            "proc/self/mountinfo": "\n".join(["odd", OTHER, *mounts]),
            "proc/self/cgroup": own,
        }
        for folder, content in groups.items():
            files |= {f"sys/fs/cgroup/{folder}/{name}": text for name, text in content.items()}
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{text}\n")
        return tmp_path

    return make


def v2(limit, used, inactive=0, high="max"):
    return {
        "memory.max": limit,
        "memory.high": high,
        "memory.current": used,
        "memory.stat": f"anon 5\ninactive_file {inactive}",
    }


def v1(limit, used, inactive=0):
    return {
        "memory.limit_in_bytes": limit,
        "memory.usage_in_bytes": used,
        "memory.stat": f"inactive_file 1\ntotal_inactive_file {inactive}",
    }


def test_the_processes_own_group_counts(system):
    groups = {".": {}, "job": v2("max", 10), "job/step": v2(1000, 400)}
    assert control_group_free_bytes(system([V2.format(root="/")], "0::/job/step", groups)) == 600


def test_the_groups_above_count(system):
    groups = {"job": v2(1000, 900), "job/step": v2(5000, 400), "another": v2(1, 1)}
    assert control_group_free_bytes(system([V2.format(root="/")], "0::/job/step", groups)) == 100


def test_cached_files_are_free(system):
    groups = {"job": v2(1000, 900, inactive=300)}
    assert control_group_free_bytes(system([V2.format(root="/")], "0::/job", groups)) == 400


def test_throttling_begins_earlier(system):
    groups = {"job": v2(1000, 100, high=600)}
    assert control_group_free_bytes(system([V2.format(root="/")], "0::/job", groups)) == 500


def test_a_group_that_is_full_leaves_nothing(system):
    groups = {"job": v2(1000, 1200)}
    assert control_group_free_bytes(system([V2.format(root="/")], "0::/job", groups)) == 0


def test_the_first_version(system):
    own = "9:name=systemd:/\n4:cpu,memory:/slurm/job_1\n0::/"
    groups = {"memory": v1(2**63 - 4096, 10), "memory/slurm/job_1": v1(1000, 400, inactive=100)}
    assert control_group_free_bytes(system([V1.format(root="/")], own, groups)) == 700


def test_both_versions_at_once(system):
    own = "4:memory:/job\n0::/job"
    groups = {"memory/job": v1(1000, 400), "unified/job": v2(500, 100)}
    second = V2.format(root="/").replace("/sys/fs/cgroup ", "/sys/fs/cgroup/unified ")
    assert control_group_free_bytes(system([V1.format(root="/"), second], own, groups)) == 400


def test_in_a_container_the_mount_is_the_group(system):
    own = "4:memory:/docker/abc/inner"
    groups = {"memory": v1(1000, 400), "memory/inner": v1(3000, 100)}
    found = control_group_free_bytes(system([V1.format(root="/docker/abc")], own, groups))
    assert found == 600


@pytest.mark.parametrize("own", ["", "0::/job", "0::/gone", "odd"])
def test_without_a_limit_there_is_none(system, own):
    groups = {"job": v2("max", 10)}
    assert control_group_free_bytes(system([V2.format(root="/")], own, groups)) is None


def test_elsewhere_there_is_none(tmp_path):
    assert control_group_free_bytes(tmp_path) is None


def test_the_default_is_a_share_of_what_is_free(monkeypatch):
    whole = available_memory_bytes()
    assert whole > 1
    monkeypatch.setattr(execution, "control_group_free_bytes", lambda: 2_000_000)
    assert available_memory_bytes() == 1_600_000
    # What a plan counts and this process has already is not counted twice; no more than that.
    assert available_memory_bytes(10**6) == 2_400_000
    assert available_memory_bytes(10**15) < 10**12
    monkeypatch.setattr(execution, "control_group_free_bytes", lambda: 0)
    assert available_memory_bytes() == 1


FIRST_VERSION = Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")


@pytest.mark.skipif(
    not (os.access(FIRST_VERSION, os.W_OK) and os.geteuid() == 0),
    reason="makes a control group",
)
def test_a_real_group():
    group = FIRST_VERSION.parent / f"clustergrid-test-{os.getpid()}"
    group.mkdir()
    try:
        (group / "memory.limit_in_bytes").write_text(str(500 * 2**20))
        code = (
            f"open({str(group / 'cgroup.procs')!r}, 'w').write('0')\n"
            "from clustergrid.pipeline.execution import available_memory_bytes\n"
            "print(available_memory_bytes())"
        )
        found = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
        assert 200 * 2**20 < int(found.stdout) <= 400 * 2**20
    finally:
        group.rmdir()
