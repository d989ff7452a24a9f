"""Driver: workers in pods, by the operator of dask-kubernetes.

What pods mount, where they run and which secrets they see is a site's: ``kubernetes.
custom-cluster-spec`` of Dask's configuration (a `DaskCluster`, or a file of one) is taken as it is,
but for what was asked for. The operator starts lost pods again by itself.
"""

from __future__ import annotations

import copy
import getpass
import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from clustergrid.pipeline.clusters.choice import ClusterChoice
from clustergrid.pipeline.clusters.jobqueue import DEFAULT_WORKERS, WORKER_COMMAND
from clustergrid.pipeline.clusters.settings import WORKER_VARIABLES, import_back_end
from clustergrid.pipeline.security import allows_plain
from clustergrid.storage.errors import ClustergridError, DataValueError, StorageError

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["cluster_spec", "kubernetes_client"]

_WORKERS_SECONDS = 3600
_DEFAULT_IMAGE = "ghcr.io/dask/dask"
_SCHEDULER_RESOURCES = {
    "requests": {"cpu": "1", "memory": "2Gi"},
    "limits": {"memory": "4Gi"},
}
_SCHEDULER_VARIABLES = {
    "DASK_DISTRIBUTED__SCHEDULER__NO_WORKERS_TIMEOUT": "1h",
    "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "10",
}


def cluster_spec(choice: ClusterChoice, name: str) -> dict[str, Any]:
    """Make the `DaskCluster` that the operator is asked for.

    Parameters
    ----------
    choice
        With the cluster ``kubernetes``.
    name
        Of the cluster.

    Raises
    ------
    DataValueError
        Nobody says which image or how large a worker is.
    MissingExtraError
        dask-kubernetes is not installed.
    """
    import dask

    kubernetes = import_back_end("dask_kubernetes.operator", "kubernetes", "kubernetes")
    given = dask.config.get("kubernetes.custom-cluster-spec", None)
    if given is not None:
        return _adapted(_read_spec(given), choice, name)
    image = choice.image or dask.config.get("kubernetes.image", None)
    if not image or str(image).startswith(_DEFAULT_IMAGE):
        raise DataValueError(
            "--cluster kubernetes needs --image, one that has clustergrid (deploy/Containerfile), "
            "or kubernetes.image in Dask's configuration"
        )
    if choice.cores is None or choice.memory_per_worker_bytes is None:
        raise DataValueError("--cluster kubernetes needs --cores and --memory-per-worker")
    spec = kubernetes.make_cluster_spec(
        name=name,
        image=image,
        n_workers=choice.workers or DEFAULT_WORKERS,
        resources=_resources(choice),
        env=dict(dask.config.get("kubernetes.env", {})),
        worker_command=_worker_command(choice),
    )
    found: dict[str, Any] = copy.deepcopy(spec)
    scheduler = _containers(found, "scheduler")[0]
    # It writes `dask-scheduler`, which newer versions of Dask do not install.
    scheduler["args"] = ["dask", "scheduler", *scheduler["args"][1:]]
    scheduler["resources"] = copy.deepcopy(_SCHEDULER_RESOURCES)
    scheduler["env"] = [*scheduler["env"], *_variables(_SCHEDULER_VARIABLES)]
    worker = _containers(found, "worker")[0]
    worker["env"] = [*worker["env"], *_variables(WORKER_VARIABLES)]
    return found


def _worker_command(choice: ClusterChoice) -> list[str]:
    words = ["python", "-m", WORKER_COMMAND, "--nthreads", str(choice.cores)]
    return [*words, "--memory-limit", str(choice.memory_per_worker_bytes)]


def _resources(choice: ClusterChoice) -> dict[str, dict[str, str]]:
    wanted = {"cpu": str(choice.cores), "memory": str(choice.memory_per_worker_bytes)}
    return {"requests": dict(wanted), "limits": dict(wanted)}


