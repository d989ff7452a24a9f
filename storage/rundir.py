"""Driver: the run directory, which a killed run leaves resumable.

::

    RUN/
        README.txt          what each file is
        run.json            what was asked, of which input, with which versions; finished stages
        progress.jsonl      one event a line, for `tail -f` and `clustergrid status`
        run.lock            host and process of the run under way
        pieces/STAGE.jsonl  finished pieces of a stage that is not finished as a whole
        arrays.zarr/        matrix, condensed_row, condensed_col, image
        linkage_row.npy  order_row.txt  clusters_row.tsv  (and _col)
        figure.png
        report/             one performance report a stage

A stage is finished when `run.json` says so, under a key made of everything its result depends on.
Files appear under their name only when they are whole.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from clustergrid.storage.errors import RunDirectoryError, StorageError

__all__ = ["FORMAT", "RunDirectory", "stage_key"]

FORMAT = 1
"""Version of the layout; a run directory of another one is refused."""

_README = """This directory was made by clustergrid (clustergrid run).

run.json         what was asked, of which input, with which versions, and which stages are finished
progress.jsonl   progress, one event a line
arrays.zarr      Zarr arrays: the matrix, the condensed distance matrices (packed tiles of the upper
                 triangle), the reduced image of the clustered matrix
linkage_*.npy    trees of rows and columns in SciPy's convention, float64 (n - 1, 4)
order_*.txt      labels in leaf order, one a line (backslash, newline and return escaped as in C)
clusters_*.tsv   label, place in the leaf order, cluster; where a cut was asked for
figure.*         the picture
report/          Dask performance reports, one a stage, where the run used a cluster

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
    text = json.dumps({"format": FORMAT, **parts}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


class RunDirectory:
    """A run directory on a local or shared file system.

    Parameters
    ----------
    path
        The directory; made when it is not there.
    create
        Whether it may be made.

    Raises
    ------
    RunDirectoryError
        It is not a run directory, or one of another format.
    """

    def __init__(self, path: str | os.PathLike[str], *, create: bool = False) -> None:
        self.path = Path(path)
        if create:
            self._create()
        self.state = self._read_state()

    def _create(self) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"cannot make the run directory {self.path}: {error}") from error
        if (self.path / "run.json").exists():
            return
        others = [name for name in os.listdir(self.path) if name not in ("run.lock",)]
        if others:
            raise RunDirectoryError(
                f"{self.path} holds other files ({', '.join(sorted(others)[:3])}) and no run.json. "
                "Name an empty or a new directory."
            )
        self.write_text("README.txt", _README)
        self._write_state({"format": FORMAT, "stages": {}})

    def _read_state(self) -> dict[str, Any]:
        file = self.path / "run.json"
        try:
            state = json.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise RunDirectoryError(
                f"{self.path} is not a run directory: it has no run.json"
            ) from None
        except (OSError, ValueError) as error:
            raise RunDirectoryError(f"{file} cannot be read: {error}") from error
        if not isinstance(state, dict) or state.get("format") != FORMAT:
            found = state.get("format") if isinstance(state, dict) else None
            raise RunDirectoryError(
                f"{self.path} has format {found!r}, and this clustergrid reads format {FORMAT}"
            )
        return state

    def _write_state(self, state: dict[str, Any]) -> None:
        self.write_text("run.json", json.dumps(state, indent=2) + "\n")

    def update(self, **entries: Any) -> None:
        """Set top-level entries of ``run.json``."""
        self.state.update(entries)
        self._write_state(self.state)

    @property
    def arrays(self) -> str:
        """The Zarr group of this run."""
        return str(self.path / "arrays.zarr")

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
        final.parent.mkdir(parents=True, exist_ok=True)
        # Keeps the suffix: writers choose the format by it.
        temporary = final.with_name(f".{final.stem}.{os.getpid()}{final.suffix}")
        try:
            yield temporary
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
            temporary.replace(final)
        except OSError as error:
            raise StorageError(f"cannot write {final}: {error}") from error
        finally:
            temporary.unlink(missing_ok=True)

    def write_text(self, name: str, text: str) -> None:
        """Write a small text file, whole or not at all."""
        with self.publish(name) as path:
            path.write_text(text, encoding="utf-8")

    def is_finished(self, stage: str, key: str) -> bool:
        """Whether a stage's result of this very key is there, with all its files."""
        entry = self.state["stages"].get(stage)
        return (
            entry is not None
            and entry["key"] == key
            and all(self.file(name).exists() for name in entry["files"])
        )

    def finish(self, stage: str, key: str, files: list[str], **facts: Any) -> None:
        """Note that a stage is finished, and drop the note of its pieces."""
        self.state["stages"][stage] = {
            "key": key,
            "files": files,
            "time": round(time.time(), 3),
            **facts,
        }
        self._write_state(self.state)
        (self.path / "pieces" / f"{stage}.jsonl").unlink(missing_ok=True)

    def pieces(self, stage: str, key: str) -> frozenset[int]:
        """Pieces of a stage that were noted under this key; a torn last line is left out."""
        file = self.path / "pieces" / f"{stage}.jsonl"
        if not file.exists():
            return frozenset()
        found: set[int] = set()
        for line in file.read_text(encoding="utf-8").splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if isinstance(entry, dict) and entry.get("key") == key:
                found.add(int(entry["piece"]))
        return frozenset(found)

    def record_piece(self, stage: str, key: str, piece: int) -> None:
        """Note a piece whose bytes are at rest."""
        file = self.path / "pieces" / f"{stage}.jsonl"
        file.parent.mkdir(exist_ok=True)
        with file.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"key": key, "piece": piece}) + "\n")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the directory for this process; take over the lock of a process that died.

        Raises
        ------
        RunDirectoryError
            Another process runs here; the message names its host and process.
        """
        lock = self.path / "run.lock"
        mine = json.dumps({"host": socket.gethostname(), "pid": os.getpid()})
        for _ in range(2):
            try:
                with lock.open("x", encoding="utf-8") as stream:
                    stream.write(mine)
                break
            except FileExistsError:
                self._refuse_live(lock)
                lock.unlink(missing_ok=True)
        else:
            raise RunDirectoryError(f"{self.path} was taken by another process just now")
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)

    def holder(self) -> tuple[str, int] | None:
        """Host and process that hold the directory; None where nobody living does."""
        try:
            entry = json.loads((self.path / "run.lock").read_text(encoding="utf-8"))
            host, pid = str(entry["host"]), int(entry["pid"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        if host == socket.gethostname() and not _is_alive(pid):
            return None
        return host, pid

    def _refuse_live(self, lock: Path) -> None:
        holder = self.holder()
        if holder is None:
            return
        host, pid = holder
        raise RunDirectoryError(
            f"{self.path} is in use by process {pid} on {host}. Wait for it, or, if that process "
            f"is gone, delete {lock}"
        )


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
