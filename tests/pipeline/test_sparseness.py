"""Which engine a sparse matrix goes through, and what its plan says."""

from __future__ import annotations

import pytest

from clustergrid.pipeline.metrics import METRICS, get_metric
from clustergrid.pipeline.planning import plan_run
from clustergrid.pipeline.resources import Resources
from clustergrid.pipeline.sparseness import SPARSE_METRICS, is_sparse_metric, prefers_stored
from clustergrid.pipeline.spec import AxisSpec, RunSpec


def planned(metric, density, *, shape=(20_000, 2000), itemsize=4, dtype="float32", **options):
    none = AxisSpec(cluster=False)
    spec = RunSpec(row=AxisSpec(metric=metric, dtype=dtype), column=none, **options)
    return plan_run(
        spec,
        shape,
        itemsize,
        Resources(memory_bytes=10**11, threads=2),
        in_memory=False,
        ingest=False,
        n_stored=None if density is None else round(shape[0] * shape[1] * density),
    )


def distance_stage(plan):
    return next(stage for stage in plan.stages if stage.name == "distance-row")


def test_counts_are_of_unnormalized_values_alone():
    assert is_sparse_metric("jaccard", is_normalized=False)
    assert not is_sparse_metric("jaccard", is_normalized=True)
    assert is_sparse_metric("cosine", is_normalized=True)
    assert not is_sparse_metric("cityblock", is_normalized=False)


@pytest.mark.parametrize("metric", SPARSE_METRICS)
def test_few_values_are_compared_as_they_are_stored_and_many_are_not(metric):
    assert prefers_stored(METRICS[metric], 0.01, itemsize=4)
    assert not prefers_stored(METRICS[metric], 0.5, itemsize=8)


def test_double_precision_and_compared_values_bear_more_entries():
    assert not prefers_stored(get_metric("euclidean"), 0.2, itemsize=4)
    assert prefers_stored(get_metric("euclidean"), 0.2, itemsize=8)
    assert prefers_stored(get_metric("hamming"), 0.1, itemsize=8)
    assert not prefers_stored(get_metric("hamming"), 0.1, itemsize=8, is_boolean=True)


def test_weights_and_functions_are_for_other_engines():
    assert not prefers_stored(get_metric("euclidean", {"w": [1.0, 2.0]}), 0.01, itemsize=4)
    assert not prefers_stored(get_metric(lambda x, y: 0.0), 0.01, itemsize=4)


@pytest.mark.parametrize(
    ("metric", "density", "options", "engine"),
    [
        ("euclidean", 0.05, {}, "sparse"),
        ("euclidean", 0.05, {"z_score": 1}, "sparse"),
        ("euclidean", 0.5, {}, "product"),
        ("euclidean", None, {}, "product"),
        ("jaccard", 0.01, {}, "sparse"),
        ("jaccard", 0.01, {"z_score": 1}, "counts"),
        ("jaccard", 0.1, {}, "counts"),
        ("cityblock", 0.01, {}, "direct"),
        ("spearman", 0.01, {}, "product"),
    ],
)
def test_plans_name_the_engine(metric, density, options, engine):
    assert distance_stage(planned(metric, density, **options)).engine == f"{metric}, {engine}"


def test_sparse_plans_weigh_what_is_stored():
    sparse, dense = (distance_stage(planned("euclidean", d)) for d in (0.02, None))
    assert "stored values" in sparse.reason
    assert sparse.bytes_read < 0.1 * dense.bytes_read
    assert sparse.seconds < dense.seconds
    thin, thick = (distance_stage(planned("euclidean", d)) for d in (0.01, 0.14))
    assert thin.tiling.task_bytes < thick.tiling.task_bytes
