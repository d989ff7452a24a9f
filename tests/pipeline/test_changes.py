"""Options that changed are named; what decides no result is not."""

from clustergrid.pipeline.changes import describe_changes


def test_changes_are_in_words():
    before = {
        "row": {"method": "average", "metric": "cosine"},
        "z_score": None,
        "memory_bytes": 1,
        "cluster": {"scheduler": "tcp://a"},
        "directory": "a",
    }
    now = {
        "row": {"method": "ward", "metric": "cosine"},
        "z_score": 0,
        "memory_bytes": 2,
        "cluster": {"scheduler": None},
        "directory": "b",
        "layer": "raw",
    }
    assert describe_changes(before, now) == [
        "layer was None and is 'raw'",
        "row method was 'average' and is 'ward'",
        "z_score was None and is 0",
    ]
    assert describe_changes(before, before) == []
