"""``deploy/slurm/site.yaml``: settings that dask-jobqueue and clustergrid know."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from clustergrid.pipeline.clusters.presets import find_preset
from clustergrid.pipeline.request import ClusterChoice
from tests.deploy.manifests import DEPLOY

SITE = yaml.safe_load((DEPLOY / "slurm" / "site.yaml").read_text(encoding="utf-8"))


def known() -> dict[str, Any]:
    # Imported, it would take Ctrl-C from all tests that come later.
    spec = find_spec("dask_jobqueue")
    assert spec is not None
    assert spec.origin is not None
    path = Path(spec.origin).with_name("jobqueue.yaml")
    found: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return found


def test_dask_jobqueue_knows_every_setting() -> None:
    (queue,) = SITE["jobqueue"]
    assert SITE["jobqueue"][queue].keys() <= known()["jobqueue"][queue].keys()
    assert "job-extras" not in known()["jobqueue"][queue]


def test_the_file_says_nothing_else() -> None:
    assert set(SITE) == {"jobqueue", "clustergrid"}
    assert set(SITE["clustergrid"]) == {"presets"}


@pytest.mark.parametrize("name", list(SITE["clustergrid"]["presets"]))
def test_a_preset_is_a_choice_of_a_cluster(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLUSTERGRID_CONFIG", str(DEPLOY / "slurm" / "site.yaml"))
    choice = ClusterChoice(**find_preset(name))
    assert choice.is_queue
    assert choice.workers == SITE["clustergrid"]["presets"][name]["workers"]
