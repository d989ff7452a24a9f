"""Plan: where the tasks of a command shall run, validated before anything is started."""

from __future__ import annotations

from dataclasses import dataclass

from clustergrid.pipeline.resources import DescribedCluster
from clustergrid.storage.errors import DataValueError

__all__ = ["CLUSTERS", "QUEUES", "ClusterChoice", "format_walltime", "parse_walltime"]

QUEUES = ("slurm", "sge", "pbs", "lsf", "htcondor")
"""Batch queues whose jobs are workers."""

CLUSTERS = ("local", "none", *QUEUES, "kubernetes", "mpi", "allocation")
"""``local``: a Dask cluster on this machine; ``none``: threads of this process."""

_STARTED_ELSEWHERE = (*QUEUES, "kubernetes", "mpi", "allocation")

_KNOWN_BY: dict[str, tuple[str, ...]] = {
    "workers": (*QUEUES, "kubernetes", "allocation"),
    "cores": _STARTED_ELSEWHERE,
    "memory_per_worker_bytes": _STARTED_ELSEWHERE,
    "queue": ("slurm", "sge", "pbs", "lsf"),
    "account": QUEUES,
    "walltime_seconds": ("slurm", "sge", "pbs", "lsf"),
    "interface": (*QUEUES, "mpi", "allocation"),
    "job_extra": QUEUES,
    "namespace": ("kubernetes",),
    "image": ("kubernetes",),
    "insecure": _STARTED_ELSEWHERE,
}
"""The words that have a use for an option."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterChoice:
    """Where the tasks of a command run.

    Attributes
    ----------
    cluster
        One of `CLUSTERS`; not used where a scheduler is named.
    scheduler
        Address of a running scheduler, as ``tcp://host:8786``.
    scheduler_file
        File in which a running scheduler wrote its address.
    dashboard_port
        Port of the dashboard of a cluster that is started; another one is taken when it is in use.
    tls_ca_file, tls_cert, tls_key
        PEM files for a scheduler with TLS: the authority's certificate, this client's, and its
        private key. None: what Dask's configuration says.
    insecure
        Whether a scheduler on other hosts may be joined, or started, without TLS.
    workers
        Worker processes that are asked for.
    cores
        Of each worker; so many tasks run in it at once.
    memory_per_worker_bytes
        Of each worker.
    queue, account
        Queue (partition) and account (project) of worker jobs.
    walltime_seconds
        Longest time of a worker job.
    interface
        Network interface of scheduler and workers, as ``ib0``.
    job_extra
        More directives of worker jobs, without ``#SBATCH`` and the like; ``key = value`` for
        HTCondor.
    namespace, image
        Of the pods.
    preset
        Name of the preset that was asked for.
    note
        A line for people about how the cluster was chosen; empty where they chose it themselves.

    Examples
    --------
    >>> asked = ClusterChoice(cluster="slurm", workers=20, cores=8, memory_per_worker_bytes=2**35)
    >>> asked.described.resources(driver_memory_bytes=8 * 10**9).threads
    160
    """

    cluster: str = "local"
    scheduler: str | None = None
    scheduler_file: str | None = None
    dashboard_port: int = 8787
    tls_ca_file: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None
    insecure: bool = False
    workers: int | None = None
    cores: int | None = None
    memory_per_worker_bytes: int | None = None
    queue: str | None = None
    account: str | None = None
    walltime_seconds: int | None = None
    interface: str | None = None
    job_extra: tuple[str, ...] = ()
    namespace: str | None = None
    image: str | None = None
    preset: str | None = None
    note: str = ""

    def __post_init__(self) -> None:
        if self.cluster not in CLUSTERS:
            raise DataValueError(
                f"cluster must be one of {', '.join(CLUSTERS)}, got {self.cluster!r}"
            )
        if self.scheduler and self.scheduler_file:
            raise DataValueError("give a scheduler or a scheduler file, not both")
        if self.is_remote and self.cluster in _STARTED_ELSEWHERE:
            raise DataValueError(f"give a running scheduler or --cluster {self.cluster}, not both")
        # As JSON has it.
        object.__setattr__(self, "job_extra", tuple(self.job_extra))
        self._refuse_unknown()
        for name in ("workers", "cores", "memory_per_worker_bytes", "walltime_seconds"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise DataValueError(f"{_option(name)} must be positive, got {value}")
        for name in ("queue", "account", "interface", "namespace", "image"):
            text = getattr(self, name)
            if text is not None and (not text.isprintable() or len(text.split()) != 1):
                raise DataValueError(f"{_option(name)} is one word, got {text!r}")
        for directive in self.job_extra:
            if not directive.isprintable() or not directive.strip():
                raise DataValueError(f"--job-extra is one line of a job script, got {directive!r}")
            if self.cluster == "htcondor" and "=" not in directive:
                raise DataValueError(
                    f"a line of an HTCondor submit file is key = value, got {directive!r}"
                )

    def _refuse_unknown(self) -> None:
        has_tls = self.tls_ca_file or self.tls_cert or self.tls_key
        if has_tls and not self.is_remote:
            raise DataValueError(
                "TLS files belong to a running scheduler: name it with --scheduler or "
                "--scheduler-file"
            )
        for name, words in _KNOWN_BY.items():
            if not getattr(self, name):
                continue
            if self.is_remote:
                if name == "insecure":
                    continue
                raise DataValueError(
                    f"{_option(name)} is not for a scheduler that is running already"
                )
            if self.cluster not in words:
                hint = " or a running scheduler (--scheduler)" if name == "insecure" else ""
                raise DataValueError(
                    f"{_option(name)} says nothing to --cluster {self.cluster}; it is for "
                    f"{', '.join(words)}{hint}"
                )

    @property
    def is_remote(self) -> bool:
        """Whether a scheduler that is already running was named."""
        return bool(self.scheduler or self.scheduler_file)

    @property
    def is_queue(self) -> bool:
        """Whether workers are jobs of a batch queue."""
        return not self.is_remote and self.cluster in QUEUES

    @property
    def is_elsewhere(self) -> bool:
        """Whether tasks run in processes that are not of this machine alone."""
        return self.is_remote or self.cluster in _STARTED_ELSEWHERE

    @property
    def is_known_ahead(self) -> bool:
        """Whether a run can be planned before its workers are there."""
        return not self.is_elsewhere or self.described is not None

    @property
    def described(self) -> DescribedCluster | None:
        """The cluster that a run can be planned for before it is there; None if nobody knows it."""
        if self.is_remote or not (self.workers and self.cores and self.memory_per_worker_bytes):
            return None
        return DescribedCluster(
            workers=self.workers, cores=self.cores, memory_bytes=self.memory_per_worker_bytes
        )


def _option(name: str) -> str:
    """Name of a field, as the command has it."""
    bare = name.removesuffix("_bytes").removesuffix("_seconds")
    return f"--{bare.replace('_', '-')}"


def parse_walltime(text: str | int) -> int:
    """Read the longest time of a job: seconds, ``HH:MM:SS``, ``D-HH:MM:SS``, or ``90min``.

    Returns
    -------
    int
        Seconds.

    Raises
    ------
    ValueError
        It is no such time, or not a positive one.

    Examples
    --------
    >>> [parse_walltime(text) for text in (90, "01:30:00", "1-00:00:00", "90min", "2h")]
    [90, 5400, 86400, 5400, 7200]
    """
    seconds = text if isinstance(text, int) and not isinstance(text, bool) else _seconds(str(text))
    if seconds is None or seconds <= 0:
        raise ValueError(f"not a time of a job: {text!r}. Write it like 02:30:00, 90min or 2h")
    return seconds


_UNITS = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400}


def _seconds(text: str) -> int | None:
    text = text.strip().lower()
    if ":" not in text:
        number = text.rstrip("abcdefghijklmnopqrstuvwxyz ")
        unit = text[len(number) :].strip()
        return int(number) * _UNITS[unit] if number.isdecimal() and unit in _UNITS else None
    days, _, clock = text.rpartition("-")
    parts = clock.split(":")
    # Two parts are hours and minutes to some queues, minutes and seconds to others.
    if len(parts) != 3 or not all(part.isdecimal() for part in (*parts, days or "0")):
        return None
    hours, minutes, seconds = map(int, parts)
    if minutes > 59 or seconds > 59:
        return None
    return ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds


def format_walltime(seconds: int) -> str:
    """Write a time as job scripts have it.

    Examples
    --------
    >>> format_walltime(5400), format_walltime(90_061)
    ('01:30:00', '25:01:01')
    """
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
