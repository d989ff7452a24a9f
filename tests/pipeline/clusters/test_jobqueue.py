"""Scripts of workers' jobs, against the grammar of each queue's directives.

Only Slurm's are submitted in tests (`tests/slurm`); of the other queues there is none here.
"""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import dask
import pytest

from clustergrid.pipeline.cluster import connect
from clustergrid.pipeline.clusters import jobqueue
from clustergrid.pipeline.clusters.choice import QUEUES, ClusterChoice
from clustergrid.pipeline.clusters.jobqueue import JobFolder, worker_job_script
from clustergrid.pipeline.clusters.queued import _patience_seconds
from clustergrid.pipeline.clusters.resolve import resolve_choice
from clustergrid.pipeline.resources import Resources
from clustergrid.storage.errors import DataValueError, MissingExtraError, StorageError

HERE = Resources(memory_bytes=10**9, threads=1)

PREFIX = {"slurm": "#SBATCH", "pbs": "#PBS", "sge": "#$", "lsf": "#BSUB"}
# Options that these queues have, with what follows them.
OPTION = {
    "slurm": r"(-[JeopAt] \S+|-n \d+|--cpus-per-task=\d+|--mem=\d+[KMG]|--exclusive)",
    "pbs": r"(-[NqAeo] \S+|-l (select=1:ncpus=\d+:mem=\d+(B|kB|MB|GB)|walltime=\d+:\d\d:\d\d)"
    r"|--exclusive)",
    "sge": r"(-[NqPeo] \S+|-l h_rt=\d+:\d\d:\d\d|-cwd|-j y|--exclusive)",
    "lsf": r"(-[Jeoq] \S+|-P \"\S+\"|-n \d+|-R \"span\[hosts=1\]\"|-M \d+|-W \d+:\d\d|--exclusive)",
}


def asked(word: str, **more) -> ClusterChoice:
    """Ask a queue for all that it knows."""
    options = {
        "workers": 3,
        "cores": 4,
        "memory_per_worker_bytes": 8 * 10**9,
        "account": "lab",
        "interface": "ib0",
        "job_extra": ("+Project = 1",) if word == "htcondor" else ("--exclusive",),
    }
    if word != "htcondor":
        options |= {"queue": "long", "walltime_seconds": 5460}
    return ClusterChoice(cluster=word, **(options | more))


def rendered(tmp_path: Path, word: str, **more) -> str:
    return worker_job_script(asked(word, **more), JobFolder(path=tmp_path, job_name="run-worker"))


def worker_words(script: str) -> list[str]:
    (line,) = [line for line in script.splitlines() if jobqueue.WORKER_COMMAND in line]
    return shlex.split(line)


@pytest.mark.parametrize("word", PREFIX)
def test_every_directive_is_one_of_the_queue(tmp_path, word):
    script = rendered(tmp_path, word)
    first, *lines = script.splitlines()
    assert first == "#!/usr/bin/env bash"
    directives = [line for line in lines if line.startswith("#")]
    assert len(directives) >= 7
    for line in directives:
        assert re.fullmatch(f"{re.escape(PREFIX[word])} {OPTION[word]}", line), line
    text = "\n".join(directives)
    for value in ("run-worker", "long", "lab", "--exclusive"):
        assert value in text
    assert re.search(r"\b0?1:31(:00)?\b", text)  # the walltime
    # Directives come before the first command: queues read no further.
    commands = [number for number, line in enumerate(lines) if line and not line.startswith("#")]
    assert max(lines.index(line) for line in directives) < min(commands)


def test_an_htcondor_file_is_keys_and_values(tmp_path):
    lines = [line for line in rendered(tmp_path, "htcondor").splitlines() if line]
    assert lines[-1] == "Queue"
    pairs = {}
    for line in lines[1:-1]:
        assert re.fullmatch(r"[A-Za-z_+][\w.]* = \S.*", line), line
        name, _, value = line.partition(" = ")
        pairs[name] = value
    assert pairs["accounting_group"] == "lab"
    assert pairs["batch_name"] == "run-worker"
    assert pairs["+Project"] == "1"
    assert pairs["MY.DaskWorkerCores"] == "4"
    # Its own quoting: the whole in double quotes, a word with spaces in single ones.
    quoted = re.fullmatch(r"\"-c '(.*)'\"", pairs["Arguments"])
    assert quoted
    assert "$(" not in quoted[1]  # would be a macro


