"""The command as a process of its own: on a terminal, read by nobody, and on a full disk."""

import os
import pty
import re
import resource
import select
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from clustergrid.pipeline.status import read_status
from tests.pipeline.commands import COMMAND, SMALL


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working directory with an input."""
    monkeypatch.chdir(tmp_path)
    values = np.random.default_rng(0).normal(size=(30, 5))
    pd.DataFrame(values).add_prefix("s").rename("g{}".format).to_csv("a.csv")
    return tmp_path


def spawn(*arguments, **kwargs):
    kwargs.setdefault("stdout", subprocess.PIPE)
    kwargs.setdefault("stderr", subprocess.PIPE)
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)], text=True, start_new_session=True, **kwargs
    )


def test_on_a_terminal_there_are_bars(folder):
    master, slave = pty.openpty()
    child = spawn("run", "a.csv", "-o", "run", *SMALL, stderr=slave)
    os.close(slave)
    shown = b""
    while select.select([master], [], [], 60)[0]:
        try:
            shown += os.read(master, 65536)
        except OSError:  # the other end is closed
            break
    os.close(master)
    out, _ = child.communicate()
    assert child.returncode == 0
    assert out.startswith("finished in")
    text = shown.decode()
    assert "━" in text
    assert "100%" in text
    assert "distance-row" in text
    assert "distance-row: finished" not in text


@pytest.mark.slow
def test_nobody_listening_is_no_traceback(folder):
    for arguments in (["run", "a.csv", "-o", "run", *SMALL, "--json"], ["run", "--help"]):
        child = spawn(*arguments)
        child.stdout.close()
        err = child.stderr.read()
        child.stderr.close()
        assert child.wait() in (0, 128 + signal.SIGPIPE)
        assert err == ""
    child = spawn("run", "a.csv", "-o", "run2", *SMALL)
    child.stderr.close()
    assert child.stdout.read() == ""
    child.stdout.close()
    assert child.wait() == 128 + signal.SIGPIPE


@pytest.mark.slow
def test_bytes_that_cannot_be_written_are_one_line_and_the_run_goes_on(folder):
    """A limit on the size of files fails writes as a full disk does, wherever it falls."""
    np.save("b.npy", np.random.default_rng(0).normal(size=(1200, 4)))
    command = ["run", "b.npy", *SMALL, "--no-col-cluster"]
    said = set()
    for limit in (1_000, 30_000, 300_000):
        child = spawn(
            *command, "-o", "run",
            preexec_fn=lambda limit=limit: resource.setrlimit(
                resource.RLIMIT_FSIZE, (limit, limit)),
        )  # fmt: skip
        out, err = child.communicate()
        (line,) = err.splitlines()[-1:]
        assert (child.returncode, out) == (1, "")
        assert re.match("clustergrid: .*(File too large|cannot write|too large)", line), err
        assert "Traceback" not in err
        assert err.count("clustergrid: ") == 1
        said.add(err.splitlines()[-1])
    assert len(said) > 1
    assert read_status(Path("run")).state == "stopped"
    assert not list(Path("run").rglob("figure*"))
    for directory in ("run", "fresh"):
        child = spawn(*command, "-o", directory)
        _, err = child.communicate()
        assert child.returncode == 0, err
    for name in ("linkage_row.npy", "figure.png"):
        assert Path("run", name).read_bytes() == Path("fresh", name).read_bytes()


def test_what_an_error_leaves_undone_is_not_told_of_besides(folder):
    """As coroutines of zarr, by which chunks were to be read after the one that is damaged."""
    code = """
from clustergrid.pipeline.cli import main
async def read(): ...
left = read()
main(["run", "nowhere.npy", "-o", "run"])
"""
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert child.returncode == 1
    (line,) = child.stderr.splitlines()
    assert line.startswith("clustergrid: ")
    assert "nowhere.npy" in line
