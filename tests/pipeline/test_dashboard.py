"""People are told where a run can be watched, and find a report of each stage afterwards."""

import getpass
import os
import socket
import time
import urllib.request
from html.parser import HTMLParser
from types import SimpleNamespace

import pytest
from distributed import span

from clustergrid.pipeline.cluster import connect
from clustergrid.pipeline.dashboard.address import (
    dashboard_address,
    find_dashboard,
    keep_dashboard,
)
from clustergrid.pipeline.dashboard.reports import StageReports
from clustergrid.pipeline.execution import DaskExecutor
from clustergrid.pipeline.monitor import Progress
from clustergrid.pipeline.planning import Resources
from clustergrid.pipeline.request import ClusterChoice
from clustergrid.storage.rundir import RunDirectory

RESOURCES = Resources(memory_bytes=2 * 10**9, threads=2)
HERE = socket.gethostname()
USER = getpass.getuser()


@pytest.fixture(scope="module")
def client():
    with connect(ClusterChoice(dashboard_port=0), RESOURCES) as client:
        yield client


def at(link):
    """A client whose dashboard is there."""
    return SimpleNamespace(dashboard_link=link)


def test_the_dashboard_is_told_with_a_way_to_it(client):
    found = find_dashboard(client, "status", {})
    first, second = found.lines
    port = found.url.rsplit(":", 1)[1].split("/")[0]
    assert first == f"dashboard: http://127.0.0.1:{port}/status"
    assert second == (
        f"from another machine: ssh -N -L {port}:127.0.0.1:{port} {USER}@{HERE}, then open "
        f"http://127.0.0.1:{port}/status"
    )
    with urllib.request.urlopen(found.url, timeout=60) as answer:
        assert answer.status == 200


@pytest.mark.parametrize(
    "variable", ["SLURM_SUBMIT_HOST", "PBS_O_HOST", "SGE_O_HOST", "LSB_SUB_HOST"]
)
def test_a_compute_node_is_reached_through_the_login_node(variable):
    found = find_dashboard(at("http://10.1.2.3:8787/status"), "clustergrid", {variable: "login1"})
    assert found.url == "http://10.1.2.3:8787/clustergrid"
    assert found.tunnel == f"ssh -N -L 8787:10.1.2.3:8787 -J {USER}@login1 {USER}@{HERE}"
    assert found.tunnel_url == "http://127.0.0.1:8787/clustergrid"


def test_a_dashboard_on_loopback_is_not_where_workers_reach_the_scheduler():
    where = {"host": "127.0.0.1", "machine": "node17"}
    for host in ("10.1.2.3", "127.0.0.1"):
        found = find_dashboard(at(f"http://{host}:8787/status"), "clustergrid", {}, **where)
        assert found.url == "http://127.0.0.1:8787/clustergrid"
        assert found.tunnel == f"ssh -N -L 8787:127.0.0.1:8787 {USER}@node17"
    everywhere = {"host": "0.0.0.0", "machine": "node17"}
    found = find_dashboard(at("http://10.1.2.3:8787/status"), "clustergrid", {}, **everywhere)
    assert found.url == "http://10.1.2.3:8787/clustergrid"


def test_nobody_jumps_to_the_machine_where_the_job_runs():
    same = {"SLURM_SUBMIT_HOST": f"{HERE}.cluster.example.org"}
    assert " -J " not in find_dashboard(at("http://127.0.0.1:8787/status"), "status", same).tunnel


def test_a_dashboard_behind_a_proxy_needs_no_tunnel():
    link = "https://hub.example.org/user/jo/proxy/8787/status"
    found = find_dashboard(at(link), "clustergrid", {"SLURM_SUBMIT_HOST": "login1"})
    assert found.lines == ["dashboard: https://hub.example.org/user/jo/proxy/8787/clustergrid"]


def test_a_dashboard_of_the_next_internet_protocol():
    found = find_dashboard(at("http://[fe80::1]:8787/status"), "clustergrid", {})
    assert "-L 8787:[fe80::1]:8787 " in found.tunnel


