"""A worker process for the tests that compare executors, and a finished run to be copied."""

import dataclasses
import shutil
import sys

import pytest
from distributed import Client, LocalCluster

import clustergrid.pipeline.distance
from clustergrid.pipeline import operands
from clustergrid.pipeline.cli import main
from clustergrid.pipeline.request import Cut
from clustergrid.pipeline.run import run
from tests.pipeline.runs import frame, request, table


@pytest.fixture(scope="module")
def worker_process():
    """A client of one worker in a process of its own."""
    with (
        LocalCluster(n_workers=1, threads_per_worker=2, dashboard_address=":0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run of ten tiles of rows: request and directory, to be copied."""
    folder = tmp_path_factory.mktemp("finished")
    path = table(folder, frame(1600, 5), "a.npy")
    asked = request(path, folder / "run", row_cut=Cut(k=4))
    run(asked)
    return asked


@pytest.fixture
def copied(finished, tmp_path):
    """A copy of the finished run, to be damaged."""
    shutil.copytree(finished.directory, tmp_path / "run")
    return dataclasses.replace(finished, directory=tmp_path / "run")


@pytest.fixture
def call(capfd):
    """Run the command in this process: its status, standard output and standard error."""

    def call(*arguments):
        capfd.readouterr()
        status = 0
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as leave:
            status = leave.code
        out, err = capfd.readouterr()
        return status, out, err

    return call


@pytest.fixture
def tiles(monkeypatch):
    """The tiles that are computed."""
    computed = []
    real = clustergrid.pipeline.distance.tile_distances

    def spy(given, rows, columns):
        computed.append((given.source.shape[0], rows.start, columns.start))
        return real(given, rows, columns)

    monkeypatch.setattr(clustergrid.pipeline.distance, "tile_distances", spy)
    return computed


@pytest.fixture
def use_engine(monkeypatch):
    """Run one engine whatever the size."""

    def use(engine):
        monkeypatch.setattr(operands, "engine_for", lambda *args, **kwargs: engine)

    return use


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of 8 rows and 16 features, so that small matrices have many."""
    for name, module in list(sys.modules.items()):
        if name.startswith("clustergrid.pipeline"):
            for constant, value in (("BLOCK_ROWS", 8), ("BLOCK_FEATURES", 16)):
                if hasattr(module, constant):
                    monkeypatch.setattr(module, constant, value)
