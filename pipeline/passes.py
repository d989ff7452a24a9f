"""Driver: passes over a matrix that go on where they stopped.

A pass hands one function and many blocks to an executor, and gets a small result for each:
statistics, digests, a partial image. `ResumedExecutor` puts every result into a file of the run
directory, and does not compute again what is there. Files are NumPy's ``.npz`` without pickles,
whose members carry checksums.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np

from clustergrid.pipeline.execution import Executor
from clustergrid.pipeline.grouped import GroupedWork
from clustergrid.pipeline.monitor import Progress
from clustergrid.storage.errors import ObjectStoreError, StorageError
from clustergrid.storage.places import remove_tree
from clustergrid.storage.rundir import RunDirectory

__all__ = ["ResumedExecutor", "drop_pieces", "pack", "unpack"]

Item = TypeVar("Item")
Shared = TypeVar("Shared")
Result = TypeVar("Result")

QUICK_SECONDS = 1.0
"""Results of a pass's first moments are not kept: a short pass is sooner made than kept."""


def pack(result: Any) -> dict[str, np.ndarray]:
    """Turn a tuple of arrays, numbers and slices, or one of them, into what ``np.savez`` writes.

    Raises
    ------
    TypeError
        There is something else in it.

    Examples
    --------
    >>> unpack(pack((slice(0, 4), np.arange(3), 0.5)))
    (slice(0, 4, None), array([0, 1, 2]), 0.5)
    """
    parts = result if isinstance(result, tuple) else (result,)
    kinds = [_kind(part) for part in parts]
    packed = {"kinds": np.array(kinds), "is_tuple": np.array(isinstance(result, tuple))}
    for position, (kind, part) in enumerate(zip(kinds, parts, strict=True)):
        packed[f"part{position}"] = np.asarray((part.start, part.stop) if kind == "slice" else part)
    return packed


def _kind(part: Any) -> str:
    if isinstance(part, slice):
        return "slice"
    if isinstance(part, np.ndarray):
        return "array"
    if isinstance(part, int | float | np.generic):
        return "number"
    raise TypeError(f"a {type(part).__name__} cannot be kept: {part!r}")


def unpack(packed: Any) -> Any:
    """Put together what `pack` took apart."""
    parts = []
    for position, kind in enumerate(packed["kinds"].tolist()):
        part = np.asarray(packed[f"part{position}"])
        parts.append(
            part if kind == "array" else part.item() if kind == "number" else slice(*part.tolist())
        )
    return tuple(parts) if packed["is_tuple"] else parts[0]


def _numbered(
    function: Callable[[Shared, Item], Result], shared: Shared, item: tuple[int, Item]
) -> tuple[int, Result]:
    position, content = item
    return position, function(shared, content)


@dataclass(frozen=True, slots=True)
class _Piece:
    """The result of one item: its file, and what it has to be the result of."""

    name: str
    key: str
    item: Any

    @property
    def identity(self) -> str:
        """Also the item itself: a pass may be cut otherwise than it was."""
        return f"{self.key} {self.item!r}"


class ResumedExecutor:
    """An executor whose results are kept in a run directory until their pass is finished.

    Parameters
    ----------
    executor
        Where what is not there is computed.
    directory
        The run directory, locked.
    key
        Digest of all that the results depend on, besides the position of an item.
    progress
        Is told when what a pass advances by was done by an earlier run.
    """

    def __init__(
        self,
        executor: Executor,
        directory: RunDirectory,
        key: str,
        progress: Progress,
    ) -> None:
        self._executor = executor
        self._directory = directory
        self._key = key
        self._progress = progress

    @property
    def threads(self) -> int:
        """Tasks that run at once."""
        return self._executor.threads

    @property
    def in_process(self) -> bool:
        """Whether tasks share the memory of this process."""
        return self._executor.in_process

    def active(self) -> AbstractContextManager[Any]:
        """Let lazy arrays that are computed inside the context run there."""
        return self._executor.active()

    def share(self, value: Shared) -> Shared:
        """Prepare a value that every task of a `map` reads."""
        return self._executor.share(value)

    def map(
        self,
        function: Callable[[Shared, Item], Result],
        shared: Shared,
        items: Iterable[Item],
        *,
        name: str,
    ) -> Iterator[Result]:
        """Yield the results that are there, then compute the others and keep them."""
        pieces = self._pieces(name, items)

        def compute(missing: list[int]) -> Iterator[tuple[int, Result]]:
            numbered = [(position, pieces[position].item) for position in missing]
            return self._executor.map(partial(_numbered, function), shared, numbered, name=name)

        for _, result in self._through(pieces, compute):
            yield result

    def merge_groups(self, work: GroupedWork[Shared, Item, Result]) -> Iterator[tuple[int, Result]]:
        """Yield the groups that are there, then compute the others and keep them."""
        pieces = self._pieces(work.name, work.groups)
        computed: set[int] = set()

        def compute(missing: list[int]) -> Iterator[tuple[int, Result]]:
            computed.update(missing)
            some = replace(work, groups=[work.groups[position] for position in missing])
            for number, result in self._executor.merge_groups(some):
                yield missing[number], result

        for position, result in self._through(pieces, compute):
            for item in () if position in computed else work.groups[position]:
                work.on_item(item)
            yield position, result

    def _pieces(self, name: str, items: Iterable[Any]) -> list[_Piece]:
        folder = f"pieces/{name}-{self._key[:16]}"
        return [_Piece(f"{folder}/{p}.npz", self._key, item) for p, item in enumerate(items)]

    def _through(
        self,
        pieces: list[_Piece],
        compute: Callable[[list[int]], Iterator[tuple[int, Any]]],
    ) -> Iterator[tuple[int, Any]]:
        """Yield positions and results: in the order of the pieces those that are there."""
        # Looked at now, and read when it is their turn: whoever puts results in order holds those
        # that came too early.
        is_kept = [self._load(piece) is not None for piece in pieces]
        done = [False] * len(pieces)
        due = 0
        started = time.monotonic()
        results = compute([position for position in range(len(pieces)) if not is_kept[position]])
        while due < len(pieces):
            if done[due]:
                due += 1
            elif is_kept[due]:
                done[due] = True
                kept = self._load(pieces[due])
                if kept is None:
                    raise StorageError(f"{pieces[due].name} changed while it was used: run again")
                self._progress.is_resuming = True
                yield due, kept[0]
                self._progress.is_resuming = False
            else:
                position, result = next(results)
                done[position] = True
                if time.monotonic() - started > QUICK_SECONDS:
                    self._save(pieces[position], result)
                yield position, result

    def _save(self, piece: _Piece, result: Any) -> None:
        packed: Any = {"identity": np.array(piece.identity), **pack(result)}
        with self._directory.publish(piece.name) as path:
            np.savez(path, **packed)

    def _load(self, piece: _Piece) -> tuple[Any] | None:
        path = self._directory.file(piece.name)
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                is_this = str(arrays["identity"]) == piece.identity
                return (unpack(arrays),) if is_this else None
        except ObjectStoreError:  # it says nothing of the piece
            raise
        except Exception:  # whatever a damaged file raises, it is no piece
            return None


def drop_pieces(directory: RunDirectory) -> None:
    """Remove the results of parts of passes: the results of the wholes are there."""
    remove_tree(directory.file("pieces"))
