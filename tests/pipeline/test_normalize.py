"""Statistics and normalization against pandas, whatever the blocks and the executor are."""

import dask.array
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clustergrid.pipeline import normalize
from clustergrid.pipeline.execution import DaskExecutor, SerialExecutor, ThreadsExecutor
from clustergrid.pipeline.monitor import Progress
from clustergrid.pipeline.normalize import Normalization, matrix_statistics
from clustergrid.storage.arrays import create_array, write_block
from clustergrid.storage.errors import DataValueError
from clustergrid.storage.source import ArraySource, ZarrSource
from tests.budget import examples


def statistics_of(values, executor=None):
    return matrix_statistics(ArraySource(values), executor or SerialExecutor(), Progress())


def with_missing(n, k, seed=0):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n, k)) * np.exp(rng.normal(size=k)) + 100 * rng.normal(size=k)
    values[rng.random((n, k)) < 0.1] = np.nan
    return values


def assert_same(left, right):
    for axis in (0, 1):
        for name in ("count", "mean", "m2", "minimum", "maximum", "infinite"):
            np.testing.assert_array_equal(
                getattr(left.axis(axis), name), getattr(right.axis(axis), name), err_msg=name
            )


@settings(max_examples=examples(50), deadline=None)
@given(
    n=st.integers(2, 40), k=st.integers(2, 40), block=st.integers(3, 50), seed=st.integers(0, 99)
)
def test_statistics_are_pandas(n, k, block, seed):
    values = with_missing(n, k, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(normalize, "STATISTICS_BLOCK", block)
        statistics = statistics_of(values)
    frame = pd.DataFrame(values)
    for axis, size in ((0, k), (1, n)):
        found = statistics.axis(axis)
        pandas_axis = 1 - axis
        np.testing.assert_array_equal(found.count, frame.count(axis=pandas_axis))
        np.testing.assert_array_equal(found.infinite, 0)
        present = found.count > 0
        for ours, theirs in (
            (found.mean, frame.mean(axis=pandas_axis)),
            (found.minimum, frame.min(axis=pandas_axis)),
            (found.maximum, frame.max(axis=pandas_axis)),
            (found.standard_deviation, frame.std(axis=pandas_axis)),
        ):
            # A mean is as exact as its values are large: they may cancel.
            np.testing.assert_allclose(ours[present], theirs[present], rtol=1e-12, atol=1e-13)
        assert np.isnan(found.mean[~present]).all()
        assert np.isnan(found.standard_deviation[found.count < 2]).all()
        assert (found.count <= size).all()


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("shape", [(30, 20), (2, 50), (5000, 3), (3, 5000)])
def test_normalized_values_are_pandas(shape, axis):
    values = with_missing(*shape)
    frame = pd.DataFrame(values)
    by_column = frame.T if axis == 0 else frame
    everything = (slice(None), slice(None))
    statistics = statistics_of(values)
    enough = by_column.count() > 1
    for found, expected in (
        (
            Normalization.z_score(statistics, axis).apply(values, *everything),
            (by_column - by_column.mean()) / by_column.std(),
        ),
        (
            Normalization.standard_scale(statistics, axis).apply(values, *everything),
            (by_column - by_column.min()) / (by_column.max() - by_column.min()),
        ),
    ):
        found = found.T if axis == 0 else found
        np.testing.assert_allclose(
            found[:, enough], expected.loc[:, enough], rtol=1e-12, atol=1e-12
        )


@pytest.mark.parametrize("value", [0.1, 1e6 + 0.1, 1e-300, 0.0])
def test_constant_values_deviate_by_exactly_0(value):
    values = np.random.default_rng(0).normal(size=(6, 5000))
    values[2] = value
    statistics = statistics_of(values)
    assert statistics.rows.standard_deviation[2] == 0
    assert (statistics.rows.standard_deviation[[0, 1, 3]] > 0).all()
    with np.errstate(all="raise"):  # whose division does not warn
        z = Normalization.z_score(statistics, 0).apply(values, slice(None), slice(None))
    assert not np.isfinite(z[2]).any()


def test_infinities_are_counted():
    values = np.ones((3, 4))
    values[0, 1], values[2, 1], values[2, 3] = np.inf, -np.inf, np.nan
    statistics = statistics_of(values)
    np.testing.assert_array_equal(statistics.rows.infinite, [1, 0, 1])
    np.testing.assert_array_equal(statistics.columns.infinite, [0, 2, 0, 0])
    np.testing.assert_array_equal(statistics.rows.count, [4, 4, 3])
    assert statistics.columns.mean[0] == 1


@pytest.fixture(scope="module")
def past_one_block():
    values = np.random.default_rng(1).normal(size=(4200, 4150)).astype(np.float32)
    values[:, 7] += 1e6
    values[11, ::3] = np.nan
    return values


def test_no_executor_or_chunk_changes_a_bit(past_one_block, client, tmp_path):
    expected = statistics_of(past_one_block)
    np.testing.assert_allclose(expected.columns.mean, np.nanmean(past_one_block, 0, float), 1e-9)
    assert_same(statistics_of(past_one_block, ThreadsExecutor(2)), expected)
    for chunks in ((700, 4150), (4200, 300)):
        array = create_array(
            tmp_path / "a.zarr",
            f"x{chunks[0]}",
            shape=past_one_block.shape,
            dtype="float32",
            chunks=chunks,
        )
        write_block(array, (0, 0), past_one_block)
        source = ZarrSource(str(tmp_path / "a.zarr"), f"x{chunks[0]}")
        assert_same(matrix_statistics(source, DaskExecutor(client), Progress()), expected)


def test_statistics_of_the_transposed():
    values = with_missing(30, 12)
    statistics = statistics_of(values)
    assert_same(statistics.transpose().transpose(), statistics)
    np.testing.assert_array_equal(statistics.transpose().rows.mean, statistics.columns.mean)


@settings(max_examples=examples(30), deadline=None)
@given(data=st.data(), axis=st.sampled_from([0, 1, None]), name=st.sampled_from(["z", "scale"]))
def test_a_block_is_normalized_as_in_the_whole(data, axis, name):
    values = with_missing(13, 9)
    statistics = statistics_of(values)
    asked = {"z": (axis, None), "scale": (None, axis)}[name]
    normalization = Normalization.from_arguments(statistics, *asked)
    whole = normalization.apply(values, slice(0, 13), slice(0, 9))
    rows, columns = (
        slice(*sorted(data.draw(st.lists(st.integers(0, n), min_size=2, max_size=2))))
        for n in (13, 9)
    )
    np.testing.assert_array_equal(
        normalization.apply(values[rows, columns], rows, columns), whole[rows, columns]
    )
    np.testing.assert_array_equal(
        normalization.transpose().apply(values.T[columns, rows], columns, rows),
        whole.T[columns, rows],
    )


def test_values_without_normalization_stay_where_they_are():
    values = np.ones((3, 4))
    assert Normalization().apply(values, slice(None), slice(None)) is values
    assert Normalization().apply(values.astype(np.int8), slice(None), slice(None)).dtype == float


@pytest.mark.parametrize(
    ("z_score", "standard_scale", "words"),
    [
        (0, 1, "Cannot perform both z-scoring and standard-scaling on data"),
        (2, None, "z_score must be 0 .* got 2"),
        (None, -1, "standard_scale must be 0 .* got -1"),
        (True, None, "z_score must be 0 .* got True"),
        (None, "row", "standard_scale must be"),
    ],
)
def test_what_seaborn_lets_through_is_refused(z_score, standard_scale, words):
    with pytest.raises(DataValueError, match=words):
        Normalization.from_arguments(statistics_of(np.eye(3)), z_score, standard_scale)


def test_one_read_of_every_value_and_progress_in_bytes():
    reads = np.zeros((40, 30), int)
    values = np.random.default_rng(0).normal(size=(40, 30))

    class Counting(ArraySource):
        def read(self, rows, columns):
            reads[rows, columns] += 1
            return super().read(rows, columns)

    events = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(normalize, "STATISTICS_BLOCK", 7)
        matrix_statistics(
            Counting(values), SerialExecutor(), Progress(events.append, interval_seconds=0)
        )
    assert (reads == 1).all()
    running = [event.done for event in events if event.state == "running"]
    assert running[-1] == events[-1].total == values.nbytes
    assert {event.stage for event in events} == {"statistics"}


def test_dask_agrees_on_a_large_offset():
    # A mean that is off in its last digits must not spoil the deviation.
    values = np.random.default_rng(2).normal(size=(3000, 4)) + 1e9
    expected = dask.array.from_array(values - 1e9).std(axis=0, ddof=1).compute(scheduler="sync")
    np.testing.assert_allclose(
        statistics_of(values).columns.standard_deviation, expected, rtol=1e-8
    )
