"""Executors: bounded submission, errors, interrupts, retries, one BLAS thread."""

import itertools
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor

import dask
import numpy as np
import pytest
from distributed import Client, LocalCluster
from threadpoolctl import threadpool_info

from clustergrid.pipeline import execution, pdist
from clustergrid.pipeline._blas import single_blas_thread
from clustergrid.pipeline.errors import mark_lasting
from clustergrid.pipeline.execution import (
    DaskExecutor,
    SerialExecutor,
    ThreadsExecutor,
    active_client,
    available_cores,
    end_if_stopped,
    resources_of,
)
from clustergrid.storage.errors import (
    DataTypeError,
    DataValueError,
    MissingExtraError,
    StorageError,
    TileError,
)

pytestmark = pytest.mark.quick_cases(one_in=16)


@pytest.fixture(params=["serial", "threads", "dask"])
def executor(request, client):
    return {
        "serial": SerialExecutor(),
        "threads": ThreadsExecutor(3),
        "dask": DaskExecutor(client),
    }[request.param]


def add(shared, item):
    return shared + item


def test_every_item_once_in_any_order(executor):
    results = list(executor.map(add, executor.share(100), range(250), name="add"))
    assert sorted(results) == list(range(100, 350))


def test_no_items(executor):
    assert list(executor.map(add, executor.share(1), [], name="add")) == []


def test_an_endless_stream_of_items_is_taken_as_it_is_worked_on(executor):
    taken = []

    def items():
        for item in itertools.count():
            taken.append(item)
            yield item

    results = executor.map(add, executor.share(0), items(), name="add")
    first = [next(results) for _ in range(40)]
    assert len(set(first)) == 40
    assert len(taken) <= 40 + 4 * executor.threads + 1
    results.close()
    length = len(taken)
    time.sleep(0.05)
    assert len(taken) == length


def fail_at_seven(shared, item):
    if item == 7:
        raise LookupError(f"item {item}")
    return item


def test_an_error_of_a_task_is_raised_here(executor):
    if isinstance(executor, DaskExecutor):
        executor = DaskExecutor(executor.client, retries=0)
    taken = []

    def items():
        for item in range(10_000):
            taken.append(item)
            yield item

    with pytest.raises(LookupError, match="item 7"):
        list(executor.map(fail_at_seven, executor.share(None), items(), name="fail"))
    # What was not begun by then is left.
    assert len(taken) < 1000


def test_an_error_of_the_items_is_raised_here(executor):
    def items():
        yield 1
        raise LookupError("no more")

    with pytest.raises(LookupError, match="no more"):
        list(executor.map(add, executor.share(0), items(), name="add"))


STARTED = []
"""Items that `slow` and `fails_twice` were called with: functions are sent to workers as names."""


def slow(shared, item):
    STARTED.append(item)
    time.sleep(0.05)
    return item


def fails_twice(shared, item):
    STARTED.append(item)
    if STARTED.count(item) < 3:
        raise OSError("a file that is not there yet")
    return item


def test_an_interrupt_ends_long_tasks_that_ask():
    began = threading.Semaphore(0)

    def work_on(shared, item):
        began.release()
        if item == 0:
            return item
        for _ in range(6000):
            end_if_stopped()
            time.sleep(0.01)
        return item

    results = ThreadsExecutor(2).map(work_on, None, range(20), name="long")
    assert next(results) == 0
    began.acquire()
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        results.throw(KeyboardInterrupt())
    assert time.monotonic() - started < 30
    end_if_stopped()  # the caller is no task


def test_an_interrupt_cancels_what_waits(client):
    executor = DaskExecutor(client)
    STARTED.clear()
    results = executor.map(slow, executor.share(None), range(1000), name="slow")
    next(results)
    with pytest.raises(KeyboardInterrupt):
        results.throw(KeyboardInterrupt())
    time.sleep(0.3)
    assert 1 <= len(STARTED) <= 1 + 2 * executor.threads + 1


def test_threads_that_wait_are_cancelled():
    STARTED.clear()
    results = ThreadsExecutor(2).map(slow, None, range(1000), name="slow")
    next(results)
    results.close()
    length = len(STARTED)
    assert 1 <= length <= 6
    time.sleep(0.2)
    assert len(STARTED) == length


def test_a_task_that_failed_is_tried_again(client):
    STARTED.clear()
    executor = DaskExecutor(client, retries=2)
    assert list(executor.map(fails_twice, executor.share(None), [5], name="retry")) == [5]
    assert STARTED == [5, 5, 5]
    STARTED.clear()
    executor = DaskExecutor(client, retries=1)
    with pytest.raises(OSError, match="not there yet"):
        list(executor.map(fails_twice, executor.share(None), [6], name="retry"))
    assert STARTED == [6, 6]


