"""What holds for every test, and a Dask client for those that compare executors or schedulers."""

import sys
from collections import Counter
from zlib import crc32

import pytest
from distributed import Client, LocalCluster

MOST_QUICK_CASES = 12
ALL_CASES_ARE_QUICK = ("test_doctests.py", "test_architecture.py", "test_security.py")


@pytest.hookimpl(tryfirst=True)  # before `-m` looks for the slow ones
def pytest_collection_modifyitems(items):
    """Leave most cases of what is tested with many to the slow suite: always the same ones."""
    cases = Counter(item.nodeid.split("[")[0] for item in items)
    for item in items:
        marker = item.get_closest_marker("quick_cases")
        is_large = cases[item.nodeid.split("[")[0]] > MOST_QUICK_CASES
        if marker is not None:
            one_in = marker.kwargs["one_in"]
        else:
            one_in = 4 if is_large and item.path.name not in ALL_CASES_ARE_QUICK else 1
        if crc32(item.name.encode()) % one_in:
            item.add_marker(pytest.mark.slow)


def pytest_runtest_teardown():
    # Tests share a process in an order that depends on how many there are, and some ask whether a
    # figure was left open.
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


@pytest.fixture(scope="module")
def client():
    """Two threads of this process behind a scheduler; not the current client."""
    with (
        LocalCluster(
            n_workers=1, threads_per_worker=2, processes=False, dashboard_address=":0"
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client
