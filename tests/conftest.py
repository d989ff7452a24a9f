"""What holds for every test, and a Dask client for those that compare executors or schedulers."""

import sys
from zlib import crc32

import pytest
from distributed import Client, LocalCluster
from hypothesis import settings

from tests.budget import QUICK

settings.load_profile(QUICK)  # what `--hypothesis-profile` names is loaded after this


@pytest.hookimpl(tryfirst=True)  # before `-m` looks for the slow ones
def pytest_collection_modifyitems(items):
    """Leave cases of `quick_cases` to the slow suite: all but the first, and one in so many.

    Which ones depends on their names alone, so that they stay the same where others are added.
    """
    begun = set()
    for item in items:
        marker = item.get_closest_marker("quick_cases")
        if marker is None or item.get_closest_marker("slow"):
            continue
        function = item.nodeid.split("[")[0]
        if function in begun and crc32(item.name.encode()) % marker.kwargs["one_in"]:
            item.add_marker(pytest.mark.slow)
        begun.add(function)


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


@pytest.fixture(scope="module")
def object_server():
    """A server that speaks S3."""
    from tests.storage.object_stores.servers import ObjectServer

    server = ObjectServer()
    yield server
    server.close()
