"""The Slurm that the other tests of this folder run on does what they take for granted."""

from __future__ import annotations

import pytest

from tests.slurm.harness import NODES, Slurm

pytestmark = pytest.mark.slurm


def test_two_nodes_run_jobs_and_one_can_be_lost(slurm: Slurm) -> None:
    assert set(slurm.node_states()) == set(NODES)
    numbers = [slurm.submit("sleep 100", f"--nodelist={node}", "--no-requeue") for node in NODES]
    slurm.wait_for(lambda: [job.state for job in slurm.jobs()] == ["RUNNING"] * 2, "two jobs run")
    assert [job.node for job in slurm.jobs()] == list(NODES)

    slurm.set_down("n2")
    slurm.wait_for(lambda: [job.number for job in slurm.jobs()] == numbers[:1], "one job is left")
    assert slurm.show_job(numbers[1])["JobState"] == "NODE_FAIL"
    slurm.clear()
    assert slurm.jobs() == []
    assert set(slurm.node_states().values()) == {"idle"}


@pytest.mark.slow  # The controller takes its time to notice.
def test_a_killed_node_comes_back(slurm: Slurm) -> None:
    number = slurm.submit("sleep 100", "--nodelist=n1", "--no-requeue")
    slurm.wait_for(lambda: slurm.jobs()[0].state == "RUNNING", "the job runs")
    slurm.kill_node("n1")
    slurm.wait_for(lambda: not slurm.jobs(), "the job is given up")
    assert slurm.show_job(number)["JobState"] == "NODE_FAIL"
    slurm.bring_back("n1")
