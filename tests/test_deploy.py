"""``deploy/``: settings that Dask knows, and a scheduler that is joined by its file."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import distributed
import numpy as np
import pytest
import yaml

ROOT = Path(__file__).parents[1]
SETTINGS = ROOT / "deploy" / "dask.yaml"


def _leaves(settings: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _leaves(value, (*path, name))
        else:
            yield (*path, name)


def _known(module: Any) -> dict[str, Any]:
    """Every setting with its default, from the file that the library ships."""
    path = Path(module.__file__).with_name(f"{module.__name__}.yaml")
    known: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return known


KNOWN = set(_leaves(_known(dask))) | set(_leaves(_known(distributed)))
# Environment variables, which need no default.
FREE = ("distributed", "nanny", "pre-spawn-environ")


@pytest.mark.parametrize(
    "setting", list(_leaves(yaml.safe_load(SETTINGS.read_text()))), ids=".".join
)
def test_dask_knows_the_setting(setting: tuple[str, ...]) -> None:
    assert setting in KNOWN or setting[:3] == FREE


def test_an_unknown_setting_is_seen() -> None:
    assert ("distributed", "scheduler", "no-worker-timeout") not in KNOWN


@pytest.mark.slow
def test_a_running_scheduler_is_joined_by_its_file(tmp_path: Path) -> None:
    np.save(tmp_path / "m.npy", np.random.default_rng(3).normal(size=(900, 40)))
    environment = {**os.environ, "DASK_CONFIG": str(SETTINGS)}
    dask_command = [sys.executable, "-m", "dask"]

    def start(*arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*dask_command, *arguments],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def run(output: str, *options: str) -> None:
        command = [sys.executable, "-m", "clustergrid.pipeline.cli", "run", "m.npy", "-o", output]
        done = subprocess.run(
            [*command, *options],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    local = ("--host", "127.0.0.1")
    processes = [
        start("scheduler", *local, "--port", "0", "--dashboard-address", "127.0.0.1:0",
              "--scheduler-file", "scheduler.json"),
    ]  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while not (tmp_path / "scheduler.json").exists():
            assert time.monotonic() < deadline
            time.sleep(0.1)
        processes.append(
            start("worker", *local, "--scheduler-file", "scheduler.json", "--nthreads", "2",
                  "--memory-limit", "2GB", "--no-dashboard")
        )  # fmt: skip
        run("joined", "--scheduler-file", "scheduler.json")
        run("alone", "--cluster", "none")
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(timeout=60)
    for name in ("linkage_row.npy", "linkage_col.npy", "order_row.txt"):
        assert (tmp_path / "joined" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()
    assert list((tmp_path / "joined" / "report").iterdir())
