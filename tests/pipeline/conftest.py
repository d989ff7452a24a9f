"""A Dask client in this process, for the tests that compare executors."""

import pytest
from distributed import Client, LocalCluster


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
def worker_process():
    """A client of one worker in a process of its own."""
    with (
        LocalCluster(n_workers=1, threads_per_worker=2, dashboard_address=":0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client
