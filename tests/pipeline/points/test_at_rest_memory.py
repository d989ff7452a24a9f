"""The memory of a tree of points whose rows are at rest."""

import pytest

from tests.pipeline.rest_memory import measured

ASKED = {"n": 8000, "k": 2500, "method": "average", "most_clusters": 800}


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_rows_at_rest_take_less_memory_than_they_would_in_it(tmp_path):
    rest, here = (measured(tmp_path, where, **ASKED) for where in ("rest", "memory"))
    assert rest.share < 0.7
    assert here.share > 0.9
    assert rest.Z == here.Z
