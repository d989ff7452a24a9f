"""Estimates: amounts divided by rates, on one core and on many."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clustergrid.pipeline.estimate import (
    ASSUMED_RATES,
    MachineRates,
    StageWork,
    distance_work,
    estimate_seconds,
)
from clustergrid.pipeline.hierarchy.methods import METHODS
from clustergrid.pipeline.keywords import MetricKeywords
from clustergrid.pipeline.metrics import METRICS, engine_for
from clustergrid.pipeline.planning import plan_run
from clustergrid.pipeline.resources import DescribedCluster, Resources
from clustergrid.pipeline.sizes import format_seconds
from clustergrid.pipeline.spec import AxisSpec, RunSpec
from clustergrid.pipeline.tree_work import linkage_work
from tests.budget import examples
from tests.pipeline.plans import distances

ALONE = Resources(memory_bytes=10**12, threads=1)
EIGHT = Resources(memory_bytes=10**12, threads=8)
RATES = MachineRates(
    product_float32_per_second=8e10,
    product_float64_per_second=4e10,
    steps_per_second=5e9,
    cores_together=1.0,
    fresh_bytes_per_second=1e9,
    written_bytes_per_second=5e8,
    read_bytes_per_second=1e9,
)


def planned(shape=(30_000, 500), *, resources=EIGHT, rates=RATES, spec=None, **way):
    way = {"in_memory": False, "ingest": True, **way}
    return plan_run(spec or RunSpec(), shape, 8, resources, **way).with_rates(rates)


def stage_seconds(plan):
    return {stage.name: stage.seconds for stage in plan.stages}


@pytest.mark.parametrize("name", [n for n in RATES.__dataclass_fields__ if n != "measured"])
@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_rates_are_positive(name, value):
    with pytest.raises(ValueError, match=f"{name} must be positive"):
        replace(RATES, **{name: value})


@pytest.mark.parametrize("itemsize", [4, 8])
def test_products_are_divided_by_the_rate_of_their_type(itemsize):
    work = StageWork(product_operations=8e11, product_itemsize=itemsize)
    assert estimate_seconds(work, 1000, RATES, ALONE) == pytest.approx(10 if itemsize == 4 else 20)
    assert estimate_seconds(work, 1000, RATES, EIGHT) == pytest.approx(
        (10 if itemsize == 4 else 20) / 8
    )
    slowed = replace(RATES, cores_together=0.5)
    assert estimate_seconds(work, 1000, slowed, EIGHT) == pytest.approx(
        (10 if itemsize == 4 else 20) / 4
    )


def test_tasks_that_do_not_fill_the_cores_leave_some_idle():
    work = StageWork(product_operations=8e11)
    one, nine, many = (estimate_seconds(work, tasks, RATES, EIGHT) for tasks in (1, 9, 8000))
    assert one == pytest.approx(20)
    assert nine == pytest.approx(20 * 2 / 9)
    assert many == pytest.approx(2.5)


def test_the_scheduler_is_what_tiny_tasks_wait_for():
    cluster = replace(EIGHT, worker_processes=2)
    assert estimate_seconds(StageWork(), 50_000, RATES, cluster) == pytest.approx(50)
    assert estimate_seconds(StageWork(), 50_000, RATES, EIGHT) < 10


def test_the_driver_and_the_store_do_not_go_faster_with_cores():
    work = StageWork(
        disk_written_bytes=5e8, disk_read_bytes=1e9, fresh_bytes=1e9, driver_steps=5e9,
        driver_seconds=1.0,
    )  # fmt: skip
    assert estimate_seconds(work, 1, RATES, ALONE) == pytest.approx(5, rel=0.01)
    assert estimate_seconds(work, 1, RATES, EIGHT) == pytest.approx(5, rel=0.01)


@settings(deadline=None, max_examples=examples(50))
@given(
    st.integers(2, 200_000), st.integers(1, 50_000), st.sampled_from(["float32", "float64"]),
    st.sampled_from(METHODS), st.floats(1.1, 10),
)  # fmt: skip
def test_faster_machines_and_more_cores_are_never_slower(n, k, dtype, method, factor):
    spec = RunSpec(row=AxisSpec(dtype=dtype, method=method), column=AxisSpec(cluster=False))
    resources = Resources(memory_bytes=10**15, threads=4)
    found = plan_run(spec, (n, k), 8, resources, in_memory=False, ingest=True).with_rates(RATES)
    faster = {
        name: getattr(RATES, name) * factor
        for name in RATES.__dataclass_fields__
        if name not in ("measured", "cores_together")
    }
    assert found.with_rates(replace(RATES, **faster)).seconds <= found.seconds
    assert found.with_rates(ASSUMED_RATES).seconds >= found.seconds
    assert all(stage.seconds >= 0 for stage in found.stages)


def test_seconds_grow_with_the_square_of_the_observations():
    small, large = (stage_seconds(planned((n, 500), spec=distances)) for n in (20_000, 80_000))
    for name in ("distance-row", "linkage-row"):
        assert 12 < large[name] / small[name] < 20
    assert 3 < large["statistics"] / small["statistics"] < 5


def test_a_matrix_that_memory_does_not_hold_is_read_from_the_medium_again():
    work = StageWork(again_bytes=10e9, matrix_bytes=1e9)
    plenty, scarce = (Resources(memory_bytes=m, threads=2) for m in (4 * 10**9, 10**9))
    assert estimate_seconds(work, 1, RATES, plenty) < 0.01
    assert estimate_seconds(work, 1, RATES, scarce) == pytest.approx(10, rel=0.01)
    # A worker's own memory holds it, or not.
    large, small = (
        DescribedCluster(workers=4, cores=2, memory_bytes=m * 10**9).resources(10**12)
        for m in (4, 1)
    )
    assert estimate_seconds(work, 1, RATES, large) < 0.01
    assert estimate_seconds(work, 1, RATES, small) == pytest.approx(10, rel=0.01)


def test_what_is_not_done_takes_no_time():
    spec = RunSpec(row=AxisSpec(linkage="tree.npy"), column=AxisSpec(cluster=False))
    found = planned(spec=spec)
    assert {"distance-row", "linkage-row", "distance-col"}.isdisjoint(stage_seconds(found))
    assert found.seconds < planned().seconds / 2
    assert stage_seconds(planned(pictures=3))["picture"] == pytest.approx(
        3 * stage_seconds(planned())["picture"]
    )


def distance_seconds(name, *, k=1000, is_boolean=False, tile_edge=2048, **keywords):
    spec = AxisSpec(metric=name, metric_kws=MetricKeywords.from_mapping(keywords))
    work = distance_work(
        spec, 20_000, k, itemsize=8, bytes_read=0, tiles_bytes=1, is_boolean=is_boolean,
        tile_edge=tile_edge,
    )  # fmt: skip
    return estimate_seconds(work, 1000, RATES, EIGHT)


@pytest.mark.parametrize("metric", METRICS)
def test_metrics_that_are_products_or_counts_are_faster(metric):
    engine = engine_for(METRICS[metric], 20_000, 1000)
    euclidean = distance_seconds("euclidean")
    if metric == "mahalanobis":
        assert euclidean < distance_seconds(metric) < 5 * euclidean
    elif engine == "product":
        assert distance_seconds(metric) == euclidean < distance_seconds("cityblock") / 2
    elif engine in ("counts", "precomputed"):
        assert distance_seconds(metric) < euclidean
    else:
        assert distance_seconds(metric) > 2 * euclidean


def test_what_keywords_and_types_do_to_the_time():
    cityblock = distance_seconds("cityblock")
    assert distance_seconds("minkowski", p=1) == cityblock
    assert distance_seconds("minkowski", p=2) == distance_seconds("euclidean")
    assert cityblock < distance_seconds("minkowski", p=3) < distance_seconds("minkowski", p=2.5)
    assert distance_seconds("jaccard", w=np.ones(1000)) > 5 * distance_seconds("jaccard")
    assert distance_seconds("hamming") > 5 * distance_seconds("hamming", is_boolean=True)
    # Larger tiles transform fewer rows; a covariance that is given takes no pass.
    assert distance_seconds("mahalanobis", tile_edge=512) > 1.5 * distance_seconds("mahalanobis")
    assert distance_seconds("mahalanobis", VI=np.eye(1000)) < distance_seconds("mahalanobis")


def test_ranks_take_a_sort():
    spec = RunSpec(row=AxisSpec(metric="spearman"), column=AxisSpec(cluster=False))
    short, long = (
        stage_seconds(planned((4000, k), spec=spec))["ranks-row"] for k in (3000, 48_000)
    )
    assert 16 < long / short < 32


def test_a_function_of_the_users_is_slowest():
    def mine(left, right):
        raise AssertionError

    works = [
        distance_work(AxisSpec(metric=m), 5000, 50, itemsize=8, bytes_read=0, tiles_bytes=0)
        for m in (mine, "cityblock")
    ]
    slow, fast = (estimate_seconds(work, 100, RATES, EIGHT) for work in works)
    assert slow > 10 * fast


def test_single_linkage_is_quickest():
    def seconds(method):
        work = linkage_work(
            AxisSpec(method=method), 20_000, 10, itemsize=8, tiles_bytes=0, matrix_bytes=0
        )
        return estimate_seconds(work, 1, RATES, EIGHT)

    assert max(METHODS, key=seconds) != "single"
    assert min(METHODS, key=seconds) == "single"


def test_a_described_cluster_shortens_what_its_workers_do():
    def on(workers):
        cluster = DescribedCluster(workers=workers, cores=16, memory_bytes=64 * 10**9)
        resources = cluster.resources(driver_memory_bytes=10**12)
        return stage_seconds(planned((150_000, 20_000), resources=resources, spec=distances))

    few, many = on(2), on(40)
    assert many["distance-row"] < few["distance-row"] / 2
    # The square is read and merged by the driver alone.
    assert many["linkage-row"] > 0.7 * few["linkage-row"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.005, "0.01 s"),
        (0.0949, "0.09 s"),
        (0.095, "0.1 s"),
        (0.5, "0.5 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (200, "3 min 20 s"),
        (3599, "59 min 59 s"),
        (3601, "1 h"),
        (47 * 3600, "1 d 23 h"),
        (72 * 3600, "3 d"),
        (1e8, "1,157 d 9 h"),
    ],
)
def test_times_as_people_read_them(seconds, text):
    assert format_seconds(seconds) == text
