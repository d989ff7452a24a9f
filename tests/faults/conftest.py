"""What the tests of faults share: inputs of several kinds, and processes that end with the test."""

import numpy as np
import pandas as pd
import pytest

from clustergrid.storage import open_matrix
from clustergrid.storage.ingest import ingest

pytest.register_assert_rewrite("tests.faults.harness")

from tests.faults.harness import DaskProcesses, Run  # noqa: E402


def values(n, k, seed=0):
    """Rows of a few kinds, some of them identical, so that every stage has something to do."""
    rng = np.random.default_rng(seed)
    found = rng.normal(size=(n, k)) + 2.0 * rng.integers(0, 5, size=n)[:, None]
    found[rng.integers(0, n, size=n // 10)] = found[0]
    return found.astype(np.float32)


def labelled(n, k, seed=0):
    return pd.DataFrame(
        values(n, k, seed),
        pd.Index([f"g{i}" for i in range(n)], name="gene"),
        pd.Index([f"s{i}" for i in range(k)], name="sample"),
    )


@pytest.fixture(scope="session")
def make_input(tmp_path_factory):
    """Make a matrix of a kind once: a path."""
    folder = tmp_path_factory.mktemp("inputs")
    made = {}

    def make(name, n, k):
        path = folder / f"{n}x{k}-{name}"
        if path not in made:
            if name.endswith(".npy"):
                np.save(path, values(n, k))
            elif name.endswith(".zarr"):
                ingest(open_matrix(labelled(n, k)), path, chunks=(512, k))
            else:
                labelled(n, k).to_csv(path)
            made[path] = path
        return path

    return make


@pytest.fixture
def start():
    """Start a command; it ends with the test, whatever happens."""
    runs = []

    def start(*arguments, **options):
        runs.append(Run(*arguments, **options))
        return runs[-1]

    yield start
    for run in runs:
        run.close()


@pytest.fixture
def dask_processes(tmp_path):
    """A scheduler, a nanny and a worker, each a process."""
    folder = tmp_path / "dask"
    folder.mkdir()
    processes = DaskProcesses(folder)
    yield processes
    processes.close()
