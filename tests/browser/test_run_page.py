"""The page of a run, looked at while a real run is under way and afterwards."""

import dataclasses
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest
from distributed import Client

from clustergrid.pipeline.dashboard.events import RunEvents
from clustergrid.pipeline.dashboard.plugin import RunsPlugin
from clustergrid.pipeline.dashboard.runs import TOPIC
from clustergrid.pipeline.monitor import Progress
from clustergrid.pipeline.request import ClusterChoice, FigureOptions
from clustergrid.pipeline.run import run
from clustergrid.pipeline.spec import AxisSpec
from tests.pipeline.runs import request

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

EVIL = "<img src=x onerror='window.evil=1'>"
N, K = 3_000, 100


class Gates:
    """A listener that stops a run at certain events until it may go on."""

    def __init__(self, *names):
        self._gates = {name: (threading.Event(), threading.Event()) for name in names}

    def __call__(self, event):
        if event.state == "running" and event.done > event.total // 4:
            self.stop(event.stage)

    def stop(self, name):
        reached, may_go = self._gates.get(name, (None, None))
        if reached is not None:
            reached.set()
            assert may_go.wait(300)

    @contextmanager
    def at(self, name, running):
        """Be there while the run waits at a gate."""
        reached, may_go = self._gates[name]
        try:
            while not reached.wait(0.05):
                if running.done():
                    running.result()
                    pytest.fail(f"the run ended before {name}")
            yield
        finally:
            may_go.set()


@dataclasses.dataclass
class Look:
    """A page at a moment: its text, what its plots hold, and what its scripts complained of."""

    text: str
    names: set[str]
    complaints: list[str]


def look(browser, is_there: Callable[[str], bool]) -> Look:
    text = browser.wait(is_there)
    return Look(text, browser.column("name"), browser.complaints())


def page_of(cluster, name=TOPIC):
    return f"{cluster.dashboard_link.rsplit('/', 1)[0]}/{name}"


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return tmp_path_factory.mktemp("watched") / f"run {EVIL}"


@pytest.fixture(scope="module")
def looks(browser, cluster, directory):
    """What was seen of one run; screenshots are beside it, for people."""
    rng = np.random.default_rng(1)
    groups = rng.normal(size=(12, K))[rng.integers(0, 12, N)]
    path, shots = directory.parent / "matrix.npy", directory.parent
    np.save(path, (groups + 0.3 * rng.normal(size=(N, K))).astype(np.float32))
    asked = dataclasses.replace(
        # Few pixels, so that the picture comes from several groups of rows.
        request(path, directory, figure=FigureOptions(figsize_inches=(2.5, 2.5), dpi=50)),
        memory_bytes=4 * 10**9,
        column=AxisSpec(cluster=False),
        cluster=ClusterChoice(scheduler=cluster.scheduler_address),
    )
    gates = Gates("distance-row", "linkage-row", "part of the picture")
    show = RunEvents.show

    def show_and_stop(events, picture, *, is_whole):
        show(events, picture, is_whole=is_whole)
        if not is_whole:
            gates.stop("part of the picture")

    seen = {}
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(1) as threads:
        # Short passes are told in full.
        patch.setitem(Progress.__init__.__kwdefaults__, "interval_seconds", 0.005)
        patch.setattr("clustergrid.pipeline.dashboard.events._EVENT_SECONDS", 0.0)
        patch.setattr(RunEvents, "show", show_and_stop)
        running = threads.submit(run, asked, gates, notice=lambda line: None)
        with gates.at("distance-row", running):
            browser.open(page_of(cluster, "status"))
            browser.wait(lambda _: {"statistics", "distance-tile"} <= browser.column("name"))
            seen["status"] = look(browser, lambda _: True)
            browser.screenshot(shots / "status.png")
            (link,) = browser.find('a[href="clustergrid"]')
            link.click()
            seen["distances"] = look(browser, lambda text: "distance-row running" in text)
            browser.screenshot(shots / "distances.png")
        with gates.at("linkage-row", running):
            seen["tree"] = look(browser, lambda text: "clusters left (linkage-row)" in text)
            browser.screenshot(shots / "tree.png")
        with gates.at("part of the picture", running):
            seen["picture"] = look(browser, lambda text: "The picture so far" in text)
            browser.screenshot(shots / "picture.png")
        running.result(300)
        seen["end"] = look(browser, lambda text: "finished" in text.split("began")[0])
        browser.screenshot(shots / "end.png")
    return seen


