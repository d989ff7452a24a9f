"""Plan: what was asked differently from the last time, in words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

__all__ = ["describe_changes"]

_NO_OPTIONS = ("directory", "memory_bytes", "cluster")
"""What decides no result."""


def describe_changes(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """List the options of a run that are not what they were.

    Parameters
    ----------
    before, now
        Requests, as ``run.json`` holds them.

    Examples
    --------
    >>> before = {"row": {"method": "average", "metric": "cosine"}, "memory_bytes": 1}
    >>> describe_changes(before, {"row": {"method": "ward", "metric": "cosine"}})
    ["row method was 'average' and is 'ward'"]
    """
    old, new = dict(_flat(before)), dict(_flat(now))
    return [
        f"{name} was {old.get(name)!r} and is {new.get(name)!r}"
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name)
    ]


def _flat(request: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in request.items():
        if name in _NO_OPTIONS:
            continue
        if isinstance(value, dict):
            yield from ((f"{name} {each}", content) for each, content in value.items())
        else:
            yield name, value
