"""Kernel: metrics of truth values, from counts of bits.

Sixty-four features of a row are the bits of one word, and the features that are true in both of
two rows are the ones of ``left & right``. With the ones of each row and the number of features
that is all that any of these metrics needs, so each is a `finish` of the same counts::

    values (b, k) ──pack──▶ bits (b, words) ┐
                                            ├─count_common─▶ common (bi, bj) ──finish──▶ distances
    values (b, k) ──pack──▶ bits (b, words) ┘    ▲ one call a block of features

Counts are whole numbers, exact in any order; from there on the arithmetic is SciPy's, so the
distances are SciPy's to the bit.
"""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType

import numpy as np

from clustergrid.pipeline._jit import inline, jit

__all__ = ["COUNTS", "WORD_FEATURES", "Finish", "count_common", "count_ones", "pack"]

WORD_FEATURES = 64
"""Features of a word. Blocks of features are multiples of it, except for the last."""

Finish = Callable[[np.ndarray, np.ndarray, np.ndarray, float, np.ndarray], None]
"""``finish(common, left_ones, right_ones, n_features, out)``.

``(bi, bj)``, ``(bi,)`` and ``(bj,)`` counts, of which `out`, ``(bi, bj)`` float64 or float32, gets
distances. Where SciPy divides zero by zero there is a NaN.
"""

Distance = Callable[[float, float, float, float], float]

# Words of the right rows, 16 KB, stay in the first-level cache while all left rows pass by.
_WORDS_AT_ONCE = 8
_PANEL_PAIRS = 256


