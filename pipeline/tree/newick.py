"""Driver: a tree as Newick text, which every program for trees reads.

The text is made leaf by leaf, from left to right: the subtrees that begin at a leaf, the leaf, and
the subtrees that end with it. Nothing is nested in the program, however deep the tree.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clustergrid.pipeline.tree._places import loop, places
from clustergrid.pipeline.tree.validity import check_linkage
from clustergrid.storage.errors import DataValueError

__all__ = ["newick_parts", "to_newick", "write_newick"]

_LEAVES_AT_ONCE = 10_000
_NEEDS_NO_QUOTES = re.compile(r"(?:[^\W_]|[.-])+")


def to_newick(Z: ArrayLike, labels: Sequence[Any] | NDArray[Any] | None = None) -> str:
    """Return a tree as Newick text.

    Parameters
    ----------
    Z
        ``(n - 1, 4)``: linkage matrix of n leaves.
    labels
        Of the leaves, n of them; their numbers by default. A label that holds anything but letters,
        digits, dots and hyphens is quoted, with its quotes doubled. So are underscores, which
        readers take for blanks elsewhere.

    Returns
    -------
    str
        In the leaf order, with the lengths of branches: the height of the merge above less that of
        the merge below, 0 of a leaf. A leaf is as far from the root as the root is high; two leaves
        are twice their cophenetic distance apart. Where heights invert (centroid, median) a length
        is negative, which some programs refuse. Numbers are the shortest that give the same bits.

    Raises
    ------
    DataValueError
        It is no linkage matrix, or there are not n labels.

    Examples
    --------
    >>> to_newick([[0, 1, 1.0, 2], [2, 3, 2.5, 3]], ["TP53", "a (b)", "c's"])
    "('c''s':2.5,(TP53:1.0,'a (b)':1.0):1.5);"
    """
    return "".join(newick_parts(Z, labels))


def write_newick(
    Z: ArrayLike,
    file: str | os.PathLike[str] | TextIO,
    labels: Sequence[Any] | NDArray[Any] | None = None,
) -> None:
    """Write a tree as Newick text and a line feed, some ten thousand leaves at a time.

    Parameters
    ----------
    Z, labels
        As for `to_newick`.
    file
        A path, where the text appears when it is whole, in UTF-8; or a file open for text.

    Raises
    ------
    DataValueError
        As for `to_newick`.
    OSError
        The path cannot be written.
    """
    parts = newick_parts(Z, labels)
    if not isinstance(file, str | os.PathLike):
        file.writelines(parts)
        file.write("\n")
        return
    path = Path(file)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("w", encoding="utf-8", newline="\n") as opened:
            opened.writelines(parts)
            opened.write("\n")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def newick_parts(Z: ArrayLike, labels: Sequence[Any] | NDArray[Any] | None = None) -> Iterator[str]:
    """Check a tree and its labels, and return its Newick text in parts.

    Parameters
    ----------
    Z, labels
        As for `to_newick`.
    """
    linkage = check_linkage(Z)
    n = len(linkage) + 1
    if labels is not None and len(labels) != n:
        raise DataValueError(f"the tree has {n} leaves, got {len(labels)} labels")
    return _parts(linkage, labels)


def _parts(
    linkage: NDArray[np.float64], labels: Sequence[Any] | NDArray[Any] | None
) -> Iterator[str]:
    n = len(linkage) + 1
    start, size = loop(places, n)(linkage)
    order = np.empty(n, np.int64)
    order[start[:n]] = np.arange(n)
    heights = np.concatenate([np.zeros(n), linkage[:, 2]])
    lengths = np.zeros(2 * n - 1)
    for child in linkage[:, :2].astype(np.int64).T:
        lengths[child] = linkage[:, 2] - heights[child]
    # Merges from left to right by their last leaf, those below first; the root has no branch.
    n_begin = np.bincount(start[n:], minlength=n)
    end = (start + size - 1)[n:-1]
    closing = n + np.argsort(end, kind="stable")
    closed = np.cumsum(np.bincount(end, minlength=n))
    for first in range(0, n, _LEAVES_AT_ONCE):
        leaves = order[first : first + _LEAVES_AT_ONCE]
        stops = closed[first : first + len(leaves)].tolist()
        at = int(closed[first - 1]) if first else 0
        ends = [f"):{length!r}" for length in lengths[closing[at : stops[-1]]].tolist()]
        begins = n_begin[first : first + len(leaves)].tolist()
        names = [_quoted(str(leaf if labels is None else labels[leaf])) for leaf in leaves.tolist()]
        pieces: list[str] = []
        done = at
        for begin, name, length, stop in zip(
            begins, names, lengths[leaves].tolist(), stops, strict=True
        ):
            pieces.append(f"{'(' * begin}{name}:{length!r}")
            pieces += ends[done - at : stop - at]
            pieces.append(",")
            done = stop
        if first + len(leaves) == n:
            pieces[-1] = ");"
        yield "".join(pieces)


def _quoted(label: str) -> str:
    if _NEEDS_NO_QUOTES.fullmatch(label):
        return label
    doubled = label.replace("'", "''")
    return f"'{doubled}'"
