"""``deploy/kubernetes``: against the operator's schema and code, and Kubernetes' own schemas.

There is no Kubernetes here. What a cluster would check when the manifests are applied is checked,
and the pods are those that the operator's own functions make of them.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import dask_kubernetes
import jsonschema
import kubernetes_validate
import pytest
import yaml
from dask_kubernetes.operator.controller.controller import (
    build_scheduler_deployment_spec,
    build_scheduler_service_spec,
    build_worker_deployment_spec,
)

from clustergrid.pipeline.certificates import Certificates
from clustergrid.pipeline.sizes import parse_bytes
from tests.deploy.manifests import container, manifest, manifests, pod_specs

CLUSTER = manifest("DaskCluster")
NAME = CLUSTER["metadata"]["name"]
# The oldest in which a Job's podFailurePolicy is no longer an experiment, and the newest known.
VERSIONS = ("1.31", ".".join(kubernetes_validate.latest_version().split(".")[:2]))
TLS_FOLDER = "/etc/clustergrid/tls"


def schema_of_the_operator() -> dict[str, Any]:
    """Its schema of a DaskCluster, in which a name that it does not know is an error."""
    chart = Path(dask_kubernetes.__file__).parent / "operator" / "deployment" / "helm"
    path = chart / "dask-kubernetes-operator" / "crds" / "daskcluster.yaml"
    definition = yaml.safe_load(path.read_text(encoding="utf-8"))
    (version,) = definition["spec"]["versions"]
    schema: dict[str, Any] = version["schema"]["openAPIV3Schema"]
    schema["properties"] |= {
        "apiVersion": {"const": f"{definition['spec']['group']}/{version['name']}"},
        "kind": {"const": definition["spec"]["names"]["kind"]},
        "metadata": {"type": "object", "required": ["name"]},
    }
    waiting = [schema]
    while waiting:
        node = waiting.pop()
        if "properties" in node:
            node.setdefault("additionalProperties", False)
        children = [node, *node.get("properties", {}).values()]
        waiting += [child for child in children[1:] if isinstance(child, dict)]
        waiting += [node[key] for key in ("items", "additionalProperties")
                    if isinstance(node.get(key), dict)]  # fmt: skip
    return schema


SCHEMA = schema_of_the_operator()


def deployments() -> list[dict[str, Any]]:
    """What the operator makes of the DaskCluster."""
    cluster = copy.deepcopy(CLUSTER)["spec"]
    return [
        build_scheduler_deployment_spec(NAME, cluster["scheduler"]["spec"], {}, {}),
        build_scheduler_service_spec(NAME, cluster["scheduler"]["service"], {}, {}),
        build_worker_deployment_spec(
            f"{NAME}-default", "science", NAME, "0123456789", cluster["worker"]["spec"], {}, {}
        ),
    ]


# Schemas


def test_the_operator_takes_the_cluster() -> None:
    jsonschema.Draft202012Validator(SCHEMA).validate(CLUSTER)


def test_a_slip_in_the_cluster_is_seen() -> None:
    for path, name in (
        (("spec", "worker"), "replica"),
        (("spec", "worker", "spec"), "terminationGracePeriod"),
        (("spec", "scheduler", "spec", "containers", 0), "imagePolicy"),
        (("spec", "scheduler", "spec", "containers", 0, "securityContext"), "readOnlyRoot"),
    ):
        wrong = copy.deepcopy(CLUSTER)
        place: Any = wrong
        for step in path:
            place = place[step]
        place[name] = 1
        with pytest.raises(jsonschema.ValidationError, match=name):
            jsonschema.Draft202012Validator(SCHEMA).validate(wrong)


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_takes_everything(version: str) -> None:
    own = [each for each in manifests() if each["kind"] != "DaskCluster"]
    assert len(own) == 4
    for each in [*own, *deployments()]:
        assert kubernetes_validate.validate(each, version, strict=True) == version


def test_a_slip_in_a_manifest_is_seen() -> None:
    wrong = manifest("Job")
    wrong["spec"]["backofLimit"] = 1
    with pytest.raises(kubernetes_validate.ValidationError, match="backofLimit"):
        kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)


# What schemas do not say


@pytest.mark.parametrize("name", ["scheduler", "worker", "driver"])
def test_a_pod_may_do_as_little_as_possible(name: str) -> None:
    spec = pod_specs()[name]
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] == 1000
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    allowed = container(spec)["securityContext"]
    assert allowed == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


@pytest.mark.parametrize("name", ["scheduler", "worker", "driver"])
def test_what_a_pod_mounts_is_there(name: str) -> None:
    spec = pod_specs()[name]
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    mounts = {mount["name"]: mount["mountPath"] for mount in container(spec)["volumeMounts"]}
    assert mounts.keys() == volumes.keys()
    assert mounts["tmp"] == "/tmp"
    assert mounts["tls"] == TLS_FOLDER
    assert volumes["dask"]["configMap"]["name"] == manifest("ConfigMap")["metadata"]["name"]
    # Others than the group that the pod is in read no key.
    assert volumes["tls"]["secret"]["defaultMode"] == 0o440
    if name != "scheduler":
        claim = volumes["data"]["persistentVolumeClaim"]["claimName"]
        assert claim == manifest("PersistentVolumeClaim")["metadata"]["name"]
        assert mounts["data"] == "/data"
    (config,) = [each for each in container(spec)["env"] if each["name"] == "DASK_CONFIG"]
    assert config["value"] == mounts["dask"]


def test_all_pods_run_the_same_image() -> None:
    assert len({container(spec)["image"] for spec in pod_specs().values()}) == 1


def test_the_settings_are_those_that_the_command_prints() -> None:
    folder = Path(TLS_FOLDER)
    made = Certificates(
        ca_file=folder / "ca.pem",
        cert_file=folder / "dask.pem",
        key_file=folder / "dask.key",
        authority_key_file=None,
        expires=None,  # type: ignore[arg-type]
    )
    written = yaml.safe_load(manifest("ConfigMap")["data"]["tls.yaml"])
    assert written == yaml.safe_load("\n".join(made.yaml_lines()))


def test_everybody_finds_the_scheduler() -> None:
    _, service, worker = deployments()
    ports = {port["name"]: port["port"] for port in service["spec"]["ports"]}
    address = f"tls://{service['metadata']['name']}:{ports['tcp-comm']}"
    environment = {
        each["name"]: each["value"] for each in container(worker["spec"]["template"]["spec"])["env"]
    }
    assert environment["DASK_SCHEDULER_ADDRESS"] == address
    assert container(pod_specs()["driver"])["args"][-3:-2] == [address]
    labels = deployments()[0]["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()


def test_the_network_is_open_to_the_driver_and_the_cluster() -> None:
    rule = manifest("NetworkPolicy")["spec"]
    scheduler, _, worker = deployments()
    (ingress,) = rule["ingress"]
    allowed = [peer["podSelector"]["matchLabels"] for peer in ingress["from"]
               if "podSelector" in peer]  # fmt: skip
    job = manifest("Job")["spec"]["template"]
    for each in (scheduler["spec"]["template"], worker["spec"]["template"]):
        labels = each["metadata"]["labels"]
        assert rule["podSelector"]["matchLabels"].items() <= labels.items()
        assert any(peer.items() <= labels.items() for peer in allowed)
    assert any(peer.items() <= job["metadata"]["labels"].items() for peer in allowed)


@pytest.mark.parametrize(("name", "option"), [("worker", "--memory-limit"), ("driver", "--memory")])
def test_a_process_is_given_less_than_its_container(name: str, option: str) -> None:
    found = container(pod_specs()[name])
    said = parse_bytes(found["args"][found["args"].index(option) + 1])
    limit = parse_bytes(found["resources"]["limits"]["memory"])
    assert 0.85 * limit < said < 0.97 * limit
    assert found["resources"]["requests"]["memory"] == found["resources"]["limits"]["memory"]
