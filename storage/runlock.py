"""Driver: one process at a time in a directory, and the lock of a dead one taken over.

The lock is a file that names its holder. It appears whole (a hard link to a finished file), so
nobody reads half of it, and a process number that was given to another process does not count.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from clustergrid.storage.errors import RunDirectoryError, StorageError
from clustergrid.storage.holder import Holder, in_use, myself, parse_holder
from clustergrid.storage.object_path import ObjectPath
from clustergrid.storage.places import StorePath

__all__ = ["LOCK", "Holder", "holder_of", "lock_directory", "release_lock"]

LOCK = "run.lock"


def _read(lock: StorePath) -> Holder | None:
    try:
        return parse_holder(lock.read_bytes())
    except OSError:
        return None


def holder_of(directory: StorePath) -> Holder | None:
    """Who holds a directory; None where nobody living does."""
    holder = _read(directory / LOCK)
    return holder if holder is not None and holder.is_alive else None


def release_lock(directory: StorePath, holder: Holder) -> None:
    """Release the lock of a process of which somebody knows that it is gone.

    Raises
    ------
    ObjectStoreError
        The store cannot be reached, or refuses.
    """
    if isinstance(directory, ObjectPath):
        from clustergrid.storage.object_lock import release_object

        release_object(directory / LOCK, holder)
    else:
        (directory / LOCK).unlink(missing_ok=True)


@contextmanager
def lock_directory(directory: StorePath) -> Iterator[None]:
    """Hold a directory for this process; take over the lock of a process that died.

    Raises
    ------
    RunDirectoryError
        Another process holds it; the message names its host and number.
    StorageError, ObjectStoreError
        The directory cannot be written.
    """
    if isinstance(directory, ObjectPath):
        from clustergrid.storage.object_lock import held_object

        with held_object(directory / LOCK):
            yield
        return
    lock = directory / LOCK
    mine = myself()
    with _one_taker(directory):
        for _ in range(3):
            if _take(lock, mine):
                break
            _put_aside_stale(lock)
        else:
            raise RunDirectoryError(f"{directory} was taken by another process just now")
    try:
        yield
    finally:
        if _read(lock) == mine:
            lock.unlink(missing_ok=True)


@contextmanager
def _one_taker(directory: Path) -> Iterator[None]:
    """Let one process at a time look for a stale lock, where the file system can see to that."""
    try:
        descriptor = os.open(directory, os.O_RDONLY)
    except OSError:
        yield
        return
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _take(lock: Path, mine: Holder) -> bool:
    text = json.dumps(asdict(mine))
    whole = lock.with_name(f".{LOCK}.{mine.pid}")
    try:
        whole.write_text(text, encoding="utf-8")
        try:
            os.link(whole, lock)
        except FileExistsError:
            return False
        except OSError:  # a file system without hard links
            try:
                with lock.open("x", encoding="utf-8") as stream:
                    stream.write(text)
            except FileExistsError:
                return False
    except OSError as error:
        raise StorageError(f"cannot write to the run directory {lock.parent}: {error}") from error
    finally:
        with suppress(OSError):
            whole.unlink(missing_ok=True)
    return True


def _put_aside_stale(lock: Path) -> None:
    """Remove the lock of a dead process; of several that try, one succeeds."""
    found = _read(lock)
    if found is not None and found.is_alive:
        raise in_use(lock.parent, found, lock)
    aside = lock.with_name(f".{LOCK}.{os.getpid()}.stale")
    try:
        lock.rename(aside)
    except FileNotFoundError:
        return
    # Somebody else may have replaced the stale lock by their own since it was read.
    if _read(aside) != found:
        with suppress(OSError):
            os.link(aside, lock)
    aside.unlink(missing_ok=True)
