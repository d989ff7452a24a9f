"""The page of a run, looked at while real runs are under way and afterwards."""

import dataclasses
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest
from distributed import Client

from clustergrid.pipeline.dashboard.plugin import RunsPlugin
from clustergrid.pipeline.dashboard.runs import TOPIC
from clustergrid.pipeline.monitor import Progress
from clustergrid.pipeline.request import ClusterChoice, FigureOptions
from clustergrid.pipeline.run import run
from tests.pipeline.runs import request

pytestmark = [pytest.mark.browser, pytest.mark.timeout(280)]

EVIL = "<img src=x onerror='window.evil=1'>"
N, K = 3_000, 100


class Gates:
    """A listener that stops a run at certain events until it may go on."""

    def __init__(self, *stages):
        self._gates = {stage: (threading.Event(), threading.Event()) for stage in stages}

    def __call__(self, event):
        reached, may_go = self._gates.get(event.stage, (None, None))
        if reached is not None and event.state == "running" and event.done > event.total // 3:
            reached.set()
            assert may_go.wait(200)

    @contextmanager
    def at(self, stage, running):
        """Be there while the run waits at a stage."""
        reached, may_go = self._gates[stage]
        try:
            while not reached.wait(0.1):
                if running.done():
                    running.result()
                    pytest.fail(f"the run ended before {stage}")
            yield
        finally:
            may_go.set()


@pytest.fixture(scope="module")
def matrix(tmp_path_factory):
    path = tmp_path_factory.mktemp("input") / "matrix.npy"
    rng = np.random.default_rng(1)
    groups = rng.normal(size=(12, K))[rng.integers(0, 12, N)]
    np.save(path, (groups + 0.3 * rng.normal(size=(N, K))).astype(np.float32))
    return path


def asked_of(matrix, directory, cluster, **options):
    figure = FigureOptions(figsize_inches=(6.0, 6.0), dpi=100)
    options = {"figure": figure, "memory_bytes": 4 * 10**9, **options}
    where = ClusterChoice(scheduler=cluster.scheduler_address)
    return dataclasses.replace(request(matrix, directory, **options), cluster=where)


def page_of(cluster, name=TOPIC):
    return f"{cluster.dashboard_link.rsplit('/', 1)[0]}/{name}"


@contextmanager
def under_way(asked, *listeners):
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(run, asked, *listeners, notice=lambda line: None)
        yield running
        running.result(200)


@pytest.fixture(autouse=True)
def _short_passes_are_told_in_full(monkeypatch):
    monkeypatch.setitem(Progress.__init__.__kwdefaults__, "interval_seconds", 0.005)


def test_a_run_is_watched_from_its_beginning_to_its_end(browser, cluster, matrix, tmp_path):
    directory = tmp_path / f"run {EVIL}".replace("/", "")
    gates = Gates("distance-row", "linkage-row", "downsample")
    with under_way(asked_of(matrix, directory, cluster), gates) as running:
        with gates.at("distance-row", running):
            browser.open(page_of(cluster))
            seen = browser.wait(lambda text: "distance-row running" in text)
            assert f"{directory} running" in seen
            assert f"{N:,} rows x {K} columns; rows: average linkage of euclidean" in seen
            assert "statistics finished 100 %" in seen
            assert "bytes done" in seen
            assert "The picture comes when the trees are done." in seen
            browser.screenshot(tmp_path / "distances.png")
        with gates.at("linkage-row", running):
            seen = browser.wait(lambda text: "clusters left (linkage-row)" in text)
            assert "linkage-row stage under way" in seen
            assert "height reached" in seen
            assert "distance-row finished 100 %" in seen
            browser.screenshot(tmp_path / "tree.png")
        with gates.at("downsample", running):
            seen = browser.wait(lambda text: "The picture so far" in text)
            assert "picture started" in seen or "picture running" in seen
            browser.screenshot(tmp_path / "picture.png")
    seen = browser.wait(lambda text: "finished" in text.split("began")[0])
    assert "The picture; colours from" in seen
    assert "1 clusters left" in seen
    assert browser.driver.execute_script("return window.evil") is None
    assert browser.complaints() == []
    browser.screenshot(tmp_path / "finished.png")

    # After the driver has gone, in a browser that comes only now, and with links from other pages.
    browser.open(page_of(cluster, "status"))
    (link,) = browser.find('a[href="clustergrid"]')
    link.click()
    seen = browser.wait(lambda text: "The picture; colours from" in text)
    assert f"{directory} finished" in seen
    colors = np.unique(browser.pixels(".bk-Figure:last-of-type").reshape(-1, 3), axis=0)
    assert len(colors) > 50


def test_reports_open_without_a_network_and_show_the_tasks(browser, cluster, matrix, tmp_path):
    run(asked_of(matrix, tmp_path / "run", cluster), notice=lambda line: None)
    reports = {path.stem: path for path in (tmp_path / "run" / "report").glob("*.html")}
    assert {"statistics", "distance-row", "linkage-row", "distance-col", "picture"} <= set(reports)
    for name, task in (("distance-row", "distance-tile"), ("picture", "downsample")):
        browser.open(f"file://{reports[name]}")
        seen = browser.wait(lambda text: "number of tasks" in text)
        assert "number of tasks: 0" not in seen
        assert "Task Stream" in seen
        assert task in reports[name].read_text()
        assert browser.complaints() == []


def test_stages_have_their_names_on_dasks_own_pages(browser, cluster, matrix, tmp_path):
    gates = Gates("distance-row")
    with (
        under_way(asked_of(matrix, tmp_path / "run", cluster), gates) as running,
        gates.at("distance-row", running),
    ):
        browser.open(page_of(cluster, "status"))
        browser.wait(lambda text: {"statistics", "distance-tile"} <= browser.column("name"))
        browser.screenshot(tmp_path / "status.png")


def test_several_runs_several_browsers_and_pictures_the_right_way_up(
    browser, cluster, matrix, tmp_path
):
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
