"""Every malformed input ends the command with one clear line, and leaves nothing that looks done.

The quick tests call `main` in this process. The slow ones start a process for every case, as users
do, where a traceback of another thread or process, a signal and the memory that was taken would
show.
"""

import json
import re
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest

from clustergrid.pipeline.cli import main
from clustergrid.pipeline.status import read_status

from . import (
    h5ad,
    npy,
    options,
    parquet,
    paths,
    tables,
    text,
    zarr_chunks,
    zarr_metadata,
)
from .npy import CREATED

MODULES = (text, npy, parquet, h5ad, zarr_metadata, zarr_chunks, paths, tables, options)
CASES = [case for module in MODULES for case in module.CASES]
RESULTS = ("linkage_*", "order_*", "clusters_*", "figure*")
MOST_MEMORY_BYTES = 1_500_000_000
COMMAND = [sys.executable, "-m", "clustergrid.pipeline.cli"]
# zarr and xarray warn of what the generator writes, which is not theirs to like.
pytestmark = [pytest.mark.quick_cases(one_in=4), pytest.mark.filterwarnings("ignore")]


def assert_refused(case, folder, status, out, err):
    """One clear line, a status, and nothing that looks like a result."""
    lines = err.splitlines()
    ours = [line for line in lines if line.startswith("clustergrid:")]
    last = [line for line in ours if not line.startswith("clustergrid: warning:")]
    assert status == case.status, err
    assert last == lines[-1:], err
    assert re.search(case.says, lines[-1]), lines[-1]
    assert "--debug" not in lines[-1], "nobody foresaw this"
    assert len(lines[-1]) < 3000
    assert all(character.isprintable() for line in ours for character in line)
    assert "Traceback" not in err
    assert out == ""
    assert not (folder / CREATED).exists(), "a payload ran"
    if case.name.startswith("output-"):  # that directory is what is wrong
        return
    run = folder / case.output
    if (run / "run.json").is_file():
        assert read_status(run).state == "stopped"
    # An axis that is not clustered keeps its order, which is no result.
    left = [path.name for pattern in RESULTS for path in run.rglob(pattern)]
    assert not set(left) - {
        f"order_{axis}.txt" for axis in ("row", "col") if f"--no-{axis}-cluster" in case.options
    }


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.timeout(30)
def test_refused(case, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    case.write(tmp_path)
    capfd.readouterr()
    threads = threading.active_count()
    with pytest.raises(SystemExit) as ended:
        main(case.arguments())
    out, err = capfd.readouterr()
    assert_refused(case, tmp_path, ended.value.code, out, err)
    assert threading.active_count() <= threads + 8, "threads were left behind"


def test_there_are_many_and_no_two_are_one():
    names = Counter(case.name for case in CASES)
    assert [name for name, count in names.items() if count > 1] == []
    assert len(CASES) >= 500
    for module in MODULES:
        assert len(module.CASES) >= 35, module.__name__


def test_a_payload_that_is_unpickled_would_be_noticed(tmp_path, monkeypatch):
    import pickle

    monkeypatch.chdir(tmp_path)
    pickle.loads(npy.payload()).close()
    assert Path(CREATED).exists()


def test_a_case_that_is_not_refused_would_be_noticed(tmp_path, monkeypatch, capfd):
    """The check fails for a good input, and for another line than the one that was expected."""
    monkeypatch.chdir(tmp_path)
    good = options.wrong("good", "anything", status=1)
    good.write(tmp_path)
    main(good.arguments())
    out, err = capfd.readouterr()
    with pytest.raises(AssertionError):
        assert_refused(good, tmp_path, 0, out, err)
    with pytest.raises(AssertionError):  # what is left of it
        assert_refused(good, tmp_path, 1, "", "clustergrid: anything\n")
    case = next(case for case in CASES if case.name == "text-empty")
    with pytest.raises(AssertionError):
        assert_refused(case, tmp_path, 1, "", "clustergrid: something else\n")


_MEASURE = """
import resource, subprocess, sys
status = subprocess.call(sys.argv[2:])
kilobytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
open(sys.argv[1], "w").write(str(kilobytes * 1024))
sys.exit(status if status >= 0 else 128 - status)
"""


def run_process(case, folder):
    """Run one case as a process: status, output, error, and the most memory it had."""
    peak = folder.parent / f"{folder.name}.peak"
    ended = subprocess.run(
        [sys.executable, "-c", _MEASURE, str(peak), *COMMAND, *case.arguments()],
        cwd=folder, capture_output=True, text=True, errors="replace", timeout=120, check=False,
    )  # fmt: skip
    return case, folder, int(peak.read_text()), (ended.returncode, ended.stdout, ended.stderr)


_FORKS = """
import json, os, signal, sys
import h5py, numpy, pandas, pyarrow.csv, pyarrow.parquet, xarray, zarr
from clustergrid.pipeline.cli import main

answers = []
for folder, arguments in json.load(open(sys.argv[1])):
    pid = os.fork()
    if not pid:
        signal.alarm(100)
        os.chdir(folder)
        for number, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(f"{folder}.{name}", os.O_WRONLY | os.O_CREAT), number)
        main(arguments)
        sys.exit(0)
    _, status, usage = os.wait4(pid, 0)
    answers.append([os.waitstatus_to_exitcode(status), usage.ru_maxrss * 1024])
json.dump(answers, open(sys.argv[2], "w"))
"""
"""Starts every case as a process of its own, from one that has the libraries loaded already."""


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__.rpartition(".")[2])
def test_refused_as_a_process(module, tmp_path, monkeypatch):
    cases = [case for case in module.CASES if not case.in_process]
    jobs = []
    for number, case in enumerate(cases):
        folder = tmp_path / str(number)
        folder.mkdir()
        monkeypatch.chdir(folder)  # some cases write links, which are relative
        case.write(folder)
        jobs.append([str(folder), case.arguments()])
    asked, answered = tmp_path / "asked.json", tmp_path / "answered.json"
    asked.write_text(json.dumps(jobs))
    subprocess.run(
        [sys.executable, "-c", _FORKS, str(asked), str(answered)], check=True, timeout=1700
    )
    wrong = []
    for number, (status, peak) in enumerate(json.loads(answered.read_text())):
        folder = tmp_path / str(number)
        out, err = (Path(f"{folder}.{name}").read_text(errors="replace") for name in ("out", "err"))
        try:
            assert peak < MOST_MEMORY_BYTES
            assert_refused(cases[number], folder, status, out, err)
        except AssertionError as error:
            wrong.append(f"{cases[number].name}: {error}")
    assert not wrong, "\n\n".join(wrong)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES[::25], ids=lambda case: case.name)
def test_refused_as_users_start_it(case, tmp_path, monkeypatch):
    folder = tmp_path / "case"
    folder.mkdir()
    monkeypatch.chdir(folder)
    case.write(folder)
    _, _, peak, answer = run_process(case, folder)
    assert peak < MOST_MEMORY_BYTES
    assert_refused(case, folder, *answer)
