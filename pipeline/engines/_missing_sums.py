"""Kernel: the sums over common features behind `_missing`, and what they become.

The loops run along the second index of a transposed operand, where neighbouring pairs share a
vector register, and add the features of a pair one after another.
"""

from __future__ import annotations

import math

import numpy as np

from clustergrid.pipeline._jit import jit

__all__ = [
    "N_STATE",
    "add_differences",
    "add_moments",
    "add_shifted_moments",
    "add_squared_differences",
    "finish_correlation",
    "finish_differences",
    "finish_euclidean",
    "present_bits",
]

_FEATURES = 64
"""Features at a time: with the pairs' sums they stay in a processor's cache."""

_PAIRS = 128
"""Neighbouring pairs at a time, for the same reason."""

_CANCELLED = 1e-5
"""Share of its terms below which a difference of sums is computed anew; times the root of n."""


def add_squared_differences(left: np.ndarray, right: np.ndarray, accumulators: np.ndarray) -> None:
    """Add 1 and ``(left[i] - right[:, j]) ** 2`` over common features."""
    _add_overlaps(present_bits(left), present_bits(right.T), accumulators[0])
    _add_squares(left, right, accumulators[1])


def add_moments(left: np.ndarray, right: np.ndarray, accumulators: np.ndarray) -> None:
    """Add 1, x, y, x * x, y * y and x * y over common features.

    The sums of x and of x * x depend on the other row only by what it misses. Those of the left
    rows are those of the right rows with sides changed, so they are added to transposed views.
    """
    left_bits, right_bits = present_bits(left), present_bits(right.T)
    _add_overlaps(left_bits, right_bits, accumulators[0])
    for total, power in ((1, 1), (3, 2)):
        _add_powers(left, right_bits, power, accumulators[total].T)
        _add_powers(right.T, left_bits, power, accumulators[total + 1])
    _add_products(left, right, accumulators[5])