def test_the_page_shows_stages_and_rates(looks, directory):
    text = looks["distances"].text
    assert f"{directory} running" in text
    assert f"{N:,} rows x {K} columns; rows: average linkage of euclidean distances" in text
    assert "columns: not clustered" in text
    assert "statistics finished 100 %" in text
    assert "distance-row stage under way" in text
    assert "bytes done" in text
    assert "The picture comes when the trees are done." in text


def test_the_page_shows_the_tree_on_its_way(looks):
    text = looks["tree"].text
    assert "linkage-row stage under way" in text
    assert "height reached" in text
    assert "distance-row finished 100 %" in text


def test_the_page_shows_the_picture_so_far_and_the_whole_one(looks, directory):
    assert "downsample running" in looks["picture"].text
    text = looks["end"].text
    assert f"{directory} finished" in text
    assert "The picture; colours from" in text
    assert "1 clusters left" in text


def test_nothing_on_the_page_runs_or_fails(looks, browser):
    assert browser.driver.execute_script("return window.evil") is None
    assert {name: each.complaints for name, each in looks.items() if each.complaints} == {}


def test_dasks_own_page_names_the_stages(looks):
    assert {"statistics", "distance-tile"} <= looks["status"].names


def test_a_browser_that_comes_when_the_driver_is_gone(looks, browser, cluster, directory):
    assert looks
    browser.open(page_of(cluster))
    text = browser.wait(lambda text: "The picture; colours from" in text)
    assert f"{directory} finished" in text
    colors = np.unique(browser.pixels(".bk-Figure:last-of-type").reshape(-1, 3), axis=0)
    assert len(colors) > 50


def test_reports_open_without_a_network_and_show_the_tasks(looks, browser, directory):
    assert looks
    reports = {path.stem: path for path in (directory / "report").glob("*.html")}
    assert {"distance-row", "picture"} <= set(reports)
    for name, task in (("distance-row", "distance-tile"), ("picture", "downsample")):
        browser.open(reports[name].as_uri())
        text = browser.wait(lambda text: "number of tasks" in text)
        assert "number of tasks: 0" not in text
        assert f"clustergrid, stage {name}" in text
        assert task in browser.column("name")
        assert browser.complaints() == []


def test_several_runs_several_browsers_and_pictures_the_right_way_up(browser, cluster):
    with Client(cluster, set_as_default=False) as client:
        client.register_plugin(RunsPlugin())
        for name in ("one", "two"):
            client.log_event(
                TOPIC,
                {"kind": "begin", "run": name, "name": f"/runs/{name}", "asked": "nothing much",
                 "client": client.id, "time": 1.7e9},
            )  # fmt: skip
        # Red above on the left, green above on the right, blue below on the left, nothing below
        # on the right.
        colors = bytes([255, 0, 0, 0, 255, 0, 0, 0, 255]) + bytes(3 * 252)
        client.log_event(
            TOPIC,
            {"kind": "picture", "run": "two", "shape": (2, 2), "pixels": bytes([1, 2, 3, 0]),
             "colors": colors, "low": 0.0, "high": 1.0, "is_whole": True},
        )  # fmt: skip
        browser.open(page_of(cluster))
        browser.wait(lambda text: "/runs/two running" in text and "The picture;" in text)
        pixels = browser.pixels(".bk-Figure:last-of-type")
        height, width, _ = pixels.shape
        quarters = {
            (y, x): tuple(pixels[height * (1 + 2 * y) // 4, width * (1 + 2 * x) // 4].tolist())
            for y in (0, 1)
            for x in (0, 1)
        }
        assert quarters == {
            (0, 0): (255, 0, 0),
            (0, 1): (0, 255, 0),
            (1, 0): (0, 0, 255),
            (1, 1): (244, 244, 244),
        }
        first = browser.driver.current_window_handle
        browser.driver.switch_to.new_window("tab")
        browser.open(page_of(cluster))
        browser.wait(lambda text: "/runs/two running" in text)
        (choice,) = browser.find("select")
        choice.send_keys("/runs/one")
        browser.wait(lambda text: "/runs/one running" in text)
        browser.driver.close()
        browser.driver.switch_to.window(first)
        assert "/runs/two running" in browser.see()
    browser.wait(lambda text: "/runs/two driver gone" in text)
    assert browser.complaints() == []