def test_a_scheduler_without_a_dashboard_has_no_address():
    assert find_dashboard(at(None), "status") is None
    assert find_dashboard(SimpleNamespace(), "status") is None


def test_the_address_is_in_the_run_directory_while_the_run_lasts(tmp_path):
    directory = RunDirectory(tmp_path / "run", create=True)
    found = find_dashboard(at("http://10.1.2.3:8787/status"), "clustergrid", {})
    assert dashboard_address(tmp_path / "run") is None
    with directory.locked():
        keep_dashboard(directory, found)
        assert dashboard_address(tmp_path / "run") == {"url": found.url, "tunnel": found.tunnel}
    assert dashboard_address(directory) is None  # a killed run's leads nowhere
    with directory.locked():
        directory.update(dashboard={**directory.state["dashboard"], "pid": 1})
        assert dashboard_address(directory) is None  # also when another one goes on
        keep_dashboard(directory, None)
        assert "dashboard" not in directory.state


def loaded_by(text):
    """What a page loads from elsewhere; in its scripts there may be anything."""
    found = []

    class Tags(HTMLParser):
        def handle_starttag(self, tag, attributes):
            if tag != "a":
                found.extend(value for name, value in attributes if name in ("src", "href"))

    Tags().feed(text)
    return [each for each in found if not each.startswith("data:")]


def test_what_a_page_loads_is_seen():
    page = '<script>"<img src=http://a>"</script><link href="http://b"><script src=c></script>'
    assert loaded_by(page) == ["http://b", "c"]


def _sleep(seconds, _):
    time.sleep(seconds)


def test_stages_leave_reports_that_need_no_network(client, tmp_path):
    directory = RunDirectory(tmp_path / "run", create=True)
    executor, progress = DaskExecutor(client), Progress()

    def work(name, seconds=0.01):
        list(executor.map(_sleep, executor.share(seconds), range(3), name=name))

    def fail():
        with progress.stage("distance-col", total=1, unit="tiles"):
            work("distance-tile")
            raise ZeroDivisionError

    with directory.locked(), progress.watched(StageReports(client, directory)):
        with progress.stage("picture", total=1, unit="files"):
            work("limits")
            with progress.stage("downsample", total=3, unit="rows"):
                work("downsample")
        with progress.stage("one/../<two>", total=3, unit="rows"):
            work("statistics", 0.8)
        with progress.stage("duplicates-row", total=1, unit="rows"):
            work("duplicates")  # in a moment
        with pytest.raises(ZeroDivisionError):
            fail()
    reports = {path.name: path.read_text() for path in (directory.path / "report").iterdir()}
    assert set(reports) == {"picture.html", "one-..--two-.html"}
    assert not any(loaded_by(text) for text in reports.values())
    picture, other = reports["picture.html"], reports["one-..--two-.html"]
    assert "statistics" in other
    assert "limits" in picture
    assert "downsample" in picture
    assert "statistics" not in picture
    assert "stage one/../<two>" not in other
    assert "&lt;two&gt;" in other.replace("&amp;", "&")

    def names(dask_scheduler):
        return {each.name for each in dask_scheduler.extensions["spans"].spans.values()}

    spans = client.run_on_scheduler(names)
    assert {
        ("clustergrid", "picture"),
        ("clustergrid", "picture", "downsample"),
        ("clustergrid", "one/../<two>"),
    } <= spans


def test_a_span_of_somebody_else_goes_on(client, tmp_path):
    directory = RunDirectory(tmp_path / "run", create=True)
    progress = Progress()
    with (
        span("study"),
        directory.locked(),
        progress.watched(StageReports(client, directory)),
        progress.stage("statistics", total=1, unit="blocks"),
    ):
        client.submit(os.getpid, pure=False).result()

    def names(dask_scheduler):
        return {each.name for each in dask_scheduler.extensions["spans"].spans.values()}

    assert ("study", "clustergrid", "statistics") in client.run_on_scheduler(names)
