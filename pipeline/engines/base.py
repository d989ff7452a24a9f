"""Driver: what an engine does with a tile: operands, accumulators, distances."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np

from clustergrid.pipeline.engines.given import DistanceInput
from clustergrid.storage.errors import DataValueError

__all__ = [
    "BlockEngine",
    "Place",
    "UndefinedFeaturesError",
    "UndefinedPairError",
    "UndefinedRowsError",
]


class UndefinedPairError(DataValueError):
    """Two rows have no distance; the caller knows their labels.

    Attributes
    ----------
    rows
        The two, by their indices.
    why
        What keeps them from having one, and what to do about it.
    """

    def __init__(self, rows: tuple[int, int], why: str) -> None:
        self.rows, self.why = rows, why
        super().__init__(f"rows {rows[0]} and {rows[1]} {why}")

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        """Travel from a worker as what it was made of."""
        return type(self), (self.rows, self.why)


class UndefinedFeaturesError(DataValueError):
    """Some features keep a metric from being computed; the caller knows their labels.

    Attributes
    ----------
    features
        Their indices.
    why, advice
        What they are, and what to do about it.
    """

    def __init__(self, features: np.ndarray, why: str, advice: str) -> None:
        self.features, self.why, self.advice = features, why, advice
        first = ", ".join(str(feature) for feature in features[:5])
        super().__init__(
            f"{len(features):,} of the features are {why} (the first: {first}). {advice}."
        )


class UndefinedRowsError(DataValueError):
    """Some rows have no distance under a metric; the caller knows their labels.

    Attributes
    ----------
    metric, reason
        Name of the metric, and what the rows are: constant, or all zero.
    rows
        Their indices.
    """

    def __init__(self, metric: str, reason: str, rows: np.ndarray) -> None:
        self.metric, self.reason, self.rows = metric, reason, rows
        super().__init__(
            f"{len(rows):,} of the rows are {reason}, and have no {metric} distance "
            f"(the first: {', '.join(str(row) for row in rows[:5])})."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A block of pairs: which rows of the matrix, and where its distances go.

    Attributes
    ----------
    rows, columns
        Rows of the matrix; equal on the diagonal, where the pairs above it are computed only.
    out
        The tile, ``(at least top + rows, at least left + columns)``, C-contiguous.
    top, left
        Where the block begins in it.
    """

    rows: slice
    columns: slice
    out: np.ndarray
    top: int
    left: int

    @property
    def is_diagonal(self) -> bool:
        """Whether it compares rows with themselves."""
        return self.rows == self.columns

    @property
    def block(self) -> np.ndarray:
        """The part of the tile, a view."""
        height, width = self.rows.stop - self.rows.start, self.columns.stop - self.columns.start
        return self.out[self.top : self.top + height, self.left : self.left + width]


class BlockEngine(ABC):
    """Computes the distances of one tile, a block of pairs at a time.

    An instance lives as long as a tile's task.

    Parameters
    ----------
    given
        The matrix, the metric and what is known of them.
    """

    has_pure_operands = True
    """Whether an operand can be used by another tile."""

    def __init__(self, given: DistanceInput) -> None:
        self.given = given
        self._scratch: dict[tuple[int, ...], np.ndarray] = {}

    @abstractmethod
    def operand(self, rows: slice, features: slice) -> Any:
        """Make an operand of a block of rows and a slab of features."""

    def turned(self, operand: Any) -> Any:
        """Make of an operand what `add` wants at the right: once for all that meet it."""
        return operand

    @abstractmethod
    def accumulators(self, height: int, width: int) -> np.ndarray:
        """Make what the partial results of so many pairs are added to."""

    def empty(self, shape: tuple[int, ...], dtype: np.dtype[Any] | type) -> np.ndarray:
        """Make accumulators; blocks that are finished in turn share them, in the cache."""
        if not self.given.is_whole:
            return np.empty(shape, dtype)
        if shape not in self._scratch:
            self._scratch[shape] = np.empty(shape, dtype)
        return self._scratch[shape]

    def zeros(self, shape: tuple[int, ...], dtype: np.dtype[Any] | type) -> np.ndarray:
        """Make accumulators that begin at zero."""
        accumulators = self.empty(shape, dtype)
        accumulators.fill(0)
        return accumulators

    @staticmethod
    def put(distances: np.ndarray, place: Place) -> bool:
        """Write a block to its place; say whether all its distances are finite there."""
        with np.errstate(over="ignore"):  # of the tile's type
            place.block[:] = distances
        block = np.triu(place.block, 1) if place.is_diagonal else place.block
        return bool(np.isfinite(block).all())

    @abstractmethod
    def add(self, left: Any, right: Any, accumulators: np.ndarray, features: slice) -> None:
        """Add what a slab of features tells of a block of pairs; the first begins at 0."""

    @abstractmethod
    def finish(self, accumulators: np.ndarray, place: Place) -> bool:
        """Write the distances to their place; say whether all of them are finite."""
