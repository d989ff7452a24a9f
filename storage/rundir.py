"""Driver: the run directory, which a killed run leaves resumable.

::

    RUN/
        README.txt          what each file is
        run.json            what was asked, of which input, with which versions; finished stages
        progress.jsonl      one event a line, for `tail -f` and `clustergrid status`
        run.lock            host and process of the run under way
        pieces/STAGE.jsonl  finished pieces of a stage that is not finished as a whole
        matrix.zarr/        the matrix with its labels, where the input is not used in place
        arrays.zarr/        condensed_row, condensed_col, image
        linkage_row.npy  order_row.txt  clusters_row.tsv  (and _col)
        figure.png
        report/             one performance report a stage

A stage is finished when `run.json` says so, under a key made of everything its result depends on,
and what it left is still there: files have the digest that was noted, arrays all their chunks.
Files appear under their name only when they are whole. Before a result is replaced, the note that
it is there goes (`begin`), so whatever moment a run is killed at, no note is of another result.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from clustergrid.storage.chunks import is_whole
from clustergrid.storage.errors import ClustergridError, RunDirectoryError, StorageError
from clustergrid.storage.runlock import LOCK, Holder, holder_of, lock_directory

__all__ = ["ALGORITHM", "FORMAT", "RunDirectory", "stage_key"]

ALGORITHM = 1
"""Version of the arithmetic: raised with every change that may alter a bit of a result, so that
what an older version left is computed again."""

FORMAT = 1
"""Version of the layout; a run directory of another one is refused."""

_UNFINISHED = ".writing-"
_OURS = ("README.txt", LOCK)

_README = """This directory was made by clustergrid (clustergrid run).

run.json         what was asked, of which input, with which versions, and which stages are finished
progress.jsonl   progress, one event a line
matrix.zarr      the matrix and its labels, which xarray opens. It is not here if the input is a
                 Zarr array that was used where it is; "matrix" in run.json says so
arrays.zarr      Zarr arrays: the condensed distance matrices (packed tiles of the upper triangle),
                 the reduced image of the clustered matrix
linkage_*.npy    trees of rows and columns in SciPy's convention, float64 (n - 1, 4)
order_*.txt      labels in leaf order, one a line (backslash and line ends escaped as in C)
clusters_*.tsv   label, place in the leaf order, cluster; where a cut was asked for
*_colors.tsv     colours of the strips beside rows and columns
figure.*         the picture
report/          Dask performance reports, one a stage, where the run used a cluster
pieces/          which pieces of an unfinished stage are at rest

