"""Driver: the run directory, which a killed run leaves resumable.

::

    RUN/
        README.txt          what each file is
        run.json            what was asked, of which input, with which versions; finished stages
        progress.jsonl      one event a line, for `tail -f` and `clustergrid status`
        run.lock            host and process of the run under way
        manifest/           one file a stage: every file it has at rest, with size and digest
        pieces/             results of parts of a pass, or of a tree, that is not finished
        matrix.zarr/        the matrix with its labels, where the input is not used in place
        arrays.zarr/        condensed distances, statistics, image
        reordered.zarr/     the matrix in clustered order, where it was asked for
        linkage_row.npy  order_row.txt  clusters_row.tsv  (and _col)
        figure.png
        report/             one performance report a stage
        jobs/               scripts, logs and numbers of jobs of a queue

A stage is finished when `run.json` says so, under a key made of everything its result depends on,
and what it left is still there: files have the digest that was noted, arrays all the chunks of the
stage's manifest. Files appear under their name only when they are whole. Before a result is
replaced, the note that it is there goes (`begin`), so whatever moment a run is killed at, no note
is of another result. `run.json` carries a digest of itself; where it is damaged, a run begins it
anew, and the manifests, which carry keys, tell what is at rest.

RUN may also be a URL of an object store (``s3://bucket/runs/1``), with the same names below it; of
``jobs/`` only a note where the rest is, on a file system (`clustergrid.pipeline.jobs.folder`).
Lines that are appended there, to the manifests and the log, are put every few seconds (`lines.py`).
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from math import prod
from pathlib import Path
from threading import Event, Thread
from typing import Any

from clustergrid.storage.arrays import open_array
from clustergrid.storage.chunks import chunk_grid, noted_chunks
from clustergrid.storage.errors import (
    IntegrityError,
    ObjectStoreError,
    RunDirectoryError,
    StorageError,
)
from clustergrid.storage.lines import Lines, open_lines
from clustergrid.storage.links import leads_out, refuse_links_out
from clustergrid.storage.manifest import Manifest
from clustergrid.storage.object_path import ObjectPath
from clustergrid.storage.places import UNFINISHED, StorePath, as_path, sha256_of, written_whole
from clustergrid.storage.runlock import LOCK, Holder, holder_of, lock_directory

__all__ = ["ALGORITHM", "FORMAT", "RunDirectory", "stage_key"]

ALGORITHM = 10
"""Version of the arithmetic: raised with every change that may alter a bit of a result, so that
what an older version left is computed again."""

FORMAT = 3
"""Version of the layout; a run directory of another one is refused."""

_OURS = ("README.txt", LOCK)
_FLUSH_SECONDS = 3.0
_NEW_STATE: dict[str, Any] = {"format": FORMAT, "stages": {}}
_MENDS = "The same `clustergrid run` again makes it anew, and keeps what is at rest."

_README = """This directory was made by clustergrid (clustergrid run).

run.json         what was asked, of which input, with which versions, and which stages are finished
progress.jsonl   progress, one event a line
matrix.zarr      the matrix and its labels, which xarray opens. It is not here if the input is a
                 Zarr array that was used where it is; "matrix" in run.json says so
arrays.zarr      Zarr arrays: the condensed distance matrices (packed tiles of the upper triangle;
                 run.json says which array is of which stage), the statistics of rows and columns,
                 the reduced image of the clustered matrix
reordered.zarr   the matrix in clustered order, normalized, with its labels, where it was asked for;
                 pyramid/1, 2, ... in it are its levels of lower resolution
linkage_*.npy    trees of rows and columns in SciPy's convention, float64 (n - 1, 4)
order_*.txt      labels in leaf order, one a line (backslash and line ends escaped as in C)
clusters_*.tsv   label, place in the leaf order, cluster; where a cut was asked for. Labels as in
                 order_*.txt, and ' before what a spreadsheet would compute
