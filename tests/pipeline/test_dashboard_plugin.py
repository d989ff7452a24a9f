"""A run is told to its scheduler, which shows it: by HTTP, without a browser."""

import re
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager

import numpy as np
import pytest
from distributed import Client, LocalCluster
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from clustergrid.pipeline.dashboard.events import Look, RunEvents
from clustergrid.pipeline.dashboard.gauges import GAUGES
from clustergrid.pipeline.dashboard.plugin import RunsPlugin
from clustergrid.pipeline.dashboard.runs import TOPIC
from clustergrid.pipeline.dashboard.watching import watch_run
from clustergrid.pipeline.monitor import Progress, Reached
from clustergrid.storage.rundir import RunDirectory
from tests.pipeline.runs import request

EVIL = "<script>alert('gene')</script>"


@contextmanager
def one_worker(**options):
    options = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0", **options}
    where = {"processes": False, "protocol": "tcp"}
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, **where, **options) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def client():
    with one_worker() as client:
        client.register_plugin(RunsPlugin())
        yield client


def run_of(client, name):
    """The last run of a name that its scheduler heard of."""
    return [run for run in heard_by(client) if run.name == str(name)][-1]


def heard_by(client):
    return client.cluster.scheduler.plugins[RunsPlugin.name].runs


def get(client, path):
    url = f"{client.dashboard_link.rsplit('/', 1)[0]}/{path}"
    with urllib.request.urlopen(url, timeout=30) as answer:
        return answer.read().decode()


def gauges(client):
    """Ours: name and run, stage of each sample."""
    families = text_string_to_metric_families(get(client, "metrics"))
    samples = [sample for family in families for sample in family.samples]
    return {
        (each.name, each.labels["run"], each.labels["stage"]): each.value
        for each in samples
        if each.name.startswith("clustergrid_")
    }


def tell(client, name="/runs/a"):
    return RunEvents(client, name=name, asked="40 rows", look=Look())


def test_the_scheduler_hears_of_every_stage_and_of_the_end(client):
    events = tell(client)
    progress = Progress(interval_seconds=0)
    with progress.watched(events):
        with progress.stage("distance-row", total=4, unit="tiles", unit_bytes=10) as stage:
            stage.advance(4)
        with progress.stage("linkage-row", total=99, unit="merges") as stage:
            where = Reached(note="7 left", clusters_left=np.int64(7), height=np.float64(2.5))
            stage.advance(93, lambda: where)
            stage.tell("running", "next: the square", is_news=True)
        progress.kept("statistics")
        progress.show(lambda: np.arange(900.0).reshape(30, 30), is_whole=True)
    events.end("failed", EVIL)
    run = run_of(client, "/runs/a")
    assert (run.state, run.why) == ("failed", EVIL)
    states = {name: stage.event.state for name, stage in run.stages.items()}
    assert states == {"distance-row": "finished", "linkage-row": "finished", "statistics": "kept"}
    assert run.stages["distance-row"].event.bytes == 40
    assert run.stages["linkage-row"].heights == [(7, 2.5)]
    levels = np.frombuffer(run.picture.pixels, np.uint8)
    assert (levels.min(), levels.max()) == (1, 255)
    assert run.picture.is_whole


def test_few_messages_are_sent_however_often_a_stage_advances(client):
    events = tell(client)
    progress = Progress(interval_seconds=0)
    before = heard_by(client).version
    with progress.watched(events), progress.stage("read-row", total=3000, unit="tiles") as stage:
        for _ in range(3000):
            stage.advance()
            progress.show(lambda: np.ones((500, 500)), is_whole=False)
    events.end("finished")
    assert run_of(client, "/runs/a").stages["read-row"].event.done == 3000
    # Begin, start, one while it runs (or a few, on a slow machine), a picture, finish, end.
    assert heard_by(client).version - before < 20


