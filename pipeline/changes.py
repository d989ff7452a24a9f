"""Plan: what was asked differently from the last time, in words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

__all__ = ["describe_changes"]

_NO_OPTIONS = ("directory", "memory_bytes", "cluster", "metric_files")
"""What decides no result."""

_ARRAYS = tuple(
    f"{axis} metric_kws {name}" for axis in ("row", "column") for name in ["w", "V", "VI"]
)
"""Options that are digests of numbers."""


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
        f"{name} was {_shown(name, old.get(name))} and is {_shown(name, new.get(name))}"
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name)
    ]


def _shown(name: str, value: Any) -> str:
    if name in _ARRAYS and isinstance(value, str):
        return f"an array (sha256 {value[:12]})"
    return repr(value)


def _flat(request: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in request.items():
        if name in _NO_OPTIONS:
            continue
        if isinstance(value, dict):
            for each, content in value.items():
                if each == "metric_kws":
                    yield from (
                        (f"{name} {each} {word}", number) for word, number in content.items()
                    )
                else:
                    yield f"{name} {each}", content
        else:
            yield name, value
