"""Kernel: order statistics of very many values from counts of their leading bits.

The bits of a floating-point number, with those of negative ones inverted, order as the numbers do.
A first pass counts how often each pattern of the 16 leading bits occurs; the next one counts the
16 bits after those, of the few patterns that hold the ranks that are asked for; and so on. Counts
are integers, so nothing depends on how the values were cut. (This is a radix selection whose counts
can be added up; sketches that sample, as KLL does, answer otherwise each time.)

After two passes 32 bits are known: all of float32, and of float64 the value to one part in 2^20.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clustergrid.pipeline._jit import jit

__all__ = ["RANK_ERROR", "Search", "count_bits"]

RANK_ERROR = 1e-4
"""Of what is found, as a share of all values: a bin that holds more different ones is cut again."""

_DIGIT = 16
_BINS = 2**_DIGIT
_LEAST_DIGITS = 2


@jit
def _count(
    bits: np.ndarray,
    width: int,
    infinity: int,
    shift: int,
    prefixes: np.ndarray,
    counts: np.ndarray,
    least: np.ndarray,
    greatest: np.ndarray,
) -> None:
    sign = np.uint64(1) << np.uint64(width - 1)
    ones = (sign - np.uint64(1)) | sign
    mask, down, digit = np.uint64(infinity), np.uint64(shift), np.uint64(_DIGIT)
    for position in range(bits.shape[0]):
        value = np.uint64(bits[position])
        if value & mask == mask:
            continue  # NaN, or infinite
        if value == sign:
            value = np.uint64(0)  # -0 is 0
        key = (value ^ ones) if value & sign else (value | sign)
        leading = key >> down
        prefix = leading >> digit
        for which in range(prefixes.shape[0]):
            if prefix == prefixes[which]:
                place = leading & np.uint64(_BINS - 1)
                counts[which, place] += 1
                least[which, place] = min(least[which, place], key)
                greatest[which, place] = max(greatest[which, place], key)


def count_bits(
    values: np.ndarray, digits: int, prefixes: np.ndarray, into: tuple[np.ndarray, ...] = ()
) -> tuple[np.ndarray, ...]:
    """Count the values of each pattern of 16 bits that follow some leading ones.

    Parameters
    ----------
    values
        Any shape, float32 or float64.
    digits
        How many times 16 bits lead.
    prefixes
        ``(m,)`` uint64: these bits; of values with others nothing is counted.
    into
        What is counted already; it is written to.

    Returns
    -------
    counts, least, greatest
        ``(m, 65536)`` int64, uint64 and uint64: how many values there are, and the least and the
        greatest of them, as `Search` reads it.
    """
    width = 8 * values.dtype.itemsize
    bits = np.ascontiguousarray(values).reshape(-1).view(f"u{values.dtype.itemsize}")
    infinity = int(np.array(np.inf, values.dtype).view(bits.dtype))
    if not into:
        shape = len(prefixes), _BINS
        into = (
            np.zeros(shape, np.int64),
            np.full(shape, np.iinfo(np.uint64).max, np.uint64),
            np.zeros(shape, np.uint64),
        )
    _count(bits, width, infinity, width - _DIGIT * (digits + 1), prefixes, *into)
    return into


@dataclass
class Search:
    """Values of some ranks, found pass by pass; the counts of each are its `prefixes`'.

    Parameters
    ----------
    shares
        Quantiles that are asked for, as `numpy.quantile` has them.
    dtype
        Of the values: float32 or float64.

    Examples
    --------
    >>> values = np.arange(1001.0)
    >>> search = Search((0.02, 0.98), values.dtype)
    >>> while not search.is_finished:
    ...     search.take(*count_bits(values, search.digits, search.prefixes))
    >>> search.quantiles, search.digits
    ([20.0, 980.0], 2)
    """

    shares: tuple[float, ...]
    dtype: np.dtype[np.floating]
    digits: int = 0
    total: int = 0
    is_finished: bool = False

    def __post_init__(self) -> None:
        self.prefixes = np.zeros(1, np.uint64)
        self._ranks = np.empty(0, np.int64)
        self._before = np.zeros(1, np.int64)
        self._values = np.empty(0)

    def take(self, counts: np.ndarray, least: np.ndarray, greatest: np.ndarray) -> None:
        """Take what a pass has counted after the `prefixes`, and choose those of the next one."""
        if not self.digits:
            self.total = int(counts.sum())
            self.is_finished = not self.total
            below = [int(share * (self.total - 1)) for share in self.shares]
            self._ranks = np.minimum([(b, b + 1) for b in below], max(0, self.total - 1)).ravel()
            self._of_rank = np.zeros(len(self._ranks), np.int64)
        if self.is_finished:
            return
        bins, before, chosen = [], [], []
        for rank, which in zip(self._ranks, self._of_rank, strict=True):
            cumulative = self._before[which] + np.cumsum(counts[which])
            place = int(np.searchsorted(cumulative, rank, side="right"))
            bins.append((int(which), place))
            before.append(int(cumulative[place] - counts[which, place]))
            chosen.append((counts[which, place], least[which, place], greatest[which, place]))
        self.digits += 1
        # A bin of equal values holds one, however many there are.
        widest = max((int(count) for count, low, high in chosen if low != high), default=0)
        last = self.digits * _DIGIT == 8 * self.dtype.itemsize
        if last or (self.digits >= _LEAST_DIGITS and widest <= RANK_ERROR * self.total):
            self._values = np.array(
                [
                    self._value(int(rank) - first, bin_)
                    for rank, first, bin_ in zip(self._ranks, before, chosen, strict=True)
                ]
            )
            self.is_finished = True
            return
        leading = [(int(self.prefixes[which]) << _DIGIT) | place for which, place in bins]
        self.prefixes, first, self._of_rank = np.unique(
            np.array(leading, np.uint64), return_index=True, return_inverse=True
        )
        self._before = np.array(before)[first]

    def _value(self, rank: int, bin_: tuple[int, int, int]) -> float:
        """Value of a rank within a bin, between the least and the greatest that are there."""
        count, low, high = bin_
        ends = [self._number(int(key)) for key in (low, high)]
        share = rank / max(1, int(count) - 1)
        return float(ends[0] + share * (ends[1] - ends[0]))

    def _number(self, key: int) -> float:
        width = 8 * self.dtype.itemsize
        sign = 1 << (width - 1)
        bits = key ^ sign if key & sign else key ^ (2 * sign - 1)
        return float(np.array(bits, f"u{self.dtype.itemsize}").view(self.dtype))

    @property
    def quantiles(self) -> list[float]:
        """What was asked for; NaN where there are no values."""
        if not self.total:
            return [np.nan] * len(self.shares)
        found = []
        for share, (low, high) in zip(self.shares, self._values.reshape(-1, 2), strict=True):
            position = share * (self.total - 1)
            found.append(float(np.quantile([low, high], position - int(position))))
        return found
