"""The pods of ``deploy/kubernetes`` as processes of this machine: commands, settings, TLS.

Folders of a container are folders of the test, the scheduler's name is an address of this machine,
and workers are smaller. Everything else is what the manifests say.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from clustergrid.pipeline.certificates import make_certificates
from tests.deploy.manifests import DEPLOY, container, manifest, pod_specs

pytestmark = pytest.mark.slow

SMALL = ("--figsize", "3", "3", "--dpi", "40")
_CLI = "clustergrid.pipeline.cli"


class Pods:
    """Starts what a pod starts, in the folders of a test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.address = ""
        self._tls, self._dask, self._data = (folder / name for name in ("tls", "dask", "data"))
        self._data.mkdir()
        make_certificates(self._tls)
        self._dask.mkdir()
        for name, text in manifest("ConfigMap")["data"].items():
            (self._dask / name).write_text(self._here(text))
        # As the image has it in /etc/dask.
        (self._dask / "clustergrid.yaml").write_bytes((DEPLOY / "dask.yaml").read_bytes())

    def _here(self, text: str) -> str:
        for there, here in (
            ("/etc/clustergrid/tls", self._tls),
            ("/etc/clustergrid/dask", self._dask),
            ("/data/", f"{self._data}/"),
            ("tls://clustergrid-scheduler:8786", self.address),
            ("$(DASK_WORKER_NAME)", "worker-1"),
        ):
            text = text.replace(there, str(here))
        return text

    def command(self, name: str, replaced: dict[str, str], *more: str) -> list[str]:
        """Return the words of a pod, some of whose options have other values."""
        words = [self._here(word) for word in container(pod_specs()[name])["args"]]
        for option, value in replaced.items():
            words[words.index(option) + 1] = value
        known = {"dask": ["-m", "dask"], "python": [], "clustergrid": ["-m", _CLI]}
        return [sys.executable, *known[words[0]], *words[1:], *more]

    def environment(self, name: str) -> dict[str, str]:
        given = {each["name"]: self._here(each["value"]) for each in _variables(name)}
        return {**os.environ, **given}

    @contextmanager
    def running(self, name: str, replaced: dict[str, str], *more: str) -> Iterator[None]:
        with (self.folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                self.command(name, replaced, *more),
                cwd=self.folder, env=self.environment(name), stdout=log, stderr=log,
            )  # fmt: skip
        try:
            yield
        finally:
            process.terminate()
            process.wait(timeout=30)


def _variables(name: str) -> list[dict[str, str]]:
    return list(container(pod_specs()[name])["env"])


def wait_for(file: Path) -> None:
    deadline = time.monotonic() + 60
    while not file.exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_the_pods_make_a_tree_over_tls(tmp_path: Path) -> None:
    np.save(tmp_path / "m.npy", np.random.default_rng(3).normal(size=(900, 40)))
    pods = Pods(tmp_path)
    scheduler_file = tmp_path / "scheduler.json"
    local = {"--port": "0", "--dashboard-address": "127.0.0.1:0"}
    with pods.running(
        "scheduler", local, "--host", "127.0.0.1", "--scheduler-file", str(scheduler_file)
    ):
        wait_for(scheduler_file)
        pods.address = json.loads(scheduler_file.read_text())["address"]
        assert pods.address.startswith("tls://127.0.0.1:")
        with pods.running("worker", {"--nthreads": "2", "--memory-limit": "2GB"}):
            command = pods.command("driver", {"--memory": "2GB"}, *SMALL)
            command[command.index(str(tmp_path / "data" / "expression.zarr"))] = "m.npy"
            done = subprocess.run(
                command, cwd=tmp_path, env=pods.environment("driver"), capture_output=True,
                text=True, timeout=200, check=False,
            )  # fmt: skip
    logs = "".join((tmp_path / f"{name}.log").read_text() for name in ("scheduler", "worker"))
    assert done.returncode == 0, done.stderr + logs
    assert "warning" not in done.stderr
    alone = [sys.executable, "-m", _CLI, "run", "m.npy", "-o", "alone", "--cluster", "none"]
    subprocess.run([*alone, *SMALL], cwd=tmp_path, check=True, capture_output=True)
    for name in ("linkage_row.npy", "linkage_col.npy", "order_row.txt"):
        made = tmp_path / "data" / "run" / name
        assert made.read_bytes() == (tmp_path / "alone" / name).read_bytes()