class UnpicklableError(DataValueError):
    def __init__(self, message, *, place):
        super().__init__(message)
        self.place = place


def forget_started():
    STARTED.clear()


def list_started():
    return list(STARTED)


def refuses(shared, item):
    STARTED.append(item)
    raise shared


def marked():
    error = OSError("of the user's function")
    mark_lasting(error)
    return error


@pytest.mark.parametrize(
    ("error", "calls"),
    [
        (DataValueError("no distance"), 1),
        (DataTypeError("no numbers"), 1),
        (MissingExtraError("not installed"), 1),
        (marked(), 1),
        (ValueError("of some reader"), 3),
        (OSError("busy"), 3),
        (StorageError("busy"), 3),
        (TileError("damaged"), 3),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("kind", ["client", "worker_process"])
def test_what_would_fail_again_is_not_tried_again(request, kind, error, calls):
    executor = DaskExecutor(request.getfixturevalue(kind))
    executor.client.run(forget_started)
    with pytest.raises(type(error), match=str(error)) as raised:
        list(executor.map(refuses, executor.share(error), [5], name="refuse"))
    assert type(raised.value) is type(error)
    (started,) = executor.client.run(list_started).values()
    assert started == [5] * calls
    # Where it happened is told.
    shown = "".join(traceback.format_exception(raised.value))
    assert "in refuses" in shown


def test_an_error_that_does_not_travel_is_raised_all_the_same(worker_process):
    executor = DaskExecutor(worker_process, retries=0)
    with pytest.raises(Exception, match="far away"):
        list(executor.map(raise_unpicklable, executor.share(None), [5], name="refuse"))


def raise_unpicklable(shared, item):
    raise UnpicklableError("far away", place=item)


def fails_of_two(x, y):
    STARTED.append(x)
    raise ZeroDivisionError("of the user's own")


def test_a_function_of_the_user_that_fails_is_not_called_again(client):
    STARTED.clear()
    with pytest.raises(ZeroDivisionError, match="of the user's own"):
        pdist(np.eye(3), fails_of_two, client=client)
    assert len(STARTED) == 1


def test_the_shared_value_is_sent_once(client):
    class Counted:
        sent = 0

        def __reduce__(self):
            Counted.sent += 1
            return (int, (3,))

    executor = DaskExecutor(client)
    shared = executor.share(Counted())
    assert list(executor.map(lambda shared, item: item, shared, range(30), name="x"))
    assert Counted.sent <= 2


def test_results_that_wait_are_fetched_a_few_together(client, monkeypatch):
    fetched, real = [], client.gather

    def gather(futures, **options):
        fetched.append(len(futures))
        return real(futures, **options)

    monkeypatch.setattr(client, "gather", gather)
    executor = DaskExecutor(client)
    found = executor.map(add, executor.share(10), range(40), name="short")
    results = [next(found)]
    time.sleep(1.0)  # the others under way end meanwhile
    results += found
    assert sorted(results) == [10 + item for item in range(40)]
    assert sum(fetched) == 40
    assert max(fetched) == execution._FETCHED_TOGETHER


def test_results_come_straight_from_workers_that_were_started_here(client, monkeypatch):
    scheduler = client.cluster.scheduler
    passed_on, real = [], scheduler.handlers["gather"]

    def gather(*args, **options):
        passed_on.append(options["keys"])
        return real(*args, **options)

    monkeypatch.setitem(scheduler.handlers, "gather", gather)

    def added(client):
        executor = DaskExecutor(client)
        return sorted(executor.map(add, executor.share(10), range(5), name="short"))

    assert added(client) == [10, 11, 12, 13, 14]
    assert not passed_on
    with Client(client.scheduler.address, set_as_default=False) as other:
        assert added(other) == [10, 11, 12, 13, 14]
    assert passed_on


def test_large_shared_values_make_no_warning(client):
    executor = DaskExecutor(client)
    shared = executor.share(np.zeros(4_000_000))
    found = list(executor.map(lambda shared, item: shared.nbytes, shared, range(3), name="x"))
    assert found == [32_000_000] * 3


def test_tasks_are_named_after_their_stage(client):
    executor = DaskExecutor(client)
    list(executor.map(add, executor.share(0), range(4), name="distance-tile"))
    list(executor.map(add, executor.share(0), range(4), name="distance-tile"))
    keys = {
        key for key, *_ in client.cluster.scheduler.transition_log if str(key).startswith("('dist")
    }
    names = {key[0] for key in keys if isinstance(key, tuple)} or {str(k) for k in keys}
    assert all("distance-tile-" in str(name) for name in names)


def blas_threads(shared, item):
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]


def test_a_task_has_one_blas_thread(executor):
    before = blas_threads(None, None)
    assert before
    for found in executor.map(blas_threads, executor.share(None), range(20), name="blas"):
        assert set(found) == {1}
    assert blas_threads(None, None) == before


@pytest.mark.parametrize("first_out", [0, 1])
def test_blas_threads_come_back_whichever_thread_leaves_last(first_out):
    before = blas_threads(None, None)
    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as other:
        threads = (one, other)
        for _ in range(3):
            inside = [thread.submit(single_blas_thread).result() for thread in threads]
            for thread, context in zip(threads, inside, strict=True):
                thread.submit(context.__enter__).result()
                assert set(blas_threads(None, None)) == {1}
            for number in (first_out, 1 - first_out):
                assert set(blas_threads(None, None)) == {1}
                threads[number].submit(inside[number].__exit__, None, None, None).result()
            assert blas_threads(None, None) == before


def test_threads_work_side_by_side():
    barrier = threading.Barrier(3, timeout=10)
    list(ThreadsExecutor(3).map(lambda shared, item: barrier.wait(), None, range(3), name="x"))


def test_threads_by_default_are_the_cores():
    assert ThreadsExecutor().threads == available_cores() >= 1


def test_threads_of_a_cluster(client, monkeypatch):
    assert DaskExecutor(client).threads == 2
    monkeypatch.setattr(type(client), "nthreads", lambda self: {})
    assert DaskExecutor(client).threads == 1  # no worker has come yet


def test_lazy_arrays_run_on_the_executors_client(client):
    lazy = dask.delayed(lambda: threading.current_thread().name)()
    with DaskExecutor(client).active():
        assert "Dask-Default-Threads" in lazy.compute()
    for executor in (SerialExecutor(), ThreadsExecutor(2)):
        with executor.active():
            assert "Dask-Default-Threads" not in lazy.compute()


def test_the_client_that_is_current(client):
    assert active_client() is None  # the fixture's is not
    with client.as_current():
        assert active_client() is client
    with (
        LocalCluster(
            n_workers=1, threads_per_worker=1, processes=False, dashboard_address=":0"
        ) as cluster,
        Client(cluster) as other,
    ):
        assert active_client() is other
    assert active_client() is None


def test_two_clients_do_not_mix(client):
    with (
        LocalCluster(
            n_workers=1, threads_per_worker=1, processes=False, dashboard_address=":0"
        ) as cluster,
        Client(cluster),  # the current one
    ):
        executor = DaskExecutor(client)
        assert sorted(executor.map(add, executor.share(1), range(9), name="add")) == list(
            range(1, 10)
        )


def test_without_distributed_there_is_no_client(monkeypatch):
    monkeypatch.delitem(sys.modules, "distributed")
    assert active_client() is None
    assert "distributed" not in sys.modules


def told_workers(client, monkeypatch, *workers):
    told = {
        f"tcp://w{number}": {"host": "127.0.0.1", "memory_limit": limit, "nthreads": threads}
        for number, (limit, threads) in enumerate(workers)
    }
    monkeypatch.setattr(client, "scheduler_info", lambda n_workers: {"workers": told})


def test_workers_here_share_the_memory_of_this_machine(client, monkeypatch):
    executor = DaskExecutor(client)
    resources = resources_of(executor, 10**9)
    assert not resources.elsewhere
    assert resources.local_threads == executor.threads
    assert resources.driver_cores == available_cores()
    # Within the limits that they have of their own.
    (worker,) = client.scheduler_info(n_workers=-1)["workers"].values()
    assert resources.worker_memory_bytes == worker["memory_limit"]
    told_workers(client, monkeypatch, (0, 4), (0, 4))
    assert resources_of(executor, 10**9).worker_memory_bytes is None


def test_the_tightest_worker_decides(client, monkeypatch):
    told_workers(client, monkeypatch, (8 * 10**9, 1), (16 * 10**9, 16), (0, 2))
    resources = resources_of(DaskExecutor(client), 10**11)
    assert (resources.worker_memory_bytes, resources.worker_threads) == (16 * 10**9, 16)
    assert resources.task_bytes == 5 * 10**8
    assert resources.local_threads == 3 * 16


def test_tasks_elsewhere_have_their_workers_memory(client, monkeypatch):
    monkeypatch.setattr("clustergrid.pipeline.execution._own_addresses", set)
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    least = min((w["memory_limit"] or 4 * 10**9) // 2 // w["nthreads"] for w in workers)
    resources = resources_of(DaskExecutor(client), 10**9)
    assert resources.elsewhere
    assert resources.task_bytes == least
    assert resources.local_threads == 0