def pack(values: np.ndarray) -> np.ndarray:
    """Pack truth values into words; what is not zero is true, NaN included, as in SciPy.

    Parameters
    ----------
    values
        ``(b, k)`` of numbers or bools.

    Returns
    -------
    numpy.ndarray
        ``(b, ceil(k / 64))`` uint64. Bits beyond `k` are zero. Packed blocks of features may be
        concatenated if all but the last have a multiple of 64.

    Examples
    --------
    >>> pack(np.array([[1.0, 0.0, -2.5], [0.0, 0.0, 0.0]])).tolist()
    [[5], [0]]
    """
    truth = values.astype(np.bool_, copy=False)
    words = -(-values.shape[1] // WORD_FEATURES)
    packed = np.zeros((values.shape[0], words * 8), dtype=np.uint8)
    eights = np.packbits(truth, axis=1, bitorder="little")
    packed[:, : eights.shape[1]] = eights
    return packed.view("<u8").astype(np.uint64, copy=False)


@inline
def _ones(word: np.uint64) -> np.int64:  # pragma: no cover - compiled
    """Count the ones of a word.

    LLVM knows these lines and makes one instruction of them, or vectors of it, where there is one:
    Warren, Hacker's Delight, figure 5-2.
    """
    pairs = word - ((word >> np.uint64(1)) & np.uint64(0x5555555555555555))
    fours = (pairs & np.uint64(0x3333333333333333)) + (
        (pairs >> np.uint64(2)) & np.uint64(0x3333333333333333)
    )
    eights = (fours + (fours >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((eights * np.uint64(0x0101010101010101)) >> np.uint64(56))


@jit
def count_ones(bits: np.ndarray) -> np.ndarray:  # pragma: no cover - compiled
    """Count the ones of every row: ``(b, words)`` uint64 to ``(b,)`` int64."""
    counts = np.zeros(bits.shape[0], dtype=np.int64)
    for i in range(bits.shape[0]):
        for word in range(bits.shape[1]):
            counts[i] += _ones(bits[i, word])
    return counts


@jit
def count_common(
    left: np.ndarray, right: np.ndarray, counts: np.ndarray
) -> None:  # pragma: no cover - compiled
    """Add the ones that rows have in common.

    Parameters
    ----------
    left, right
        ``(bi, words)`` and ``(bj, words)`` uint64, C-contiguous.
    counts
        ``(bi, bj)`` int64 or int32, added to.
    """
    n_left, words = left.shape
    n_right = right.shape[0]
    panel = np.zeros((_WORDS_AT_ONCE, _PANEL_PAIRS), dtype=np.uint64)
    sums = np.zeros(_PANEL_PAIRS, dtype=np.int64)
    for near in range(0, n_right, _PANEL_PAIRS):
        width = min(_PANEL_PAIRS, n_right - near)
        for first in range(0, words, _WORDS_AT_ONCE):
            for word in range(_WORDS_AT_ONCE):
                for j in range(width):
                    inside = first + word < words
                    panel[word, j] = right[near + j, first + word] if inside else np.uint64(0)
            for i in range(n_left):
                x0 = left[i, first]
                x1 = left[i, first + 1] if first + 1 < words else np.uint64(0)
                x2 = left[i, first + 2] if first + 2 < words else np.uint64(0)
                x3 = left[i, first + 3] if first + 3 < words else np.uint64(0)
                x4 = left[i, first + 4] if first + 4 < words else np.uint64(0)
                x5 = left[i, first + 5] if first + 5 < words else np.uint64(0)
                x6 = left[i, first + 6] if first + 6 < words else np.uint64(0)
                x7 = left[i, first + 7] if first + 7 < words else np.uint64(0)
                for j in range(_PANEL_PAIRS):
                    ones = _ones(x0 & panel[0, j]) + _ones(x1 & panel[1, j])
                    ones += _ones(x2 & panel[2, j]) + _ones(x3 & panel[3, j])
                    ones += _ones(x4 & panel[4, j]) + _ones(x5 & panel[5, j])
                    ones += _ones(x6 & panel[6, j]) + _ones(x7 & panel[7, j])
                    sums[j] = ones
                row = counts[i]
                for j in range(width):
                    row[near + j] += sums[j]


@inline
def _dice(
    both: float, left_only: float, right_only: float, n: float
) -> float:  # pragma: no cover - compiled
    different = left_only + right_only
    return different / (2.0 * both + different)


@inline
def _hamming(
    both: float, left_only: float, right_only: float, n: float
) -> float:  # pragma: no cover - compiled
    return (left_only + right_only) / n


@inline
def _jaccard(
    both: float, left_only: float, right_only: float, n: float
) -> float:  # pragma: no cover - compiled
    different = left_only + right_only
    either = both + different
    return different / (either + (1.0 if either == 0.0 else 0.0))


@inline
def _rogerstanimoto(
    both: float, left_only: float, right_only: float, n: float
) -> float:  # pragma: no cover - compiled
    different = left_only + right_only
    return (2.0 * different) / (n + different)


@inline
def _russellrao(
    both: float, left_only: float, right_only: float, n: float
) -> float:  # pragma: no cover - compiled
    return (n - both) / n


@inline
def _sokalsneath(
    both: float, left_only: float, right_only: float, n: float
) -> float:  # pragma: no cover - compiled
    twice = 2.0 * (left_only + right_only)
    return twice / (twice + both)


@inline
def _yule(
    both: float, left_only: float, right_only: float, n: float
) -> float:  # pragma: no cover - compiled
    neither = n - (both + left_only + right_only)
    half = left_only * right_only
    return (2.0 * half) / (both * neither + half + (1.0 if half == 0.0 else 0.0))


_distance: Distance = _hamming
"""The metric of the loop below, which is compiled once for each metric."""


def _finish(
    common: np.ndarray,
    left_ones: np.ndarray,
    right_ones: np.ndarray,
    n_features: float,
    out: np.ndarray,
) -> None:  # pragma: no cover - compiled
    """Make distances of counts."""
    n = float(n_features)
    for i in range(common.shape[0]):
        left = float(left_ones[i])
        row, distances = common[i], out[i]
        for j in range(common.shape[1]):
            both = float(row[j])
            distances[j] = _distance(both, left - both, float(right_ones[j]) - both, n)


def _finish_with(distance: Distance) -> Finish:
    """Compile `_finish` for one metric: a copy of its code, to which `_distance` means that one."""
    name = f"_finish{distance.__name__}"
    function = FunctionType(_finish.__code__, {**globals(), "_distance": distance}, name)
    function.__qualname__ = name
    return jit(function)


COUNTS: dict[str, Finish] = {
    "dice": _finish_with(_dice),
    "hamming": _finish_with(_hamming),
    "jaccard": _finish_with(_jaccard),
    "rogerstanimoto": _finish_with(_rogerstanimoto),
    "russellrao": _finish_with(_russellrao),
    "sokalsneath": _finish_with(_sokalsneath),
    "yule": _finish_with(_yule),
}
"""How distances are made of counts, by SciPy's names of the metrics."""
