"""Ranks of a run: at rest and in memory, through kills, other metrics and errors."""

from pathlib import Path

import numpy as np
import pytest

from clustergrid.pipeline import bound_matrix, distance, passes, pdist
from clustergrid.pipeline.cli import main
from clustergrid.storage.errors import DataValueError

pytestmark = pytest.mark.quick_cases(one_in=16)

N, K = 2100, 3


class _Killed(BaseException):
    pass


@pytest.fixture
def values(tmp_path):
    values = np.random.default_rng(0).normal(size=(N, K))
    np.save(tmp_path / "a.npy", values)
    return values


@pytest.fixture(autouse=True)
def every_pass_is_kept(monkeypatch):
    monkeypatch.setattr(passes, "QUICK_SECONDS", -1)


def run(tmp_path, name, metric):
    command(tmp_path, name, metric)
    return np.load(tmp_path / name / "linkage_row.npy")


def command(tmp_path, name, metric):
    options = ["--no-col-cluster", "--cluster", "none", "--metric", metric]
    main(["run", str(tmp_path / "a.npy"), "-o", str(tmp_path / name), *options])


def stop_at_the_first_tile(monkeypatch, tmp_path, name, metric):
    def stop(*args, **kwargs):
        raise _Killed

    with monkeypatch.context() as patched:
        patched.setattr(distance, "tile_distances", stop)
        with pytest.raises(SystemExit):
            command(tmp_path, name, metric)


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("ranks*") if path.is_dir()]


@pytest.mark.parametrize("first", ["spearman", "euclidean"])
def test_another_metric_after_a_kill(monkeypatch, tmp_path, values, first):
    # What a stopped pass over ranks left must not be taken for one over values.
    second = {"spearman": "euclidean", "euclidean": "spearman"}[first]
    stop_at_the_first_tile(monkeypatch, tmp_path, "run", first)
    found = run(tmp_path, "run", second)
    np.testing.assert_array_equal(found, run(tmp_path, "fresh", second))
    assert leftovers(tmp_path) == []


def test_ranks_at_rest_are_those_in_memory(monkeypatch, tmp_path, values):
    expected = run(tmp_path, "memory", "spearman")
    stop_at_the_first_tile(monkeypatch, tmp_path, "run", "spearman")
    monkeypatch.setattr(bound_matrix, "are_ranks_in_memory", lambda *args, **kwargs: False)
    found = run(tmp_path, "run", "spearman")
    np.testing.assert_array_equal(found, expected)
    assert leftovers(tmp_path) == []


@pytest.mark.slow
def test_a_long_covariance_is_kept(tmp_path, values):
    found = run(tmp_path, "run", "mahalanobis")
    np.testing.assert_array_equal(run(tmp_path, "again", "mahalanobis"), found)


@pytest.mark.slow
def test_ranks_do_not_stay_in_a_store(monkeypatch, tmp_path, values):
    monkeypatch.setattr(bound_matrix, "are_ranks_in_memory", lambda *args, **kwargs: False)
    values[7] = 1.0
    store = tmp_path / "distances.zarr"
    with pytest.raises(DataValueError, match="constant"):
        pdist(values, "spearman", store=store)
    assert leftovers(tmp_path) == []
    values[7] = [1.0, 2.0, 3.0]
    at_rest = pdist(values, "spearman", store=store).to_numpy()
    assert leftovers(tmp_path) == []
    np.testing.assert_array_equal(at_rest, pdist(values, "spearman").to_numpy())
