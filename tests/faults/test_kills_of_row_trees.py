"""SIGKILL of driver and worker while a tree is made of rows: the same bits in the end.

Such a tree has no tiles at rest; what a run goes on from are its checkpoints.
"""

import re

import numpy as np
import pytest

from clustergrid.pipeline.verify import verify_run
from tests.faults.harness import LOOK, contents, state_of, worker_processes

SHAPE = (20_000, 2_500)  # for some checkpoints, which are ten seconds apart
OPTIONS = ("--method", "single", "--metric", "cityblock", "--no-col-cluster", "--memory", "1200MB")
WHERE = {"none": ("--cluster", "none"), "local": ("--dashboard-port", "0")}


def command(path, directory, where):
    return ["run", path, *LOOK, *OPTIONS, *WHERE[where], "-o", directory]


def checkpoint(directory):
    """The file of the checkpoint at rest, or None."""
    files = list(directory.glob("pieces/records-linkage-row-*/[0-9]*.npz"))
    return files[0] if files else None


@pytest.fixture(scope="module")
def undisturbed(make_input, tmp_path_factory):
    """Two runs that nothing happens to are one: made when first asked for."""
    made = []

    def get(start):
        if not made:
            directory = tmp_path_factory.mktemp("single") / "run"
            ended = start(*command(make_input("a.npy", *SHAPE), directory, "none")).end()
            assert ended.status == 0, ended.err
            made.append(directory)
        return made[0]

    return get


def assert_same(directory, whole):
    ours, theirs = contents(directory), contents(whole)
    assert "linkage_row.npy" in theirs
    assert ours == theirs
    assert not list(directory.glob("pieces")) + list(directory.glob("manifest/records-*"))
    assert not [name for name in ours if re.search("condensed", name)]
    assert verify_run(directory).damages == ()


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("where", list(WHERE))
def test_a_killed_tree_goes_on_from_its_checkpoint(make_input, undisturbed, start, tmp_path, where):
    whole = undisturbed(start)
    path, directory = make_input("a.npy", *SHAPE), tmp_path / "run"
    rng = np.random.default_rng(list(where.encode()))
    kept, is_finished = 0, False
    for _ in range(3):
        run = start(*command(path, directory, where))
        # Some tiles after a new checkpoint, at any moment.
        before = checkpoint(directory)
        for event in run.events():
            if event.stage == "linkage-row" and checkpoint(directory) != before:
                break
        wanted = event.done + int(rng.integers(1, 12))
        if not any(e.stage == "linkage-row" and e.done >= wanted for e in run.events()):
            is_finished = True  # it was quicker than we are
            break
        run.kill()
        assert verify_run(directory).damages == ()
        with np.load(checkpoint(directory)) as arrays:
            finished = len(arrays["finished"])
        assert finished > kept
        kept = finished
        assert "linkage-row" not in state_of(directory)["stages"]
    assert kept
    again = start(*command(path, directory, where))
    ended = again.end()
    assert ended.status == 0, ended.err
    assert is_finished or "linkage-row" in ended.stages("started")
    assert_same(directory, whole)
    print(f"\n{kept} tiles were kept over the kills ({where})")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_worker_that_dies_costs_no_bit(make_input, undisturbed, start, tmp_path):
    whole = undisturbed(start)
    run = start(*command(make_input("a.npy", *SHAPE), tmp_path / "run", "local"))
    assert any(event.stage == "linkage-row" and event.done >= 5 for event in run.events())
    for worker in worker_processes(run.children()):
        worker.kill()
    ended = run.end()
    assert ended.status == 0, ended.err
    assert_same(tmp_path / "run", whole)
