"""Kernel: values of leaves that share a pixel, as one: majorities, means and quartiles."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

__all__ = ["MISSING", "box_statistics", "group_means", "majorities"]

MISSING = -1
"""Code of leaves, and of pixels, without a value."""
WHISKER = 1.5
"""Longest whisker, in distances of the quartiles (Tukey's)."""


def majorities(codes: np.ndarray, edges: np.ndarray, n_categories: int) -> np.ndarray:
    """Most frequent category of each group; of equally frequent ones that with the least code.

    Leaves without a value do not vote; a group of nothing but such has none.

    Parameters
    ----------
    codes : (n,) int64
        In leaf order, `MISSING` where there is no value.
    edges : (p + 1,) int64
        Leaf ``edges[a]`` is the first of group ``a``.
    n_categories
        Codes are below it.

    Returns
    -------
    (p,) int64

    Examples
    --------
    >>> majorities(np.array([0, 1, 1, 2, -1, -1]), np.array([0, 3, 5, 6]), 3).tolist()
    [1, 2, -1]
    >>> majorities(np.array([2, 1]), np.array([0, 2]), 3).tolist()
    [1]
    """
    n_groups = len(edges) - 1
    if not n_categories:
        return np.full(n_groups, MISSING)
    group = np.repeat(np.arange(n_groups), np.diff(edges))
    votes = codes >= 0
    counts = np.bincount(
        group[votes] * n_categories + codes[votes], minlength=n_groups * n_categories
    ).reshape(n_groups, n_categories)
    return np.where(counts.any(axis=1), counts.argmax(axis=1), MISSING)


def group_means(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Mean of each group of leaves, of the values that there are.

    Parameters
    ----------
    values : (n,) float64
        In leaf order, NaN where there is no value.
    edges : (p + 1,) int64
        Leaf ``edges[a]`` is the first of group ``a``.

    Returns
    -------
    (p,) float64
        NaN where a group has no value.

    Examples
    --------
    >>> group_means(np.array([1, 3, np.nan, np.nan]), np.array([0, 3, 4])).tolist()
    [2.0, nan]
    """
    is_there = ~np.isnan(values)
    counts = np.add.reduceat(is_there.astype(np.int64), edges[:-1])
    sums = np.add.reduceat(np.where(is_there, values, 0), edges[:-1])
    means: np.ndarray = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    return means


def box_statistics(groups: Iterable[np.ndarray]) -> np.ndarray:
    """Whiskers, quartiles and median of all values of each group of leaves.

    Parameters
    ----------
    groups
        ``(m, k)`` float64 each, NaN where there is no value; p of them.

    Returns
    -------
    (p, 5) float64
        Lower whisker, first quartile, median, third quartile, upper whisker; NaN where a group has
        no value. A whisker ends at the farthest value within 1.5 times the distance of the
        quartiles.

    Examples
    --------
    >>> box_statistics([np.array([[0.0, 1, 2], [3, 4, 100]])]).tolist()
    [[0.0, 1.25, 2.5, 3.75, 4.0]]
    """
    boxes = []
    for group in groups:
        shown = group[~np.isnan(group)]
        if not len(shown):
            boxes.append((np.nan,) * 5)
            continue
        first, median, third = np.percentile(shown, [25, 50, 75])
        reach = WHISKER * (third - first)
        inside = shown[(shown >= first - reach) & (shown <= third + reach)]
        boxes.append((inside.min(), first, median, third, inside.max()))
    return np.array(boxes)
