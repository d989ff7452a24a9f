"""Rates of this machine: measured quickly, kept out of what is short, and never in the way."""

import json
import subprocess
import sys
import time
from dataclasses import asdict

import numpy as np
import pytest

from clustergrid.pipeline import calibration, plan
from clustergrid.pipeline.calibration import LONG_SECONDS, calibrated, measure_rates
from clustergrid.pipeline.estimate import ASSUMED_RATES, MachineRates
from clustergrid.pipeline.planning import plan_run
from clustergrid.pipeline.resources import Resources
from clustergrid.pipeline.spec import RunSpec


def long_plan():
    resources = Resources(memory_bytes=10**12, threads=2)
    return plan_run(RunSpec(), (100_000, 1000), 8, resources, in_memory=False, ingest=True)


def test_rates_are_plausible_and_json(tmp_path):
    measure_rates(tmp_path, threads=2)
    started = time.perf_counter()
    rates = measure_rates(tmp_path, threads=2)
    # Some tenths of a second, on a machine that does nothing else.
    assert time.perf_counter() - started < 5
    assert rates.measured
    assert 0 < rates.cores_together <= 1
    # What no processor that runs this falls short of, or reaches.
    assert 1e8 < rates.product_float64_per_second < 1e13
    assert rates.product_float32_per_second > 0.5 * rates.product_float64_per_second
    assert 1e7 < rates.steps_per_second < 1e12
    assert 1e6 < rates.written_bytes_per_second < 1e12
    assert 1e6 < rates.fresh_bytes_per_second < 1e13
    assert MachineRates(**json.loads(json.dumps(asdict(rates)))) == rates
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_that_cannot_be_written_is_assumed(tmp_path, monkeypatch):
    def refuse(dir):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(calibration.tempfile, "TemporaryFile", refuse)
    for directory in (None, tmp_path):
        rates = measure_rates(directory, threads=1)
        assert rates.written_bytes_per_second == ASSUMED_RATES.written_bytes_per_second
        assert rates.read_bytes_per_second == ASSUMED_RATES.read_bytes_per_second
        assert rates.cores_together == 1.0


def test_short_plans_are_not_measured_for(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("this machine was measured")

    monkeypatch.setattr(calibration, "measure_rates", refuse)
    short = plan(np.zeros((500, 20)), memory="2GB")
    assert short.seconds < LONG_SECONDS
    assert calibrated(short, None, 2) is short
    with pytest.raises(AssertionError, match="was measured"):
        calibrated(long_plan(), None, 2)


def test_long_plans_are_estimated_anew(tmp_path):
    assumed = long_plan()
    assert assumed.seconds > LONG_SECONDS
    assert not assumed.rates.measured
    found = calibrated(assumed, tmp_path, 2)
    assert found.rates.measured
    assert found.seconds != assumed.seconds
    assert [s.name for s in found.stages] == [s.name for s in assumed.stages]
    assert found.peak_memory_bytes == assumed.peak_memory_bytes
    assert "rates measured here" in str(found)
    assert "rates assumed" in str(assumed)


def test_measuring_loads_nothing_heavy():
    code = (
        "import sys; from clustergrid.pipeline.calibration import measure_rates; "
        "measure_rates(None, threads=2); "
        "print([m for m in ('numba', 'dask', 'distributed', 'zarr', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip() == "[]"
