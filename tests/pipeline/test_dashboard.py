"""People are told where a run can be watched, and find a report of each stage afterwards."""

import contextlib
import os
import socket
import time

import pytest

from clustergrid.pipeline.cluster import connect
from clustergrid.pipeline.dashboard.address import dashboard_lines
from clustergrid.pipeline.dashboard.reports import stage_report
from clustergrid.pipeline.planning import Resources
from clustergrid.pipeline.request import ClusterChoice
from clustergrid.storage.rundir import RunDirectory

RESOURCES = Resources(memory_bytes=2 * 10**9, threads=2)


@pytest.fixture(scope="module")
def client():
    with connect(ClusterChoice(dashboard_port=0), RESOURCES) as client:
        yield client


def test_the_dashboard_is_told_with_a_way_to_it(client):
    address, tunnel = dashboard_lines(client)
    port = address.rsplit(":", 1)[1].split("/")[0]
    assert address == f"dashboard: http://127.0.0.1:{port}/status"
    assert f"ssh -N -L {port}:127.0.0.1:{port} " in tunnel
    assert socket.gethostname() in tunnel
    with contextlib.closing(socket.create_connection(("127.0.0.1", int(port)), 5)):
        pass


def test_a_report_of_a_stage_is_one_page(client, tmp_path):
    directory = RunDirectory(tmp_path / "run", create=True)
    with stage_report(client, directory, "report/tree.html"):
        client.submit(time.sleep, 0.01, key="distance-tile-1").result()
    text = (directory.path / "report" / "tree.html").read_text()
    assert "distance-tile" in text
    assert '<script src="http' not in text  # it needs no network
    with pytest.raises(ZeroDivisionError), stage_report(client, directory, "report/no.html"):
        raise ZeroDivisionError
    assert os.listdir(directory.path / "report") == ["tree.html"]
    with stage_report(None, directory, "report/none.html"):
        pass
    assert os.listdir(directory.path / "report") == ["tree.html"]
