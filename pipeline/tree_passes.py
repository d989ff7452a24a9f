"""Plan: how often a tree by rounds of proved merges computes, or reads, all distances.

One pass makes the lists of near clusters, and one the square of what they leave, if that fits. If
not, clusters that block others get new lists, up to four for each row, each of which is compared
with all others: two passes for a list of every row. What is left too much even then the chain
merges, which has fetched every cluster's row of distances once after two passes, and some again.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Passes", "passes_of_rows", "passes_of_tiles"]

_LEFT = 0.5, 0.9
"""Of the rows: so many clusters are likely to be left by lists, and hardly ever more. Expression of
genes, whose constant ones make a hub, leaves 0.73; mixtures leave 0.3 to 0.4, noise 0.6."""

_RESCANS = 8.0
_CHAIN = 2.5
_SINGLE = 1.0
"""Distances that are asked for one by one, in rounds, may come to a pass."""

_LIKELY_RESCANS = 1.0
"""Of the demo's genes, with room for 0.58 of them, 2.7 passes were measured in all; of noise, with
little room, up to 11.5."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Passes:
    """Passes over all distances.

    Attributes
    ----------
    least, likely, most
        How many there are at least, are likely to be, and may be.
    """

    least: float
    likely: float
    most: float

    def __str__(self) -> str:
        """Return words for people.

        Examples
        --------
        >>> str(Passes(least=2.0, likely=2.0, most=3.0))
        '2 passes (up to 3)'
        """
        return f"{self.likely:.0f} passes (up to {self.most:.0f})"


def passes_of_rows(n: int, most_clusters: int) -> Passes:
    """Predict the passes of a tree from rows or means.

    Parameters
    ----------
    n
        Rows.
    most_clusters
        How many clusters may be left for the square of their distances.

    Examples
    --------
    >>> str(passes_of_rows(20_000, 16_384)), str(passes_of_rows(200_000, 25_000))
    ('2 passes (up to 4)', '4 passes (up to 14)')
    """
    likely, most = (share * n for share in _LEFT)
    needed = 2.0
    if most_clusters >= most:
        return Passes(least=needed, likely=needed, most=needed + _SINGLE)
    if most_clusters >= likely:
        return Passes(least=needed, likely=needed, most=needed + _SINGLE + _LIKELY_RESCANS)
    # The less there is room for, the more has to be merged by other means.
    room = most_clusters / likely
    return Passes(
        least=needed,
        likely=needed + _LIKELY_RESCANS + (1.0 - room),
        most=needed + _SINGLE + _RESCANS + _CHAIN,
    )


def passes_of_tiles(n: int, most_clusters: int) -> Passes:
    """Predict how often tiles at rest are read: new lists of any number take a whole pass.

    Parameters
    ----------
    n, most_clusters
        As of `passes_of_rows`.

    Examples
    --------
    >>> str(passes_of_tiles(60_000, 16_438))
    '4 passes (up to 12)'
    """
    likely, most = (share * n for share in _LEFT)
    if most_clusters >= most:
        return Passes(least=2.0, likely=2.0, most=2.0)
    if most_clusters >= likely:
        return Passes(least=2.0, likely=2.0, most=4.0)
    return Passes(least=2.0, likely=4.0, most=2.0 + _RESCANS + 2.0)
