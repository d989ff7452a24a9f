"""Chunks that a copy is written in, and in which a file is read."""

from hypothesis import given
from hypothesis import strategies as st

from clustergrid.storage.readers.chunking import aligned_chunks, storage_chunks


@given(
    n_rows=st.integers(1, 10**7),
    n_columns=st.integers(1, 10**6),
    itemsize=st.sampled_from([1, 4, 8]),
)
def test_storage_chunks(n_rows, n_columns, itemsize):
    rows, columns = storage_chunks((n_rows, n_columns), itemsize)
    if n_rows * n_columns * itemsize <= 2**23:
        assert (rows, columns) == (n_rows, n_columns)
        return
    assert rows % 512 == 0
    assert columns == n_columns or columns % 1024 == 0
    assert rows * columns * itemsize <= 2**26
    assert rows * columns * itemsize >= 2**22 or rows >= n_rows


@given(
    shape=st.tuples(st.integers(1, 10**6), st.integers(1, 10**6)),
    stored=st.tuples(st.integers(1, 5000), st.integers(1, 5000)),
    itemsize=st.sampled_from([1, 4, 8]),
)
def test_aligned_chunks(shape, stored, itemsize):
    rows, columns = aligned_chunks(shape, stored, itemsize)
    assert rows % stored[0] == 0 or rows == shape[0]
    assert columns % stored[1] == 0 or columns == shape[1]
    assert rows * columns * itemsize <= max(2**26, stored[0] * stored[1] * itemsize)
