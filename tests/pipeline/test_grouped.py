"""Results put together group by group: the same bits on every executor, and after a kill."""

import numpy as np
import pytest

from clustergrid.pipeline import passes
from clustergrid.pipeline.execution import DaskExecutor, SerialExecutor, ThreadsExecutor
from clustergrid.pipeline.grouped import GroupedWork
from clustergrid.pipeline.monitor import Progress
from clustergrid.pipeline.passes import ResumedExecutor
from clustergrid.storage.errors import DataValueError
from clustergrid.storage.rundir import RunDirectory

GROUPS = [list(range(start, start + 5)) for start in range(0, 35, 5)] + [[35, 36]]


def thirds(shared, item):
    """Sums of these depend on their order."""
    if item == shared:
        raise DataValueError(f"item {item} is refused")
    return np.full(3, 1 / (3 + item)), np.array([item])


def merge(result, other):
    result[0][...] += other[0]
    result[1][...] = np.maximum(result[1], other[1])


def expected():
    found = []
    for group in GROUPS:
        whole = thirds(None, group[0])
        for item in group[1:]:
            merge(whole, thirds(None, item))
        found.append(whole)
    return found


def work(groups, shared=None, on_item=lambda item: None):
    return GroupedWork(
        function=thirds, merge=merge, shared=shared, groups=groups, name="thirds", on_item=on_item
    )


def merged(executor, *, refused=None):
    seen = []
    found = dict(executor.merge_groups(work(GROUPS, executor.share(refused), seen.append)))
    return found, sorted(seen)


class BackwardsExecutor(SerialExecutor):
    """Tasks that end in the opposite order."""

    def map(self, function, shared, items, *, name):
        return super().map(function, shared, list(items)[::-1], name=name)


@pytest.fixture(params=["serial", "threads", "backwards", "dask", "process"])
def executor(request):
    if request.param == "dask":
        return DaskExecutor(request.getfixturevalue("client"))
    if request.param == "process":
        return DaskExecutor(request.getfixturevalue("worker_process"))
    kinds = {"serial": SerialExecutor, "threads": ThreadsExecutor, "backwards": BackwardsExecutor}
    return kinds[request.param]()


def assert_expected(found):
    assert sorted(found) == list(range(len(GROUPS)))
    for position, whole in enumerate(expected()):
        for ours, theirs in zip(found[position], whole, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_groups_are_merged_in_the_order_of_their_items(executor):
    found, seen = merged(executor)
    assert_expected(found)
    assert seen == list(range(37))


def test_what_a_task_refuses_is_raised(executor):
    with pytest.raises(DataValueError, match="item 23 is refused"):
        merged(executor, refused=23)


def test_groups_of_one_item(executor):
    found = dict(executor.merge_groups(work([[1], [2]], executor.share(None))))
    assert [whole[1].tolist() for whole in (found[0], found[1])] == [[1], [2]]


def test_no_groups(executor):
    found = executor.merge_groups(work([], executor.share(None)))
    assert list(found) == []


def test_groups_that_are_kept_are_not_made_again(monkeypatch, tmp_path):
    monkeypatch.setattr(passes, "QUICK_SECONDS", -1.0)
    directory = RunDirectory(tmp_path / "run", create=True)
    made = []

    class Counting(SerialExecutor):
        def map(self, function, shared, items, *, name):
            for result in super().map(function, shared, items, name=name):
                made.append(result)
                yield result

    def executor(progress=None):
        return ResumedExecutor(Counting(), directory, "key", progress or Progress())

    def take(count):
        under_way = executor().merge_groups(work(GROUPS))
        for _ in range(count):
            next(under_way)
        under_way.close()

    take(3)
    assert len(made) == 15
    made.clear()
    (tmp_path / "run" / "pieces").joinpath(
        next((tmp_path / "run" / "pieces").iterdir()).name, "1.npz"
    ).write_bytes(b"damaged")
    progress, kept = Progress(), []

    def on_item(item):
        kept.append((item, progress.is_resuming))

    found = dict(executor(progress).merge_groups(work(GROUPS, on_item=on_item)))
    assert_expected(found)
    assert len(made) == 37 - 10
    assert sorted(kept) == [(item, item < 5 or 10 <= item < 15) for item in range(37)]