def present_bits(values: np.ndarray) -> np.ndarray:
    """One bit for each value of ``(b, k)`` that is not missing: ``(b, ceil(k / 64))`` int64."""
    b, k = values.shape
    whole = np.zeros((b, -(-k // _FEATURES) * _FEATURES), dtype=np.bool_)
    whole[:, :k] = values == values
    packed: np.ndarray = np.packbits(whole, axis=1, bitorder="little").view("<i8")
    return packed.astype(np.int64, copy=False)


@jit
def _add_squares(
    left: np.ndarray, right: np.ndarray, sums: np.ndarray
) -> None:  # pragma: no cover - compiled
    """Add ``(left[i] - right[:, j]) ** 2`` over common features."""
    present = np.empty(_FEATURES, dtype=np.int64)
    for start in range(0, left.shape[1], _FEATURES):
        stop = min(start + _FEATURES, left.shape[1])
        for i in range(left.shape[0]):
            row = sums[i]
            n = _present_features(left[i], start, stop, present)
            whole = n - n % 4
            for p in range(0, whole, 4):
                f, g, h, o = present[p], present[p + 1], present[p + 2], present[p + 3]
                x0, x1, x2, x3 = left[i, f], left[i, g], left[i, h], left[i, o]
                y0, y1, y2, y3 = right[f], right[g], right[h], right[o]
                for j in range(row.shape[0]):
                    total = row[j]
                    d0, d1, d2, d3 = x0 - y0[j], x1 - y1[j], x2 - y2[j], x3 - y3[j]
                    q0, q1, q2, q3 = d0 * d0, d1 * d1, d2 * d2, d3 * d3
                    total = total + q0 if q0 == q0 else total
                    total = total + q1 if q1 == q1 else total
                    total = total + q2 if q2 == q2 else total
                    total = total + q3 if q3 == q3 else total
                    row[j] = total
            for p in range(whole, n):
                x0 = left[i, present[p]]
                y0 = right[present[p]]
                for j in range(row.shape[0]):
                    d0 = x0 - y0[j]
                    q0 = d0 * d0
                    row[j] = row[j] + q0 if q0 == q0 else row[j]


@jit
def _present_features(
    row: np.ndarray, start: int, stop: int, present: np.ndarray
) -> int:  # pragma: no cover - compiled
    """List the features of a range that a row has; return how many they are."""
    n = 0
    for f in range(start, stop):
        present[n] = f
        if row[f] == row[f]:
            n += 1
    return n


@jit
def _add_overlaps(
    left_bits: np.ndarray, right_bits: np.ndarray, overlaps: np.ndarray
) -> None:  # pragma: no cover - compiled
    """Add the number of bits that both have (Warren, Hacker's Delight, section 5-1)."""
    transposed = right_bits.T.copy()
    for i in range(left_bits.shape[0]):
        row = overlaps[i]
        for word in range(left_bits.shape[1]):
            bits, others = left_bits[i, word], transposed[word]
            for j in range(others.shape[0]):
                common = bits & others[j]
                common -= (common >> 1) & 0x5555555555555555
                common = (common & 0x3333333333333333) + ((common >> 2) & 0x3333333333333333)
                common = (common + (common >> 4)) & 0x0F0F0F0F0F0F0F0F
                row[j] += (common * 0x0101010101010101) >> 56


@jit
def finish_euclidean(
    accumulators: np.ndarray,
    n_features: int,
    min_periods: int,
    out: np.ndarray,
    flagged: np.ndarray,
) -> None:  # pragma: no cover - compiled
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            n = accumulators[0, i, j]
            out[i, j] = np.sqrt(n_features / n * accumulators[1, i, j])
            if n < max(min_periods, 1):
                out[i, j] = np.nan
            flagged[i, j] = False


@jit
def _add_products(
    left: np.ndarray, right: np.ndarray, sums: np.ndarray
) -> None:  # pragma: no cover - compiled
    """Add ``left[i] * right[:, j]`` over common features.

    What is missing is taken as zero, which changes no sum. Two rows at a time share what is
    loaded of the right operand, of which 16 KB are in use.
    """
    n, k = left.shape
    rows, part = np.empty((n, _FEATURES)), np.empty((16, _PAIRS))
    chunk = np.empty((n, _PAIRS))
    for near in range(0, right.shape[1], _PAIRS):
        width = min(_PAIRS, right.shape[1] - near)
        chunk[:] = 0.0
        for start in range(0, k, _FEATURES):
            features = min(_FEATURES, k - start)
            _copy_present(left[:, start : start + features], rows)
            for first in range(0, features, 16):
                _copy_present(
                    right[start + first : start + min(first + 16, features), near : near + width],
                    part,
                )
                _add_panel(rows, first, part, chunk)
        for i in range(n):
            for j in range(width):
                sums[i, near + j] += chunk[i, j]


@jit
def _add_panel(
    left: np.ndarray, first: int, right: np.ndarray, sums: np.ndarray
) -> None:  # pragma: no cover - compiled
    """Add the products of 16 features, from the `first` of `left` and from 0 of `right`."""
    n = left.shape[0]
    for i in range(0, n, 2):
        # Of an odd number of rows the last is its own neighbour, and written twice.
        o = min(i + 1, n - 1)
        row, other, x, z = sums[i], sums[o], left[i, first:], left[o, first:]
        for f in range(0, 16, 4):
            p0, q0, r0, s0 = x[f], x[f + 1], x[f + 2], x[f + 3]
            p1, q1, r1, s1 = z[f], z[f + 1], z[f + 2], z[f + 3]
            a, b, c, d = right[f], right[f + 1], right[f + 2], right[f + 3]
            for j in range(row.shape[0]):
                total = row[j] + p0 * a[j] + q0 * b[j] + r0 * c[j] + s0 * d[j]
                more = other[j] + p1 * a[j] + q1 * b[j] + r1 * c[j] + s1 * d[j]
                row[j] = total
                other[j] = more


@jit
def _copy_present(values: np.ndarray, out: np.ndarray) -> None:  # pragma: no cover - compiled
    """Copy a block; what is missing, and the rest of `out`, is zero."""
    out[:] = 0.0
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            value = values[i, j]
            out[i, j] = value if value == value else 0.0


@jit
def _add_powers(
    values: np.ndarray, bits: np.ndarray, power: int, out: np.ndarray
) -> None:  # pragma: no cover - compiled
    """Add to ``out[i, j]`` the ``values[j] ** power`` of features whose bit ``bits[i]`` has.

    Of every four features there are 16 sums of subsets, made once for all i: each pair takes the
    one that it needs, and adds once instead of four times. What is missing is taken as zero.
    """
    n, k = bits.shape[0], values.shape[1]
    part, subsets = np.empty((16, _PAIRS)), np.empty((4, 16, _PAIRS))
    sums = np.empty((n, _PAIRS))
    for near in range(0, values.shape[0], _PAIRS):
        width = min(_PAIRS, values.shape[0] - near)
        sums[:] = 0.0
        for start in range(0, k, 16):
            _load_powers(values[near : near + width, start : start + 16], power, part)
            for group in range(4):
                _fill_subsets(part[4 * group : 4 * group + 4], subsets[group])
            for i in range(n):
                row, chosen = sums[i], bits[i, start // 64] >> (start % 64)
                a, b = subsets[0, chosen & 15], subsets[1, (chosen >> 4) & 15]
                c, d = subsets[2, (chosen >> 8) & 15], subsets[3, (chosen >> 12) & 15]
                for j in range(_PAIRS):
                    row[j] = row[j] + a[j] + b[j] + c[j] + d[j]
        for first in range(0, n, 8):
            for j in range(width):
                for i in range(first, min(first + 8, n)):
                    out[i, near + j] += sums[i, j]


@jit
def _load_powers(
    values: np.ndarray, power: int, out: np.ndarray
) -> None:  # pragma: no cover - compiled
    """Transpose a few rows, a cache line at a time."""
    out[:] = 0.0
    for near in range(0, values.shape[0], 8):
        for f in range(values.shape[1]):
            for j in range(near, min(near + 8, values.shape[0])):
                value = values[j, f]
                if value == value:
                    out[f, j] = value if power == 1 else value * value


@jit
def _fill_subsets(values: np.ndarray, subsets: np.ndarray) -> None:  # pragma: no cover - compiled
    """Sum every subset of four features; a feature is a bit of the subset's number."""
    subsets[0] = 0.0
    for feature in range(4):
        half = 1 << feature
        for subset in range(half):
            for j in range(values.shape[1]):
                subsets[half + subset, j] = subsets[subset, j] + values[feature, j]


@jit
def finish_correlation(
    accumulators: np.ndarray,
    n_features: int,
    min_periods: int,
    out: np.ndarray,
    flagged: np.ndarray,
) -> None:  # pragma: no cover - compiled
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            n = accumulators[0, i, j]
            sx, sy = accumulators[1, i, j], accumulators[2, i, j]
            sxx, syy = accumulators[3, i, j], accumulators[4, i, j]
            vxx = sxx - sx * sx / n
            vyy = syy - sy * sy / n
            vxy = accumulators[5, i, j] - sx * sy / n
            distance = 1.0 - vxy / (np.sqrt(vxx) * np.sqrt(vyy))
            # What is left of each sum, and of one, says how many digits are left.
            left = distance * min(vxx / sxx, vyy / syy)
            enough = n >= max(min_periods, 1)
            flagged[i, j] = enough and not left > _CANCELLED * np.sqrt(n)
            out[i, j] = min(max(distance, 0.0), 2.0) if enough else np.nan


# What a flagged pair is computed from. First n, x0, y0 and the sums of x - x0, y - y0 and of their
# squares: relative to the first common values, which lie among the others, so that little cancels
# and equal rows are treated equally to the bit. Then, of the centred a and b, sums and squares; of
# their difference w: sum, squares, products with a + b; the same of a and b brought to length one.
_MEANS, N_STATE = 7, 17


@jit
def add_shifted_moments(
    left: np.ndarray, right: np.ndarray, pairs: np.ndarray, state: np.ndarray
) -> None:  # pragma: no cover - compiled
    """First pass over flagged pairs: means and variances relative to the first common values."""
    for p in range(pairs.shape[0]):
        row, other = left[pairs[p, 0]], right[pairs[p, 1]]
        n, x0, y0, sx, sy, sxx, syy = state[p, :_MEANS]
        for f in range(row.shape[0]):
            x, y = row[f], other[f]
            if x == x and y == y:
                if n == 0.0:
                    x0, y0 = x, y
                n += 1.0
                dx, dy = x - x0, y - y0
                sx += dx
                sy += dy
                sxx += dx * dx
                syy += dy * dy
        means = state[p, :_MEANS]
        means[0], means[1], means[2] = n, x0, y0
        means[3], means[4], means[5], means[6] = sx, sy, sxx, syy


@jit
def _length(n: float, s: float, ss: float) -> float:  # pragma: no cover - compiled
    """Root of the sum of squared deviations; at least what the squares allow."""
    length: float = np.sqrt(max(ss - s * s / n, ss / (n + 1.0)))
    return length


@jit
def _factors(x: float, y: float) -> tuple[float, float]:  # pragma: no cover - compiled
    """Powers of two that bring two lengths together; values times them lose nothing."""
    if not (x > 0.0 and y > 0.0):
        return 1.0, 1.0
    if x < y:
        return math.ldexp(1.0, int(np.floor(np.log2(y / x) + 0.5))), 1.0
    return 1.0, math.ldexp(1.0, int(np.floor(np.log2(x / y) + 0.5)))


@jit
def add_differences(
    left: np.ndarray, right: np.ndarray, pairs: np.ndarray, state: np.ndarray
) -> None:  # pragma: no cover - compiled
    """Second pass: differences of the centred rows, as they are and with length one."""
    for p in range(pairs.shape[0]):
        row, other = left[pairs[p, 0]], right[pairs[p, 1]]
        n, x0, y0, sx, sy, sxx, syy = state[p, :_MEANS]
        sa, sb, saa, sbb, sw, sww, swe, sg, sgg, sge = state[p, _MEANS:]
        lx, ly = _length(n, sx, sxx), _length(n, sy, syy)
        fx, fy = _factors(lx, ly)
        to_one_x, to_one_y = 1.0 / (lx * fx), 1.0 / (ly * fy)
        x0, y0, cx, cy = x0 * fx, y0 * fy, sx / n * fx, sy / n * fy
        w0 = (x0 - y0) + (cx - cy)
        for f in range(row.shape[0]):
            x, y = row[f] * fx, other[f] * fy
            if x == x and y == y:
                a, b = (x - x0) - cx, (y - y0) - cy
                w = (x - y) - w0
                sa += a
                sb += b
                saa += a * a
                sbb += b * b
                sw += w
                sww += w * w
                swe += w * (a + b)
                u, v = a * to_one_x, b * to_one_y
                g = u - v
                sg += g
                sgg += g * g
                sge += g * (u + v)
        sums = state[p, _MEANS:]
        sums[0], sums[1], sums[2], sums[3] = sa, sb, saa, sbb
        sums[4], sums[5], sums[6] = sw, sww, swe
        sums[7], sums[8], sums[9] = sg, sgg, sge


@jit
def finish_differences(
    pairs: np.ndarray, state: np.ndarray, out: np.ndarray
) -> None:  # pragma: no cover - compiled
    """Distances of flagged pairs from lengths and differences of their centred rows.

    For vectors a and b, ``1 - cos`` is ``(|a - b|^2 - (|a| - |b|)^2) / (2 |a| |b|)``, and
    ``|a| - |b|`` is ``(a - b)(a + b) / (|a| + |b|)``: no digit is lost where a is near b. Where
    only the lengths differ much, the same is done with both brought to length one.
    """
    for p in range(pairs.shape[0]):
        n, _, _, sx, sy, sxx, syy, sa, sb, saa, sbb, sw, sww, swe, sg, sgg, sge = state[p]
        i, j = pairs[p]
        if not (sxx > 0.0 and syy > 0.0):
            out[i, j] = np.nan
            continue
        la, lb = np.sqrt(saa - sa * sa / n), np.sqrt(sbb - sb * sb / n)
        squared = sww - sw * sw / n
        lengths = (swe - sw * (sa + sb) / n) / (la + lb)
        rest = squared - lengths * lengths
        if rest < 0.5 * squared:
            lx, ly = _length(n, sx, sxx), _length(n, sy, syy)
            fx, fy = _factors(lx, ly)
            to_one_x, to_one_y = 1.0 / (lx * fx), 1.0 / (ly * fy)
            sums = sa * to_one_x + sb * to_one_y
            la *= to_one_x
            lb *= to_one_y
            lengths = (sge - sg * sums / n) / (la + lb)
            rest = (sgg - sg * sg / n) - lengths * lengths
        out[i, j] = min(max(rest / (2.0 * (la * lb)), 0.0), 2.0)
