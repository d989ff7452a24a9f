"""Kernel: every metric of SciPy that is a sum or a maximum over features, as a compiled loop.

A loop adds one block of features to the accumulators of a block of pairs; its `finish` makes
distances of them when all features are in::

    left (bi, k) ───────────┐
    right (k, bj) ──────────┼──loop──▶ accumulators (m, bi, bj) ──finish──▶ accumulators[0]
    weights (k,) ───────────┘     ▲ one call a block of features

The features of a pair are added strictly one after another, and nothing is fused or reassociated,
so a distance is the same to the bit however rows and features were cut; and every term is the same
when its rows change places, so ``d(i, j) == d(j, i)``. Speed comes from neighbouring pairs, which
share a vector register, and from working on several features before an accumulator is put back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

from clustergrid.pipeline._jit import inline, jit, specialized
from clustergrid.pipeline.engines._elementary import divergence, power, split_exponent

__all__ = ["LOOPS", "Finish", "Kernel", "Loop", "minkowski_loop"]

Kernel = Callable[[np.ndarray, np.ndarray, np.ndarray, float, np.ndarray], None]
"""``kernel(left, right, weights, parameter, accumulators)``; see `Loop`."""

Finish = Callable[[np.ndarray, float, float], None]
"""``finish(accumulators, weight_sum, parameter)``; see `Loop`."""

Step = Callable[[float, float, float, float, float], float]

_FEATURES_AT_ONCE = 8
# A panel of the right operand, 4 KB, stays in the first-level cache while all rows pass by, and the
# sums of 512 rows, 256 KB, in the second.
_PANEL_PAIRS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """How one metric adds up.

    Attributes
    ----------
    kernel
        ``kernel(left, right, weights, parameter, accumulators)`` adds a block of features:
        ``(bi, k)``, ``(k, bj)``, ``(k,)`` and ``(n_accumulators, bi, bj)``, float64 and
        C-contiguous. Without weights of the user's they are ones. `parameter` is the ``p`` of
        minkowski, and nothing to the others.
    n_accumulators
        How many sums each pair has; all begin at zero.
    finish
        ``finish(accumulators, weight_sum, parameter)`` leaves distances in ``accumulators[0]``.
    paired
        As `kernel`, of rows and others one to one, with the same bits: ``(k, r)`` both, features
        first, and ``(n_accumulators, 1, r)``.
    """

    kernel: Kernel
    paired: Kernel
    n_accumulators: int = 1
    finish: Finish


@inline
def _squared_difference(
    total: float, x: float, y: float, weight: float, parameter: float
) -> float:  # pragma: no cover - compiled
    difference = x - y
    return total + weight * (difference * difference)


@inline
def _product(
    total: float, x: float, y: float, weight: float, parameter: float
) -> float:  # pragma: no cover - compiled
    return total + weight * (x * y)


@inline
def _absolute_difference(
    total: float, x: float, y: float, weight: float, parameter: float
) -> float:  # pragma: no cover - compiled
    return total + weight * abs(x - y)


@inline
def _absolute_sum(
    total: float, x: float, y: float, weight: float, parameter: float
) -> float:  # pragma: no cover - compiled
    return total + weight * abs(x + y)


@inline
def _largest_difference(
    total: float, x: float, y: float, weight: float, parameter: float
) -> float:  # pragma: no cover - compiled
    difference = abs(x - y) if weight > 0.0 else 0.0
    return difference if difference > total else total


@inline
def _root_difference(
    total: float, x: float, y: float, weight: float, parameter: float
) -> float:  # pragma: no cover - compiled
    root: float = np.sqrt(abs(x - y))
    return total + weight * root


@inline
def _difference_to_three_halves(
    total: float, x: float, y: float, weight: float, parameter: float
) -> float:  # pragma: no cover - compiled
    difference = abs(x - y)
    root: float = np.sqrt(difference)
    return total + weight * (difference * root)


@inline
def _cubed_difference(
    total: float, x: float, y: float, weight: float, parameter: float
) -> float:  # pragma: no cover - compiled
    difference = abs(x - y)
    return total + weight * (difference * difference * difference)


@inline
def _difference_to_four(
    total: float, x: float, y: float, weight: float, parameter: float
) -> float:  # pragma: no cover - compiled
    difference = x - y
    square = difference * difference
    return total + weight * (square * square)


@inline
def _difference_to_power(
    total: float, x: float, y: float, weight: float, parameter: float
) -> float:  # pragma: no cover - compiled
    return total + weight * power(abs(x - y), parameter, split_exponent(parameter))


@inline
def _canberra_term(
    total: float, x: float, y: float, weight: float, parameter: float
) -> float:  # pragma: no cover - compiled
    size = abs(x) + abs(y)
    return total + weight * abs(x - y) / (size + (1.0 if size == 0.0 else 0.0))


@inline
def _divergence_term(
    total: float, x: float, y: float, weight: float, parameter: float
) -> float:  # pragma: no cover - compiled
    return total + weight * divergence(x, y)


@inline
def _differs(
    total: float, x: float, y: float, weight: float, parameter: float
) -> float:  # pragma: no cover - compiled
    return total + (weight if x != y else 0.0)


@inline
def _only_one(
    total: float, x: float, y: float, weight: float, parameter: float
) -> float:  # pragma: no cover - compiled
    return total + (weight if (x != 0.0) != (y != 0.0) else 0.0)


@inline
def _either(
    total: float, x: float, y: float, weight: float, parameter: float
) -> float:  # pragma: no cover - compiled
    return total + (weight if (x != 0.0) | (y != 0.0) else 0.0)


@inline
def _left_only(
    total: float, x: float, y: float, weight: float, parameter: float
) -> float:  # pragma: no cover - compiled
    return total + (weight if x > y else 0.0)


@inline
def _right_only(
    total: float, x: float, y: float, weight: float, parameter: float
) -> float:  # pragma: no cover - compiled
    return total + (weight if x < y else 0.0)


_step: Step = _squared_difference
"""The step of the loops below, which are compiled once for each step."""


def _walk(
    left: np.ndarray,
    right: np.ndarray,
    weights: np.ndarray,
    parameter: float,
    accumulators: np.ndarray,
) -> None:  # pragma: no cover - compiled
    """Take ``sum = _step(sum, x, y, weight, parameter)`` over features, several at once."""
    n_left, k = left.shape
    n_right = right.shape[1]
    whole = k - k % _FEATURES_AT_ONCE
    # Copies, because rows that are a power of two apart would crowd into few lines of a cache.
    panel = np.zeros((_FEATURES_AT_ONCE, _PANEL_PAIRS))
    sums = np.zeros((n_left, _PANEL_PAIRS))
    for near in range(0, n_right, _PANEL_PAIRS):
        width = min(_PANEL_PAIRS, n_right - near)
        for i in range(n_left):
            for j in range(width):
                sums[i, j] = accumulators[0, i, near + j]
        for f in range(0, whole, _FEATURES_AT_ONCE):
            for g in range(_FEATURES_AT_ONCE):
                for j in range(width):
                    panel[g, j] = right[f + g, near + j]
            w0, w1, w2, w3 = weights[f], weights[f + 1], weights[f + 2], weights[f + 3]
            w4, w5, w6, w7 = weights[f + 4], weights[f + 5], weights[f + 6], weights[f + 7]
            for i in range(n_left):
                x0, x1, x2, x3 = left[i, f], left[i, f + 1], left[i, f + 2], left[i, f + 3]
                x4, x5, x6, x7 = left[i, f + 4], left[i, f + 5], left[i, f + 6], left[i, f + 7]
                totals = sums[i]
                for j in range(_PANEL_PAIRS):
                    total = totals[j]
                    total = _step(total, x0, panel[0, j], w0, parameter)
                    total = _step(total, x1, panel[1, j], w1, parameter)
                    total = _step(total, x2, panel[2, j], w2, parameter)
                    total = _step(total, x3, panel[3, j], w3, parameter)
                    total = _step(total, x4, panel[4, j], w4, parameter)
                    total = _step(total, x5, panel[5, j], w5, parameter)
                    total = _step(total, x6, panel[6, j], w6, parameter)
                    total = _step(total, x7, panel[7, j], w7, parameter)
                    totals[j] = total
        for f in range(whole, k):
            for j in range(width):
                panel[0, j] = right[f, near + j]
            for i in range(n_left):
                x, weight, totals = left[i, f], weights[f], sums[i]
                for j in range(_PANEL_PAIRS):
                    totals[j] = _step(totals[j], x, panel[0, j], weight, parameter)
        for i in range(n_left):
            for j in range(width):
                accumulators[0, i, near + j] = sums[i, j]


def _walk_slowly(
    left: np.ndarray,
    right: np.ndarray,
    weights: np.ndarray,
    parameter: float,
    accumulators: np.ndarray,
) -> None:  # pragma: no cover - compiled
    """Do as `_walk` with steps so long that one feature at a time is as good."""
    for i in range(left.shape[0]):
        totals = accumulators[0, i]
        for f in range(left.shape[1]):
            x, y, weight = left[i, f], right[f], weights[f]
            for j in range(right.shape[1]):
                totals[j] = _step(totals[j], x, y[j], weight, parameter)


def _walk_paired(
    left: np.ndarray,
    right: np.ndarray,
    weights: np.ndarray,
    parameter: float,
    accumulators: np.ndarray,
) -> None:  # pragma: no cover - compiled
    """Do as `_walk` for rows and others that lie side by side, ``(k, r)``."""
    totals = accumulators[0, 0]
    for near in range(0, len(totals), _PANEL_PAIRS):
        far = min(near + _PANEL_PAIRS, len(totals))
        for f in range(left.shape[0]):
            weight = weights[f]
            for j in range(near, far):
                totals[j] = _step(totals[j], left[f, j], right[f, j], weight, parameter)


@cache
def _loop(template: Callable[..., None], step: Step) -> Kernel:
    """Compile a loop for a step."""
    return specialized(template, _step=step)


def _loops(*kernels: Kernel) -> Kernel:
    """One kernel for each accumulator."""

    def add_each(
        left: np.ndarray,
        right: np.ndarray,
        weights: np.ndarray,
        parameter: float,
        accumulators: np.ndarray,
    ) -> None:
        for n, kernel in enumerate(kernels):
            kernel(left, right, weights, parameter, accumulators[n : n + 1])

    return add_each


def _leave(accumulators: np.ndarray, weight_sum: float, parameter: float) -> None:
    del accumulators, weight_sum, parameter


def _root(accumulators: np.ndarray, weight_sum: float, parameter: float) -> None:
    del weight_sum, parameter
    np.sqrt(accumulators[0], out=accumulators[0])


@jit
def _take_root(accumulator: np.ndarray, exponent: float) -> None:  # pragma: no cover - compiled
    leading = split_exponent(exponent)
    for i in range(accumulator.shape[0]):
        for j in range(accumulator.shape[1]):
            accumulator[i, j] = power(accumulator[i, j], exponent, leading)


def _root_of_parameter(accumulators: np.ndarray, weight_sum: float, parameter: float) -> None:
    del weight_sum
    _take_root(accumulators[0], 1.0 / parameter)


def _quotient(accumulators: np.ndarray, weight_sum: float, parameter: float) -> None:
    # As SciPy: two rows of zeros have no distance, and opposite rows an infinite one.
    del weight_sum, parameter
    with np.errstate(divide="ignore", invalid="ignore"):
        np.divide(accumulators[0], accumulators[1], out=accumulators[0])


def _quotient_or_zero(accumulators: np.ndarray, weight_sum: float, parameter: float) -> None:
    del weight_sum, parameter
    different, either = accumulators[0], accumulators[1]
    np.divide(different, either, out=different, where=either != 0.0)
    different[either == 0.0] = 0.0


def _share_of_weights(accumulators: np.ndarray, weight_sum: float, parameter: float) -> None:
    del parameter
    with np.errstate(invalid="ignore"):
        np.divide(accumulators[0], weight_sum, out=accumulators[0])


def _root_of_half(accumulators: np.ndarray, weight_sum: float, parameter: float) -> None:
    # Rows that are no distributions are infinitely far from all, as in SciPy.
    del weight_sum, parameter
    divergences = accumulators[0]
    divergences[np.isnan(divergences)] = np.inf
    divergences *= 0.5
    np.sqrt(divergences, out=divergences)


def _dice(accumulators: np.ndarray, weight_sum: float, parameter: float) -> None:
    del weight_sum, parameter
    both, different = accumulators[0], accumulators[1] + accumulators[2]
    with np.errstate(invalid="ignore"):
        np.divide(different, 2.0 * both + different, out=both)


def _jaccard(accumulators: np.ndarray, weight_sum: float, parameter: float) -> None:
    both, different = accumulators[0], accumulators[1] + accumulators[2]
    accumulators[1] = both + different
    accumulators[0] = different
    _quotient_or_zero(accumulators, weight_sum, parameter)


def _hamming(accumulators: np.ndarray, weight_sum: float, parameter: float) -> None:
    np.add(accumulators[1], accumulators[2], out=accumulators[0])
    _share_of_weights(accumulators, weight_sum, parameter)


def _rogerstanimoto(accumulators: np.ndarray, weight_sum: float, parameter: float) -> None:
    del parameter
    different = accumulators[1] + accumulators[2]
    with np.errstate(invalid="ignore"):
        np.divide(2.0 * different, weight_sum + different, out=accumulators[0])


def _russellrao(accumulators: np.ndarray, weight_sum: float, parameter: float) -> None:
    del parameter
    # The weights' sum is rounded otherwise than a part of them, which may therefore exceed it.
    others = np.maximum(weight_sum - accumulators[0], 0.0)
    with np.errstate(invalid="ignore"):
        np.divide(others, weight_sum, out=accumulators[0])


def _sokalsneath(accumulators: np.ndarray, weight_sum: float, parameter: float) -> None:
    del weight_sum, parameter
    twice = 2.0 * (accumulators[1] + accumulators[2])
    with np.errstate(invalid="ignore"):
        np.divide(twice, accumulators[0] + twice, out=accumulators[0])


def _yule(accumulators: np.ndarray, weight_sum: float, parameter: float) -> None:
    del parameter
    both, left, right = accumulators
    # Left and right first, so that a pair has the same bits whichever of its rows comes first.
    neither = np.maximum(weight_sum - (both + (left + right)), 0.0)
    half = left * right
    np.divide(2.0 * half, both * neither + half + (half == 0.0), out=both)


def _adding(*steps: Step, finish: Finish, template: Callable[..., None] = _walk) -> Loop:
    """Make the loop of a metric that adds up so many things."""
    return Loop(
        kernel=_loops(*(_loop(template, step) for step in steps)),
        paired=_loops(*(_loop(_walk_paired, step) for step in steps)),
        n_accumulators=len(steps),
        finish=finish,
    )


def _of_truths(finish: Finish) -> Loop:
    return _adding(_product, _left_only, _right_only, finish=finish)


LOOPS: dict[str, Loop] = {
    "euclidean": _adding(_squared_difference, finish=_root),
    "cityblock": _adding(_absolute_difference, finish=_leave),
    "chebyshev": _adding(_largest_difference, finish=_leave),
    "minkowski": _adding(_difference_to_power, finish=_root_of_parameter, template=_walk_slowly),
    "canberra": _adding(_canberra_term, finish=_leave),
    "braycurtis": _adding(_absolute_difference, _absolute_sum, finish=_quotient),
    "jensenshannon": _adding(_divergence_term, finish=_root_of_half, template=_walk_slowly),
    "hamming": _adding(_differs, finish=_share_of_weights),
    # SciPy takes numbers for truth values here.
    "jaccard": _adding(_only_one, _either, finish=_quotient_or_zero),
    # Of rows of 0 and 1, with weights; without, counts of bits are much faster.
    "boolean dice": _of_truths(_dice),
    "boolean hamming": _of_truths(_hamming),
    "boolean jaccard": _of_truths(_jaccard),
    "boolean rogerstanimoto": _of_truths(_rogerstanimoto),
    "boolean russellrao": _of_truths(_russellrao),
    "boolean sokalsneath": _of_truths(_sokalsneath),
    "boolean yule": _of_truths(_yule),
}
"""Loops by SciPy's names of the metrics; those of truth values are called ``boolean`` too."""

_MINKOWSKI: dict[float, Loop] = {
    p: _adding(step, finish=_root_of_parameter)
    for p, step in (
        (0.5, _root_difference),
        (1.5, _difference_to_three_halves),
        (3.0, _cubed_difference),
        (4.0, _difference_to_four),
    )
} | {1.0: LOOPS["cityblock"], 2.0: LOOPS["euclidean"], float("inf"): LOOPS["chebyshev"]}


def minkowski_loop(p: float) -> Loop:
    """Choose the loop of the Minkowski distance: some powers need no logarithm.

    Examples
    --------
    >>> minkowski_loop(1.0) is LOOPS["cityblock"]
    True
    >>> minkowski_loop(1.7) is LOOPS["minkowski"]
    True
    """
    return _MINKOWSKI.get(p, LOOPS["minkowski"])
