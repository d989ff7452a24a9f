"""Driver: where a long stage stands, kept in the run directory until the stage is finished.

A stage that puts nothing at rest before its end, as a tree that is made straight from rows, keeps
*records*: arrays under a name, each an ``.npz`` without pickles. Either the last one is all that a
later run needs (a forest, and the tiles that are in it), or all of them are (the results of calls
number 1, 2, 3, ... of something that always asks the same).

A record is written under a new name, whole; then it is noted, with its digest, in a manifest of
its own; then those that it replaces go. So whatever moment a run is killed at, what is noted is
there, and what is there and not noted is of no use to anybody and goes with the next record.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from clustergrid.storage.errors import ObjectStoreError
from clustergrid.storage.manifest import file_entry
from clustergrid.storage.places import StorePath
from clustergrid.storage.rundir import RunDirectory

__all__ = ["Records", "bytes_of_records", "drop_records"]

_STAGE = "records-"


class Records:
    """The records of one stage, of one question.

    Parameters
    ----------
    directory
        The run directory, locked.
    stage
        Name of the stage.
    key
        Digest of all that the records depend on. Those of another key are as good as not there,
        and go when the first of this one is written.
    """

    def __init__(self, directory: RunDirectory, stage: str, key: str) -> None:
        self._directory, self._key = directory, key
        self._stage = f"{_STAGE}{stage}"
        self._manifest = directory.manifest(self._stage)

    @property
    def names(self) -> list[str]:
        """Names of the records that were noted, in the order in which they were written."""
        if self._manifest.key != self._key:
            return []
        return [PurePosixPath(file).stem for file in self._manifest.entries]

    def read(self, name: str) -> dict[str, np.ndarray] | None:
        """Return the arrays of a record; None where it is not there, or not as it was written."""
        if name not in self.names:
            return None
        entry = self._manifest.entries[self._file(name)]
        if not entry.is_there(self._directory.path):
            return None
        try:
            path = self._directory.file(entry.file)
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                return dict(arrays)
        except ObjectStoreError:  # it says nothing of the record
            raise
        except Exception:  # whatever a damaged file raises, it is no record
            return None

    def write(self, name: str, arrays: Mapping[str, np.ndarray], *, alone: bool = False) -> None:
        """Put a record at rest.

        Parameters
        ----------
        name
            Of the record; one that is there under this name already is none any more.
        arrays
            What is in it.
        alone
            Whether it replaces those before it.

        Raises
        ------
        StorageError
            It cannot be written, for instance because the disk is full.
        """
        if name in self.names:
            self._manifest.forget([self._file(name)])
        packed: Any = dict(arrays)
        with self._directory.publish(self._file(name)) as path:
            np.savez(path, **packed)
        entry = file_entry(self._directory.path, self._file(name))
        if alone or self._manifest.key != self._key:
            self._manifest.begin(self._key, [entry])
            self._remove_unnoted()
        else:
            self._manifest.record(entry)

    def remove(self, names: Collection[str]) -> None:
        """Remove records that are of no use any more: their notes first."""
        files = [self._file(name) for name in self.names if name in names]
        self._manifest.forget(files)
        for file in files:
            self._directory.file(file).unlink(missing_ok=True)

    def _file(self, name: str) -> str:
        return f"pieces/{self._stage}-{self._key[:16]}/{name}.npz"

    def _remove_unnoted(self) -> None:
        noted = {self._directory.file(name) for name in self._manifest.entries}
        for path in _files(self._directory, self._stage):
            if path not in noted:
                path.unlink(missing_ok=True)


def drop_records(directory: RunDirectory, stage: str | None = None) -> None:
    """Remove the records of a stage that is finished, or of all: their notes first.

    Parameters
    ----------
    directory
        The run directory, locked.
    stage
        Name of the stage; None: of all stages.
    """
    manifests = (directory.path / "manifest").glob(f"{_STAGE}{stage or '*'}.jsonl")
    for stem in sorted(manifest.stem for manifest in manifests):
        directory.manifest(stem).remove()
        for path in _files(directory, stem):
            path.unlink(missing_ok=True)


def bytes_of_records(directory: RunDirectory, stage: str) -> int:
    """Return the bytes of a stage's records, which are kept or go when it is finished."""
    return sum(path.stat().st_size for path in _files(directory, f"{_STAGE}{stage}"))


def _files(directory: RunDirectory, stage: str) -> Iterator[StorePath]:
    """Files of a stage's records, of any key, noted or not."""
    return directory.file("pieces").glob(f"{stage}-*/*")
