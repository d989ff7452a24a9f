"""Scripts have the directives of their queues, and answers of queues are understood."""

from __future__ import annotations

import re
import stat
from dataclasses import replace

import pytest

from clustergrid.pipeline.jobs.known import QUEUES_BY_WORD
from clustergrid.pipeline.jobs.queues import DriverJob, QueuedJob, QueueError
from tests.pipeline.jobs import samples
from tests.pipeline.jobs.samples import DRIVER, WORKER

JOB = DriverJob(
    name=DRIVER,
    cores=3,
    memory_bytes=4 * 2**30,
    walltime_seconds=7200,
    queue="long",
    account="lab",
    extra=("--constraint=cpu",),
    variables=("AWS_SECRET_ACCESS_KEY",),
)

# One line of each queue's script, as its manual has it. What follows a directive is no shell.
GRAMMAR = {
    "slurm": r"#SBATCH --[a-z-]+(=[\w.:@/+-]+)?",
    "sge": r"#\$ -(N|S|o|j|r|l|q|P|v) [\w./:=,+-]+|#\$ -(cwd|notify)|#\$ --constraint=cpu",
    "pbs": r"#PBS -(N|S|o|j|r|l|q|A|v) [\w./:=,+-]+|#PBS --constraint=cpu",
    "lsf": r'#BSUB -(J|o|n|M|Q|wa|wt|W|q|P) [\w./:-]+|#BSUB -R "[\w=\[\]]+"|#BSUB -r'
    r"|#BSUB --constraint=cpu",
}


@pytest.mark.parametrize("word", GRAMMAR)
def test_directives_follow_the_grammar_of_their_queue(word: str) -> None:
    lines = QUEUES_BY_WORD[word].directives(JOB)
    assert len(lines) == len(set(lines)) > 8
    for line in lines:
        assert re.fullmatch(GRAMMAR[word], line), line
    assert lines[-1].endswith("--constraint=cpu")  # theirs win: queues take the last
    least = QUEUES_BY_WORD[word].directives(DriverJob(name=DRIVER, cores=1, memory_bytes=10**9))
    assert len(least) < len(lines)
    assert not any("None" in line for line in least)


ASKED = {
    "slurm": ["--cpus-per-task=3", "--mem=4096M", "--time=02:00:00", "--signal=B:USR1@120",
              "--partition=long", "--account=lab", "--requeue", "--open-mode=append"],
    "sge": ["-l h_rt=02:00:00,s_rt=01:58:00", "-q long", "-P lab", "-r y", "-notify",
            "-v AWS_SECRET_ACCESS_KEY"],
    "pbs": ["-l select=1:ncpus=3:mem=4096mb", "-l walltime=02:00:00", "-q long", "-A lab",
            "-v AWS_SECRET_ACCESS_KEY"],
    "lsf": ["-n 3", "-M 4096MB", "-W 02:00", "-q long", "-P lab", "-Q 99", "-wa USR1", "-wt 2"],
}  # fmt: skip


@pytest.mark.parametrize("word", ASKED)
def test_what_is_asked_for_is_in_the_script(word: str) -> None:
    lines = QUEUES_BY_WORD[word].directives(JOB)
    prefix = lines[0].split(" ")[0]
    for directive in ASKED[word]:
        assert f"{prefix} {directive}" in lines


def test_the_submit_file_of_htcondor_has_keys_and_values() -> None:
    queue = QUEUES_BY_WORD["htcondor"]
    assert queue.directives(JOB) == []
    job = replace(JOB, extra=('requirements = (Arch == "X86_64")',))
    text = queue.submission_file(job, "driver.sh")
    assert text is not None
    *lines, last = text.splitlines()
    assert last == "queue"
    entries = dict(re.fullmatch(r"(\w+) = (\S.*)", line).groups() for line in lines)
    assert len(entries) == len(lines)
    assert entries["executable"] == "driver.sh"
    assert entries["batch_name"] == DRIVER
    assert entries["request_memory"] == "4096"
    assert entries["getenv"] == "AWS_SECRET_ACCESS_KEY"
    assert entries["requirements"] == '(Arch == "X86_64")'
    # A job that ends with 99 stays in the queue, all others leave it.
    assert "ExitCode =!= 99" in entries["on_exit_remove"]