The same command again goes on where the run stopped. `clustergrid status` tells where it stands,
`clustergrid plot` draws it again.
"""


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


class RunDirectory:
    """A run directory on a local or shared file system.

    Parameters
    ----------
    path
        The directory.
    create
        Whether it may be made.

    Attributes
    ----------
    state : dict
        What ``run.json`` holds.

    Raises
    ------
    RunDirectoryError
        It is not a run directory, or one of another format.
    StorageError
        It cannot be made.
    """

    def __init__(self, path: str | os.PathLike[str], *, create: bool = False) -> None:
        self.path = Path(path)
        if create:
            self._create()
        self.state = self._read_state()

    def _create(self) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise StorageError(f"cannot make the run directory {self.path}: it is a file")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            found = set(os.listdir(self.path))
        except OSError as error:
            raise StorageError(f"cannot make the run directory {self.path}: {error}") from error
        if "run.json" in found:
            return
        # A run killed as it began may have left some of its own.
        ours = (".run.", _UNFINISHED)
        others = sorted(n for n in found if n not in _OURS and not n.startswith(ours))
        if others:
            raise RunDirectoryError(
                f"{self.path} holds other files ({', '.join(others[:3])}) and no run.json. "
                "Name an empty or a new directory."
            )
        self.write_text("README.txt", _README)
        self._write_state({"format": FORMAT, "stages": {}})

    def _read_state(self) -> dict[str, Any]:
        file = self.path / "run.json"
        try:
            state = json.loads(file.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            raise RunDirectoryError(
                f"{self.path} is not a run directory: it has no run.json"
            ) from None
        except (OSError, ValueError) as error:
            raise RunDirectoryError(f"{file} cannot be read: {error}") from error
        found = state.get("format") if isinstance(state, dict) else None
        if found != FORMAT or not isinstance(state.get("stages"), dict):
            raise RunDirectoryError(
                f"{self.path} has format {found!r}, and this clustergrid reads format {FORMAT}. "
                "Use a new run directory, or the version that made this one."
            )
        return dict(state)

    def _write_state(self, state: dict[str, Any]) -> None:
        self.write_text("run.json", json.dumps(state, indent=2) + "\n")

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

    def file(self, name: str) -> Path:
        """Path of a file in the run directory; names that lead out of it are refused."""
        path = (self.path / name).resolve()
        if not path.is_relative_to(self.path.resolve()):
            raise RunDirectoryError(f"{name!r} leads out of the run directory {self.path}")
        return path

    @contextmanager
    def publish(self, name: str) -> Iterator[Path]:
        """Give a temporary path; what is written there appears under `name`, whole or not at all.

        Raises
        ------
        StorageError
            The bytes could not be written, for instance because the disk is full.
        """
        final = self.file(name)
        # Keeps the suffix: writers choose the format by it.
        temporary = final.with_name(f"{_UNFINISHED}{os.getpid()}-{final.name}")
        try:
            final.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
            temporary.replace(final)
        except ClustergridError:
            raise
        except OSError as error:
            raise StorageError(f"cannot write {final}: {error}") from error
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)

    def write_text(self, name: str, text: str) -> None:
        """Write a small text file, whole or not at all."""
        with self.publish(name) as path:
            path.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")

    def is_finished(self, stage: str, key: str) -> bool:
        """Whether a stage's result of this very key is there: its files unchanged, arrays whole."""
        entry = self.state["stages"].get(stage)
        return (
            entry is not None
            and entry["key"] == key
            and all(self._digest(name) == digest for name, digest in entry["files"].items())
            and all(is_whole(self.file(store), path) for store, path in entry["arrays"])
        )

    def _digest(self, name: str) -> str | None:
        try:
            with self.file(name).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
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
        """Note that a stage is finished, and drop the note of its pieces.

        Parameters
        ----------
        stage, key
            The stage, and what its result depends on.
        files
            Names of the files it left; their digests are noted.
        arrays
            Its arrays: Zarr group in the run directory, and name in that.
        **facts
            What else is worth knowing, as JSON.
        """
        self.state["stages"][stage] = {
            "key": key,
            "files": {name: self._digest(name) for name in files},
            "arrays": [list(array) for array in arrays],
            "time": round(time.time(), 3),
            **facts,
        }
        self._write_state(self.state)
        self._pieces_file(stage).unlink(missing_ok=True)

    def _pieces_file(self, stage: str) -> Path:
        return self.file(f"pieces/{stage}.jsonl")

    def pieces(self, stage: str, key: str) -> frozenset[int]:
        """Pieces of a stage that were noted under this key; a torn line is left out."""
        try:
            lines = self._pieces_file(stage).read_text(encoding="utf-8").splitlines()
        except (OSError, ValueError):
            return frozenset()
        found: set[int] = set()
        for line in lines:
            try:
                entry = json.loads(line)
                if entry["key"] == key:
                    found.add(int(entry["piece"]))
            except (ValueError, KeyError, TypeError):
                continue
        return frozenset(found)

    def begin_pieces(self, stage: str, key: str, pieces: Iterable[int] = ()) -> None:
        """Start the notes of a stage anew, with the pieces of this key that can be trusted.

        Whatever was noted before is dropped: it may be of bytes that are about to be replaced.
        """
        self.begin(stage)
        self.write_text(f"pieces/{stage}.jsonl", "".join(_note(key, p) for p in sorted(pieces)))

    def record_piece(self, stage: str, key: str, piece: int) -> None:
        """Note a piece whose bytes are at rest."""
        file = self._pieces_file(stage)
        try:
            with file.open("a", encoding="utf-8") as stream:
                stream.write(_note(key, piece))
        except OSError as error:
            raise StorageError(f"cannot write {file}: {error}") from error

    @property
    def has_results(self) -> bool:
        """Whether anything was computed here, besides a copy of the matrix."""
        pieces = self.path / "pieces"
        return bool(self.state["stages"].keys() - {"matrix"}) or (
            pieces.is_dir() and any(file.stat().st_size for file in pieces.iterdir())
        )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the directory for this process; take over the lock of a process that died.

        Raises
        ------
        RunDirectoryError
            Another process runs here; the message names its host and process.
        """
        with lock_directory(self.path):
            self.state = self._read_state()  # another process may have been here
            for folder in (self.path, self.path / "pieces", self.path / "report"):
                for left in folder.glob(f"{_UNFINISHED}*"):
                    left.unlink(missing_ok=True)
            yield

    def holder(self) -> Holder | None:
        """Process that holds the directory; None where nobody living does."""
        return holder_of(self.path)


def _note(key: str, piece: int) -> str:
    return json.dumps({"key": key, "piece": piece}) + "\n"
