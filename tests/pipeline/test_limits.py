"""Limits of a picture's colours: NumPy's for small data, within a stated rank for large."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from clustergrid.pipeline import limits as limits_module
from clustergrid.pipeline.execution import DaskExecutor, SerialExecutor, ThreadsExecutor
from clustergrid.pipeline.limits import value_limits
from clustergrid.pipeline.monitor import Progress
from clustergrid.pipeline.normalize import Normalization, matrix_statistics
from clustergrid.pipeline.quantiles import RANK_ERROR, Search, count_bits
from clustergrid.storage.source import ArraySource
from tests.budget import examples
from tests.pipeline.test_downsample import cells_of, example_values, stored

pytestmark = pytest.mark.quick_cases(one_in=16)


def limits(cells, *, robust, executor=None, progress=None):
    statistics = matrix_statistics(cells.source, SerialExecutor(), Progress())
    return value_limits(
        cells,
        statistics,
        robust=robust,
        executor=executor or SerialExecutor(),
        progress=progress or Progress(),
    )


@pytest.fixture
def counted(monkeypatch):
    """Count the bits of small matrices too."""
    monkeypatch.setattr(limits_module, "EXACT_CELLS", 0)


def assert_ranks(found, values):
    """Both are where 2 and 98 % of the values end, within the stated share of them."""
    ordered = np.sort(values)
    for value, share in zip(found, (0.02, 0.98), strict=True):
        position = share * (len(ordered) - 1)
        allowed = RANK_ERROR * len(ordered) + 1
        assert np.searchsorted(ordered, value, "left") <= position + allowed
        assert np.searchsorted(ordered, value, "right") - 1 >= position - allowed


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("axis", [None, 0, 1])
@pytest.mark.parametrize("name", ["z_score", "standard_scale"])
def test_limits(monkeypatch, tmp_path, client, name, axis, masked):
    values, mask, _, _ = example_values(200, 90, 3, odd=False)
    values[:, 0] *= 100
    mask = mask if masked else None
    normalization = Normalization()
    if axis is not None:
        statistics = matrix_statistics(ArraySource(values), SerialExecutor(), Progress())
        normalization = getattr(Normalization, name)(statistics, axis)
    shown = normalization.apply(values, slice(None), slice(None))
    shown = shown[~np.isnan(shown) & (True if mask is None else ~mask)]
    at_rest = cells_of(
        stored(tmp_path, values),
        None if mask is None else stored(tmp_path, mask, path="mask"),
        normalization,
    )
    in_memory = cells_of(values, mask, normalization)
    exact = (shown.min(), shown.max())
    percentiles = tuple(np.percentile(shown, [2, 98]))
    for small in (True, False):
        monkeypatch.setattr(limits_module, "EXACT_CELLS", 10**9 if small else 0)
        for cells in (in_memory, at_rest):
            assert limits(cells, robust=False) == exact
            found = limits(cells, robust=True)
            assert_ranks(found, shown)
            if small:
                assert found == percentiles
            np.testing.assert_allclose(found, percentiles, rtol=1e-5)
            for executor in (ThreadsExecutor(3), DaskExecutor(client)):
                assert limits(cells, robust=False, executor=executor) == exact
                assert limits(cells, robust=True, executor=executor) == found


def searched(values):
    """Quantiles of some values, counted in three parts, and the passes that it took."""
    search = Search((0.02, 0.98), values.dtype)
    while not search.is_finished:
        counted = ()
        for part in np.array_split(values, 3):
            counted = count_bits(part, search.digits, search.prefixes, counted)
        search.take(*counted)
    return search.quantiles, search.digits


@settings(max_examples=examples(150), deadline=None)
@given(
    values=arrays(
        st.sampled_from([np.float32, np.float64]),
        st.integers(1, 300),
        elements=st.floats(width=32, allow_nan=True, allow_infinity=True),
    )
)
def test_any_single_precision_numbers_have_the_percentiles_of_numpy(values):
    finite = values[np.isfinite(values)].astype(np.float64)
    found, passes = searched(values)
    if not len(finite):
        assert np.isnan(found).all()
        return
    np.testing.assert_array_equal(found, np.percentile(finite, [2, 98]))
    # The values of float32 in float64 have a few bits beyond the first 32.
    assert passes == 2 or (values.dtype == np.float64 and passes <= 4)


@settings(max_examples=examples(100), deadline=None)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(1, 60_000),
    kind=st.sampled_from(["normal", "outlier", "zeros", "steps", "near", "tiny"]),
)
def test_quantiles_are_within_the_stated_rank(seed, n, kind):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=n)
    if kind == "outlier":
        values[0] = 1e9  # of which a histogram over the range makes one bin of all others
    elif kind == "zeros":
        values[rng.random(n) < 0.9] = 0.0
    elif kind == "steps":
        values = values.round(1)
    elif kind == "near":
        values = 1.0 + values * 1e-13
    elif kind == "tiny":
        values *= 1e-310
    found, passes = searched(values)
    assert_ranks(found, values)
    assert passes <= 4
    exact = np.percentile(values, [2, 98])
    np.testing.assert_allclose(found, exact, rtol=2**-19, atol=1e-300)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_most_matrices_take_two_passes(dtype):
    rng = np.random.default_rng(0)
    for values in (rng.normal(size=10**6), rng.poisson(0.1, size=10**6), rng.random(10**6)):
        found, passes = searched(values.astype(dtype))
        assert passes == 2
        assert_ranks(found, values.astype(dtype))


def test_one_value_of_a_billion_does_not_move_the_others(tmp_path, counted):
    values = np.random.default_rng(4).normal(size=(2000, 100)).astype(np.float32)
    values[7, 7] = 1e9
    found = limits(cells_of(stored(tmp_path, values, (500, 100))), robust=True)
    np.testing.assert_array_equal(found, np.percentile(values.astype(np.float64), [2, 98]))


@pytest.mark.parametrize("robust", [False, True])
@pytest.mark.parametrize("at_rest", [False, True])
@pytest.mark.parametrize("all_masked", [False, True])
@pytest.mark.parametrize("small", [False, True])
def test_nothing_to_show_has_no_limits(monkeypatch, tmp_path, all_masked, at_rest, robust, small):
    monkeypatch.setattr(limits_module, "EXACT_CELLS", 100 if small else 0)
    values = np.ones((4, 3)) if all_masked else np.full((4, 3), np.nan)
    mask = np.ones((4, 3), bool) if all_masked else None
    if at_rest:
        mask = stored(tmp_path, mask, path="mask") if all_masked else None
        values = stored(tmp_path, values)
    assert np.isnan(limits(cells_of(values, mask), robust=robust)).all()


@pytest.mark.parametrize("robust", [False, True])
@pytest.mark.parametrize("small", [False, True])
def test_one_value_everywhere(monkeypatch, tmp_path, robust, small):
    monkeypatch.setattr(limits_module, "EXACT_CELLS", 100 if small else 0)
    for values in (np.full((5, 4), 3.5), stored(tmp_path, np.full((5, 4), 3.5))):
        assert limits(cells_of(values), robust=robust) == (3.5, 3.5)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("at_rest", [False, True])
@pytest.mark.parametrize("small", [False, True])
def test_infinities_do_not_hide_other_limits(monkeypatch, tmp_path, at_rest, masked, small):
    monkeypatch.setattr(limits_module, "EXACT_CELLS", 100 if small else 0)
    values = np.arange(20.0).reshape(4, 5)
    values[0, 1], values[3, 3] = -np.inf, np.inf
    mask = np.zeros(values.shape, bool)
    mask[0, 0] = masked
    cells = cells_of(
        stored(tmp_path, values) if at_rest else values,
        (stored(tmp_path, mask, path="mask") if at_rest else mask) if masked else None,
    )
    assert limits(cells, robust=False) == (2 if masked else 0, 19)
    low, high = limits(cells, robust=True)
    assert 0 <= low < high <= 19


def test_progress_ends_at_its_total(tmp_path, counted):
    events = []
    values, mask, _, _ = example_values(50, 40, 5)
    cells = cells_of(stored(tmp_path, values), stored(tmp_path, mask, path="mask"))
    for robust in (False, True):
        limits(cells, robust=robust, progress=Progress(events.append, interval_seconds=0))
    assert {event.stage for event in events} >= {"limits", "quantiles", "quantiles-2"}
    assert all(0 <= event.done <= event.total for event in events)
    assert all(e.done == e.total for e in events if e.state == "finished")
