"""The batch job that a command finds itself in."""

import pytest

from clustergrid.pipeline import execution
from clustergrid.pipeline.clusters.resolve import resolve_choice
from clustergrid.pipeline.clusters.surroundings import SlurmAllocation, resolve_cluster
from clustergrid.storage.errors import DataValueError

JOB = {"SLURM_JOB_ID": "7", "SLURMD_NODENAME": "n1"}
TWO = JOB | {"SLURM_JOB_NUM_NODES": "2", "SLURM_JOB_CPUS_PER_NODE": "8(x2)"}


def test_outside_of_jobs_tasks_run_here():
    assert resolve_cluster({}) == ("local", "")
    assert resolve_choice({}, {}).cluster == "local"
    assert resolve_choice({"scheduler": "tls://a:1"}, TWO).note == ""


def test_one_node_is_used_as_it_is():
    word, note = resolve_cluster(JOB | {"SLURM_JOB_NUM_NODES": "1"})
    assert word == "local"
    assert "inside Slurm job 7" in note


def test_workers_of_a_login_shell_run_on_the_nodes():
    shell = {"SLURM_JOB_ID": "7", "SLURM_JOB_NUM_NODES": "1"}
    assert resolve_cluster(shell)[0] == "allocation"


@pytest.mark.parametrize(
    ("more", "workers", "cores", "megabytes"),
    [
        ({}, 4, 4, None),
        # The driver has a part of its node, as large as a worker's.
        ({"SLURM_MEM_PER_NODE": "9000"}, 4, 4, 3000),
        ({"SLURM_MEM_PER_CPU": "1500"}, 4, 4, 4000),
        ({"SLURM_MEM_PER_NODE": "0"}, 4, 4, None),
        (
            {"SLURM_CPUS_PER_TASK": "2", "SLURM_NTASKS": "6", "SLURM_MEM_PER_NODE": "8000"},
            6,
            2,
            2000,
        ),
        ({"SLURM_CPUS_PER_TASK": "8"}, 2, 8, None),
    ],
)
def test_an_allocation_has_room_for_workers(more, workers, cores, megabytes):
    found = SlurmAllocation.of(TWO | more)
    memory = None if megabytes is None else megabytes * 2**20
    assert (found.workers, found.cores, found.memory_bytes) == (workers, cores, memory)


def test_more_cores_a_worker_are_fewer_workers_of_the_same_allocation():
    choice = resolve_choice({"cores": 8}, TWO | {"SLURM_MEM_PER_NODE": "9000"})
    assert (choice.cluster, choice.workers, choice.cores) == ("allocation", 2, 8)
    assert choice.memory_per_worker_bytes == 6000 * 2**20
    assert "inside Slurm job 7" in choice.note


def test_an_allocation_needs_a_job():
    with pytest.raises(DataValueError, match="this is not inside one"):
        resolve_choice({"cluster": "allocation"}, {})


@pytest.mark.parametrize(
    "variables",
    [
        {"PBS_NUM_NODES": "3"},
        {"LSB_MCPU_HOSTS": "a 2 b 2 c 4"},
        {"LSB_HOSTS": "a a b c"},
        {"NHOSTS": "3"},
    ],
)
def test_several_nodes_of_other_queues_are_noticed(variables):
    word, note = resolve_cluster(variables)
    assert word == "local"
    assert "of 3 nodes: only this one is used" in note


def test_nodes_that_are_told_in_a_file_are_counted(tmp_path):
    file = tmp_path / "nodes"
    file.write_text("a\na\nb\nb\nc\n")
    assert "PBS job of 3 nodes" in resolve_choice({}, {"PBS_NODEFILE": str(file)}).note
    file.write_text("a 4 all.q <NULL>\nb 4 all.q <NULL>\n")
    assert "Grid Engine job of 2 nodes" in resolve_choice({}, {"PE_HOSTFILE": str(file)}).note
    assert resolve_choice({}, {"PBS_NODEFILE": str(tmp_path / "none")}).note == ""


def test_memory_and_cores_are_those_of_the_job(monkeypatch):
    everything = execution.available_memory_bytes()
    for name, value in (JOB | {"SLURM_MEM_PER_NODE": "100", "SLURM_CPUS_ON_NODE": "1"}).items():
        monkeypatch.setenv(name, value)
    assert execution.available_memory_bytes() == 100 * 2**20 * 4 // 5 < everything
    assert execution.available_cores() == 1
    monkeypatch.delenv("SLURMD_NODENAME")  # a shell on a login node
    assert execution.available_memory_bytes() > 100 * 2**20
