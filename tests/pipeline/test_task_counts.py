"""No stage of a million rows has more than 50,000 tasks, on any cluster.

The scheduler, one process, takes half a millisecond or more for each: 50,000 of them are a minute,
whatever the cluster.
"""

from __future__ import annotations

import pytest

from clustergrid.pipeline.planning import plan_run
from clustergrid.pipeline.resources import DescribedCluster
from clustergrid.pipeline.spec import AxisSpec, RunSpec
from clustergrid.pipeline.summaries.plan import ListPass
from clustergrid.storage.errors import ClustergridError

MOST_TASKS = 50_000
MILLION = 1_000_000
GB = 10**9
CLUSTERS = {
    "10 x 4": (DescribedCluster(workers=10, cores=4, memory_bytes=16 * GB), 64 * GB),
    "100 x 16": (DescribedCluster(workers=100, cores=16, memory_bytes=64 * GB), 256 * GB),
    "1,000 x 4": (DescribedCluster(workers=1000, cores=4, memory_bytes=16 * GB), 256 * GB),
}
TREES = [
    *((method, "euclidean") for method in ("single", "complete", "average", "weighted", "ward")),
    ("centroid", "euclidean"),
    *(("average", metric) for metric in ("correlation", "cosine", "spearman", "jaccard")),
    *(("average", metric) for metric in ("cityblock", "mahalanobis", "nan_euclidean")),
    *(("single", metric) for metric in ("cityblock", "correlation")),
]


@pytest.mark.parametrize("features", [50, 1000, 10_000])
@pytest.mark.parametrize("cluster", list(CLUSTERS))
def test_a_plan_of_a_million_rows_has_few_tasks(cluster: str, features: int) -> None:
    described, driver_bytes = CLUSTERS[cluster]
    planned = 0
    for method, metric in TREES:
        spec = RunSpec(
            row=AxisSpec(method=method, metric=metric, dtype="float32"),
            column=AxisSpec(cluster=False),
        )
        try:
            plan = plan_run(
                spec, (MILLION, features), 4, described.resources(driver_bytes),
                in_memory=False, ingest=True, reordered="pyramid",
            )  # fmt: skip
        except ClustergridError:
            continue  # too large for the memory: of centroids, all rows are in the driver
        planned += 1
        many = {stage.name: stage.tasks for stage in plan.stages if stage.tasks > MOST_TASKS}
        assert many == {}, (method, metric)
    assert planned >= len(TREES) - 4


@pytest.mark.parametrize("threads", [2, 40, 400, 1600, 4000])
@pytest.mark.parametrize("features", [2, 50, 1000, 2000, 10_000])
def test_so_does_a_list_pass(threads: int, features: int) -> None:
    """What is submitted, whatever the plan says."""
    cut = ListPass(n_owners=MILLION, n_features=features, threads=threads)
    assert cut.n_tasks <= MOST_TASKS
    # There is work for all threads.
    assert cut.n_tasks >= 4 * threads


@pytest.mark.parametrize("n", [100_000, 300_000])
def test_a_thousand_workers_do_not_get_more_tasks_than_a_scheduler_has_time_for(n: int) -> None:
    """All that a pass has to do takes less than a minute of one worker."""
    many, few = (ListPass(n_owners=n, n_features=50, threads=threads) for threads in (4000, 40))
    assert many.n_tasks < 10_000
    assert many.n_tasks >= few.n_tasks
    spec = RunSpec(
        row=AxisSpec(method="single", metric="euclidean"), column=AxisSpec(cluster=False)
    )
    described, driver_bytes = CLUSTERS["1,000 x 4"]
    plan = plan_run(
        spec, (n, 50), 4, described.resources(driver_bytes), in_memory=False, ingest=True
    )
    assert max(stage.tasks for stage in plan.stages) < 12_000