def _variables(variables: dict[str, Any]) -> list[dict[str, str]]:
    return [{"name": name, "value": str(value)} for name, value in variables.items()]


def _read_spec(given: Any) -> dict[str, Any]:
    """Read a specification, or the file of one."""
    import dask

    if isinstance(given, str):
        try:
            found = list(dask.config.collect_yaml([given]))
        except ValueError as error:
            raise DataValueError(" ".join(str(error).split())) from error
        if not found:
            raise DataValueError(f"kubernetes.custom-cluster-spec: there is no file {given}")
        given = found[0]
    if not isinstance(given, dict) or given.get("kind") != "DaskCluster":
        raise DataValueError("kubernetes.custom-cluster-spec is no DaskCluster")
    return copy.deepcopy(given)


def _adapted(spec: dict[str, Any], choice: ClusterChoice, name: str) -> dict[str, Any]:
    """Give a site's specification what was asked for."""
    spec.setdefault("metadata", {})["name"] = name
    try:
        selector = spec["spec"]["scheduler"]["service"]["selector"]
        workers, scheduler = (_containers(spec, part) for part in ("worker", "scheduler"))
    except (KeyError, TypeError) as error:
        raise DataValueError(
            f"kubernetes.custom-cluster-spec lacks {error}: see deploy/kubernetes/cluster.yaml"
        ) from error
    selector["dask.org/cluster-name"] = name
    if choice.workers is not None:
        spec["spec"]["worker"]["replicas"] = choice.workers
    if choice.image is not None:
        for container in (*workers, *scheduler):
            container["image"] = choice.image
    if choice.cores is not None and choice.memory_per_worker_bytes is not None:
        workers[0]["resources"] = _resources(choice)
        workers[0]["args"] = [*_worker_command(choice), "--name", "$(DASK_WORKER_NAME)"]
    return spec


def _containers(spec: dict[str, Any], part: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = spec["spec"][part]["spec"]["containers"]
    return found


@contextmanager
def kubernetes_client(choice: ClusterChoice, tell: Callable[[str], None]) -> Iterator[Client]:
    """Ask the operator for a cluster, and connect to it; it is removed at the end.

    Raises
    ------
    StorageError
        TLS is wanted, there is no operator, or no worker comes.
    """
    if not allows_plain(choice):
        raise StorageError(
            "--cluster kubernetes speaks with its scheduler without TLS, as Dask's operator does: "
            "whoever can reach its pods can run code as you. Give --insecure where a NetworkPolicy "
            "keeps others out, or start deploy/kubernetes/cluster.yaml, which has certificates, "
            "and join it with --scheduler tls://HOST:8786"
        )
    spec = cluster_spec(choice, _name())
    kubernetes = import_back_end("dask_kubernetes.operator", "kubernetes", "kubernetes")
    from distributed import Client

    try:
        # Asked first: one that cannot be reached would be asked again, loudly, as we exit.
        import_back_end("kr8s", "kubernetes", "kubernetes").api().version()
        cluster = kubernetes.KubeCluster(
            custom_cluster_spec=spec, namespace=choice.namespace, quiet=True
        )
    except ClustergridError:
        raise
    except Exception as error:  # those of several HTTP libraries, and of the operator
        raise StorageError(
            f"Kubernetes gives no cluster: {type(error).__name__}: {error}. Is the operator "
            "installed, and does kubectl work here?"
        ) from error
    with cluster, Client(cluster, set_as_default=False) as client:
        tell(f"asked Kubernetes for the cluster {spec['metadata']['name']}")
        try:
            client.wait_for_workers(1, timeout=_WORKERS_SECONDS)
        except TimeoutError as error:
            raise StorageError(
                f"no worker pod joined within {_WORKERS_SECONDS} s: kubectl get pods"
            ) from error
        yield client


def _name() -> str:
    user = re.sub(r"[^a-z0-9]+", "-", getpass.getuser().lower()).strip("-") or "user"
    return f"clustergrid-{user[:20]}-{uuid.uuid4().hex[:8]}"