def test_a_lost_scheduler_stops_nobody():
    with one_worker() as lost:
        events = tell(lost)
    began = time.monotonic()
    with Progress(events).stage("read-row", total=3, unit="tiles") as stage:
        stage.advance(3)
    events.end("finished")
    assert time.monotonic() - began < 5


def test_whatever_others_send_the_scheduler_goes_on(client):
    before = heard_by(client).version
    for message in ("hello", {"kind": "end"}, {"kind": "begin", "run": 3}, [1, 2], None):
        client.log_event(TOPIC, message)
    client.log_event("something-else", {"kind": "begin"})
    assert heard_by(client).version == before
    assert client.submit(sum, [1, 2]).result() == 3


def test_the_page_is_on_the_dashboard_and_linked_from_its_other_pages(client):
    page = get(client, "clustergrid")
    assert "bokeh" in page
    for other in ("status", "clustergrid"):
        assert len(re.findall('<a href="clustergrid">', get(client, other))) == 1


def test_the_plugin_is_brought_once(client):
    runs = heard_by(client)
    client.register_plugin(RunsPlugin())
    assert heard_by(client) is runs
    tell(client, "/runs/next").end("finished")
    assert [run.name for run in runs][-1] == "/runs/next"


def test_a_driver_that_goes_leaves_its_run_behind(client):
    address = client.scheduler.address
    with Client(address, set_as_default=False) as other:
        RunEvents(other, name="/runs/left", asked="", look=Look())
        deadline = time.monotonic() + 10
        while "/runs/left" not in [run.name for run in heard_by(client)]:
            assert time.monotonic() < deadline
            time.sleep(0.02)
    left = run_of(client, "/runs/left")
    while left.state == "running" and time.monotonic() < deadline:
        time.sleep(0.02)
    assert left.state == "gone"


def test_gauges_of_two_runs_do_not_clash(client, monkeypatch):
    monkeypatch.setattr("clustergrid.pipeline.dashboard.events._EVENT_SECONDS", 0)
    progress = Progress(interval_seconds=0)
    runs = [tell(client, name) for name in ("/runs/one", "/runs/two")]
    for number, events in enumerate(runs, 1):
        with progress.watched(events):
            stage = progress.stage("linkage-row", total=100, unit="merges", unit_bytes=8)
            with stage as told:
                where = Reached(note="", clusters_left=10 * number, height=1.5 * number)
                told.advance(10 * number, lambda where=where: where)
                time.sleep(0.01)
                if number == 2:
                    events._sender.flush()
                    found = gauges(client)
    for name, one, two in (
        ("clusters_left", 10, 20),
        ("height", 1.5, 3),
        ("stage_size", 100, 100),
        ("stage_running", 0, 1),
        ("stage_done", 100, 20),
        ("stage_done_bytes", 800, 160),
    ):
        for run, value in (("one", one), ("two", two)):
            assert found[f"clustergrid_{name}", f"/runs/{run}", "linkage-row"] == value
    assert ("clustergrid_stage_elapsed_seconds", "/runs/one", "linkage-row") in found
    # The same directory again: one sample of each, of the later run.
    again = tell(client, "/runs/one")
    with progress.watched(again):
        progress.kept("statistics")
    again.end("finished")
    assert {stage for _, run, stage in gauges(client) if run == "/runs/one"} == {"statistics"}


def test_gauges_are_named_as_prometheus_wants_it(client):
    tell(client).end("finished")
    for family in GAUGES.collect():
        assert re.fullmatch("clustergrid_[a-z_]+", family.name)
        assert not family.name.endswith("_total")
        assert family.documentation.endswith(".")
        assert family.type == "gauge"


def test_gauges_of_two_schedulers_of_one_process_and_their_end(client):
    with one_worker() as other:
        other.register_plugin(RunsPlugin())
        tell(other, "/runs/elsewhere").end("finished")
        progress = Progress()
        with progress.watched(tell(other, "/runs/elsewhere")):
            progress.kept("statistics")
        heard = heard_by(other)
        while "statistics" not in heard.find(None).stages:
            time.sleep(0.01)
        for each in (client, other):
            lines = get(each, "metrics").splitlines()
            types = [line for line in lines if line.startswith("# TYPE clustergrid_stage_running")]
            assert len(types) == 1
            assert any("/runs/elsewhere" in line for line in lines)
    assert "/runs/elsewhere" not in get(client, "metrics")
    assert REGISTRY._collector_to_names.get(GAUGES) == []  # of the scheduler that is left


