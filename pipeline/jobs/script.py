"""Driver: the script of the job that drives a run.

It does little: everything that decides is in `supervise.py`, where it is the same for all queues.
A queue may look for directives in every line, so nothing in the script has a second one.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from clustergrid.pipeline.jobs.queues import DriverJob, Queue
from clustergrid.storage.credentials import hide_credentials
from clustergrid.storage.errors import DataValueError

__all__ = ["DriverCommand", "Variables", "driver_script", "variables_of"]

_LOG = "driver.log"

# What Python, our settings and the queue's own commands are found by.
_WANTED = re.compile(r"(DASK_|CLUSTERGRID_|NUMBA_).+|PATH|PYTHONPATH|LD_LIBRARY_PATH|VIRTUAL_ENV")
# Of one process tree: what Dask gives its children, and what a job is told of itself.
_OF_THE_MOMENT = re.compile(r"DASK_INTERNAL_.*|CLUSTERGRID_CONDOR_JOB")
_SECRET = re.compile(
    r"SECRET|TOKEN|PASSW|CREDENTIAL|SIGNATURE|API_?KEY|ACCESS_?KEY|ACCOUNT_?KEY|SESSION|__AUTH",
    re.IGNORECASE,
)
# What object stores take logins from.
_LOGINS = re.compile(r"(AWS|GOOGLE|GCS|GCP|AZURE)_.+|GOOGLE_APPLICATION_CREDENTIALS")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Variables:
    """What of the environment a job needs.

    Attributes
    ----------
    shown
        Names and values that the script sets.
    hidden
        Names of secrets, whose values stand nowhere: the queue takes them from the environment.
    """

    shown: dict[str, str] = field(default_factory=dict)
    hidden: tuple[str, ...] = ()


def variables_of(environment: Mapping[str, str]) -> Variables:
    """Choose variables that a driver and its workers need.

    Examples
    --------
    >>> found = variables_of({"NUMBA_CACHE_DIR": "/c", "AWS_SECRET_ACCESS_KEY": "x", "HOME": "/h"})
    >>> found.shown, found.hidden
    ({'NUMBA_CACHE_DIR': '/c'}, ('AWS_SECRET_ACCESS_KEY',))
    """
    shown, hidden = {}, []
    for name, value in sorted(environment.items()):
        if not _NAME.fullmatch(name) or _OF_THE_MOMENT.fullmatch(name):
            continue
        is_wanted, is_login = bool(_WANTED.fullmatch(name)), bool(_LOGINS.fullmatch(name))
        if is_login or (is_wanted and is_secret(name, value)):
            hidden.append(name)
        elif is_wanted and is_one_line(value):
            shown[name] = value
    return Variables(shown=shown, hidden=tuple(hidden))


def is_secret(name: str, value: str) -> bool:
    """Whether a variable may hold what nobody else should read."""
    return bool(_SECRET.search(name)) or hide_credentials(value) != value


def is_one_line(text: str) -> bool:
    """Whether a shell reads a text, and a queue no further line."""
    return not any(character in text for character in "\0\n\r\v\f\x85\u2028\u2029")


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverCommand:
    """What the job runs.

    Attributes
    ----------
    python
        The interpreter of the submission.
    words
        Of ``clustergrid``: ``("run", "a.npy", "-o", "run", ...)``.
    working_directory
        Where relative paths among them begin.
    folder
        The run's folder of jobs, absolute.
    url
        Of a run directory in a bucket; None: the folder is in the run directory.
    prologue
        Lines of the site's configuration that prepare a node, as ``module load``.
    shown
        Variables that are set.
    """

    python: str
    words: tuple[str, ...]
    working_directory: str
    folder: str
    url: str | None = None
    prologue: tuple[str, ...] = ()
    shown: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        places = (self.python, self.working_directory, self.folder)
        for text in (*places, *filter(None, (self.url,)), *self.words):
            if not is_one_line(text):
                raise DataValueError(f"what a job is given is of one line, got {text!r}")
            if hide_credentials(text) != text:
                raise DataValueError(
                    f"{hide_credentials(text)} has a login in it, and others can read scripts of "
                    "jobs: give it by variables of the environment, or by a file of yours"
                )

    @property
    def log(self) -> str:
        """What the driver prints goes here, after that of earlier attempts."""
        return f"{self.folder}/{_LOG}"


def driver_script(queue: Queue, job: DriverJob, command: DriverCommand) -> str:
    """Render the script of the job of a driver.

    Parameters
    ----------
    queue
        Whose directives it has.
    job
        What it asks for.
    command
        What it runs.

    Returns
    -------
    str
        For bash.
    """
    quoted = shlex.join
    lines = [
        "#!/usr/bin/env bash",
        *queue.directives(job),
        "",
        "# Made by `clustergrid submit`: the driver of a run. Submit it from this folder.",
        f"{quoted(['cd', '--', command.working_directory])} || exit 1",
    ]
    if not queue.appends_live:
        lines.append(f"exec >>{shlex.quote(command.log)} 2>&1")
    lines += [f"export {name}={shlex.quote(value)}" for name, value in command.shown.items()]
    lines += command.prologue
    supervise = [command.python, "-m", "clustergrid.pipeline.jobs.supervise", *_clock(queue, job)]
    if command.url is not None:
        supervise += ["--run", command.url]
    lines.append(quoted(["exec", *supervise, queue.word, command.folder, "--", *command.words]))
    return "\n".join([*lines, ""])


def _clock(queue: Queue, job: DriverJob) -> Iterable[str]:
    """Have the job look at the clock where its queue gives no warning."""
    if queue.has_warning or job.walltime_seconds is None:
        return ()
    return ("--stop-after", str(job.walltime_seconds - job.warning_seconds))
