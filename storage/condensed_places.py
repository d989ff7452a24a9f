"""Driver: find the condensed distance matrix that somebody names."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from clustergrid.storage.condensed_tiles import StoredTiles, is_condensed, open_tiles
from clustergrid.storage.errors import StorageError
from clustergrid.storage.places import AnyPlace, zarr_store
from clustergrid.storage.readers.location import Location

__all__ = ["find_tiles"]

_RUN_ARRAYS = "arrays.zarr"
"""Group of a run directory that holds its distances."""


def find_tiles(
    store: AnyPlace, path: str | None, *, mode: str
) -> tuple[StoredTiles, Mapping[str, Any]]:
    """Open tiles at rest, and the attributes of their group.

    Parameters
    ----------
    store
        A Zarr group that holds the group of the tiles, this itself, or a run directory.
    path
        Name of the group of the tiles, or its beginning up to a ``_`` (a run directory appends a
        key to it); None where there is only one.
    mode
        ``"r"`` or ``"r+"``.

    Raises
    ------
    StorageError
        There are none, or several; the message says what is there.
    """
    where = Location.parse(store).url.rstrip("/")
    if path is not None:
        # Tasks, which name the very group, look no further.
        with suppress(StorageError):
            return open_tiles(where, path, mode=mode)
    root = _root(where)
    if root is None:
        root, where = _root(f"{where}/{_RUN_ARRAYS}"), f"{where}/{_RUN_ARRAYS}"
    if root is None:
        raise StorageError(f"{store} is neither a Zarr group nor a run directory with distances")
    if path is None and is_condensed(dict(root.attrs)):
        folder, _, name = where.rpartition("/")
        return open_tiles(folder, name, mode=mode)
    return open_tiles(where, _only(where, root, path), mode=mode)


def _root(where: str) -> Any:
    """Open a Zarr group; None where there is none."""
    import zarr

    try:
        return zarr.open_group(zarr_store(where), mode="r")
    except (OSError, KeyError, ValueError):
        return None


def _only(where: str, root: Any, path: str | None) -> str:
    """Name of the one group of tiles that is meant."""
    found = sorted(name for name in root if is_condensed(dict(root[name].attrs)))
    meant = [name for name in found if path is None or name.startswith(f"{path}_")]
    if path is not None and path in found:
        return path
    if len(meant) == 1:
        return str(meant[0])
    if found:
        asked = "" if path is None else f", and no {path!r}"
        raise StorageError(
            f"{where} holds {', '.join(found)}{asked}: name one, as "
            f"open_condensed(store, {found[0]!r})"
        )
    there = ", ".join(sorted(root)) or "nothing"
    raise StorageError(f"{where} holds no condensed distance matrix; it holds {there}")
