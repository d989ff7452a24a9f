"""Driver: where the dashboard of a run is, and how to reach it from another machine."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["dashboard_lines"]


def dashboard_lines(client: Client) -> list[str]:
    """Say where the dashboard is, and how to reach it from another machine."""
    link = str(client.dashboard_link)
    lines = [f"dashboard: {link}"]
    port = link.rsplit(":", 1)[-1].split("/")[0]
    if port.isdigit():
        user, host = os.environ.get("USER", "you"), socket.gethostname()
        lines.append(
            f"from another machine: ssh -N -L {port}:127.0.0.1:{port} {user}@{host}, "
            f"then open http://127.0.0.1:{port}/status"
        )
    return lines
