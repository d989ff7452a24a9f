"""What the operator of dask-kubernetes is asked for, against its schema and its own code.

There is no Kubernetes here: that a cluster comes of it is not tested.
"""

import json

import dask
import jsonschema
import kubernetes_validate
import pytest
from dask_kubernetes.operator import KubeCluster
from dask_kubernetes.operator.controller.controller import (
    build_scheduler_deployment_spec,
    build_worker_deployment_spec,
)

from clustergrid.pipeline.cluster import connect
from clustergrid.pipeline.clusters.choice import ClusterChoice
from clustergrid.pipeline.clusters.jobqueue import WORKER_COMMAND
from clustergrid.pipeline.clusters.kubernetes import cluster_spec
from clustergrid.pipeline.resources import Resources
from clustergrid.storage.errors import DataValueError, StorageError
from tests.deploy.manifests import container, manifest
from tests.deploy.test_kubernetes import SCHEMA, VERSIONS

ASKED = ClusterChoice(
    cluster="kubernetes",
    workers=7,
    cores=4,
    memory_per_worker_bytes=16 * 10**9,
    image="registry.example.org/clustergrid:1",
    insecure=True,
)
NAME = "clustergrid-ann-0123abcd"


def pods(spec):
    """Check a specification as a cluster would; return the containers of scheduler and worker."""
    jsonschema.validate(json.loads(json.dumps(spec)), SCHEMA)
    parts = spec["spec"]
    for deployment in (
        build_scheduler_deployment_spec(NAME, parts["scheduler"]["spec"], {}, {}),
        build_worker_deployment_spec("w", "lab", NAME, "0", parts["worker"]["spec"], {}, {}),
    ):
        kubernetes_validate.validate(deployment, VERSIONS[-1], strict=True)
    return container(parts["scheduler"]["spec"]), container(parts["worker"]["spec"])


def test_a_cluster_is_as_it_was_asked_for():
    spec = cluster_spec(ASKED, NAME)
    scheduler, worker = pods(spec)
    assert spec["metadata"]["name"] == NAME
    assert spec["spec"]["worker"]["replicas"] == 7
    assert worker["image"] == scheduler["image"] == ASKED.image
    assert worker["resources"]["limits"] == {"cpu": "4", "memory": "16000000000"}
    assert worker["args"][:3] == ["python", "-m", WORKER_COMMAND]
    assert worker["args"][worker["args"].index("--nthreads") + 1] == "4"
    # Newer versions of Dask install no `dask-scheduler`.
    assert scheduler["args"][:2] == ["dask", "scheduler"]
    assert scheduler["resources"] != worker["resources"]


def test_a_specification_of_the_site_keeps_what_was_not_asked_for(tmp_path):
    ours = manifest("DaskCluster")
    file = tmp_path / "cluster.yaml"
    file.write_text(json.dumps(ours))
    with dask.config.set({"kubernetes.custom-cluster-spec": str(file)}):
        spec = cluster_spec(ASKED, NAME)
        scheduler, worker = pods(spec)
        assert worker["image"] == scheduler["image"] == ASKED.image
        assert worker["volumeMounts"] == container(ours["spec"]["worker"]["spec"])["volumeMounts"]
        assert spec["spec"]["worker"]["replicas"] == 7
        plain = cluster_spec(ClusterChoice(cluster="kubernetes"), NAME)
        assert container(plain["spec"]["worker"]["spec"]) == container(
            ours["spec"]["worker"]["spec"]
        )
        selector = plain["spec"]["scheduler"]["service"]["selector"]
        assert selector["dask.org/cluster-name"] == NAME
    for wrong, says in (
        ({"kind": "Pod"}, "is no DaskCluster"),
        (str(tmp_path / "none.yaml"), "there is no file"),
        ({"kind": "DaskCluster"}, "lacks 'spec'"),
    ):
        with (
            dask.config.set({"kubernetes.custom-cluster-spec": wrong}),
            pytest.raises(DataValueError, match=says),
        ):
            cluster_spec(ASKED, NAME)


def test_what_nobody_says_is_asked_for():
    with pytest.raises(DataValueError, match="needs --image, one that has clustergrid"):
        cluster_spec(ClusterChoice(cluster="kubernetes"), NAME)
    with pytest.raises(DataValueError, match="needs --cores and --memory-per-worker"):
        cluster_spec(ClusterChoice(cluster="kubernetes", image="a"), NAME)


def test_without_a_kubernetes_it_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))  # and what kubectl knows with it
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    with (
        pytest.raises(StorageError, match=r"Kubernetes gives no cluster: .*does kubectl work here"),
        connect(ASKED, Resources(memory_bytes=10**9, threads=1)),
    ):
        pass
    assert not KubeCluster._instances


def test_pods_without_tls_are_not_started_unless_that_is_said():
    choice = ClusterChoice(cluster="kubernetes", image="a", cores=1, memory_per_worker_bytes=1)
    with (
        pytest.raises(StorageError, match="whoever can reach its pods can run code as you"),
        connect(choice, Resources(memory_bytes=10**9, threads=1)),
    ):
        pass
