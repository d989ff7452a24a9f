"""Identical rows are found, and leaving them out of the merging changes no height."""

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.cluster.hierarchy import cophenet, is_valid_linkage
from scipy.cluster.hierarchy import linkage as scipy_linkage
from scipy.spatial.distance import pdist

from clustergrid.pipeline import duplicates, linkage, stages
from clustergrid.pipeline.duplicates import find_duplicates
from clustergrid.pipeline.execution import DaskExecutor, SerialExecutor, ThreadsExecutor
from clustergrid.pipeline.hierarchy import METHODS
from clustergrid.pipeline.monitor import Progress
from clustergrid.storage.arrays import create_array, write_block
from clustergrid.storage.source import ArraySource, ZarrSource
from tests.budget import examples

pytestmark = pytest.mark.quick_cases(one_in=4)


def find(values, executor=None):
    source = values if hasattr(values, "read") else ArraySource(values)
    return find_duplicates(source, executor or SerialExecutor(), Progress(), name="duplicates")


@settings(max_examples=examples(80), deadline=None)
@given(
    arrays(
        np.float64,
        st.tuples(st.integers(1, 15), st.integers(1, 3)),
        elements=st.sampled_from([0.0, -0.0, 1.0]),
    )
)
def test_every_repeated_row_is_found(values):
    first = {}
    earliest = [first.setdefault(tuple(row), i) for i, row in enumerate((values + 0).tolist())]
    found = find(values)
    if len(first) == len(values):
        assert found is None
        return
    assert found.kept.tolist() == sorted(first.values())
    assert found.row.tolist() == [i for i, e in enumerate(earliest) if e != i]
    assert found.duplicate_of.tolist() == [e for i, e in enumerate(earliest) if e != i]


def test_minus_zero_is_zero():
    found = find(np.array([[0.0, 1.0], [-0.0, 1.0]]))
    np.testing.assert_array_equal(found.row, [1])


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8", "uint64", "bool"])
def test_any_type_of_number(dtype):
    values = np.array([[1, 0], [0, 1], [1, 0]]).astype(dtype)
    for found in (find(values), find(np.asfortranarray(values))):
        np.testing.assert_array_equal(found.kept, [0, 1])
        np.testing.assert_array_equal(found.duplicate_of, [0])


@pytest.fixture
def many(monkeypatch):
    """Take a few observations for many, which are not left to SciPy."""
    for name, module in list(sys.modules.items()):
        if name.startswith("clustergrid.pipeline") and hasattr(module, "SMALL_OBSERVATIONS"):
            monkeypatch.setattr(module, "SMALL_OBSERVATIONS", 20)


@pytest.fixture
def repeated():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(120, 9))[rng.integers(0, 120, 400)]
    values[rng.random(400) < 0.2] = 0
    return values


def test_the_same_wherever_it_runs(monkeypatch, repeated, client, tmp_path):
    expected = find(repeated)
    # Rows and features in many pieces.
    monkeypatch.setattr(duplicates, "pass_block", lambda shape, chunks: (70, 4))
    array = create_array(
        tmp_path / "a.zarr", "x", shape=repeated.shape, dtype="float64", chunks=(64, 5)
    )
    write_block(array, (0, 0), repeated)
    stored = ZarrSource(str(tmp_path / "a.zarr"), "x")
    for executor in (SerialExecutor(), ThreadsExecutor(2), DaskExecutor(client)):
        for source in (ArraySource(repeated), stored, ArraySource(repeated.T.copy()).transpose()):
            found = find(source, executor)
            for name in ("kept", "row", "duplicate_of"):
                np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


def test_rows_that_differ_in_the_last_feature_only(monkeypatch):
    monkeypatch.setattr(duplicates, "pass_block", lambda shape, chunks: (70, 4))
    values = np.zeros((5, 9))
    values[:, 8] = [0, 1, 0, 2, 1]
    np.testing.assert_array_equal(find(values).row, [2, 4])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("at_rest", [False, True])
def test_heights_are_scipys(many, monkeypatch, repeated, tmp_path, method, at_rest):
    called = []

    def recorded(*args, **kwargs):
        called.append(find_duplicates(*args, **kwargs))
        return called[-1]

    monkeypatch.setattr(stages, "find_duplicates", recorded)
    Z = linkage(repeated, method, store=tmp_path / "run" if at_rest else None)
    n_repeated = len(find(repeated).row)
    assert n_repeated > 100
    # Single linkage is the same to the bit from rows and from distances: with all observations.
    assert [len(found.row) for found in called] == ([] if method == "single" else [n_repeated])
    assert is_valid_linkage(Z)
    condensed = pdist(repeated)
    expected = scipy_linkage(condensed, method)
    np.testing.assert_allclose(Z[:, 2], expected[:, 2], rtol=1e-10)
    assert (Z[:n_repeated, 2] == 0).all()
    np.testing.assert_allclose(cophenet(Z), cophenet(expected), rtol=1e-10)


@pytest.mark.parametrize("method", METHODS)
def test_stored_or_in_memory_is_the_same_tree(many, repeated, tmp_path, method):
    np.testing.assert_array_equal(
        linkage(repeated, method), linkage(repeated, method, store=tmp_path / "run")
    )


def test_all_rows_identical(many):
    Z = linkage(np.ones((30, 4)))
    assert is_valid_linkage(Z)
    assert (Z[:, 2] == 0).all()


def test_missing_values_are_refused_before_rows_are_compared(many, monkeypatch, repeated):
    monkeypatch.setattr(stages, "find_duplicates", lambda *args, **kwargs: pytest.fail("called"))
    repeated[3, 2] = np.nan
    with pytest.raises(ValueError, match="only finite values"):
        linkage(repeated)
