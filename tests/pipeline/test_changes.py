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


def test_keywords_of_a_metric_are_named_one_by_one():
    digests = ("ab" * 32, "cd" * 32)
    before = {
        "row": {"metric": "minkowski", "metric_kws": {"p": 3.0, "w": digests[0]}},
        "column": {"metric_kws": {}},
        "metric_files": {"row": {"w": "/here/w.npy"}},
    }
    now = {
        "row": {"metric": "minkowski", "metric_kws": {"p": "inf", "w": digests[1]}},
        "column": {"metric_kws": {"min_periods": 4}},
        "metric_files": {"row": {"w": "/there/w.npy"}},
    }
    assert describe_changes(before, now) == [
        "column metric_kws min_periods was None and is 4",
        "row metric_kws p was 3.0 and is 'inf'",
        "row metric_kws w was an array (sha256 abababababab) and is an array (sha256 cdcdcdcdcdcd)",
    ]
    moved = {**before, "metric_files": now["metric_files"]}
    assert describe_changes(before, moved) == []
