"""What a scheduler remembers of runs, and the words of their page."""

import re
from dataclasses import asdict

import pytest

from clustergrid.pipeline.dashboard.markup import (
    figures_of,
    head_of,
    nothing_yet,
    picture_words,
    table_of,
)
from clustergrid.pipeline.dashboard.runs import Runs
from clustergrid.pipeline.monitor import Event

EVIL = "<script>alert('gene')</script>"


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def runs(clock):
    return Runs(clock)


def begin(run="a", **other):
    told = {"name": f"/runs/{run}", "asked": "40 rows", "client": f"client-{run}", "time": 1.7e9}
    return {"kind": "begin", "run": run, **told, **other}


def stage(run="a", **other):
    event = Event(
        **{
            "stage": "distance-row", "state": "running", "done": 25, "total": 100, "unit": "tiles",
            "bytes": 2500, "rate": 5.0, "seconds": 5.0, "seconds_left": 15.0, "time": 1.7e9,
            **other,
        }
    )  # fmt: skip
    return {"kind": "stage", "run": run, **asdict(event)}


def picture(run="a", **other):
    told = {"shape": (2, 3), "pixels": bytes(6), "colors": bytes(765), "low": -1.0, "high": 2.0}
    return {"kind": "picture", "run": run, "is_whole": False, **told, **other}


def end(run="a", state="finished", why=""):
    return {"kind": "end", "run": run, "state": state, "why": why}


def shown(runs, identity=None):
    run = runs.find(identity)
    return head_of(run, runs.now()), figures_of(run), table_of(run, runs.now()), picture_words(run)


def text(html):
    return " ".join(re.sub("<[^>]*>", " ", html).split())


def test_a_page_without_runs_says_so(runs):
    assert runs.find(None) is None
    assert "No run has begun" in nothing_yet()


def test_a_run_is_told_as_far_as_it_was_heard_of(runs, clock):
    runs.hear(begin())
    runs.hear(stage(state="finished", done=100, stage="statistics", bytes=10**9))
    clock.now += 3
    runs.hear(stage())
    clock.now += 2
    head, figures, table, words = map(text, shown(runs))
    assert head.startswith("/runs/a running 40 rows began 2023-11-")
    assert head.endswith(", 5.0 s long")
    assert figures == ("distance-row stage under way 15 s left of it 1 GB bytes done 500 B/s rate")
    assert "distance-row running 25 % 25 of 100 tiles 7.0 s 15 s 5 tiles/s, 500 B/s" in table
    assert "statistics finished 100 % 100 of 100 tiles 5.0 s" in table
    assert words == "The picture comes when the trees are done."


def test_a_tree_is_told_in_numbers(runs):
    runs.hear(begin())
    for left in (1000, 400, 10):
        runs.hear(stage(stage="linkage-row", clusters_left=left, height=1000.0 - left))
    assert runs.find(None).tree[1].heights == [(1000, 0.0), (400, 600.0), (10, 990.0)]
    assert "10 clusters left (linkage-row) 990 height reached" in text(shown(runs)[1])


def test_heights_are_thinned_out_between_the_first_and_the_last(runs):
    runs.hear(begin())
    for left in range(5000, 0, -1):
        runs.hear(stage(stage="linkage-row", clusters_left=left, height=5000.0 - left))
    heights = runs.find(None).stages["linkage-row"].heights
    assert 200 <= len(heights) <= 400
    assert (heights[0], heights[-1]) == ((5000, 0.0), (1, 4999.0))
    assert heights == sorted(heights, reverse=True)


@pytest.mark.parametrize(
    ("state", "said"),
    [("finished", ""), ("failed", "row 3 is constant"), ("stopped", "goes on from here")],
)
def test_the_end_of_a_run(runs, clock, state, said):
    runs.hear(begin())
    runs.hear(stage())
    clock.now += 7
    runs.hear(end(state=state, why="row 3 is constant"))
    clock.now += 1000
    head, _, table, _ = map(text, shown(runs))
    assert f"/runs/a {state} " in head
    assert "7.0 s long" in head
    assert said in head
    assert ("constant" in head) == (state == "failed")
    assert "stopped 25 %" in table  # the stage that was under way


def test_a_driver_that_leaves_without_a_word(runs):
    runs.hear(begin("a"))
    runs.hear(begin("b"))
    runs.hear(end("b"))
    before = runs.version
    for client in ("client-a", "client-b", "client-of-somebody"):
        runs.client_left(client)
    assert [run.state for run in runs] == ["gone", "finished"]
    assert runs.version == before + 1
    assert "The driver left the cluster without a word" in shown(runs, "a")[0]


def test_silence_is_told(runs, clock):
    runs.hear(begin())
    assert "nothing heard" not in shown(runs)[0]
    clock.now += 200
    assert "nothing heard for 3 min 20 s" in shown(runs)[0]


def test_the_run_to_be_shown(runs):
    for each in "abc":
        runs.hear(begin(each))
    assert runs.find(None).identity == "c"
    assert runs.find("a").identity == "a"
    runs.hear(end("c"))
    assert runs.find(None).identity == "b"  # under way
    runs.hear(end("a"))
    runs.hear(end("b"))
    assert runs.find("nobody").identity == "c"  # the last that began


def test_old_runs_are_forgotten_but_not_those_under_way(runs):
    runs.hear(begin("first"))
    for number in range(30):
        runs.hear(begin(str(number)))
        runs.hear(end(str(number)))
    assert len(runs) == 10
    assert [run.identity for run in runs][:2] == ["first", "21"]


def test_what_comes_from_a_run_is_escaped(runs):
    runs.hear(begin(name=EVIL, asked=EVIL))
    runs.hear(stage(stage=EVIL, unit=EVIL, note=EVIL, rate=3.0))
    runs.hear(stage(stage="linkage-row", clusters_left=3, height=1.0))
    runs.hear(picture())
    runs.hear(end(state="failed", why=EVIL))
    html = "".join(shown(runs))
    assert "<script" not in html
    assert html.count("&lt;script&gt;") == 7


@pytest.mark.parametrize(
    "message",
    [
        "no mapping",
        {},
        {"kind": "stage", "run": "nobody"},
        {"kind": "dance", "run": "a"},
        begin(name=b"bytes"),
        {**stage(), "done": "many"},
        {**stage(), "height": [1]},
        {key: value for key, value in stage().items() if key != "unit"},
        picture(shape=(2, 4)),
        picture(shape=(0, 0), pixels=b""),
        picture(shape=(2**10, 2**10), pixels=bytes(2**20)),
        picture(colors=b"red"),
        end(state="delighted"),
    ],
)
@pytest.mark.quick_cases(one_in=1)
def test_messages_of_others_change_nothing(runs, message):
    runs.hear(begin())
    before = runs.version
    with pytest.raises((KeyError, TypeError, ValueError)):
        runs.hear(message)
    assert runs.version == before
    assert not runs.find("a").stages
    assert runs.find("a").picture is None


def test_nobody_fills_the_memory_of_the_scheduler(runs):
    runs.hear(begin(name="x" * 10**6))
    for number in range(1000):
        runs.hear(stage(stage=f"{number}-{'x' * 10**4}"))
    run = runs.find(None)
    assert len(run.name) == 500
    assert len(run.stages) == 200
    assert max(map(len, run.stages)) == 500
