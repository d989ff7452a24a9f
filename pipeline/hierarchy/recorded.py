"""Kernel: a source whose answers are kept, so that a tree that was broken off can go on.

The driver of rounds decides by what its source answers and by its limits. Asked again, it asks for
the same in the same order: answers that are at hand need not be computed. With other limits it asks
for the same until these matter, which lists of all points, the dearest answer, come before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline.hierarchy._clusters import Clusters
from clustergrid.pipeline.hierarchy._neighbors import Neighbors, open_lists
from clustergrid.pipeline.hierarchy.chain_state import ChainRecords
from clustergrid.pipeline.hierarchy.source import DistanceSource

__all__ = [
    "CALLS",
    "Arrays",
    "Drop",
    "Load",
    "RecordedSource",
    "Save",
    "question_digest",
]

Arrays: TypeAlias = Mapping[str, NDArray[Any]]
Save: TypeAlias = Callable[[int, str, Arrays], None]
"""Called with the number of a call, counted from 1, its name, and its answer."""
Load: TypeAlias = Callable[[int, str], Arrays | None]
"""Called with the number and the name of a call; returns what was saved, or None."""
Drop: TypeAlias = Callable[[int], None]
"""Called with the number of a call: what was saved of it, and of all after it, is to go."""

CALLS = ("nearest_points", "nearest_clusters", "distances", "rows", "square")
"""The calls of a source whose answers can be kept."""

_ASKED = "asked"


class RecordedSource:
    """A source that asks another one only for what was not saved; see `DistanceSource`.

    Parameters
    ----------
    source
        It has to give the same bits for the same question.
    save, load, drop
        Where answers are kept. `save` is to return only when the answer is safe, and `load` to
        give all of it or None. An answer to another question, as an earlier run with other limits
        may have asked it, is dropped with those after it. What they raise ends the call.
    kept
        The calls whose answers are, of `CALLS`. Others are passed on. Lists, rescans and single
        distances together take a few times the memory of lists. A chain's rows may come to more
        than all that: a row is up to n distances, and most clusters have one.
    chain
        Where the chain keeps how far it came, in place of its rows; None: nowhere.

    Examples
    --------
    >>> from clustergrid.pipeline.hierarchy.certified import Limits, cluster_certified
    >>> from clustergrid.pipeline.hierarchy.condensed import CondensedSource
    >>> saved = {}
    >>> source = RecordedSource(
    ...     CondensedSource(np.array([1.0, 2.0, 3.0])),
    ...     save=lambda number, name, arrays: saved.update({(number, name): arrays}),
    ...     load=lambda number, name: saved.get((number, name)),
    ...     drop=lambda number: saved.clear(),
    ... )
    >>> merges = cluster_certified(source, "average", limits=Limits(most_clusters=2))
    >>> list(saved)
    [(1, 'nearest_points')]
    """

    def __init__(
        self,
        source: DistanceSource,
        *,
        save: Save,
        load: Load,
        drop: Drop,
        kept: Collection[str] = ("nearest_points", "nearest_clusters", "distances"),
        chain: ChainRecords | None = None,
    ) -> None:
        unknown = set(kept) - set(CALLS)
        if unknown:
            raise ValueError(f"kept must be some of {', '.join(CALLS)}, got {min(unknown)!r}")
        self._source = source
        self._save = save
        self._load = load
        self._drop = drop
        self._kept = frozenset(kept)
        self.chain = chain
        self._number = 0

    @property
    def n(self) -> int:
        """How many points there are."""
        return self._source.n

    def nearest_points(
        self, clusters: Clusters, method: str, n_neighbors: int, pause: Callable[[float], None]
    ) -> Neighbors:
        """List the K nearest of every point."""
        answer = self._answer(
            "nearest_points",
            (clusters, method, n_neighbors),
            lambda: _packed(self._source.nearest_points(clusters, method, n_neighbors, pause)),
        )
        return _unpacked(answer, n_neighbors)

    def nearest_clusters(
        self,
        clusters: Clusters,
        method: str,
        n_neighbors: int,
        owners: NDArray[np.int64],
        pause: Callable[[float], None],
    ) -> Neighbors:
        """List the K nearest of some clusters."""
        answer = self._answer(
            "nearest_clusters",
            (clusters, method, n_neighbors, owners),
            lambda: _packed(
                self._source.nearest_clusters(clusters, method, n_neighbors, owners, pause)
            ),
        )
        return _unpacked(answer, n_neighbors)

    def distances(
        self,
        clusters: Clusters,
        method: str,
        first: NDArray[np.int64],
        second: NDArray[np.int64],
        pause: Callable[[float], None],
    ) -> NDArray[np.float64]:
        """Compute the distances between pairs of clusters."""
        return self._answer(
            "distances",
            (clusters, method, first, second),
            lambda: {"distances": self._source.distances(clusters, method, first, second, pause)},
        )["distances"]

    def rows(
        self,
        clusters: Clusters,
        method: str,
        owners: NDArray[np.int64],
        pause: Callable[[float], None],
    ) -> NDArray[np.float64]:
        """Compute the distances of some clusters to all."""
        return self._answer(
            "rows",
            (clusters, method, owners),
            lambda: {"rows": self._source.rows(clusters, method, owners, pause)},
        )["rows"]

    def square(
        self, clusters: Clusters, method: str, pause: Callable[[float], None]
    ) -> NDArray[np.float64]:
        """Make the distances between all clusters."""
        return self._answer(
            "square",
            (clusters, method),
            lambda: {"square": self._source.square(clusters, method, pause)},
        )["square"]

    def _answer(
        self, name: str, question: tuple[Any, ...], compute: Callable[[], dict[str, NDArray[Any]]]
    ) -> Arrays:
        if name not in self._kept:
            return compute()
        self._number += 1
        asked = question_digest((name, *question))
        saved = self._load(self._number, name)
        if saved is not None:
            if _ASKED in saved and np.array_equal(saved[_ASKED], asked):
                return saved
            self._drop(self._number)
        answer = compute()
        self._save(self._number, name, answer | {_ASKED: asked})
        return answer


def _packed(lists: Neighbors) -> dict[str, NDArray[Any]]:
    """Leave out the room that is empty: half of it, and more."""
    listed = np.arange(lists.ids.shape[1]) < lists.counts[:, None]
    return {
        "ids": lists.ids[listed],
        "bounds": lists.bounds[listed],
        "exact": lists.exact[listed],
        "counts": lists.counts,
        "tau": lists.tau,
    }


def _unpacked(packed: Arrays, n_neighbors: int) -> Neighbors:
    lists = open_lists(len(packed["counts"]), n_neighbors)
    lists.counts[:] = packed["counts"]
    lists.tau[:] = packed["tau"]
    listed = np.arange(2 * n_neighbors) < lists.counts[:, None]
    lists.ids[listed] = packed["ids"]
    lists.bounds[listed] = packed["bounds"]
    lists.exact[listed] = packed["exact"]
    return lists


def question_digest(question: tuple[Any, ...]) -> NDArray[np.uint8]:
    """Return what tells a question from others."""
    digest = hashlib.blake2b(digest_size=16)
    for part in question:
        # The whole of the clusters: sums over members follow the order in which these are chained.
        for array in part if isinstance(part, Clusters) else (part,):
            is_array = isinstance(array, np.ndarray)
            data = np.ascontiguousarray(array).tobytes() if is_array else repr(array).encode()
            digest.update(len(data).to_bytes(8, "little"))
            digest.update(data)
    return np.frombuffer(digest.digest(), np.uint8)
