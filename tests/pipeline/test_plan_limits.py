"""Plans: no accepted one exceeds a limit, and what a refusal says would do does."""

import re
from dataclasses import replace
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clustergrid.pipeline.errors import MemoryLimitError
from clustergrid.pipeline.footprint import TERMINATE_SHARE, worker_memory_limit
from clustergrid.pipeline.planning import (
    DescribedCluster,
    Resources,
    format_bytes,
    parse_bytes,
    plan_run,
)
from clustergrid.pipeline.spec import AxisSpec, RunSpec
from tests.budget import examples
from tests.pipeline.plans import distances, refusal, shapes, specs, ways


@st.composite
def machines(draw):
    """Memory and tasks: here with or without workers, joined, described, or not known yet."""
    memory, cores = draw(st.integers(10**9, 10**11)), draw(st.integers(1, 64))
    here = Resources(memory_bytes=memory, threads=cores)
    limit = draw(st.integers(10**8, 2 * 10**10))
    workers = draw(st.integers(1, 8))
    several = replace(
        here,
        threads=cores + workers,
        worker_processes=workers,
        worker_memory_bytes=limit,
        worker_threads=draw(st.one_of(st.none(), st.integers(1, cores + 1))),
        driver_cores=draw(st.integers(1, 32)),
    )
    described = DescribedCluster(workers=workers, cores=cores, memory_bytes=limit)
    return draw(
        st.sampled_from(
            [
                here,
                replace(here, driver_cores=32),
                here.with_local_workers(),
                several,
                replace(several, elsewhere=True),
                described.resources(memory),
                replace(here, worker_processes=1, elsewhere=True),
            ]
        )
    )


@settings(max_examples=examples(300), deadline=None)
@given(specs, shapes, machines(), ways, st.sampled_from([0, 1]), st.sampled_from([4, 8]))
def test_no_accepted_plan_exceeds_a_limit(spec, shape, resources, way, pictures, itemsize):
    def planned(resources):
        return plan_run(spec, shape, itemsize, resources, pictures=pictures, **way)

    for _ in range(4):  # the driver's memory, and a worker's, may both have to be raised
        error = refusal(partial(planned, resources))
        if error is None:
            break
        if "in a worker" in str(error):
            assert error.limit_bytes == resources.worker_memory_bytes < error.needed_bytes
            resources = replace(resources, worker_memory_bytes=error.needed_bytes)
        else:
            assert error.limit_bytes == resources.memory_bytes < error.needed_bytes
            resources = replace(resources, memory_bytes=error.needed_bytes)
    found = planned(resources)
    assert found.peak_memory_bytes <= resources.memory_bytes
    assert found.driver_memory_bytes <= resources.memory_bytes
    if resources.worker_memory_bytes is not None:
        assert found.worker_memory_bytes <= resources.worker_memory_bytes


def test_tiles_that_the_driver_reads_fit_beside_the_square():
    cluster = DescribedCluster(workers=1, cores=1, memory_bytes=200 * 10**9)
    spec = RunSpec(row=AxisSpec(engine="square"), column=AxisSpec(cluster=False))
    resources = cluster.resources(driver_memory_bytes=4_400_000_000)
    found = plan_run(spec, (22_052, 1_954), 8, resources, in_memory=False, ingest=True)
    assert found.peak_memory_bytes <= 4_400_000_000
    # As many are read at once as the driver has cores, wherever tasks run.
    many = plan_run(
        spec,
        (22_052, 1_954),
        8,
        replace(resources, driver_cores=8, memory_bytes=10**11),
        in_memory=False,
        ingest=True,
    )
    reading = next(stage for stage in many.stages if stage.name == "linkage-row")
    edge = many.tiling(0).tile_edge
    assert reading.driver_memory_bytes > 8 * 22_052**2 + 8 * 3 * 8 * edge**2


@pytest.mark.parametrize("cores", range(1, 18))
def test_the_memory_that_would_do_does_with_any_number_of_cores(cores):
    def planned(memory_bytes):
        resources = Resources(memory_bytes=memory_bytes, threads=cores).with_local_workers()
        return plan_run(RunSpec(), (12_000, 3_000), 8, resources, in_memory=False, ingest=True)

    with pytest.raises(MemoryLimitError) as refused:
        planned(10**8)
    needed = refused.value.needed_bytes
    found = planned(needed)
    assert found.peak_memory_bytes <= needed
    # A worker is ended at its limit, but for a little: what was planned is below that.
    workers = found.resources.worker_processes
    limit = worker_memory_limit(needed, workers)
    assert found.worker_memory_bytes <= TERMINATE_SHARE * limit


