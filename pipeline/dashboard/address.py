"""Driver: where the dashboard of a run is, and how to reach it from another machine."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from clustergrid.storage.rundir import RunDirectory

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["DashboardAddress", "dashboard_address", "find_dashboard", "keep_dashboard"]

_SUBMIT_HOSTS = ("SLURM_SUBMIT_HOST", "PBS_O_HOST", "SGE_O_HOST", "LSB_SUB_HOST")
"""Where a queue says from which machine a job was submitted: one that people log in to."""

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, slots=True, kw_only=True)
class DashboardAddress:
    """Where a dashboard is.

    Attributes
    ----------
    url
        Of the page of the run, or of Dask's own where that page is not to be had.
    tunnel
        The line of ssh that brings it to another machine; empty where none is needed.
    tunnel_url
        Where it is then.
    """

    url: str
    tunnel: str = ""
    tunnel_url: str = ""

    @property
    def lines(self) -> list[str]:
        """For people."""
        told = [f"dashboard: {self.url}"]
        if self.tunnel:
            told.append(f"from another machine: {self.tunnel}, then open {self.tunnel_url}")
        return told


def find_dashboard(
    client: Client,
    page: str,
    environment: Mapping[str, str] = os.environ,
    *,
    host: str = "",
    machine: str = "",
) -> DashboardAddress | None:
    """Find the dashboard of a client's scheduler.

    Parameters
    ----------
    client
        A connected client.
    page
        ``"clustergrid"``, or one of Dask's own, as ``"status"``.
    environment
        Variables of this process: a job knows where it was submitted.
    host, machine
        Where the dashboard listens, and on which machine, as its scheduler says; empty where that
        is not known. Dask's link has the address of the scheduler, where workers reach it; a
        dashboard on loopback is not there.

    Returns
    -------
    DashboardAddress or None
        None of a scheduler without a dashboard.
    """
    try:
        link = client.dashboard_link
    except (AttributeError, KeyError):  # what Dask raises where there is none
        link = None
    if not link:
        return None
    url = f"{str(link).rsplit('/', 1)[0]}/{page}"
    parts = urlsplit(url)
    if parts.port is None:  # behind a proxy, which takes people there
        return DashboardAddress(url=url)
    if host in _LOOPBACK and parts.hostname not in _LOOPBACK:
        parts = parts._replace(netloc=f"127.0.0.1:{parts.port}")
    seen_from_there = parts.hostname or "127.0.0.1"
    target = f"[{seen_from_there}]" if ":" in seen_from_there else seen_from_there
    user, here = _user(), machine or socket.gethostname()
    submitted_from = next(
        (environment[name] for name in _SUBMIT_HOSTS if environment.get(name)), ""
    )
    is_elsewhere = submitted_from and not _is_same_host(submitted_from, here)
    jump = f"-J {user}@{submitted_from} " if is_elsewhere else ""
    return DashboardAddress(
        url=parts.geturl(),
        tunnel=f"ssh -N -L {parts.port}:{target}:{parts.port} {jump}{user}@{here}",
        tunnel_url=f"{parts.scheme}://127.0.0.1:{parts.port}{parts.path}",
    )


def _is_same_host(one: str, other: str) -> bool:
    """Whether two names are of one machine, with or without its domain."""
    return one.partition(".")[0] == other.partition(".")[0]


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as in containers
        return "you"


def keep_dashboard(directory: RunDirectory, address: DashboardAddress | None) -> None:
    """Note in a run directory where it is watched; None: no longer.

    Parameters
    ----------
    directory
        The run directory, locked.
    address
        Of `find_dashboard`.
    """
    entry = None
    if address is not None:
        entry = {"url": address.url, "tunnel": address.tunnel, "pid": os.getpid()}
    if directory.state.get("dashboard") != entry:
        directory.update(dashboard=entry)


def dashboard_address(directory: RunDirectory | Path) -> dict[str, str] | None:
    """Say where a run that is under way is watched.

    Parameters
    ----------
    directory
        The run directory, or its path.

    Returns
    -------
    dict or None
        ``"url"``, and ``"tunnel"``: the line of ssh, or nothing. None of a run that is not on a
        cluster, or not under way: what a killed one noted leads nowhere.
    """
    opened = directory if isinstance(directory, RunDirectory) else RunDirectory(directory)
    entry, holder = opened.state.get("dashboard"), opened.holder()
    if not isinstance(entry, dict) or holder is None or entry.get("pid") != holder.pid:
        return None
    return {name: str(entry.get(name, "")) for name in ("url", "tunnel")}
