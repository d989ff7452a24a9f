"""Kernel: lists of the nearest of a range of rows, to which other rows are offered.

Rows are offered range by range: a product in single precision says of most of them that they are
farther away than the lists reach (``_sieve.py``), and others are compared exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline.hierarchy._neighbors import (
    Neighbors,
    close_lists,
    open_lists,
    open_reach,
)
from clustergrid.pipeline.points._sieve import (
    fill_operands,
    offer_negative,
    share_of_roundings,
)
from clustergrid.storage.grid import round_up, slabs

__all__ = ["COLUMNS", "LEAF", "TOGETHER", "Listing", "StripLists"]

LEAF = 256
"""Rows of a product."""

COLUMNS = 512
"""Of one product with a leaf: with its operands it stays in a second-level cache."""

TOGETHER = 64
"""Products that are looked at together, and columns of the first ones."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Listing:
    """What lists are of.

    Attributes
    ----------
    order
        ``(n,)``: the point of each row.
    sizes
        ``(n,)``: observations that each point stands for.
    scale
        Power of two that brings rows near length one, about their mean.
    form, method
        How distances follow from squares, and for what: ward's depend on sizes.
    n_neighbors
        K.
    """

    order: NDArray[np.int64]
    sizes: NDArray[np.float64]
    scale: float
    form: int
    method: int
    n_neighbors: int


class StripLists:
    """Lists of a range of rows.

    Parameters
    ----------
    listing
        What is listed of all.
    strip, rows
        Which rows, and they themselves, ``(r, k)``.

    Attributes
    ----------
    centre
        The mean of the rows, ``(k,)``: near ones have short operands about it.
    """

    def __init__(
        self,
        listing: Listing,
        strip: slice,
        rows: NDArray[np.float64],
    ) -> None:
        self._listing, self._strip, self._rows = listing, strip, rows
        n, k = rows.shape
        self.centre = rows.mean(axis=0)
        self._share = share_of_roundings(k)
        self._left = np.empty((n, k + 2), np.float32)
        self._right = np.empty((0, k + 2), np.float32)
        self._norms = np.empty(n)
        self._fill(rows, self._left, self._norms, is_left=True)
        self._lists = open_lists(n, listing.n_neighbors)
        self._reach = open_reach(n, np.dtype(np.float64))
        self._scratch = np.empty(LEAF * COLUMNS, np.float32)

    def _fill(
        self,
        rows: NDArray[np.float64],
        operands: NDArray[np.float32],
        norms: NDArray[np.float64],
        *,
        is_left: bool,
    ) -> None:
        scale = self._listing.scale
        fill_operands(rows, self.centre, scale, self._share, is_left, operands, norms)

    def offer(
        self,
        others: NDArray[np.float64],
        first: int,
        leaves: list[slice],
        columns_at_once: int,
        *,
        seen: bool = False,
    ) -> None:
        """Offer some rows to the lists of some leaves.

        Parameters
        ----------
        others, first
            The rows, and where they begin among all.
        leaves
            Ranges of lists, no longer than a leaf.
        columns_at_once
            How many rows are offered together.
        seen
            Whether the rows of each leaf were offered to it already.
        """
        width = len(others)
        if width > len(self._right):
            self._right = np.empty((width, self._right.shape[1]), np.float32)
        self._fill(others, self._right, np.empty(width), is_left=False)
        given, strip = self._listing, self._strip
        own, them = given.order[strip], given.order[first : first + width]
        for columns in slabs(width, columns_at_once):
            n_columns = columns.stop - columns.start
            padded = round_up(n_columns, TOGETHER)
            for leaf in leaves:
                n_rows = leaf.stop - leaf.start
                products = self._scratch[: n_rows * padded].reshape(n_rows, padded)
                np.matmul(self._left[leaf], self._right[columns].T, out=products[:, :n_columns])
                offer_negative(
                    products.view(np.int64),
                    n_columns,
                    self._left,
                    self._norms,
                    given.scale,
                    self._share,
                    self._rows[leaf],
                    others[columns],
                    own[leaf],
                    them[columns],
                    given.sizes,
                    leaf.start,
                    strip.start + leaf.start - first - columns.start,
                    n_rows if seen else 0,
                    given.form,
                    given.method,
                    given.n_neighbors,
                    self._lists,
                    self._reach,
                )

    def closed(self) -> Neighbors:
        """Return the lists of the K nearest, with room for no more."""
        lists, n_neighbors = self._lists, self._listing.n_neighbors
        close_lists(lists, n_neighbors, len(self._listing.order) - 1, 0, len(lists.counts))
        return lists._replace(
            ids=lists.ids[:, :n_neighbors].copy(),
            bounds=lists.bounds[:, :n_neighbors].copy(),
            exact=lists.exact[:, :0],
        )
