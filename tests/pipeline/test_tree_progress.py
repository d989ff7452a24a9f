"""What engines say of a tree on their way, as listeners hear it."""

import re

import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform

from clustergrid.pipeline.hierarchy.certified import Limits, cluster_certified
from clustergrid.pipeline.hierarchy.condensed import CondensedSource
from clustergrid.pipeline.hierarchy.reached import Reached
from clustergrid.pipeline.monitor import Progress
from clustergrid.pipeline.tree_progress import tell_reached, tree_note
from clustergrid.pipeline.trees import condensed_tree, merge_square

pytestmark = pytest.mark.quick_cases(one_in=16)

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
    told = [e for e in events if e.note and e.state != "started" and not e.is_news]
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
    passes = [NOTE.fullmatch(event.note)["passes"] for event in events[1:] if not event.is_news]
    assert 1 <= float(passes[-1]) < 4
    (news,) = (event.note for event in events if event.is_news)
    left, because = news.split(" clusters left; next: the square of the distances between ")
    assert 1 < int(left) < 3000
    assert because.startswith("the clusters that are left, because ")


def test_what_is_done_where_lists_are_at_their_end():
    """Points at 3^i merge one after another, and there is room for few rows and no square."""
    n = 400
    progress, events = listened()
    distances = np.abs(np.subtract.outer(*[3.0 ** (np.arange(n) / 4)] * 2))
    source = CondensedSource(squareform(distances))
    limits = Limits(most_clusters=20, n_neighbors=4, rows_bytes=8 * n * 8)
    with progress.stage("linkage", total=n - 1, unit="merges") as stage:
        cluster_certified(source, "average", limits=limits, progress=tell_reached(stage, n))
    news = [event.note for event in events if event.is_news]
    assert "next: a chain of nearest neighbours on rows of distances, until a square" in news[-2]
    assert "next: the square of the distances between the clusters that are left" in news[-1]
    assert all(" because " in told for told in news)


def test_the_time_left_is_that_of_the_phase_and_of_the_square(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    progress, events = listened()
    with progress.stage("linkage", total=999, unit="merges") as stage:
        tell = tell_reached(stage, 1000)

        def left(seconds, phase, share, clusters_left=1000):
            now[0] += seconds
            tell(
                Reached(
                    phase=phase, share=share, clusters_left=clusters_left, height=1.0, passes=1.0
                )
            )
            return events[-1].seconds_left

        assert left(0, "lists", 0.0) is None
        assert left(20, "lists", 0.5) == 20 + 40  # the rest, and the square
        assert left(20, "rounds", 0.0, 600) == 40
        assert left(30, "rescan", 0.0, 500) is None
        assert left(5, "rescan", 0.25) == 15 + 40
        assert left(15, "contraction", 0.0, 400) == 40
        assert left(10, "contraction", 0.2) == 40
        assert left(40, "square", 0.0, 400) == 40
        assert left(1, "square", 0.5, 200) == 1


def test_a_note_is_always_of_one_form():
    for arguments in (
        (20_000, 0.0),
        (20_000, 0.0, "chain", 0.0, 12.3),
        (1, 12345.678),
        (7, 3e-12, "rounds"),
        (7, 1.0, "lists", 0.004),
    ):
        assert NOTE.fullmatch(tree_note(*arguments).replace("e-", "e+"))
