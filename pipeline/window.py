"""Plan: which items may be under way at once, so that whoever wants results in order holds few."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Generic, TypeVar

__all__ = ["Window"]

Item = TypeVar("Item")


class Window(Generic[Item]):
    """Items in their order, of which few are under way.

    None is taken before all but the latest `size` of those before it are finished: whoever needs
    results in their order holds no more of them than that.
    """

    def __init__(self, items: Iterable[Item], size: int) -> None:
        self._remaining = enumerate(items)
        self._size = size
        self._taken = 0
        self._under_way: set[int] = set()

    def take(self) -> list[tuple[int, Item]]:
        """Return the items, with their positions, that may start now."""
        oldest = min(self._under_way, default=self._taken)
        taken = list(itertools.islice(self._remaining, oldest + self._size - self._taken))
        self._taken += len(taken)
        self._under_way.update(position for position, _ in taken)
        return taken

    def finish(self, position: int) -> None:
        """Note that an item's result was taken."""
        self._under_way.discard(position)