def read(word: str, answer: str) -> list[QueuedJob]:
    found = QUEUES_BY_WORD[word].read_jobs(answer)
    return list(found.values()) if isinstance(found, dict) else found


ANSWERS = {
    "slurm": samples.SLURM,
    "sge": samples.GRID_ENGINE,
    "pbs": samples.PBS,
    "lsf": samples.LSF,
    "htcondor": samples.HTCONDOR,
}


@pytest.mark.parametrize("word", ANSWERS)
def test_answers_are_understood(word: str) -> None:
    driver, waiting, *others = read(word, ANSWERS[word])
    assert (driver.name, driver.state) == (DRIVER, "running")
    assert driver.number.split(".")[0] == "4711"
    assert driver.node.split(".")[0] == "node17"
    assert driver.since
    assert (waiting.name, waiting.state, waiting.node) == (WORKER, "pending", "")
    assert waiting.number.split(".")[0] == "4712"
    assert all(other.name == WORKER for other in others)


@pytest.mark.parametrize(
    ("word", "state", "said"),
    [
        ("slurm", "ended", "OutOfMemory"),
        ("sge", "pending", "an error"),
        ("pbs", "ended", "terminated"),
        ("lsf", "ended", "TERM_MEMLIMIT"),
        ("htcondor", "pending", "memory limit"),
    ],
)
def test_what_went_wrong_is_told(word: str, state: str, said: str) -> None:
    job = read(word, ANSWERS[word])[2]
    assert job.state == state
    assert said in job.reason


def test_why_jobs_wait_and_how_they_ended() -> None:
    assert read("pbs", samples.PBS)[1].reason.startswith("Not Running: Insufficient")
    assert read("pbs", samples.PBS)[2].exit_status == 271
    assert read("lsf", samples.LSF)[2].exit_status == 130
    assert [job.number for job in read("lsf", samples.LSF)] == ["4711", "4712", "4713"]
    assert read("sge", samples.GRID_ENGINE)[3].reason == "held"


@pytest.mark.parametrize("word", ["pbs", "lsf", "htcondor"])
def test_no_job_is_an_empty_answer(word: str) -> None:
    assert read(word, "") == []


@pytest.mark.parametrize(
    ("word", "answer"),
    [
        ("sge", "<job_info><oops></job_info>"),
        ("pbs", '{"Jobs": {"1.s": {"Job_Name": "broken"'),
        ("pbs", '{"Jobs": {"1.s": {"Job_Name": "no state"}}}'),
        ("lsf", '{"RECORDS": [{"STAT": "RUN"}]}'),
        ("htcondor", "-- Failed to fetch ads"),
    ],
)
def test_an_answer_that_nobody_understands_is_an_error_of_the_queue(word: str, answer: str) -> None:
    with pytest.raises(QueueError, match=f"of {word} says cannot be read"):
        read(word, answer)


@pytest.mark.parametrize("word", QUEUES_BY_WORD)
@pytest.mark.parametrize("answer", ["", "your quota is exceeded\n", "error: no such queue"])
def test_what_is_no_number_is_none(word: str, answer: str) -> None:
    assert QUEUES_BY_WORD[word].read_number(answer) == ""


def program(folder, name: str, text: str) -> None:
    file = folder / name
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(file.stat().st_mode | stat.S_IXUSR)


def test_a_queue_that_is_not_here_or_refuses_says_so(tmp_path, monkeypatch) -> None:
    slurm = QUEUES_BY_WORD["slurm"]
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(QueueError, match="squeue of slurm is not on this machine: go where"):
        slurm.find(["1"], [DRIVER])
    program(tmp_path, "squeue", "echo 'no account: https://ann:secret@h/' >&2; exit 3")
    with pytest.raises(QueueError, match=r"refuses squeue .*\(exit status 3\): no account") as said:
        slurm.find(["1"], [DRIVER])
    assert "secret" not in str(said.value)


def test_lsf_reads_the_script_from_its_input(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    program(tmp_path, "bsub", 'read -r line; echo "Job <17> is submitted to queue <$line>."')
    script = tmp_path / "a driver.sh"
    script.write_text("#!/usr/bin/env bash\n")
    assert QUEUES_BY_WORD["lsf"].submit(script) == "17"
