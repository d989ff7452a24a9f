"""Driver: what in a run directory leads out of it, so that nobody's files are written through it.

A run directory may come from somebody else. A link in it to ``~/.bashrc`` that is called as a file
of ours would be followed by the next write.
"""

from __future__ import annotations

import os
from pathlib import Path

from clustergrid.storage.errors import RunDirectoryError
from clustergrid.storage.object_path import ObjectPath
from clustergrid.storage.places import StorePath

__all__ = ["leads_out", "refuse_links_out"]


def leads_out(root: StorePath, path: StorePath) -> bool:
    """Whether a path, its links followed, is not below a directory.

    Examples
    --------
    >>> leads_out(Path("run"), Path("run/figure.png")), leads_out(Path("run"), Path("run/../a"))
    (False, True)
    """
    if isinstance(path, ObjectPath) and isinstance(root, ObjectPath):
        return not {"", ".", ".."}.isdisjoint(path.parts) or not path.is_relative_to(root)
    if isinstance(path, ObjectPath) or isinstance(root, ObjectPath):
        return True
    try:
        return not path.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError, ValueError):  # links in a circle, a name that cannot be
        return True


def refuse_links_out(root: StorePath) -> None:
    """Refuse a directory that holds links out of it, or what is neither file nor directory.

    No file is opened: it costs as much as listing the names, which completeness needs anyway.

    Raises
    ------
    RunDirectoryError
        The message names the first that was found.
    """
    if isinstance(root, ObjectPath):
        return  # in a bucket there are no links
    folders = [os.fspath(root)]
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    elif entry.is_symlink():
                        if leads_out(root, Path(entry.path)):
                            raise RunDirectoryError(
                                f"{entry.path} is a link to {os.readlink(entry.path)}, which is "
                                f"not in the run directory {root}: nothing is read or written "
                                "through it. Remove it, or use another run directory"
                            )
                    elif not entry.is_file(follow_symlinks=False):
                        raise RunDirectoryError(
                            f"{entry.path} is neither a file nor a directory. Remove it, or use "
                            "another run directory"
                        )
        except FileNotFoundError:  # gone since it was listed
            continue
        except OSError as error:
            raise RunDirectoryError(f"cannot look through {root}: {error}") from error
