"""`clustergrid plan`: what a run would do and cost, here or on a cluster, without running it."""

import gzip
import json
import os
import re
import shutil
import subprocess
import sys
from collections import namedtuple
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from scipy.cluster.hierarchy import linkage as scipy_linkage

from clustergrid.pipeline import plan, survey
from clustergrid.pipeline.planning import DescribedCluster
from clustergrid.pipeline.sizes import parse_bytes
from tests.pipeline.commands import frame

pytestmark = pytest.mark.quick_cases(one_in=4)

GIGABYTE = 10**9


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working directory with an input."""
    monkeypatch.chdir(tmp_path)
    frame().to_csv("a.csv")
    return tmp_path


@pytest.fixture
def call(call):
    """Plan in this process: its status, standard output and standard error."""
    return partial(call, "plan")


def planned(answer):
    status, out, err = answer
    assert (status, err) == (0, "")
    return json.loads(out)


def refusal(answer):
    status, out, err = answer
    assert status != 0
    assert out == ""
    (line,) = err.splitlines()
    return line


def lazy(name, shape, dtype=np.float32):
    """A file of zeros that takes no room, and is not read."""
    np.lib.format.open_memmap(name, mode="w+", dtype=dtype, shape=shape)


def test_a_plan_computes_nothing(call, folder):
    status, out, err = call("a.csv", "--method", "ward", "--row-metric", "euclidean")
    assert (status, err) == (0, "")
    assert "distance-row" in out
    assert "ward, scipy" in out
    assert "30 rows x 5 columns" in out
    assert os.listdir() == ["a.csv"]
    status, out, err = call("a.csv", "--no-row-cluster")
    assert "linkage-row" not in out
    np.save("tree.npy", scipy_linkage(frame().to_numpy()))
    assert "linkage-row" not in call("a.csv", "--row-linkage", "tree.npy")[1]


def test_a_plan_for_programs_says_what_the_table_says(call, folder):
    lazy("big.npy", (20_000, 300))
    told = planned(call("big.npy", "--memory", "8GB", "--json"))
    table = call("big.npy", "--memory", "8GB")[1]
    assert max(len(line) for line in table.splitlines()) <= 100
    assert told["resources"]["worker_processes"] >= 1
    assert told["rates"]["measured"] is ("measured here" in table)
    for stage in told["stages"]:
        assert re.search(rf"^{stage['name']} +{re.escape(stage['engine'])}", table, re.MULTILINE)
        assert stage["reason"] in table
        assert 0 < stage["driver_memory_bytes"] <= stage["peak_memory_bytes"] <= 8 * GIGABYTE
        assert stage["worker_memory_bytes"] > 0
        assert stage["seconds"] >= 0
    assert told["disk_bytes"] == sum(stage["disk_bytes"] for stage in told["stages"])
    assert told["seconds"] >= sum(stage["seconds"] for stage in told["stages"])


def test_threads_of_the_process_need_no_workers(call, folder):
    lazy("big.npy", (20_000, 300))
    told = planned(call("big.npy", "--memory", "8GB", "--cluster", "none", "--json"))
    assert told["resources"]["worker_processes"] == 0
    assert told["worker_memory_bytes"] == 0
    assert "each worker" not in call("big.npy", "--memory", "8GB", "--cluster", "none")[1]
    # A small run starts none either.
    assert planned(call("a.csv", "--json"))["resources"]["worker_processes"] == 0


def test_a_plan_takes_what_decides_the_memory_of_a_run(call, folder):
    Path("colors.csv").write_text("label,batch\ng0,red\n")
    small, large = (
        planned(call("a.csv", "--dpi", dpi, "--row-k", 3, "--row-colors", "colors.csv",
                     "--format", "png", "--format", "pdf", "--json"))
        for dpi in (50, 600)
    )  # fmt: skip
    pictures = [told["stages"][-1] for told in (small, large)]
    assert [picture["name"] for picture in pictures] == ["picture", "picture"]
    assert pictures[0]["driver_memory_bytes"] < pictures[1]["driver_memory_bytes"]
    assert pictures[0]["tasks"] == 2


def test_a_cluster_is_described(call, folder):
    lazy("big.npy", (120_000, 2_000))
    common = ("--memory-per-worker", "64GB", "--engine", "square")
    size = ("--workers", 100, "--cores", 16, *common)
    told = planned(call("big.npy", *size, "--json"))
    resources = told["resources"]
    assert (resources["threads"], resources["worker_processes"]) == (1600, 100)
    assert resources["memory_bytes"] == 64 * GIGABYTE
    assert told["worker_memory_bytes"] <= 64 * GIGABYTE
    status, out, _ = call("big.npy", *size)
    assert status == 0
    assert "1,600 threads in 100 worker processes" in out
    assert "of a cluster whose cores are like this machine's" in out
    # What the driver has is --memory.
    assert "may use 20 GB" in refusal(call("big.npy", *size, "--memory", "20GB"))
    few = planned(call("big.npy", "--workers", 1, "--cores", 2, *common, "--json"))
    assert few["seconds"] > told["seconds"]


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        (("--workers", "3"), "--cores and --memory-per-worker are missing"),
        (("--workers", "3", "--cores", "2"), "--memory-per-worker is missing"),
        (("--memory-per-worker", "3GB"), "--workers and --cores are missing"),
        (("--workers", "0"), "0 is not in the range"),
        (
            ("--workers", "3", "--cores", "2", "--memory-per-worker", "3GB", "--cluster", "none"),
            "--cluster none has no workers",
        ),
        (("--memory-per-worker", "much"), "not a size in bytes"),
    ],
)
def test_half_a_description_is_an_error_of_usage(call, folder, given, missing):
    answer = call("a.csv", *given)
    assert answer[0] == 2
    assert missing in refusal(answer)


def test_what_does_not_fit_is_refused_with_what_does(call, folder):
    lazy("big.npy", (30_000, 200), np.float64)
    square = ("--engine", "square")
    line = refusal(call("big.npy", *square, "--memory", "5GB"))
    assert "--dtype float32 needs" in line
    assert "--no-row-cluster needs" in line
    enough = re.search(r"--memory '(.*?)' would do", line)[1]
    assert call("big.npy", *square, "--memory", enough)[0] == 0
    others = {
        "--dtype float32": (*square, "--dtype", "float32"),
        "--no-row-cluster": (*square, "--no-row-cluster"),
        "--engine data": ("--engine", "data"),
    }
    for change, options in others.items():
        needs = re.search(rf"{change} needs ([\d.]+ .?B)", line)[1]
        assert parse_bytes(needs) < parse_bytes(enough)
        assert call("big.npy", *options, "--memory", needs)[0] == 0
    less = f"{parse_bytes(enough) * 9 // 10}"
    assert "would do" in refusal(call("big.npy", *square, "--memory", less))
    # By default it does not take the square.
    assert call("big.npy", "--memory", "5GB")[0] == 0


Usage = namedtuple("Usage", "total used free")


def test_a_run_directory_without_room_is_refused(call, folder, monkeypatch):
    lazy("big.npy", (20_000, 100))
    free = GIGABYTE // 20
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10 * free, 9 * free, free))
    line = refusal(call("big.npy", "-o", "runs/new"))
    assert "runs/new" in line
    assert "50 MB are free there" in line
    assert "in the stage linkage-row" in line  # of lists that are kept until the tree is finished
    assert "--no-row-cluster needs" in line
    line = refusal(call("big.npy", "-o", "runs/new", "--engine", "square"))
    assert "in the stage distance-row" in line
    assert "--no-row-cluster needs" in line
    assert not Path("runs").exists()
    # Without a directory nobody knows which disk it will be.
    assert call("big.npy")[0] == 0


def test_what_a_run_directory_holds_already_needs_no_room(call, folder, monkeypatch):
    from clustergrid.pipeline.request import FigureOptions, RunRequest
    from clustergrid.pipeline.run import run

    figure = FigureOptions(figsize_inches=(3, 3), dpi=40)
    run(RunRequest(input="a.csv", directory=folder / "run", figure=figure))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(1, 1, 6_000_000))
    assert call("a.csv", "-o", "run")[0] == 0
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(1, 1, 0))
    assert "0 B are free there" in refusal(call("a.csv", "-o", "run"))


@pytest.mark.parametrize("name", ["long.csv", "long.csv.gz"])
def test_a_long_text_is_neither_copied_nor_read(call, folder, monkeypatch, name):
    table = frame(20_000, 7)
    table.to_csv(name)
    size = 4 * len(table.to_csv().encode()) // 10
    monkeypatch.setattr(survey, "_SAMPLE_BYTES", size)

    def refuse(*args, **kwargs):
        raise AssertionError("the input was opened")

    monkeypatch.setattr(survey, "open_matrix", refuse)
    told = planned(call(name, "--json"))
    rows, columns = told["shape"]
    assert columns == 7
    # Of a compressed file, what was read ahead counts as used.
    assert rows == pytest.approx(20_000, rel=0.1)
    assert told["stages"][0]["engine"] == "parsed stream"
    assert "estimated from the beginning" in call(name)[1]
    assert plan(name, store=folder / "store").shape == (rows, columns)
    assert not (folder / "store").exists()


@pytest.mark.parametrize("name", ["wide.csv", "wide.csv.gz"])
def test_rows_longer_than_the_sample_are_counted_by_their_bytes(call, folder, monkeypatch, name):
    frame(40, 3000).to_csv(name)
    monkeypatch.setattr(survey, "_SAMPLE_BYTES", 20_000)  # less than the header takes
    monkeypatch.setattr(survey, "_PART_BYTES", 1_000)
    rows, columns = planned(call(name, "--json"))["shape"]
    assert columns == 3000
    assert rows == pytest.approx(40, abs=2)


def test_a_short_text_is_read_and_checked(call, folder):
    assert planned(call("a.csv", "--json"))["notes"] == []
    with gzip.open("a.csv.gz", "wt") as file:
        file.write(Path("a.csv").read_text())
    assert planned(call("a.csv.gz", "--json"))["shape"] == [30, 5]
    Path("bad.csv").write_text("id,a,b\nx,1,2\ny,1,two\n")
    assert "'two' in column 'b'" in refusal(call("bad.csv"))


def test_parquet_says_its_shape(call, folder, monkeypatch):
    frame().to_parquet("a.parquet")

    def refuse(*args, **kwargs):
        raise AssertionError("the input was opened")

    monkeypatch.setattr(survey, "open_matrix", refuse)
    told = planned(call("a.parquet", "--json"))
    assert told["shape"] == [30, 5]
    assert told["stages"][0]["name"] == "ingest"


def test_plans_in_python_and_of_the_command_agree(call, folder):
    lazy("big.npy", (120_000, 2_000))
    described = DescribedCluster(workers=10, cores=4, memory_bytes=64 * GIGABYTE)
    ours = plan("big.npy", cluster=described)
    told = planned(
        call("big.npy", "--workers", 10, "--cores", 4, "--memory-per-worker", "64GB", "--json")
    )
    for mine, other in zip(ours.stages, told["stages"], strict=True):
        for name in ("name", "engine", "tasks", "driver_memory_bytes", "worker_memory_bytes"):
            assert getattr(mine, name) == other[name]


def test_a_client_and_a_described_cluster_are_two_answers(client):
    described = DescribedCluster(workers=1, cores=1, memory_bytes=GIGABYTE)
    with pytest.raises(ValueError, match="not both"):
        plan(np.zeros((5, 3)), client=client, cluster=described)


def test_a_small_plan_loads_neither_compiler_nor_scheduler(folder):
    code = (
        "import sys; from clustergrid.pipeline.cli import main; main(['plan', 'a.csv']); "
        "print([m for m in ('numba', 'distributed', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.splitlines()[-1] == "[]"
