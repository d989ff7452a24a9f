"""A pass that was stopped goes on with what it had, whatever the executor."""

import numpy as np
import pytest

import clustergrid.pipeline.passes as passes_module
from clustergrid.pipeline.execution import DaskExecutor, SerialExecutor, ThreadsExecutor
from clustergrid.pipeline.monitor import Progress
from clustergrid.pipeline.normalize import matrix_statistics
from clustergrid.pipeline.passes import ResumedExecutor, drop_pieces, pack, unpack
from clustergrid.storage.rundir import RunDirectory
from clustergrid.storage.source import ArraySource


@pytest.fixture
def directory(tmp_path, monkeypatch):
    monkeypatch.setattr(passes_module, "QUICK_SECONDS", -1.0)
    return RunDirectory(tmp_path / "run", create=True)


def square(shared, item):
    return slice(item, item + 1), np.full(3, float(shared * item)), item / 7


def resumed(directory, key="k", executor=None, progress=None):
    return ResumedExecutor(executor or SerialExecutor(), directory, key, progress or Progress())


class Spy:
    """Counts the items that are computed."""

    threads, in_process = 1, True

    def __init__(self):
        self.items = []

    def share(self, value):
        return value

    def map(self, function, shared, items, *, name):
        for item in items:
            self.items.append(item)
            yield function(shared, item)


def run(executor, items, *, stop_after=None):
    found = []
    for result in executor.map(square, executor.share(2), items, name="pass"):
        found.append(result)
        if len(found) == stop_after:
            break
    return sorted(found, key=lambda result: result[0].start)


def assert_same(found, expected):
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours[0] == theirs[0]
        np.testing.assert_array_equal(ours[1], theirs[1])
        assert ours[2] == theirs[2]


EXPECTED = [square(2, item) for item in range(6)]


def test_what_is_there_is_not_computed_again(directory):
    spy = Spy()
    run(resumed(directory, executor=spy), range(6), stop_after=4)
    first = len(spy.items)
    assert 4 <= first < 6
    assert_same(run(resumed(directory, executor=spy), range(6)), EXPECTED)
    # The one that was handed out as the pass stopped was kept before.
    assert [position for position, _ in spy.items[first:]] == [4, 5]
    spy.items.clear()
    assert_same(run(resumed(directory, executor=spy), range(6)), EXPECTED)
    assert spy.items == []
    assert_same(run(resumed(directory, "other", executor=spy), range(6)), EXPECTED)
    assert len(spy.items) == 6
    drop_pieces(directory)
    assert not (directory.path / "pieces").exists()
    drop_pieces(directory)


@pytest.mark.parametrize("damage", ["flipped", "cut", "of another key", "no zip"])
def test_a_damaged_piece_is_computed_again(directory, damage):
    run(resumed(directory), range(6))
    (file,) = directory.path.glob("pieces/pass-*/3.npz")
    content = bytearray(file.read_bytes())
    if damage == "flipped":
        place = content.index(np.full(3, 6.0).tobytes())
        content[place + 5] ^= 1
        file.write_bytes(content)
    elif damage == "of another key":
        with np.load(file) as arrays:
            np.savez(file, **{**arrays, "identity": np.array("another")})
    else:
        file.write_bytes(content[:100] if damage == "cut" else b"no")
    spy = Spy()
    assert_same(run(resumed(directory, executor=spy), range(6)), EXPECTED)
    assert [position for position, _ in spy.items] == [3]


def test_both_executors_give_the_same(directory, client):
    for executor in (ThreadsExecutor(), DaskExecutor(client)):
        found = run(resumed(directory, type(executor).__name__, executor), range(6))
        assert_same(found, EXPECTED)
    for executor in (ThreadsExecutor(), DaskExecutor(client)):
        kept = resumed(directory, type(executor).__name__, executor)
        assert (kept.threads, kept.in_process) == (executor.threads, executor.in_process)
        assert_same(run(kept, range(6)), EXPECTED)


def test_a_short_pass_is_not_kept(directory, monkeypatch):
    monkeypatch.setattr(passes_module, "QUICK_SECONDS", 3600.0)
    assert_same(run(resumed(directory), range(6)), EXPECTED)
    assert not (directory.path / "pieces").exists()


def test_progress_counts_what_was_kept(directory):
    source = ArraySource(np.random.default_rng(0).normal(size=(5000, 7)))
    events = []
    progress = Progress(events.append, interval_seconds=0.0)

    class StopError(Exception):
        pass

    def stop(event):
        if event.done > 2048 * 56:
            raise StopError

    stopping = Progress(stop, interval_seconds=0.0)
    with pytest.raises(StopError):
        matrix_statistics(source, resumed(directory, progress=stopping), stopping)
    found = matrix_statistics(source, resumed(directory, progress=progress), progress)
    assert events[-1].done == 5000 * 56
    assert 2048 * 56 <= events[-1].kept < 5000 * 56
    plain = matrix_statistics(source, SerialExecutor(), Progress())
    for ours, theirs in ((found.rows, plain.rows), (found.columns, plain.columns)):
        np.testing.assert_array_equal(ours.to_array(), theirs.to_array())


@pytest.mark.parametrize(
    "value", [(slice(2, 5), np.arange(4, dtype=np.uint64), 0.1), np.eye(2), 3, (np.float64(0.1),)]
)
def test_results_come_back_as_they_were(tmp_path, value):
    np.savez(tmp_path / "a.npz", **pack(value))
    with np.load(tmp_path / "a.npz", allow_pickle=False) as arrays:
        found = unpack(arrays)
    parts = value if isinstance(value, tuple) else (value,)
    assert isinstance(found, tuple) == isinstance(value, tuple)
    for ours, theirs in zip(found if isinstance(found, tuple) else (found,), parts, strict=True):
        np.testing.assert_array_equal(ours, theirs)
        if isinstance(theirs, np.ndarray):
            assert ours.dtype == theirs.dtype


def test_what_cannot_be_kept_is_refused():
    with pytest.raises(TypeError, match="a str cannot be kept"):
        pack(("a", 1))
