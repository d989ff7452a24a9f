"""A Slurm of two nodes for all tests of a session; each test begins and ends without jobs."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.slurm.harness import Slurm, running_slurm


@pytest.fixture(scope="session")
def slurm_of_the_session() -> Iterator[Slurm]:
    """Start Slurm once; what it costs is some 3 s."""
    with running_slurm() as slurm:
        yield slurm


@pytest.fixture
def slurm(slurm_of_the_session: Slurm, monkeypatch: pytest.MonkeyPatch) -> Iterator[Slurm]:
    """Give two idle nodes; ``SLURM_CONF`` is set, and variables of an allocation around us not."""
    for name in list(os.environ):
        if name.startswith(("SLURM_", "SBATCH_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("SLURM_CONF", str(slurm_of_the_session.configuration))
    yield slurm_of_the_session
    slurm_of_the_session.clear()
