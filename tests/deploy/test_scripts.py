"""Scripts of ``deploy/`` and ``scripts/``, and the lines of its README."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from clustergrid.pipeline.cli import cli
from tests.deploy.manifests import DEPLOY, container, pod_specs

SHELL_SCRIPTS = sorted([*DEPLOY.rglob("*.sh"), *DEPLOY.rglob("*.sbatch")])
README = (DEPLOY / "README.md").read_text(encoding="utf-8")


def shellcheck(path: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("shellcheck")
    return subprocess.run([program, path], capture_output=True, text=True, check=False)


def commands(text: str) -> list[list[str]]:
    """Commands of the blocks for a shell, each as its words."""
    blocks = re.findall(r"```sh\n(.*?)```", text, re.S)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True) for line in lines if line.strip()]


def unknown_options(words: list[str]) -> list[str]:
    """Options of a line of clustergrid that the command does not have."""
    command = cli.commands.get(words[1])
    if command is None:
        return [words[1]]
    known = {name for each in command.params if isinstance(each, click.Option)
             for name in (*each.opts, *each.secondary_opts)}  # fmt: skip
    given = [word.split("=")[0] for word in words[2:] if re.match(r"--?[a-z]", word)]
    return [word for word in given if word not in known]


@pytest.mark.parametrize("path", SHELL_SCRIPTS, ids=lambda path: path.name)
def test_shellcheck_finds_nothing(path: Path) -> None:
    done = shellcheck(path)
    assert done.returncode == 0, done.stdout


def test_shellcheck_would_find_something(tmp_path: Path) -> None:
    careless = tmp_path / "careless.sh"
    careless.write_text("#!/bin/bash\nrm -rf $1/*\n")
    assert "SC2086" in shellcheck(careless).stdout


def test_there_are_scripts() -> None:
    assert {path.name for path in SHELL_SCRIPTS} >= {"lock.sh", "clustergrid.sbatch"}
    assert os.access(DEPLOY / "lock.sh", os.X_OK)


def test_the_readme_names_options_that_there_are() -> None:
    found = [words for words in commands(README) if words[0] == "clustergrid"]
    assert len(found) >= 5
    for words in found:
        assert unknown_options(words) == [], words
    assert unknown_options(["clustergrid", "run", "m.npy", "--no-such"]) == ["--no-such"]


def test_so_does_the_job_of_the_driver() -> None:
    words = container(pod_specs()["driver"])["args"]
    assert words[:2] == ["clustergrid", "run"]
    assert unknown_options(words) == []


def test_the_readme_links_to_files_that_there_are() -> None:
    links = re.findall(r"\]\((?!http|#)([^)#]+)", README)
    assert len(links) >= 8
    assert [link for link in links if not (DEPLOY / link).exists()] == []
