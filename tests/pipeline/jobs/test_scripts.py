"""The script of a driver gives every word as it was typed, and shows no secret."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clustergrid.pipeline.jobs.known import QUEUES_BY_WORD
from clustergrid.pipeline.jobs.queues import DriverJob
from clustergrid.pipeline.jobs.script import (
    DriverCommand,
    driver_script,
    is_one_line,
    variables_of,
)
from clustergrid.storage.errors import DataValueError

JOB = DriverJob(name="clustergrid-0a1b2c3d", cores=2, memory_bytes=2 * 10**9, walltime_seconds=3600)
NASTY = (
    "it's", 'a "quoted" path', "$HOME", "`id`", "a;b", "*", "~", "", "-o", "#SBATCH --wrap=id",
    "tab\there", "back\\slash", "Zürich µ", "a=b", "!!", "\udcff", "(", "{a,b}", "&", "|", ">x",
)  # fmt: skip
one_line = st.text(
    st.characters(exclude_characters="\0\n\r\v\f\x85\u2028\u2029", exclude_categories=["Cs"])
)


def command(**changes) -> DriverCommand:
    plain = {"python": "/opt/py thon/bin/python", "words": ("run", "a.npy"), "folder": "/r/jobs",
             "working_directory": "/w"}  # fmt: skip
    return DriverCommand(**{**plain, **changes})


@given(words=st.lists(one_line, min_size=1), place=one_line, value=one_line)
@pytest.mark.parametrize("word", QUEUES_BY_WORD)
def test_a_shell_reads_what_was_written(word: str, words, place, value) -> None:
    script = driver_script(
        QUEUES_BY_WORD[word],
        JOB,
        command(words=tuple(words), working_directory=place, shown={"DASK_X": value}),
    )
    lines = script.split("\n")
    *_, entered, export, last, end = lines
    assert end == ""
    if not QUEUES_BY_WORD[word].appends_live:
        assert shlex.split(lines[-4]) == ["exec", ">>/r/jobs/driver.log", "2>&1"]
        entered = lines[-5]
    assert shlex.split(entered) == ["cd", "--", place, "||", "exit", "1"]
    assert shlex.split(export) == ["export", f"DASK_X={value}"]
    start, _, given_words = partition(shlex.split(last), "--")
    python = "/opt/py thon/bin/python"
    assert start[:4] == ["exec", python, "-m", "clustergrid.pipeline.jobs.supervise"]
    assert given_words == words


def partition(words: list[str], at: str) -> tuple[list[str], str, list[str]]:
    i = words.index(at)
    return words[:i], at, words[i + 1 :]


def test_bash_gives_words_place_and_variables(tmp_path) -> None:
    """What the job would run writes down what it was given."""
    place = tmp_path / 'it\'s a "place" $HOME'
    place.mkdir()
    (tmp_path / "sitecustomize.py").write_text("")
    shown = {f"DASK_{i}": word for i, word in enumerate(NASTY)}
    program = tmp_path / "py thon"
    program.write_text(
        f"#!{sys.executable}\nimport json, os, sys\n"
        "print(json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]))\n"
    )
    program.chmod(0o700)
    script = driver_script(
        QUEUES_BY_WORD["slurm"],
        JOB,
        command(python=str(program), words=NASTY, working_directory=str(place), shown=shown),
    )
    file = tmp_path / "driver.sh"
    file.write_text(script, encoding="utf-8", errors="surrogateescape")
    done = subprocess.run(["bash", file], check=True, capture_output=True, text=True)
    words, where, environment = json.loads(done.stdout)
    assert words == ["-m", "clustergrid.pipeline.jobs.supervise", "slurm", "/r/jobs", "--", *NASTY]
    assert where == str(place)
    assert {name: environment[name] for name in shown} == shown


@pytest.mark.parametrize("word", QUEUES_BY_WORD)
def test_shellcheck_has_nothing_to_say(word: str, tmp_path) -> None:
    file = tmp_path / "driver.sh"
    shown = {"DASK_A": "it's", "PATH": "/a b:/c"}
    file.write_text(
        driver_script(QUEUES_BY_WORD[word], JOB, command(words=NASTY[:-6], shown=shown))
    )
    # What it says of words that look like variables is but information: they are meant so.
    check = ["shellcheck", "--severity=warning"] if shutil.which("shellcheck") else ["bash", "-n"]
    done = subprocess.run([*check, file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("word", QUEUES_BY_WORD)
def test_no_line_but_the_first_ones_is_a_directive(word: str) -> None:
    """Grid Engine and LSF look for directives everywhere."""
    script = driver_script(QUEUES_BY_WORD[word], JOB, command(shown={"DASK_A": "#$ -N other"}))
    lines = script.split("\n")
    directives = QUEUES_BY_WORD[word].directives(JOB)
    assert lines[1 : 1 + len(directives)] == directives
    assert not any(
        line.startswith(("#SBATCH", "#$", "#PBS", "#BSUB")) for line in lines[1 + len(directives) :]
    )


def test_only_queues_without_a_warning_have_the_job_look_at_the_clock() -> None:
    for word, queue in QUEUES_BY_WORD.items():
        script = driver_script(queue, JOB, command())
        assert ("--stop-after 3480" in script) == (word in ("pbs", "htcondor"))


@pytest.mark.parametrize("text", ["a\nb", "a\r#SBATCH --wrap=id", "a\u2028b", "a\0"])
def test_what_has_a_second_line_is_refused(text: str) -> None:
    assert not is_one_line(text)
    with pytest.raises(DataValueError, match="of one line, got"):
        command(words=("run", text))
    assert variables_of({"DASK_A": text}).shown == {}


def test_a_login_is_refused_and_not_shown() -> None:
    with pytest.raises(DataValueError, match="has a login in it") as said:
        command(words=("run", "https://ann:secret@host/m.npy"))
    assert "secret" not in str(said.value)


def test_secrets_are_passed_by_name_and_the_rest_is_left_out() -> None:
    found = variables_of(
        {
            "DASK_JOBQUEUE__SLURM__QUEUE": "long",
            "DASK_DISTRIBUTED__COMM__TLS__CLIENT__KEY": "/c/dask.key",
            "DASK_GATEWAY__AUTH__PASSWORD": "s1",
            "CLUSTERGRID_CONFIG": "/c/x.yaml",
            "NUMBA_CACHE_DIR": "/n",
            "DASK_X": "https://ann:s2@h/",
            "AWS_SECRET_ACCESS_KEY": "s3",
            "AWS_ENDPOINT_URL": "http://h",
            "AZURE_STORAGE_ACCOUNT_KEY": "s4",
            "GOOGLE_APPLICATION_CREDENTIALS": "/c/g.json",
            "DASK_INTERNAL_INHERIT_CONFIG": "b64",
            "MY_TOKEN": "s5",
            "HOME": "/h",
            "DASK_bad-name": "x",
            "SLURM_JOB_ID": "1",
        }
    )
    assert set(found.shown) == {
        "DASK_JOBQUEUE__SLURM__QUEUE",
        "DASK_DISTRIBUTED__COMM__TLS__CLIENT__KEY",
        "CLUSTERGRID_CONFIG",
        "NUMBA_CACHE_DIR",
    }
    assert set(found.hidden) == {
        "DASK_GATEWAY__AUTH__PASSWORD",
        "DASK_X",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_ENDPOINT_URL",
        "AZURE_STORAGE_ACCOUNT_KEY",
        "GOOGLE_APPLICATION_CREDENTIALS",
    }
