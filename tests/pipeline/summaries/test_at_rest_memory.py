"""The memory of a tree whose means are at rest."""

import pytest

from tests.pipeline.rest_memory import measured

ASKED = {"n": 16_000, "k": 1500, "method": "ward", "most_clusters": 1000}


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_means_at_rest_take_a_part_of_the_memory_of_the_matrix(tmp_path):
    rest, here = (measured(tmp_path, where, **ASKED) for where in ("rest", "memory"))
    assert rest.share < 0.8
    assert here.share > 1.9
    assert rest.Z == here.Z