class _Notices(list):
    __call__ = list.append


def watched(client, tmp_path, **options):
    directory, notices = RunDirectory(tmp_path / "run", create=True), _Notices()
    asked = request("a.csv", tmp_path / "run", **options)
    progress = Progress(interval_seconds=0)
    with (
        directory.locked(),
        watch_run(client, asked, directory, (4000, 6), progress, notices),
        progress.stage("statistics", total=1, unit="blocks"),
    ):
        kept = dict(directory.state.get("dashboard", {}))
    assert "dashboard" not in directory.state
    return notices, kept


def test_a_run_says_where_it_is_watched(client, tmp_path):
    notices, kept = watched(client, tmp_path)
    port = client.dashboard_link.rsplit(":", 1)[1].split("/")[0]
    assert notices[0] == f"dashboard: http://127.0.0.1:{port}/clustergrid"
    assert notices[1].startswith(f"from another machine: ssh -N -L {port}:127.0.0.1:{port} ")
    assert len(notices) == 2
    assert kept["url"] == f"http://127.0.0.1:{port}/clustergrid"
    run = run_of(client, tmp_path / "run")
    assert run.state == "finished"
    assert "4,000 rows x 6 columns; rows: average linkage of euclidean distances" in run.asked


def test_a_run_that_fails_or_is_stopped_says_so(client, tmp_path):
    directory = RunDirectory(tmp_path / "run", create=True)
    asked = request("a.csv", tmp_path / "run")
    for error, state in ((ValueError(EVIL), "failed"), (KeyboardInterrupt(), "stopped")):
        with (
            pytest.raises(type(error)),
            directory.locked(),
            watch_run(client, asked, directory, (4, 6), Progress(), print),
        ):
            raise error
        run = run_of(client, tmp_path / "run")
        assert (run.state, run.why) == (state, EVIL if state == "failed" else "")


def test_no_client_no_page(tmp_path):
    assert watched(None, tmp_path) == ([], {})


def test_a_scheduler_without_a_dashboard(tmp_path):
    with one_worker(scheduler_kwargs={"dashboard": False}) as client:
        notices, kept = watched(client, tmp_path)
        assert run_of(client, tmp_path / "run").state == "finished"  # for the gauges
    assert notices == ["the scheduler has no dashboard where the run could be watched"]
    assert kept == {}


_SCHEDULER = "from distributed.cli.dask_scheduler import main; main()"
_LACKS = "import sys; sys.modules['clustergrid'] = None"
_OTHER = "import sys, types; sys.modules['clustergrid.pipeline.dashboard.plugin'] = types"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("environment", "said"),
    [(_LACKS, "the scheduler's environment lacks clustergrid"), (_OTHER, "does not take it")],
    ids=["without", "with another version"],
)
def test_a_scheduler_that_cannot_take_the_page(tmp_path, environment, said):
    file = tmp_path / "scheduler.json"
    arguments = ("--host", "127.0.0.1", "--port", "0", "--dashboard-address", "127.0.0.1:0")
    code = f"{environment}; {_SCHEDULER}"
    scheduler = subprocess.Popen(
        [sys.executable, "-c", code, *arguments, "--scheduler-file", str(file)],
        stderr=subprocess.DEVNULL,
    )
    try:
        with Client(scheduler_file=str(file), set_as_default=False, timeout=30) as client:
            (address, _, why), kept = watched(client, tmp_path)
    finally:
        scheduler.terminate()
        scheduler.wait(30)
    assert address.endswith("/status")
    assert kept["url"] == address.removeprefix("dashboard: ")
    assert said in why
    assert "\n" not in why
