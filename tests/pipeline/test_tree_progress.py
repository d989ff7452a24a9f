"""What engines say of a tree on their way, as listeners hear it."""

import re

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from clustergrid.pipeline.monitor import Progress
from clustergrid.pipeline.tree_progress import tree_note
from clustergrid.pipeline.trees import condensed_tree, merge_square

NOTE = re.compile(
    r"(?:(?P<phase>[a-z]+)(?: (?P<share>\d+) %)?: )?(?P<left>[\d,]+) clusters? left"
    r"(?:, height (?P<height>[\d.e+]+))?(?:, (?P<passes>[\d.]+) passes)?"
)


def points(n, k=6, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, k)) + 5 * rng.normal(size=(30, k))[rng.integers(0, 30, n)]


def listened():
    """All events of stages: none is left out for being too soon after another."""
    events = []
    return Progress(events.append, interval_seconds=0), events


def read(note):
    found = NOTE.fullmatch(note)
    assert found is not None, note
    height = float(found["height"]) if found["height"] else 0.0
    return found["phase"], int(found["left"].replace(",", "")), height


def check_notes(events, total, heights):
    """Clusters left are what the bar says is not done, and heights never fall."""
    # A stage starts with the reason for its engine.
    told = [event for event in events if event.note and event.state != "started"]
    assert len(told) > 2
    read_notes = [read(event.note) for event in told]
    for event, (_, left, _) in zip(told, read_notes, strict=True):
        assert left == total + 1 - event.done
    reached = [height for _, _, height in read_notes]
    assert reached == sorted(reached)
    assert told[-1].state == "finished"
    assert reached[-1] == pytest.approx(heights.max(), rel=1e-3)
    return [phase for phase, _, _ in read_notes]


@pytest.mark.parametrize("method", ["single", "average", "centroid"])
def test_engines_on_a_square(method):
    n = 2500
    square = np.linalg.norm(points(n)[:, None] - points(n), axis=2)
    progress, events = listened()
    Z = merge_square(square, method, None, n, engine="square", progress=progress, name="linkage")
    assert set(check_notes(events, n - 1, Z[:, 2])) == {None}


def test_phases_of_proved_merges():
    n = 3000
    progress, events = listened()
    Z = condensed_tree(
        pdist(points(n)),
        "average",
        engine="condensed",
        memory_bytes=10**9,
        progress=progress,
        name="linkage",
    )
    phases = check_notes(events, n - 1, Z[:, 2])
    assert list(dict.fromkeys(phases)) == ["lists", "rounds", "contraction", "square"]
    assert any(re.match(r"lists \d+ %: 3,000 clusters left", event.note) for event in events)
    passes = [NOTE.fullmatch(event.note)["passes"] for event in events[1:]]
    assert 1 <= float(passes[-1]) < 4


def test_a_note_is_always_of_one_form():
    for arguments in (
        (20_000, 0.0),
        (20_000, 0.0, "chain", 0.0, 12.3),
        (1, 12345.678),
        (7, 3e-12, "rounds"),
        (7, 1.0, "lists", 0.004),
    ):
        assert NOTE.fullmatch(tree_note(*arguments).replace("e-", "e+"))
