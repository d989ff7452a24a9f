"""What `submit` is told reaches `run`; what cannot be submitted is refused before anything is."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pytest

from clustergrid.pipeline.cli import cli, main
from clustergrid.pipeline.jobs.commands import submit_command, words_of_run
from clustergrid.pipeline.jobs.folder import jobs_folder
from clustergrid.storage.rundir import RunDirectory

QUEUE = ["--workers", "2", "--cores", "1", "--memory-per-worker", "1GB"]
GIVEN = [
    ["a.npy", "-o", "run"],
    ["--output=run", "--cluster=slurm", "--driver-memory=4GB", "--", "-a.npy"],
    ["a.npy", "-o", "run", "--vmin", "-3", "--vmax=3", "--row-k", "4", "--method", "ward"],
    ["-o", "-run", "a b.npy", "--figsize", "3", "4", "--no-row-labels", "--format", "png",
     "--format", "pdf", "--legend", "a=red", "--legend", "b=#00f", "--cbar-label", "--dry-run"],
    ["a.npy", "-o", "run", "--no-col-cluster", "--row-cluster", "--robust", "--dry-run", "--json",
     "--driver-cores", "4", "--driver-walltime", "1h", "--driver-job-extra", "--exclusive"],
    ["a.npy", "-o", "run", "--metric", "minkowski", "--metric-kws", "p=3", "--memory", "2GB",
     "--dtype", "float32", "--optimal-ordering", "--debug", "--driver-queue", "long"],
]  # fmt: skip


@pytest.mark.parametrize("given", GIVEN, ids=range(len(GIVEN)))
def test_run_is_given_what_submit_was_told(given: list[str], tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.npy", "-a.npy", "a b.npy"):
        np.save(tmp_path / name, np.eye(3))
    run_command = cli.commands["run"]
    with submit_command.make_context("submit", list(given)) as context:
        told = context.params
        words = words_of_run(submit_command, context, given)
    with run_command.make_context("run", list(words)) as context:
        ran = context.params
    assert ran.pop("as_json") is False
    assert ran == {name: told[name] for name in ran}
    assert not any(word.startswith("--driver") for word in words)
    assert ("--debug" in words) == ("--debug" in given)


@pytest.fixture
def matrix(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "it's a matrix.npy"
    np.save(path, np.random.default_rng(0).normal(size=(20, 4)))
    return path


def refused(capsys, *words: object, status: int = 1) -> str:
    with pytest.raises(SystemExit) as left:
        main(["submit", *map(str, words)])
    assert left.value.code == status
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    return said[0]


@pytest.mark.parametrize("word", ["slurm", "sge", "pbs", "lsf", "htcondor"])
def test_every_queue_has_its_scripts(matrix: Path, word: str, capsys, tmp_path) -> None:
    asked = ["-o", "my run", "--cluster", word, *QUEUE, "--driver-walltime", "2h", "--row-k", "2"]
    main(["submit", str(matrix), *asked, "--dry-run", "--json"])
    answer = json.loads(capsys.readouterr().out)
    scripts = answer["scripts"]
    suffix = "sub" if word == "htcondor" else "sh"
    assert {"driver.sh", f"driver.{suffix}", f"workers.{suffix}"} == set(scripts)
    assert next(iter(scripts)) == f"driver.{suffix}"
    last = shlex.split(scripts["driver.sh"].strip().split("\n")[-1])
    assert last[0] == "exec"
    assert str(tmp_path / "my run" / "jobs") in last
    words = last[last.index("--") + 1 :]
    assert words[0] == "run"
    # As much of the job's memory as is not for what nobody counts.
    assert words[words.index("--memory") + 1] == str(8 * 10**9)
    assert words[-1] == str(matrix)
    assert not (tmp_path / "my run").exists()
    assert any("--driver-job-extra" in note for note in answer["notes"]) == (word == "sge")


def test_what_is_no_queue_is_refused(matrix: Path, capsys, tmp_path) -> None:
    said = refused(capsys, matrix, "-o", "run", "--cluster", "local")
    assert "needs a queue of jobs, as --cluster slurm" in said
    assert not (tmp_path / "run").exists()


def test_what_a_run_would_refuse_is_refused_at_once(matrix: Path, capsys, tmp_path) -> None:
    asked = ["-o", "run", "--cluster", "slurm", *QUEUE, "--dry-run"]
    assert "nothing.npy" in refused(capsys, "nothing.npy", *asked)
    assert "no colormap" in refused(capsys, matrix, *asked, "--cmap", "no colormap")
    assert "one line" in refused(capsys, matrix, *asked, "--cbar-label", "a\n#SBATCH --wrap=id")
    assert "login in it" in refused(capsys, matrix, *asked, "--cbar-label", "https://u:p@h/")
    assert "one line" in refused(capsys, matrix, *asked, "--driver-job-extra", "--a\n--b")
    assert not (tmp_path / "run").exists()


def test_cancel_of_a_run_that_has_no_jobs_says_what_to_do(tmp_path, capsys) -> None:
    RunDirectory(tmp_path / "run", create=True)
    with pytest.raises(SystemExit):
        main(["cancel", str(tmp_path / "run")])
    assert "there are no jobs of it" in capsys.readouterr().err


def test_nothing_is_submitted_beside_a_process_at_work(matrix: Path, capsys, tmp_path) -> None:
    """No queue is needed to see that: the command would not find one here."""
    run = RunDirectory(tmp_path / "run", create=True)
    programs = tmp_path / "bin"
    programs.mkdir()
    squeue = programs / "squeue"
    squeue.write_text("#!/bin/sh\n")  # an idle queue
    squeue.chmod(0o700)
    with pytest.MonkeyPatch.context() as patch, run.locked():
        patch.setenv("PATH", str(programs))
        said = refused(capsys, matrix, "-o", "run", "--cluster", "slurm", *QUEUE)
    assert "is in use by process" in said
    assert not (jobs_folder(tmp_path / "run") / "driver.sh").exists()
