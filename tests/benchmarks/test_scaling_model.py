"""The model of clusters that nobody has here: its arithmetic, and what was measured beside it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.scaling_model import (
    LIMITS,
    Calibration,
    Fit,
    Load,
    Site,
    Tree,
    loads,
    predict,
    predict_run,
)

ROOT = Path(__file__).parents[2]
SITE = Site()


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    path = ROOT / "benchmarks" / "scaling_calibration.json"
    return Calibration(json.loads(path.read_text(encoding="utf-8")))


def seconds(tree: Tree, workers: int, calibration: Calibration, site: Site = SITE) -> float:
    return sum(each.seconds for each in predict_run(tree, site, workers, calibration))


# Fits


@given(linear=st.floats(1e-6, 1e3), square=st.floats(1e-9, 1e-3), features=st.floats(1e-12, 1e-6))
def test_a_fit_finds_what_values_were_made_of(linear, square, features):
    def value(n, k):
        return linear * n + square * n * n + features * n * n * k

    measured = [(n, k, value(n, k)) for k in (50, 500) for n in (10_000, 20_000, 40_000)]
    fit = Fit.of(measured, ("n", "nk", "nn", "nnk"))
    assert all(each >= 0 for each in fit.coefficients)
    assert fit(30_000, 100) == pytest.approx(value(30_000, 100), rel=1e-3)
    assert fit(1_000_000, 50) == pytest.approx(value(1_000_000, 50), rel=1e-2)


def test_nothing_measured_is_nothing():
    assert Fit.of([(10, 10, 0.0)], ("n", "nn"))(1e6, 50) == 0.0


# Limits


def test_each_limit_takes_its_time(calibration):
    cases = {
        "cores": Load(stage="a", tasks=400, core_seconds=1e6),
        "scheduler": Load(stage="a", tasks=1e7, core_seconds=1.0),
        "results": Load(stage="a", tasks=400, core_seconds=1.0, returned_bytes=1e14),
        "files": Load(stage="a", tasks=400, core_seconds=1.0, files_bytes=1e15),
        "messages": Load(stage="a", tasks=400, core_seconds=1.0, shared_bytes=1e13),
        "driver": Load(stage="a", driver_seconds=1e5),
    }
    assert tuple(cases) == LIMITS
    for limit, load in cases.items():
        found = predict(load, SITE, 100, calibration)
        assert found.limit == limit
        assert found.seconds >= found.parts[limit] > 0


def test_more_workers_share_the_cores_time_and_nothing_else(calibration):
    load = Load(stage="a", tasks=80_000, core_seconds=1e6, driver_seconds=100, files_bytes=1e12)
    few, many = (predict(load, SITE, workers, calibration) for workers in (10, 1000))
    assert few.parts["cores"] == pytest.approx(100 * many.parts["cores"])
    assert few.parts["driver"] == many.parts["driver"] == 100
    # Ten workers are on two nodes, whose links are the limit; a thousand fill the servers'.
    assert few.parts["files"] == pytest.approx(1e12 / (2 * SITE.link_bytes_per_second))
    assert many.parts["files"] == pytest.approx(1e12 / SITE.files_bytes_per_second)


def test_a_last_wave_leaves_threads_idle(calibration):
    full, one_more = (
        predict(Load(stage="a", tasks=tasks, core_seconds=tasks), SITE, 10, calibration)
        for tasks in (400, 401)
    )
    assert one_more.parts["cores"] == pytest.approx(full.parts["cores"] * 11 / 10)


# What was measured


@pytest.mark.parametrize("method", ["ward", "average", "single"])
def test_it_repeats_what_it_was_calibrated_with(calibration, method):
    """A fit of all sizes together is near each; of the smallest, which take a second, least so."""
    for each in calibration.measured["stages"]:
        if each["method"] != method:
            continue
        kinds = each["tree"]["kinds"]
        total = sum(kind["cpu_seconds"] for kind in kinds.values())
        fitted = sum(calibration.core_seconds(method, kind)(each["n"], each["k"]) for kind in kinds)
        assert 0.6 < fitted / total < 1.5, (each["n"], each["k"])


def test_it_predicts_a_tree_of_a_million_rows_that_was_made_here(calibration):
    """2,080 processor seconds (README), from calibrations with few rows."""
    tree = Tree(n=1_000_000, k=50, method="ward")
    site = Site(cores=2, worker_memory_bytes=20 * 10**9, driver_memory_bytes=8 * 10**9)
    asked = [
        each
        for each in loads(tree, site, 1, calibration)
        if each.stage in ("lists", "rounds", "contraction")
    ]
    predicted = sum(each.core_seconds + each.driver_seconds for each in asked)
    assert 2_080 / 2 < predicted < 2_080 * 2


@pytest.mark.parametrize("method", ["ward", "average", "single"])
def test_runs_are_faster_with_more_workers_up_to_a_limit(calibration, method):
    tree = Tree(n=1_000_000, k=50, method=method)
    taken = [seconds(tree, workers, calibration) for workers in (1, 10, 100)]
    assert taken[0] > 3 * taken[1]
    # Tasks are as many, and the scheduler hands them out one by one.
    assert taken[2] < 1.1 * taken[1]
    # No cluster makes what the driver does alone any shorter.
    alone = sum(each.parts["driver"] for each in predict_run(tree, SITE, 1000, calibration))
    assert seconds(tree, 1000, calibration) > alone


def test_the_page_shows_what_the_model_says():
    page = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
    for mark in ("totals", "stages"):
        body = page.split(f"<!-- {mark}:start -->")[1].split(f"<!-- {mark}:end -->")[0]
        assert body.count("|") > 50
    assert (ROOT / "docs" / "images" / "scaling.svg").stat().st_size < 200_000
