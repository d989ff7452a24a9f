"""Memory that is freed: kept while tasks run, given back afterwards."""

import subprocess
import sys

import pytest

PROGRAM = """
import ctypes, os, resource

# Each page a fault: of huge pages the system gives as many as it has at the moment.
PR_SET_THP_DISABLE = 41
assert ctypes.CDLL(None).prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) == 0

import numpy as np
from clustergrid.pipeline._malloc import keep_memory, release_memory

def faults_of(times):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        np.ones(10**6)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

usual = faults_of(20)
keep_memory()
np.ones(10**6)
kept = faults_of(20)
arrays = [np.ones(10**6) for _ in range(20)]
del arrays
held = resident()
release_memory()
print(usual, kept, held - resident(), faults_of(20))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc can be asked for it")
def test_what_tasks_free_they_use_again_and_afterwards_it_is_given_back():
    # As Dask's nannies start their workers.
    environment = {"MALLOC_TRIM_THRESHOLD_": "65536", "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True
    )
    usual, kept, given_back, afterwards = map(int, done.stdout.split())
    assert kept < usual / 20
    assert given_back > 100e6
    assert afterwards > usual / 2
