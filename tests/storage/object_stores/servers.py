"""A real server that speaks S3, on loopback, and one in front of it that fails as networks do."""

import http.client
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from urllib.error import URLError

from clustergrid.storage.object_path import ObjectPath

KEY_ID, SECRET = "AKIAHUNTERTWO", "hunter2-secret/with+slashes"

_NUMBERS = count()
_HOP_BY_HOP = {"connection", "transfer-encoding", "content-length"}


class ObjectServer:
    """A server of moto's, a process of its own; what is put there is in its memory."""

    def __init__(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        deadline = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"{self.endpoint}/moto-api/", timeout=5).close()
                return
            except (URLError, ConnectionError):
                assert time.monotonic() < deadline, "moto does not start"
                time.sleep(0.05)

    def make_bucket(self):
        """Make a bucket that nobody else has; return its URL."""
        name = f"bucket-{next(_NUMBERS)}"
        asked = urllib.request.Request(f"{self.endpoint}/{name}", method="PUT")
        urllib.request.urlopen(asked).close()
        return f"s3://{name}"

    def close(self):
        self.process.kill()
        self.process.wait()


def environment(endpoint):
    """What the environment says of the server, as the makers of S3 name it."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": KEY_ID,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": "us-east-1",
    }


def use(monkeypatch, endpoint):
    """Let this process, and those it starts, speak with a server, and with no other."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in environment(endpoint).items():
        monkeypatch.setenv(name, value)


@contextmanager
def front(server, answer):
    """A server before the server: what it does with each request is decided by the caller.

    Parameters
    ----------
    server
        Who answers in the end.
    answer
        Called with method, path and headers (which it may change). A number is the status of the
        answer, without asking the server; ``"drop"`` lets the server do it, and ends the connection
        without an answer; None hands its answer on.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def _any(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.title(): value for name, value in self.headers.items()}
            decided = answer(self.command, self.path, headers)
            if isinstance(decided, int):
                said = b"<Error><Code>Oops</Code><AWSAccessKeyId>%s</AWSAccessKeyId></Error>"
                return self._give(decided, {}, said % KEY_ID.encode())
            link = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
            link.request(self.command, self.path, body, headers)
            found = link.getresponse()
            content = found.read()
            link.close()
            if decided == "drop":
                self.close_connection = True
                return self.connection.shutdown(socket.SHUT_RDWR)
            length = found.headers.get("Content-Length")
            kept = {n: v for n, v in found.headers.items() if n.lower() not in _HOP_BY_HOP}
            return self._give(found.status, kept, content, length)

        def _give(self, status, headers, content, length=None):
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            # Of an answer without its content, as to HEAD, the length is still that of it.
            self.send_header("Content-Length", length or str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

    for method in ("GET", "PUT", "POST", "DELETE", "HEAD"):
        setattr(Handler, f"do_{method}", Handler._any)

    web = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    web.daemon_threads = True
    thread = threading.Thread(target=web.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{web.server_address[1]}"
    finally:
        web.shutdown()
        thread.join()
        web.server_close()


def download(url, folder):
    """Copy all that is below a URL into a folder, to be looked at."""
    root = ObjectPath.parse(url)
    for name, _ in root.files():
        file = Path(folder) / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes((root / name).read_bytes())
    return Path(folder)


def upload(folder, url):
    """Copy all that is in a folder to below a URL."""
    for file in Path(folder).rglob("*"):
        if file.is_file():
            (ObjectPath.parse(url) / file.relative_to(folder).as_posix()).upload(file)
    return url