@pytest.mark.parametrize("word", QUEUES)
def test_a_worker_is_started_with_certificates_on_the_network_that_was_asked_for(tmp_path, word):
    folder = tmp_path / "it's a folder"
    script = rendered(folder, word)
    if word == "htcondor":
        (line,) = [line for line in script.splitlines() if line.startswith("Arguments")]
        script = line.partition("'")[2].rpartition("'")[0].replace("''", "'").replace('""', '"')
    words = worker_words(script)
    assert words[:3] == [sys.executable, "-m", jobqueue.WORKER_COMMAND]
    assert words[3].startswith("tls://")
    options = dict(zip(words[4::2], words[5::2], strict=True))
    assert options["--nthreads"] == "4"
    assert options["--interface"] == "ib0"
    assert options["--tls-key"] == str(folder / "dask.key")
    assert options["--tls-ca-file"] == str(folder / "ca.pem")
    # No queue can be told of such a folder in a directive.
    assert str(folder) not in "".join(x for x in script.splitlines() if x.startswith("#"))
    assert not folder.exists()


def test_rendering_leaves_nothing_behind(tmp_path):
    assert f"{tmp_path}/run/logs" in rendered(tmp_path / "run", "slurm")
    assert not any(tmp_path.iterdir())


def test_insecure_is_without_certificates(tmp_path):
    assert "--tls" not in rendered(tmp_path, "slurm", insecure=True)


def test_the_site_says_what_is_not_asked_for(tmp_path):
    site = {
        "jobqueue.slurm.cores": 16,
        "jobqueue.slurm.memory": "64GB",
        "jobqueue.slurm.processes": 4,
        "jobqueue.slurm.queue": "site",
        "jobqueue.slurm.walltime": "03:00:00",
        "jobqueue.slurm.job-extra-directives": ["-C big"],
        "jobqueue.slurm.job-script-prologue": ["module load python"],
        "jobqueue.slurm.worker-extra-args": ["--resources", "disk=1"],
    }
    jobqueue._cluster_class("slurm")  # its defaults come with the import
    with dask.config.set(site):
        choice = resolve_choice({"cluster": "slurm", "job_extra": ("-x n3",)}, {})
        assert (choice.workers, choice.cores) == (4, 4)
        assert choice.memory_per_worker_bytes == 16 * 10**9
        script = worker_job_script(choice, JobFolder(path=tmp_path))
        for line in ("-p site", "-t 03:00:00", "-C big", "-x n3", "--cpus-per-task=16"):
            assert f"#SBATCH {line}\n" in script
        assert "\nmodule load python\n" in script
        assert "--nworkers 4" in script
        assert "--resources disk=1" in script
        smaller = resolve_choice({"cluster": "slurm", "cores": 2}, {})
        assert "--cpus-per-task=8" in worker_job_script(smaller, JobFolder(path=tmp_path))


def test_what_nobody_says_is_asked_for():
    with pytest.raises(DataValueError, match=r"needs --cores and --memory-per-worker.*jobqueue\.p"):
        resolve_choice({"cluster": "pbs"}, {})
    with pytest.raises(DataValueError, match="needs --cores:"):
        resolve_choice({"cluster": "pbs", "memory_per_worker_bytes": 10**9}, {})


def test_a_queue_that_is_not_here_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    choice = asked("pbs", interface="lo", insecure=True, dashboard_port=0)
    with (
        pytest.raises(StorageError, match="qsub of pbs is not on this machine"),
        connect(choice, HERE, folder=JobFolder(path=tmp_path / "jobs")),
    ):
        pass


def test_how_long_a_queue_is_waited_for_is_the_sites_affair():
    assert _patience_seconds() == 24 * 3600
    with dask.config.set({"clustergrid.queue-timeout": "90m"}):
        assert _patience_seconds() == 5400
    for wrong in ("soon", [], None):
        with (
            dask.config.set({"clustergrid.queue-timeout": wrong}),
            pytest.raises(DataValueError, match="queue-timeout in Dask's configuration is no time"),
        ):
            _patience_seconds()


@pytest.mark.parametrize(
    ("word", "library", "extra"),
    [
        ("lsf", "dask_jobqueue", "jobqueue"),
        ("kubernetes", "dask_kubernetes.operator", "kubernetes"),
    ],
)
def test_a_missing_library_is_named_with_its_extra(monkeypatch, word, library, extra):
    monkeypatch.setitem(sys.modules, library, None)
    says = rf"--cluster {word} needs .*: pip install 'clustergrid\[{extra}\]'"
    choice = ClusterChoice(
        cluster=word, cores=1, memory_per_worker_bytes=10**9, workers=1, insecure=True
    )
    with (
        pytest.raises(MissingExtraError, match=says),
        connect(choice, HERE),
    ):
        pass


def test_ctrl_c_does_what_it_did_before_the_library_was_imported():
    program = (
        "import signal, sys; "
        "from clustergrid.pipeline.clusters.settings import import_back_end; "
        "before = signal.getsignal(signal.SIGINT); "
        "import_back_end('dask_jobqueue', 'jobqueue', 'slurm'); "
        "assert 'dask_jobqueue.runner' in sys.modules; "
        "print(signal.getsignal(signal.SIGINT) is before)"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert told.stdout.strip() == "True", told.stderr
