"""Rows are the same in memory and at rest, however they are cut, read, gathered or reordered."""

import pickle

import numpy as np
import pytest

from clustergrid.pipeline import row_reader
from clustergrid.pipeline.row_reader import (
    RowPass,
    RowsAtRest,
    RowsInMemory,
    put_at_rest,
    reordered,
)
from clustergrid.storage.errors import IntegrityError
from clustergrid.storage.source import ArraySource

pytestmark = pytest.mark.quick_cases(one_in=16)


def parts_of(values, ends):
    ends = sorted({min(end, len(values)) for end in ends} | {len(values)})
    return [values[start:stop] for start, stop in zip([0, *ends], ends, strict=False)]


@pytest.mark.parametrize("dtype", ["float64", "float32", "bool"])
@pytest.mark.parametrize(
    ("n", "k", "ends"), [(1, 1, []), (64, 3, [1]), (65, 2, [10, 65]), (300, 5, [70, 71, 200])]
)
def test_rows_at_rest_are_those_in_memory(tmp_path, n, k, ends, dtype):
    rng = np.random.default_rng(n)
    values = (100 * rng.normal(size=(n, k))).astype(dtype)
    here = RowsInMemory(values)
    store = str(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_reader, "CHUNK_VALUES", 64 * k)
        rest = put_at_rest(
            parts_of(values, ends), shape=(n, k), dtype=values.dtype, store=store, path="rows"
        )
        order = rng.permutation(n)
        turned = reordered(rest, order, store=store, path="turned", rows_at_once=70)
    assert rest.shape == here.shape
    assert rest.dtype == here.dtype
    assert rest.rows_together == min(64, n)
    for start, stop in ((0, n), (n // 3, n // 2), (n - 1, n)):
        np.testing.assert_array_equal(rest.block(start, stop), here.block(start, stop))
        np.testing.assert_array_equal(turned.block(start, stop), values[order][start:stop])
    for count in (0, 1, 2 * n):
        places = rng.integers(0, n, count)
        for reader in (rest, pickle.loads(pickle.dumps(rest))):
            taken = reader.take(places)
            assert taken.flags.c_contiguous
            np.testing.assert_array_equal(taken, here.take(places))


@pytest.mark.parametrize("kept", [None, [0], [3, 4, 699], list(range(0, 700, 2)), []])
def test_a_pass_reads_every_row_that_is_kept(kept):
    values = np.random.default_rng(0).normal(size=(700, 5000))
    kept = None if kept is None else np.array(kept, dtype=np.int64)
    expected = 2 * (values if kept is None else values[kept])
    source = ArraySource(values)
    rows = RowPass(
        source=source,
        dtype=values.dtype,
        read=lambda rows, features: 2 * source.read(rows, features),
        kept=kept,
    )
    assert rows.shape == expected.shape
    np.testing.assert_array_equal(rows.to_array(), expected)
    strips = list(rows.strips())
    assert len(strips) > 1
    assert [strip.of_matrix.stop for strip in strips][-1] == 700
    np.testing.assert_array_equal(np.concatenate([strip.values for strip in strips]), expected)
    for strip in strips:
        np.testing.assert_array_equal(strip.values, expected[strip.to])


def test_a_reader_is_sent_as_a_location(tmp_path):
    values = np.ones((10_000, 50))
    rest = put_at_rest(
        [values], shape=values.shape, dtype=values.dtype, store=str(tmp_path), path="rows"
    )
    assert rest.block(0, 1).shape == (1, 50)  # opened
    assert len(pickle.dumps(rest)) < 1000


def test_take_reads_every_chunk_once(tmp_path, monkeypatch):
    values = np.random.default_rng(0).normal(size=(640, 2))
    monkeypatch.setattr(row_reader, "CHUNK_VALUES", 128)
    rest = put_at_rest(
        [values], shape=values.shape, dtype=values.dtype, store=str(tmp_path), path="rows"
    )
    read = []
    block = RowsAtRest.block
    monkeypatch.setattr(
        RowsAtRest, "block", lambda self, *ends: read.append(ends) or block(self, *ends)
    )
    rest.take(np.array([630, 3, 130, 5, 3, 190]))
    assert read == [(3, 6), (130, 191), (630, 631)]


def test_rows_that_are_missing_or_damaged_are_no_rows(tmp_path):
    wide = np.ones((32, 2048))
    with pytest.raises(ValueError, match="expected 64 rows to put at rest, got 32"):
        put_at_rest([wide], shape=(64, 2048), dtype=wide.dtype, store=str(tmp_path), path="few")
    values = np.ones((10, 2))
    rest = put_at_rest(
        [values], shape=values.shape, dtype=values.dtype, store=str(tmp_path), path="rows"
    )
    chunk = next((tmp_path / "rows").rglob("c/0/0"))
    data = bytearray(chunk.read_bytes())
    data[5] ^= 1
    chunk.write_bytes(data)
    with pytest.raises(IntegrityError, match=r"'rows' in .* is damaged in rows 2 to 4"):
        rest.take(np.array([2, 3]))
    rest.remove()
    assert not (tmp_path / "rows").exists()


@pytest.mark.parametrize("dtype", ["float64", "float32", "bool", "int16"])
def test_a_chunk_that_was_removed_is_no_rows_of_zeros(tmp_path, monkeypatch, dtype):
    monkeypatch.setattr(row_reader, "CHUNK_VALUES", 128)
    values = np.arange(640).reshape(320, 2).astype(dtype)
    rest = put_at_rest(
        [values], shape=values.shape, dtype=values.dtype, store=str(tmp_path), path="rows"
    )
    np.testing.assert_array_equal(rest.block(0, 320), values)  # opened
    next((tmp_path / "rows").rglob("c/2/0")).unlink()
    words = r"chunk 2 of the array 'rows' in .*, of rows 128 to 192, is not there any more"
    for reader in (rest, pickle.loads(pickle.dumps(rest))):
        for start, stop in ((0, 320), (130, 140), (190, 300), (191, 192)):
            with pytest.raises(IntegrityError, match=words):
                reader.block(start, stop)
        with pytest.raises(IntegrityError, match=words):
            reader.take(np.array([300, 131, 5]))
        np.testing.assert_array_equal(reader.block(0, 128), values[:128])
        np.testing.assert_array_equal(reader.block(192, 320), values[192:])
        assert reader.block(131, 131).shape == (0, 2)
    # All of them, as who clears a folder does.
    rest.remove()
    with pytest.raises(IntegrityError, match=r"chunk 4 of .* rows 256 to 320"):
        rest.block(300, 301)


@pytest.mark.parametrize("fill", [np.nan, 0.0, False])
def test_rows_of_nothing_but_fill_values_are_rows(tmp_path, monkeypatch, fill):
    """As of a matrix with missing values."""
    monkeypatch.setattr(row_reader, "CHUNK_VALUES", 128)
    values = np.full((200, 2), fill)
    rest = put_at_rest(
        [values], shape=values.shape, dtype=values.dtype, store=str(tmp_path), path="rows"
    )
    np.testing.assert_array_equal(rest.block(3, 199), values[3:199])
