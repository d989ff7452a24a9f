"""Passwords in URLs are used, and written nowhere."""

from __future__ import annotations

import base64
import http.server
import json
import threading
from pathlib import Path

import pytest

from clustergrid.storage.credentials import hide_credentials
from clustergrid.storage.errors import StorageError
from clustergrid.storage.readers.location import Location
from tests.pipeline.commands import SMALL, assert_one_line, frame

ROOT = Path(__file__).parents[2]


# Credentials


SECRET = "hunter2/+x"


@pytest.fixture
def server(tmp_path):
    """A web server that gives a table to those who log in."""
    table = frame().to_csv().encode()
    wanted = "Basic " + base64.b64encode(b"user:hunter2").decode()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            is_right = (
                self.headers.get("Authorization") == wanted and "signature=hunter2" in self.path
            )
            found = is_right and "m.csv" in self.path
            self.send_response(200 if found else 404 if is_right else 401)
            body = table if found and self.command == "GET" else b""
            self.send_header("Content-Length", str(len(table) if found else 0))
            self.end_headers()
            self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *args):
            pass

    web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=web.serve_forever)
    thread.start()
    yield web.server_address[1]
    web.shutdown()
    thread.join()
    web.server_close()


def test_a_login_in_a_url_is_used_and_written_nowhere(call, tmp_path, server):
    url = f"http://user:hunter2@127.0.0.1:{server}/m.csv?signature=hunter2#.csv"
    answers = [
        call("run", url, "-o", tmp_path / "run", *SMALL),
        call("plan", url),
        call("plot", tmp_path / "run", *SMALL, "--cmap", "mako"),
        call("status", tmp_path / "run", "--json"),
        call("run", url.replace("m.csv", "none.csv"), "-o", tmp_path / "other", *SMALL),
        call("run", url.replace("m.csv", "none.zarr"), "-o", tmp_path / "other", *SMALL),
    ]
    assert [status for status, _, _ in answers[:4]] == [0] * 4, answers
    assert [status for status, _, _ in answers[4:]] == [1] * 2, answers
    for status, out, err in answers:
        assert "hunter2" not in out + err, (status, out, err)
    for path in (tmp_path / "run").rglob("*"):
        if path.is_file():
            assert b"hunter2" not in path.read_bytes(), path
    kept = json.loads((tmp_path / "run" / "run.json").read_text())["request"]["input"]
    assert kept == f"http://***@127.0.0.1:{server}/m.csv?signature=***#.csv"
    assert_one_line(call("run", kept, "-o", tmp_path / "new"), "the login of .* was not kept")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"s3://AKIAKEY:{SECRET}@bucket/m.zarr", "s3://***@bucket/m.zarr"),
        ("https://token@host/m.csv", "https://***@host/m.csv"),
        ("https://u:p@ss@host/m.csv", "https://***@host/m.csv"),
        ("simplecache::https://u:p@host/m.csv", "simplecache::https://***@host/m.csv"),
        ("https://h/m?X-Goog-Signature=1a&a=2", "https://h/m?X-Goog-Signature=***&a=2"),
        ("https://h/m?sv=1&sig=%2Bx%3D", "https://h/m?sv=1&sig=***"),
        ("https://h/m?AWSAccessKeyId=A&Signature=B&Expires=9",
         "https://h/m?AWSAccessKeyId=***&Signature=***&Expires=9"),
    ],
)  # fmt: skip
def test_credentials_are_hidden(url, shown):
    assert hide_credentials(url) == shown
    assert Location.parse(url).shown == shown
    assert str(StorageError(f"cannot open {url}: no")) == f"cannot open {shown}: no"
    with pytest.raises(StorageError, match="was not kept"):
        Location.parse(shown)


@pytest.mark.parametrize(
    "text",
    ["abfs://container@account/m.csv", "http://host:8080/a@b/m.csv", "tcp://127.0.0.1:8786",
     "http://[::1]:80/a@b", "ssh://me@host/m", "mail me@example.org: it broke", "/data/a:b@c.csv",
     "https://h/m?signal=1&sigma=2"],
)  # fmt: skip
def test_what_is_no_login_stays(text):
    assert hide_credentials(text) == text