*_colors.tsv     colours of the strips beside rows and columns
*_annotations.tsv  what is known of rows and columns, from which other strips are made
metric_kws_*.npz keywords of the metric that are arrays (w, V, VI), where there were any
figure.*         the picture
report/          Dask performance reports, one a stage, where the run used a cluster
manifest/        every file that a stage has at rest, with its size and digest, one a line
pieces/          results of parts of a pass over the matrix, or of a tree, that is not finished
jobs/            scripts, logs and numbers of jobs, where the run was on a batch queue

The same command again goes on where the run stopped. `clustergrid status` tells where it stands,
`clustergrid verify` checks every byte and what the results mean, `clustergrid plot` draws it again.
"""
_README_DIGEST = "sha256:" + hashlib.sha256(_README.encode()).hexdigest()


def stage_key(**parts: Any) -> str:
    """Digest of everything that a stage's result depends on.

    Examples
    --------
    >>> stage_key(a=1, b="x") == stage_key(b="x", a=1)
    True
    >>> len(stage_key(a=1))
    64
    """
    parts = {"format": FORMAT, "algorithm": ALGORITHM, **parts}
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _made(path: StorePath) -> set[str]:
    """Make a directory, if it is not there; return what is in it."""
    if isinstance(path, ObjectPath):
        if path.key and path.is_file():
            raise StorageError(f"cannot make the run directory {path}: it is an object")
        return {child.name for child in path.iterdir()}
    # pathlib raises where a name is too long.
    if os.path.exists(path) and not os.path.isdir(path):
        raise StorageError(f"cannot make the run directory {path}: it is a file")
    try:
        path.mkdir(parents=True, exist_ok=True)
        return set(os.listdir(path))
    except (OSError, ValueError) as error:  # a NUL in the name
        raise StorageError(f"cannot make the run directory {path}: {error}") from error


def _refuse_unnoted(manifest: Manifest, store: str, name: str) -> None:
    """Refuse to call an array finished of which nobody noted every chunk."""
    n_chunks = prod(chunk_grid(open_array(manifest.root / store, name)))
    n_noted = len(noted_chunks(manifest, f"{store}/{name}"))
    if n_noted != n_chunks:
        raise IntegrityError(
            f"{n_chunks - n_noted} of {n_chunks} chunks of {store}/{name} in {manifest.root} have "
            "no note: run again, and they are made again"
        )


def _state_digest(state: Any) -> str:
    text = json.dumps(state, sort_keys=True, separators=(",", ":"))
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def _state_text(state: Any) -> str:
    return json.dumps({**state, "digest": _state_digest(state)}, indent=2) + "\n"


class _DamagedStateError(RunDirectoryError):
    """What run.json says cannot be relied upon."""


class RunDirectory:
    """A run directory on a local or shared file system, or in an object store.

    Parameters
    ----------
    path
        The directory, or its URL.
    create
        Whether it may be made, and made anew from its manifests where run.json is damaged.

    Attributes
    ----------
    path : StorePath
        The directory.
    state : dict
        What ``run.json`` holds, without the digest of itself.
    mended : str or None
        What was wrong with ``run.json``, where it had to be made anew.

    Raises
    ------
    RunDirectoryError
        It is not a run directory, or one of another format.
    StorageError, ObjectStoreError
        It cannot be made.
    """

    def __init__(self, path: str | os.PathLike[str] | ObjectPath, *, create: bool = False) -> None:
        self.path = as_path(path)
        self._lines: dict[str, Lines] = {}
        self.mended: str | None = None
        self._may_mend = create
        if create:
            self._create()
        self.state = self._read_or_mend(write=False)

    def _create(self) -> None:
        found = _made(self.path)
        if "run.json" in found or self._has_our_readme():
            return
        # A run killed as it began may have left some of its own.
        ours = (".run.", UNFINISHED)
        others = sorted(n for n in found if n not in _OURS and not n.startswith(ours))
        if others:
            raise RunDirectoryError(
                f"{self.path} holds other files ({', '.join(others[:3])}) and no run.json. "
                "Name an empty or a new directory."
            )
        self.write_text("README.txt", _README)
        self._write_state(_NEW_STATE)

    def _has_our_readme(self) -> bool:
        try:
            text = (self.path / "README.txt").read_text(encoding="utf-8")
            return text.split("\n")[0] == _README.split("\n")[0]
        except (OSError, ValueError):
            return False

    def _read_or_mend(self, *, write: bool) -> dict[str, Any]:
        """Read the state; where it is damaged, begin anew, since manifests tell what is at rest."""
        try:
            return self._read_state()
        except _DamagedStateError as error:
            if not (self._may_mend and self._has_our_readme()):
                raise
            self.mended = str(error)
        if write:
            self.put_aside("run.json")
            self._write_state(_NEW_STATE)
        return dict(_NEW_STATE, stages={})

    def put_aside(self, name: str) -> None:
        """Give a file that is damaged the suffix ``.damaged``, if it is there."""
        file = self.file(name)
        with suppress(OSError):
            if isinstance(file, Path):
                file.replace(file.with_name(f"{file.name}.damaged"))
            else:
                file.with_name(f"{file.name}.damaged").write_bytes(file.read_bytes())
                file.unlink()

    def _read_state(self) -> dict[str, Any]:
        file = self.path / "run.json"
        try:
            text = file.read_text(encoding="utf-8")
            state = json.loads(text)
        except (FileNotFoundError, NotADirectoryError):
            if self._has_our_readme():
                raise _DamagedStateError(f"{file} is missing. {_MENDS}") from None
            raise RunDirectoryError(
                f"{self.path} is not a run directory: it has no run.json"
            ) from None
        except (OSError, ValueError) as error:
            raise _DamagedStateError(f"{file} cannot be read: {error}. {_MENDS}") from error
        noted = state.pop("digest", None) if isinstance(state, dict) else None
        found = state.get("format") if isinstance(state, dict) else None
        is_as_written = noted == _state_digest(state) and text == _state_text(dict(state))
        if found != FORMAT and (noted is None or is_as_written):
            raise RunDirectoryError(
                f"{self.path} has format {found!r}, and this clustergrid reads format {FORMAT}. "
                "Use a new run directory, or the version that made this one."
            )
        if not is_as_written:
            raise _DamagedStateError(f"{file} is not as it was written. {_MENDS}")
        return dict(state)

    def _write_state(self, state: dict[str, Any]) -> None:
        self.write_text("run.json", _state_text(state))

    def update(self, **entries: Any) -> None:
        """Set top-level entries of ``run.json``; None removes one."""
        self.state = {
            name: value for name, value in {**self.state, **entries}.items() if value is not None
        }
        self._write_state(self.state)

    @property
    def arrays(self) -> str:
        """The Zarr group of distances and image."""
        return str(self.path.absolute() / "arrays.zarr")

    @property
    def matrix(self) -> str:
        """The Zarr group of the matrix and its labels."""
        return str(self.path.absolute() / "matrix.zarr")

    def file(self, name: str) -> StorePath:
        """Path of a file in the run directory; names that lead out of it are refused."""
        path = self.path / name
        if leads_out(self.path, path):
            raise RunDirectoryError(f"{name!r} leads out of the run directory {self.path}")
        return path.resolve()

    @contextmanager
    def publish(self, name: str) -> Iterator[Path]:
        """Give a temporary path; what is written there appears under `name`, whole or not at all.

        Raises
        ------
        StorageError, ObjectStoreError
            The bytes could not be written, for instance because the disk is full.
        """
        with written_whole(self.file(name)) as path:
            yield path

    def write_text(self, name: str, text: str) -> None:
        """Write a small text file, whole or not at all."""
        with self.publish(name) as path:
            path.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")

    def manifest(self, stage: str) -> Manifest:
        """Read what a stage has at rest."""
        return Manifest(self.path, stage, self.lines(f"manifest/{stage}.jsonl"))

    def lines(self, name: str) -> Lines:
        """Return a file of lines that grows; in a bucket there is one of it in a process."""
        if name not in self._lines:
            self._lines[name] = open_lines(self.path / name)
        return self._lines[name]

    def is_finished(self, stage: str, key: str) -> bool:
        """Whether a stage's result of this very key is there.

        Its files have their digests; the chunks of its arrays are there with the lengths that were
        noted. That their bytes are those of the digests is found when they are read, and by
        ``clustergrid verify``.
        """
        entry = self.state["stages"].get(stage)
        if entry is None or entry["key"] != key:
            return False
        if not all(self.digest(name) == digest for name, digest in entry["files"].items()):
            return False
        if entry.get("manifest") is None:
            return True
        manifest = self.manifest(stage)
        return self.digest(manifest.name) == entry["manifest"] and manifest.is_whole

    def digest(self, name: str) -> str | None:
        """SHA-256 of a file of the run directory; None where it cannot be read."""
        if name in self._lines:
            self._lines[name].flush()
        try:
            return sha256_of(self.file(name))
        except OSError:
            return None

    def begin(self, stage: str) -> None:
        """Take back the note that a stage is finished, before its result is touched."""
        if self.state["stages"].pop(stage, None) is not None:
            self._write_state(self.state)

    def finish(
        self,
        stage: str,
        key: str,
        *,
        files: Iterable[str] = (),
        arrays: Iterable[tuple[str, str]] = (),
        **facts: Any,
    ) -> None:
        """Note that a stage is finished.

        Parameters
        ----------
        stage, key
            The stage, and what its result depends on.
        files
            Names of the files it left; their digests are noted.
        arrays
            Its arrays: Zarr group in the run directory, and name in that. What is in them is in
            the stage's manifest.
        **facts
            What else is worth knowing, as JSON.
        """
        manifest = self.manifest(stage)
        arrays = list(arrays)
        for store, name in arrays:
            _refuse_unnoted(manifest, store, name)
        self.state["stages"][stage] = {
            "key": key,
            "files": {name: self.digest(name) for name in files},
            "arrays": [list(array) for array in arrays],
            "manifest": self.digest(manifest.name) if manifest.key == key else None,
            "time": round(time.time(), 3),
            **facts,
        }
        self._write_state(self.state)

    @property
    def has_results(self) -> bool:
        """Whether anything was computed here that an input cannot be put under any more."""
        manifests = (self.path / "manifest").glob("*.jsonl")
        begun = {file.stem for file in manifests if self.manifest(file.stem).entries}
        return bool((begun | self.state["stages"].keys()) - {"matrix", "statistics"})

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the directory for this process; take over the lock of a process that died.

        Raises
        ------
        RunDirectoryError
            Another process runs here (the message names its host and process), or something in the
            directory leads out of it.
        """
        refuse_links_out(self.path)
        with lock_directory(self.path):
            self.state = self._read_or_mend(write=True)  # another process may have been here
            if self._may_mend and self.digest("README.txt") != _README_DIGEST:
                self.write_text("README.txt", _README)
            for folder in (self.path, self.path / "manifest", self.path / "report"):
                for left in folder.glob(f"{UNFINISHED}*") if isinstance(folder, Path) else ():
                    left.unlink(missing_ok=True)
            with self._flushed():
                yield

    @contextmanager
    def _flushed(self) -> Iterator[None]:
        """Put at rest what is appended, every few seconds and at the end."""
        if not isinstance(self.path, ObjectPath):
            yield
            return
        self._lines.clear()  # another process may have been here
        is_over = Event()

        def flush() -> None:
            for lines in list(self._lines.values()):
                lines.flush()

        def keep_flushing() -> None:
            while not is_over.wait(_FLUSH_SECONDS):
                for lines in list(self._lines.values()):
                    with suppress(ObjectStoreError):  # the next line that is appended says so
                        lines.flush_if_due()

        flusher = Thread(target=keep_flushing, name="clustergrid-flush", daemon=True)
        flusher.start()
        try:
            yield
            flush()
        finally:
            is_over.set()
            flusher.join()
            with suppress(ObjectStoreError):  # what is under way says more
                flush()

    def holder(self) -> Holder | None:
        """Process that holds the directory; None where nobody living does."""
        return holder_of(self.path)
