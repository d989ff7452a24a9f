"""Driver: one process at a time at a place in a bucket, by conditional writes.

The lock is an object that is put only if there is none (``If-None-Match: *``), and taken over from
a process that died only as long as it is the very version that was looked at (``If-Match``). So of
several that try at once, one succeeds, on whatever machines they are.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict

from clustergrid.storage.errors import ObjectStoreError, RunDirectoryError
from clustergrid.storage.holder import Holder, in_use, myself, parse_holder
from clustergrid.storage.object_path import ObjectPath, Version

__all__ = ["held_object", "release_object"]

_TRIES = 3
_NOBODY = b"{}"


@contextmanager
def held_object(lock: ObjectPath) -> Iterator[None]:
    """Hold a lock for this process; take over that of a process that died.

    Raises
    ------
    RunDirectoryError
        Another process holds it, or the store does not know conditional writes.
    ObjectStoreError
        The store cannot be reached, or refuses.
    """
    mine = json.dumps({**asdict(myself()), "token": os.urandom(8).hex()}).encode()
    for _ in range(_TRIES):
        if _take_over(lock, mine) or lock.create(mine):
            break
    else:
        raise RunDirectoryError(f"{lock.parent} was taken by another process just now")
    _refuse_without_conditions(lock, mine)
    try:
        yield
    finally:
        with suppress(ObjectStoreError):  # then the next process finds that this one is gone
            if _read(lock)[0] == mine:
                lock.unlink(missing_ok=True)


def _take_over(lock: ObjectPath, mine: bytes) -> bool:
    """Put this process's lock in place of a dead one's; False where there is none, or changed."""
    found, version = _read(lock)
    if found is None:
        return False
    if found == mine:  # the answer to a request was lost, and it was sent again
        return True
    holder: Holder | None = parse_holder(found)
    if holder is not None and holder.is_alive:
        raise in_use(lock.parent, holder, lock)
    return lock.exchange(mine, version)


def release_object(lock: ObjectPath, holder: Holder) -> None:
    """Make the lock of a process that is gone nobody's, unless it changed hands meanwhile.

    It is not removed, for which stores know no condition: whoever comes next takes it over.
    """
    found, version = _read(lock)
    if found is not None and parse_holder(found) == holder:
        lock.exchange(_NOBODY, version)


def _refuse_without_conditions(lock: ObjectPath, mine: bytes) -> None:
    """Refuse a store that puts an object where there is one, although it was told not to."""
    if lock.create(mine):
        lock.unlink(missing_ok=True)
        raise RunDirectoryError(
            f"the store of {lock.parent} does not know conditional writes, without which two runs "
            "could be at work in one place: use another store, or a directory"
        )


def _read(lock: ObjectPath) -> tuple[bytes | None, Version]:
    try:
        return lock.read_version()
    except FileNotFoundError:
        return None, None