def test_a_worker_needs_memory_for_every_stage():
    cluster = DescribedCluster(workers=4, cores=4, memory_bytes=10**9)
    resources = cluster.resources(driver_memory_bytes=10**11)
    nothing = RunSpec(row=AxisSpec(cluster=False), column=AxisSpec(cluster=False))
    # A block of a copy is 64 MB, thrice.
    with pytest.raises(MemoryLimitError, match=r"needs 1\.21 GB in a worker") as refused:
        plan_run(nothing, (80_000, 500), 8, resources, in_memory=False, ingest=True)
    enough = refused.value.needed_bytes
    assert f"Workers of {format_bytes(enough)} would do" in str(refused.value)
    found = plan_run(
        nothing,
        (80_000, 500),
        8,
        replace(resources, worker_memory_bytes=enough),
        in_memory=False,
        ingest=True,
    )
    assert found.worker_memory_bytes <= enough


def test_workers_of_this_machine_have_limits_too():
    memory = 16 * 10**9
    free = Resources(memory_bytes=memory, threads=2, worker_processes=1)

    def task_bytes(resources):
        way = {"in_memory": False, "ingest": False, "pictures": 0}
        return plan_run(distances, (40_000, 3000), 8, resources, **way).tiling(0).task_bytes

    assert task_bytes(free) > 3 * 10**8
    assert task_bytes(replace(free, worker_memory_bytes=10**9)) <= 10**9 // 4
    with pytest.raises(MemoryLimitError, match=r"of 300 MB with 2 threads. Workers of .* would do"):
        task_bytes(replace(free, worker_memory_bytes=3 * 10**8))


def test_a_described_cluster_sizes_tiles_by_its_workers():
    def planned(memory_bytes):
        cluster = DescribedCluster(workers=100, cores=16, memory_bytes=memory_bytes)
        resources = cluster.resources(driver_memory_bytes=200 * 10**9)
        return plan_run(distances, (150_000, 3_000), 4, resources, in_memory=False, ingest=True)

    large, small = planned(64 * 10**9), planned(8 * 10**9)
    for found, limit in ((large, 64 * 10**9), (small, 8 * 10**9)):
        assert found.worker_memory_bytes <= limit
        assert found.driver_memory_bytes <= 200 * 10**9
        assert found.peak_memory_bytes == found.driver_memory_bytes
    assert small.tiling(0).task_bytes <= large.tiling(0).task_bytes
    assert large.resources.threads == 1600
    with pytest.raises(MemoryLimitError, match=r"of 100 MB with 16 threads") as refused:
        planned(10**8)
    text = str(refused.value)
    enough = parse_bytes(re.search(r"Workers of ([\d.]+ GB) would do", text)[1])
    assert enough == refused.value.needed_bytes
    assert planned(enough).worker_memory_bytes <= enough
    with pytest.raises(MemoryLimitError):
        planned(enough * 9 // 10)
    assert re.search(r"one thread a worker needs .* \(still too much\)", text)


def test_a_worker_with_fewer_threads_may_do():
    def planned(cores, dtype="float64"):
        cluster = DescribedCluster(workers=10, cores=cores, memory_bytes=2 * 10**9)
        spec = RunSpec(row=AxisSpec(dtype=dtype), column=AxisSpec(cluster=False))
        resources = cluster.resources(driver_memory_bytes=10**11)
        way = {"in_memory": False, "ingest": False, "pictures": 0, "chunks": (512, 2048)}
        return plan_run(spec, (1_200, 5_000), 8, resources, **way)

    with pytest.raises(MemoryLimitError) as refused:
        planned(16)
    threads = int(
        re.search(r"(\d+) threads a worker needs .* \(that fits\)", str(refused.value))[1]
    )
    assert planned(threads).resources.threads == 10 * threads
    with pytest.raises(MemoryLimitError):
        planned(threads + 1)
    assert "dtype='float32' needs" in str(refused.value)


@pytest.mark.parametrize("threads", [1, 3])
def test_the_driver_works_on_all_its_threads_on_lists(threads):
    spec = RunSpec(column=AxisSpec(cluster=False))
    resources = Resources(memory_bytes=8 * 10**9, threads=threads)
    plan = plan_run(spec, (50_000, 4), 8, resources, in_memory=True, ingest=False)
    limits = plan.limits(0)
    assert limits is not None
    assert limits.threads == threads
