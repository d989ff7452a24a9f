"""Driver: workers that are jobs of a batch queue, by dask-jobqueue.

The site's ``~/.config/dask/*.yaml`` (``jobqueue.slurm`` and so on) and ``DASK_`` variables are the
defaults; what was asked for overrides them. One job is one worker process, unless the site's
configuration has more ``processes``.
"""

from __future__ import annotations

import re
import shlex
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clustergrid.pipeline.clusters.choice import ClusterChoice, format_walltime
from clustergrid.pipeline.clusters.encryption import TlsFiles
from clustergrid.pipeline.clusters.settings import import_back_end
from clustergrid.storage.errors import DataValueError

__all__ = [
    "WORKER_COMMAND",
    "JobFolder",
    "make_queue_cluster",
    "processes_per_job",
    "queue_defaults",
    "tls_arguments",
    "worker_job_script",
]

DEFAULT_WORKERS = 4
WORKER_COMMAND = "clustergrid.pipeline.clusters.worker_process"

_CLASSES = {
    "slurm": "SLURMCluster",
    "sge": "SGECluster",
    "pbs": "PBSCluster",
    "lsf": "LSFCluster",
    "htcondor": "HTCondorCluster",
}
_SOME_SCHEDULER = "tls://DRIVER:PORT"
_PLAIN_PATH = re.compile(r"[A-Za-z0-9_./+=@,-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFolder:
    """What the jobs of a run's workers are called, and where they leave what.

    Attributes
    ----------
    path
        A directory that the driver and all nodes see: logs, and the certificates of a run.
    job_name
        Of every worker's job.
    """

    path: Path
    job_name: str = "clustergrid-worker"

    @property
    def logs(self) -> Path | None:
        """Where jobs write what they print; None, where the queue pleases, if no script can say it.

        Directives have no way to quote that all queues understand.
        """
        logs = self.path.absolute() / "logs"
        return logs if _PLAIN_PATH.fullmatch(str(logs)) else None


def queue_defaults(choice: ClusterChoice) -> dict[str, Any]:
    """Say what of a worker is not asked for and the site's Dask configuration tells.

    Parameters
    ----------
    choice
        Of a queue.

    Returns
    -------
    dict
        Of `ClusterChoice`: ``workers``, ``cores`` and ``memory_per_worker_bytes``, those that are
        not in the choice.

    Raises
    ------
    MissingExtraError
        dask-jobqueue is not installed.
    DataValueError
        Neither says how large a worker is.
    """
    from dask.utils import parse_bytes

    processes = processes_per_job(choice.cluster)
    found: dict[str, Any] = {} if choice.workers else {"workers": DEFAULT_WORKERS}
    cores, memory = _site(choice.cluster, "cores"), _site(choice.cluster, "memory")
    if not choice.cores and cores:
        found["cores"] = max(1, int(cores) // processes)
    if not choice.memory_per_worker_bytes and memory:
        found["memory_per_worker_bytes"] = int(parse_bytes(memory)) // processes
    missing = [
        option
        for option, name in (("--cores", "cores"), ("--memory-per-worker", _MEMORY))
        if not (getattr(choice, name) or name in found)
    ]
    if missing:
        raise DataValueError(
            f"--cluster {choice.cluster} needs {' and '.join(missing)}: how large a worker is, "
            f"unless jobqueue.{choice.cluster}.cores and .memory in ~/.config/dask/*.yaml say so"
        )
    return found


_MEMORY = "memory_per_worker_bytes"


def worker_job_script(choice: ClusterChoice, folder: JobFolder) -> str:
    """Render the script that a worker's job is submitted with; nothing is started or written.

    Parameters
    ----------
    choice
        Of a queue, with all of `queue_defaults`.
    folder
        Where its jobs write.

    Raises
    ------
    MissingExtraError
        dask-jobqueue is not installed.
    """
    made = [path for path in _with_parents(folder.logs) if not path.exists()]
    job_class = _cluster_class(choice.cluster).job_cls
    tls = () if choice.insecure else tls_arguments(*(folder.path / n for n in _SOME_FILES))
    job = job_class(_SOME_SCHEDULER, name=folder.job_name, **_job_options(choice, folder, tls))
    for path in made:  # it makes the directory of the logs, unless the site has another one
        with suppress(OSError):
            path.rmdir()
    return str(job.job_script())


_SOME_FILES = ("ca.pem", "dask.pem", "dask.key")


def make_queue_cluster(
    choice: ClusterChoice,
    folder: JobFolder,
    *,
    dashboard_port: int,
    tls_files: TlsFiles | None,
) -> Any:
    """Start a scheduler in this process that can ask a queue for workers; it asks for none yet.

    Parameters
    ----------
    choice
        Of a queue, with all of `queue_defaults`.
    folder
        Where its jobs write.
    dashboard_port
        Of the dashboard, on loopback.
    tls_files
        Those of the workers. Dask's configuration has to have them for the scheduler and the
        client. None: connections are not encrypted.

    Raises
    ------
    MissingExtraError
        dask-jobqueue is not installed.
    """
    options: dict[str, Any] = {"dashboard_address": f"127.0.0.1:{dashboard_port}"}
    site = dict(_site(choice.cluster, "scheduler-options") or {})
    interface = choice.interface or _site(choice.cluster, "interface")
    if interface and "host" not in site:
        site.setdefault("interface", interface)
    tls = tls_arguments(*tls_files) if tls_files is not None else ()
    return _cluster_class(choice.cluster)(
        scheduler_options=site | options,
        protocol="tcp://" if tls_files is None else "tls://",
        name="worker",
        silence_logs=40,
        **_job_options(choice, folder, tls),
    )


def _cluster_class(word: str) -> Any:
    return getattr(import_back_end("dask_jobqueue", "jobqueue", word), _CLASSES[word])


def _site(word: str, name: str) -> Any:
    """Look up a setting of the site's, or dask-jobqueue's own default."""
    import dask

    import_back_end("dask_jobqueue", "jobqueue", word)
    return dask.config.get(f"jobqueue.{word}.{name}", None)


def processes_per_job(word: str) -> int:
    """Count the worker processes of a job: one, unless the site has it otherwise."""
    return int(_site(word, "processes") or 1)


def _job_options(choice: ClusterChoice, folder: JobFolder, tls: tuple[str, ...]) -> dict[str, Any]:
    """Keywords of a job of dask-jobqueue; what is None is the site's."""
    word, processes = choice.cluster, processes_per_job(choice.cluster)
    assert choice.cores is not None
    assert choice.memory_per_worker_bytes is not None
    options: dict[str, Any] = {
        "cores": choice.cores * processes,
        "memory": f"{choice.memory_per_worker_bytes * processes}B",
        "processes": processes,
        "interface": choice.interface,
        "python": _site(word, "python") or shlex.quote(sys.executable),
        "worker_command": WORKER_COMMAND,
        "worker_extra_args": _worker_arguments(word, processes, tls),
        "job_name": folder.job_name,
        "job_extra_directives": _directives(choice, folder.job_name),
    }
    if _site(word, "log-directory") is None and folder.logs is not None:
        options["log_directory"] = str(folder.logs)
    if word != "htcondor":
        options["queue"] = choice.queue
        if choice.walltime_seconds is not None:
            options["walltime"] = _walltime(word, choice.walltime_seconds)
    elif _site(word, "disk") is None:
        options["disk"] = "1GB"  # for logs: workers spill nothing
    if word in ("slurm", "pbs"):
        options["account"] = choice.account
    elif word in ("sge", "lsf"):
        options["project"] = choice.account
    return options


def _walltime(word: str, seconds: int) -> str:
    """Write a time as the queue has it: LSF has no seconds."""
    if word == "lsf":
        minutes = -(-seconds // 60)
        return f"{minutes // 60:02d}:{minutes % 60:02d}"
    return format_walltime(seconds)


def _worker_arguments(word: str, processes: int, tls: tuple[str, ...]) -> list[str]:
    """Arguments of a worker besides those that dask-jobqueue writes, quoted for a shell."""
    several = ["--nworkers", str(processes)] if processes > 1 else []
    # Those of the site are written for a shell as they are.
    return [*(_site(word, "worker-extra-args") or []), *several, *map(shlex.quote, tls)]


def tls_arguments(ca_file: Path, cert_file: Path, key_file: Path | None) -> tuple[str, ...]:
    """Write the options of ``dask worker`` that name its certificate."""
    files = {"--tls-ca-file": ca_file, "--tls-cert": cert_file, "--tls-key": key_file}
    return tuple(word for option, file in files.items() if file for word in (option, str(file)))


def _directives(choice: ClusterChoice, job_name: str) -> list[str] | dict[str, str]:
    """More directives of a job: those of the site, then those that were asked for."""
    site = _site(choice.cluster, "job-extra-directives")
    if choice.cluster != "htcondor":
        return [*(site or []), *choice.job_extra]
    pairs = (line.split("=", 1) for line in choice.job_extra)
    lines = dict(site or {}) | {name.strip(): value.strip() for name, value in pairs}
    if choice.account is not None:
        lines["accounting_group"] = choice.account
    lines["batch_name"] = job_name
    return lines


def _with_parents(path: Path | None) -> tuple[Path, ...]:
    return () if path is None else (path, *path.parents)
