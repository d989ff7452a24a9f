"""Driver: memory that the control groups of this process leave it (Linux).

A batch system, a container and systemd limit memory by control groups, which are nested: the limit
of each group above the process's own holds too. There are two versions of them, which may be
mounted at once, anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["control_group_free_bytes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Version:
    """Names of the files of a group."""

    limits: tuple[str, ...]
    used: str
    reclaimable: str


_V1 = _Version(
    limits=("memory.limit_in_bytes",),
    used="memory.usage_in_bytes",
    reclaimable="total_inactive_file",
)
_V2 = _Version(
    limits=("memory.max", "memory.high"), used="memory.current", reclaimable="inactive_file"
)


def control_group_free_bytes(root: Path = Path("/")) -> int | None:
    """Memory that may be taken before a group of this process, or one above it, is at its limit.

    Files that the system caches for the group and would give up count as free.

    Parameters
    ----------
    root
        Of the file system.

    Returns
    -------
    int or None
        None where no group has a limit.
    """
    free = [
        size
        for folder, version in _groups(root)
        if (size := _free_bytes(folder, version)) is not None
    ]
    return min(free, default=None)


def _groups(root: Path) -> Iterator[tuple[Path, _Version]]:
    """Folders of the process's groups and of all above them."""
    own = _own_groups(root)
    for line in _lines(root / "proc/self/mountinfo"):
        # 35 31 0:32 /its/root /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
        before, _, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if len(fields) < 5 or len(kind) < 3:
            continue
        if kind[0] == "cgroup2":
            version, group = _V2, own.get("")
        elif kind[0] == "cgroup" and "memory" in kind[2].split(","):
            version, group = _V1, own.get("memory")
        else:
            continue
        if group is None:
            continue
        mount = root / fields[4].lstrip("/")
        # In a container, the mount may begin at the container's own group.
        mounted = fields[3].rstrip("/")
        inside = group.removeprefix(mounted) if group.startswith(mounted) else ""
        folder = mount / inside.strip("/")
        yield folder, version
        for above in folder.parents:
            if not above.is_relative_to(mount):
                break
            yield above, version


def _own_groups(root: Path) -> dict[str, str]:
    """Paths of the process's groups, by controller; that of version 2 by the empty name."""
    groups = {}
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        groups.update(dict.fromkeys(controllers.split(","), path))
    return groups


def _free_bytes(folder: Path, version: _Version) -> int | None:
    limits = [limit for name in version.limits if (limit := _number(folder / name)) is not None]
    used = _number(folder / version.used)
    if not limits or used is None:
        return None
    reclaimable = 0
    for line in _lines(folder / "memory.stat"):
        name, _, value = line.partition(" ")
        if name == version.reclaimable and value.isdigit():
            reclaimable = int(value)
    return max(0, min(limits) - max(0, used - reclaimable))


def _number(file: Path) -> int | None:
    """Return the number in a file; None if there is none: ``max`` is no limit."""
    content = _lines(file)
    return int(content[0]) if content and content[0].isdigit() else None


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
