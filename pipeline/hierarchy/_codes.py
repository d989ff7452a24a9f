"""Kernel: numbers of the methods: compiled functions branch on an integer, outside of loops."""

from __future__ import annotations

__all__ = ["AVERAGE", "CENTROID", "CODES", "COMPLETE", "MEDIAN", "SINGLE", "WARD", "WEIGHTED"]

SINGLE, COMPLETE, AVERAGE, WEIGHTED, WARD, CENTROID, MEDIAN = range(7)
CODES = {
    "single": SINGLE,
    "complete": COMPLETE,
    "average": AVERAGE,
    "weighted": WEIGHTED,
    "ward": WARD,
    "centroid": CENTROID,
    "median": MEDIAN,
}
