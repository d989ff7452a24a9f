"""What the tests of ``deploy/`` share: where things are, and the manifests as they are parsed."""

from __future__ import annotations

import copy
import functools
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"


@functools.cache
def _parsed() -> list[dict[str, Any]]:
    return [
        document
        for path in sorted(KUBERNETES.glob("*.yaml"))
        for document in yaml.safe_load_all(path.read_text(encoding="utf-8"))
    ]


def manifests() -> list[dict[str, Any]]:
    """Every document of every file of ``deploy/kubernetes``."""
    return copy.deepcopy(_parsed())


def manifest(kind: str) -> dict[str, Any]:
    """The one document of a kind."""
    (found,) = (each for each in manifests() if each["kind"] == kind)
    return found


def container(pod_spec: dict[str, Any]) -> dict[str, Any]:
    """The one container of a pod."""
    (found,) = pod_spec["containers"]
    return dict(found)


def pod_specs() -> dict[str, dict[str, Any]]:
    """Pods of the scheduler, of a worker and of the driver, as the manifests describe them."""
    cluster = manifest("DaskCluster")["spec"]
    return {
        "scheduler": cluster["scheduler"]["spec"],
        "worker": cluster["worker"]["spec"],
        "driver": manifest("Job")["spec"]["template"]["spec"],
    }
