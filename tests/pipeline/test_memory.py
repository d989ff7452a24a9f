"""Memory of the process tree: what the sampler sees."""

import subprocess
import sys
import time

import numpy as np
import pytest

from clustergrid.pipeline import memory as memory_module
from clustergrid.pipeline.cli import _explain
from clustergrid.pipeline.cluster import connect
from clustergrid.pipeline.execution import DaskExecutor
from clustergrid.pipeline.memory import MemorySampler
from clustergrid.pipeline.planning import Resources
from clustergrid.pipeline.request import ClusterChoice

MEGABYTE = 1_000_000


def test_the_peak_is_that_of_the_watch():
    with MemorySampler(interval_seconds=10) as memory:
        large = np.ones(30 * MEGABYTE)
        with memory.watch() as before:
            pass
        del large
        with memory.watch() as after:
            assert after.look().total_bytes < before.peak.total_bytes - 200 * MEGABYTE
        assert before.peak.total_bytes <= memory.peak.total_bytes
        assert memory.peak.total_bytes < before.peak.total_bytes + 10 * MEGABYTE


def test_a_peak_between_two_looks_is_seen():
    """A kernel that holds the interpreter's lock keeps the thread from looking."""
    np.ones(60 * MEGABYTE)  # of earlier, and greater
    with MemorySampler(interval_seconds=100) as memory:
        with memory.watch() as watch:
            before = watch.peak.driver_bytes
            np.ones(100 * MEGABYTE)
            assert watch.look().driver_bytes > before + 700 * MEGABYTE
        with memory.watch() as later:
            assert later.look().driver_bytes < before + 400 * MEGABYTE


@pytest.mark.parametrize("read", [memory_module._read_status, memory_module._read_with_psutil])
def test_worker_processes_count_and_what_they_share_counts_once(read):
    hold = "import numpy, sys; held = numpy.ones({}); print(1, flush=True); sys.stdin.read()"
    with MemorySampler(interval_seconds=10) as memory:
        memory._read = read
        memory._listed = -np.inf
        with memory.watch() as watch:
            alone = watch.peak
            workers = [
                subprocess.Popen(
                    [sys.executable, "-c", hold.format(size * MEGABYTE // 8)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                )
                for size in (100, 200)
            ]
            for worker in workers:
                worker.stdout.readline()
            memory._listed = -np.inf
            seen = watch.look()
            exact = sum(proportional_bytes(pid) for pid in memory._processes)
            for worker in workers:
                worker.communicate()
        memory._listed = -np.inf
        with memory.watch() as ended:
            # Python's own resource tracker may be there, of tests that were before.
            assert ended.look().worker_bytes == alone.worker_bytes
    assert alone.worker_bytes < 30 * MEGABYTE
    assert 200 * MEGABYTE < seen.worker_bytes < 260 * MEGABYTE
    assert seen.total_bytes > alone.total_bytes + 300 * MEGABYTE
    if sys.platform == "linux":
        # Other processes of this machine share its libraries too, all that tests loaded.
        assert exact - 5 * MEGABYTE < seen.total_bytes < exact + 250 * MEGABYTE


def proportional_bytes(pid):
    """PSS of a process, which the kernel counts page by page."""
    with open(f"/proc/{pid}/smaps_rollup") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("Pss:"))


def test_looking_costs_little():
    looks = []
    with MemorySampler(interval_seconds=10) as memory:
        for _ in range(20):
            started = time.thread_time()
            memory.look()
            looks.append(time.thread_time() - started)
    assert sorted(looks)[10] < 0.001


def test_processes_that_ended_are_left_out():
    worker = subprocess.Popen([sys.executable, "-c", ""])
    time.sleep(0.3)  # it is a zombie now
    assert memory_module._read_status(worker.pid) is None
    worker.wait()
    assert memory_module._read_status(worker.pid) is None
    assert memory_module._read_with_psutil(worker.pid) is None
    assert memory_module._descendants(worker.pid) == []
    assert list(memory_module._children(worker.pid)) == []


def take_too_much(size_bytes, _item):
    held = np.ones(size_bytes // 8)
    time.sleep(3)  # until somebody looks
    return held.sum()


@pytest.mark.slow
def test_a_worker_that_takes_more_than_its_part_ends_the_run_rather_than_wait():
    """The plan keeps tasks within their part; this is what happens if it ever fails to."""
    resources = Resources(memory_bytes=1_100 * MEGABYTE, threads=1)
    with connect(ClusterChoice(dashboard_port=0), resources) as client:
        executor = DaskExecutor(client)
        assert list(executor.map(take_too_much, 10, [0], name="little")) == [1.0]
        with pytest.raises(Exception) as failed:
            list(executor.map(take_too_much, 1_500 * MEGABYTE, [0], name="much"))
    assert type(failed.value).__name__ == "KilledWorker"
    assert "died again and again, most likely for want of memory" in _explain(failed.value)
