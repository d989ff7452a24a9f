"""Driver: a place to keep things, in a folder of a file system or in a bucket, through one code.

A folder is a `pathlib.Path`, a bucket an `ObjectPath` that has the same methods; what differs
between them (listing, removing a tree, what Zarr opens, what a library wants to write by itself) is
here.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from clustergrid.storage.errors import ClustergridError, StorageError
from clustergrid.storage.object_path import ObjectPath
from clustergrid.storage.object_store import has_object_stores, is_object_url

__all__ = [
    "UNFINISHED",
    "AnyPlace",
    "StorePath",
    "as_path",
    "files_below",
    "local_copy",
    "names_below",
    "remove_tree",
    "sha256_of",
    "sizes_of",
    "tail_of",
    "written_whole",
    "zarr_store",
]

AnyPlace = str | os.PathLike[str] | ObjectPath
"""Whatever names a place: a path, a URL, or one that was made of them."""

StorePath = Path | ObjectPath
"""A place in a file system, or in a bucket."""

UNFINISHED = ".writing-"
"""What the names of files begin with until they are whole."""


def as_path(place: AnyPlace) -> StorePath:
    """Make a place of a path or URL.

    Raises
    ------
    DataValueError
        It is a URL of an object store that names nothing, or has a login in it.

    Examples
    --------
    >>> as_path("run"), as_path("s3://bucket/run").name
    (PosixPath('run'), 'run')
    """
    if isinstance(place, ObjectPath):
        return place
    text = os.fspath(place)
    return ObjectPath.parse(text) if is_object_url(text) else Path(text)


def zarr_store(place: AnyPlace) -> Any:
    """Return what zarr and xarray open: a path, a URL that fsspec knows, or a store of objects."""
    text = str(place) if isinstance(place, ObjectPath) else os.fspath(place)
    if not is_object_url(text) or not has_object_stores():
        return text
    from clustergrid.storage.zarr_objects import open_objects

    return open_objects(text)


def names_below(folder: StorePath) -> Iterator[str]:
    """Yield the names, as seen from a folder, of all files below it; none is asked for its size."""
    if isinstance(folder, ObjectPath):
        yield from (name for name, _ in folder.files())
        return
    for parent, folders, names in os.walk(folder):
        folders.sort()
        below = Path(os.path.relpath(parent, folder))
        yield from ((below / name).as_posix() for name in sorted(names))


def files_below(folder: StorePath) -> Iterator[tuple[str, int]]:
    """Yield the names, as seen from a folder, and the bytes of all files below it."""
    if isinstance(folder, ObjectPath):
        yield from ((name, found.st_size) for name, found in folder.files())
        return
    for name in names_below(folder):
        with suppress(FileNotFoundError):  # a worker gives it another name just now
            yield name, os.stat(os.path.join(folder, name)).st_size


def sizes_of(root: StorePath, names: Iterable[str]) -> dict[str, int]:
    """Return the bytes of those files of a folder that are there.

    Objects are listed, a thousand at once, and not asked for one by one.
    """
    names = set(names)
    found: dict[str, int] = {}
    if isinstance(root, ObjectPath):
        folders = {_folder_of(name) for name in names} - names
        for folder in folders:
            below = ((f"{folder}/{name}", size) for name, size in files_below(root / folder))
            found |= {name: size for name, size in below if name in names}
        names = {name for name in names if _folder_of(name) not in folders}
    return found | dict(_stated(root, names))


def _folder_of(name: str) -> str:
    """Name of the array, or group of arrays, that a file belongs to."""
    return "/".join(name.split("/")[:2])


def _stated(root: StorePath, names: Iterable[str]) -> Iterator[tuple[str, int]]:
    for name in names:
        with suppress(OSError):
            yield name, (root / name).stat().st_size


def tail_of(path: StorePath, size: int) -> tuple[int, bytes]:
    """Return the length of a file, and its last bytes.

    Raises
    ------
    OSError
        It cannot be read.
    """
    if isinstance(path, ObjectPath):
        return path.tail(size)
    with path.open("rb") as file:
        length = file.seek(0, os.SEEK_END)
        file.seek(-size, os.SEEK_END)
        return length, file.read(size)


def sha256_of(path: StorePath) -> str:
    """Digest of a file's bytes, with the name of the algorithm.

    Raises
    ------
    OSError
        It cannot be read.
    """
    if isinstance(path, ObjectPath):
        digest = hashlib.sha256()
        for piece in path.pieces():
            digest.update(piece)
        return f"sha256:{digest.hexdigest()}"
    with path.open("rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()


def remove_tree(folder: StorePath) -> None:
    """Remove a folder and all that is in it, if it is there and can be."""
    if isinstance(folder, ObjectPath):
        folder.remove_all()
    else:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def local_copy(path: StorePath) -> Iterator[Path]:
    """Give a file of this machine with the bytes of a place: itself, or a copy for the while.

    Raises
    ------
    OSError, ObjectStoreError
        It cannot be read.
    """
    if not isinstance(path, ObjectPath):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="clustergrid-object-") as folder:
        copy = Path(folder, path.name)
        with copy.open("wb") as file:
            for piece in path.pieces():
                file.write(piece)
        yield copy


@contextmanager
def written_whole(final: StorePath, *, synced: bool = True) -> Iterator[Path]:
    """Give a temporary path; what is written there appears at a place, whole or not at all.

    Parameters
    ----------
    final
        Where it shall appear.
    synced
        Whether it has to be on the disk, if it is a file, before it appears.

    Raises
    ------
    StorageError, ObjectStoreError
        The bytes could not be written, for instance because the disk is full.
    """
    try:
        if isinstance(final, ObjectPath):
            # Libraries choose a format by the suffix, and write to files of this machine.
            with tempfile.TemporaryDirectory(prefix="clustergrid-object-") as folder:
                temporary = Path(folder, final.name)
                yield temporary
                final.upload(temporary)
            return
        # Keeps the suffix too. Nobody can have guessed the name.
        temporary = final.with_name(f"{UNFINISHED}{os.urandom(4).hex()}-{final.name}")
        try:
            final.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            if synced:
                with temporary.open("rb") as written:
                    os.fsync(written.fileno())
            temporary.replace(final)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
    except ClustergridError:
        raise
    except OSError as error:
        raise StorageError(f"cannot write {final}: {error}") from error
