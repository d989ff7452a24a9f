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
]

_FEATURES = 64
"""Features at a time: with the pairs' sums they stay in a processor's cache."""

_CANCELLED = 1e-5
"""Share of its terms below which a difference of sums is computed anew; times the root of n."""


@jit
def add_squared_differences(
    left: np.ndarray, right: np.ndarray, accumulators: np.ndarray
) -> None:  # pragma: no cover - compiled
    """Add 1 and ``(left[i] - right[:, j]) ** 2`` over common features."""
    present = np.empty(_FEATURES, dtype=np.int64)
    for start in range(0, left.shape[1], _FEATURES):
        stop = min(start + _FEATURES, left.shape[1])
        for i in range(left.shape[0]):
            counts = accumulators[0, i]
            squares = accumulators[1, i]
            n = _present_features(left[i], start, stop, present)
            for p in range(n):
                x = left[i, present[p]]
                y = right[present[p]]
                for j in range(y.shape[0]):
                    difference = x - y[j]
                    squared = difference * difference
                    common = squared == squared
                    squares[j] = squares[j] + squared if common else squares[j]
                    counts[j] = counts[j] + 1.0 if common else counts[j]


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
def add_moments(
    left: np.ndarray, right: np.ndarray, accumulators: np.ndarray
) -> None:  # pragma: no cover - compiled
    """Add 1, x, y, x * x, y * y and x * y over common features."""
    present = np.empty(_FEATURES, dtype=np.int64)
    for start in range(0, left.shape[1], _FEATURES):
        stop = min(start + _FEATURES, left.shape[1])
        for i in range(left.shape[0]):
            n = accumulators[0, i]
            sx, sy = accumulators[1, i], accumulators[2, i]
            sxx, syy, sxy = accumulators[3, i], accumulators[4, i], accumulators[5, i]
            m = _present_features(left[i], start, stop, present)
            for p in range(m):
                x = left[i, present[p]]
                xx = x * x
                feature = right[present[p]]
                for j in range(feature.shape[0]):
                    y = feature[j]
                    common = y == y
                    n[j] = n[j] + 1.0 if common else n[j]
                    sx[j] = sx[j] + x if common else sx[j]
                    sy[j] = sy[j] + y if common else sy[j]
                    sxx[j] = sxx[j] + xx if common else sxx[j]
                    syy[j] = syy[j] + y * y if common else syy[j]
                    sxy[j] = sxy[j] + x * y if common else sxy[j]


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


# What a flagged pair is computed from. Values are taken relative to the first common ones, which
# lie among the others, so that little cancels; equal rows are then treated equally to the bit.
_N, _X0, _Y0, _SX, _SY, _SXX, _SYY = 0, 1, 2, 3, 4, 5, 6
# Of the centred a and b: sums, squares; of their difference w: sum, squares, products with a + b;
# the same for the difference of a and b brought to length one.
_SA, _SB, _SAA, _SBB, _SW, _SWW, _SWE, _SG, _SGG, _SGE = 7, 8, 9, 10, 11, 12, 13, 14, 15, 16
N_STATE = 17


@jit
def add_shifted_moments(
    left: np.ndarray, right: np.ndarray, pairs: np.ndarray, state: np.ndarray
) -> None:  # pragma: no cover - compiled
    """First pass over flagged pairs: means and variances relative to the first common values."""
    for p in range(pairs.shape[0]):
        row, other = left[pairs[p, 0]], right[pairs[p, 1]]
        n, x0, y0, sx, sy, sxx, syy = state[p, :_SA]
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
        state[p, _N] = n
        state[p, _X0] = x0
        state[p, _Y0] = y0
        state[p, _SX] = sx
        state[p, _SY] = sy
        state[p, _SXX] = sxx
        state[p, _SYY] = syy


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
        n, x0, y0, sx, sy, sxx, syy = state[p, :_SA]
        sa, sb, saa, sbb, sw, sww, swe, sg, sgg, sge = state[p, _SA:]
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
        state[p, _SA:] = np.array([sa, sb, saa, sbb, sw, sww, swe, sg, sgg, sge])


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
