"""Plans of copies: every value is written once, read a few times at most, in bounded memory."""

from hypothesis import given
from hypothesis import strategies as st

from clustergrid.storage.rechunk import plan_copy

SIZES = st.integers(1, 10**6)


@given(
    st.tuples(SIZES, SIZES),
    st.tuples(SIZES, SIZES),
    st.tuples(st.integers(1, 10**4), SIZES),
    st.integers(1, 10**11),
)
def test_regions_are_whole_chunks_and_bands_are_few(shape, source, target, memory):
    plan = plan_copy(shape, 8, source, target, memory)
    assert plan.band_rows % target[0] == 0
    assert plan.band_rows == target[0] or plan.band_rows * shape[1] * 8 <= memory
    assert (plan.region is None) == (plan.between_chunks is None)
    if plan.region is None:
        return
    rows, columns = plan.region
    height, width = plan.between_chunks
    assert rows >= shape[0] or rows % height == 0
    assert columns == width
    # Every chunk of the source is read by one region, or by the last of a row of them.
    assert rows == min(source[0], shape[0])
    assert columns == shape[1] or columns % min(source[1], shape[1]) == 0
    least = min(source[0], shape[0]) * min(source[1], shape[1]) * 8
    assert rows * columns * 8 <= max(memory, least)


def test_rows_stored_together_are_read_in_bands():
    plan = plan_copy((10**6, 1000), 8, (4096, 1000), (1024, 1000), 10**9)
    assert plan.region is None
    assert plan.band_rows == 124_928


def test_columns_stored_together_take_an_array_between():
    plan = plan_copy((10**6, 20_000), 8, (10**6, 1), (512, 8192), 2 * 10**9)
    assert plan.region == (10**6, 250)
    assert plan.between_chunks == (12_288, 250)


def test_large_square_chunks_are_cut_evenly():
    plan = plan_copy((10**6, 10**5), 8, (10_000, 10_000), (512, 8192), 10**9)
    assert plan.region == (10_000, 10_000)
    assert plan.between_chunks == (1_000, 10_000)
