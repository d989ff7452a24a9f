"""Plan: sizes and times, as people write and read them."""

from __future__ import annotations

import re

__all__ = ["format_bytes", "format_seconds", "parse_bytes"]

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "p": 10**15, "e": 10**18}
_BINARY_UNITS = {"ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40, "pi": 2**50, "ei": 2**60}


def parse_bytes(text: str | int) -> int:
    """Read a size as people write it.

    Raises
    ------
    ValueError
        It is not a positive size.

    Examples
    --------
    >>> parse_bytes("8GB"), parse_bytes("1.5 GiB"), parse_bytes(1000)
    (8000000000, 1610612736, 1000)
    """
    if isinstance(text, int) and not isinstance(text, bool) and text > 0:
        return text
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*([kmgtpe]i?|)b?\s*", str(text).lower())
    size = float(match[1]) * {**_UNITS, **_BINARY_UNITS}[match[2]] if match else 0.0
    if size < 1:
        raise ValueError(f"not a size in bytes: {text!r}. Write it like '8GB' or '512MiB'")
    return round(size)


def format_bytes(size: float) -> str:
    """Write a size as people read it.

    Examples
    --------
    >>> format_bytes(3_149_000_000), format_bytes(512)
    ('3.15 GB', '512 B')
    """
    for unit in ("B", "kB", "MB", "GB", "TB", "PB"):
        if size < 999.5:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} EB" if size < 999.5 else f"{size:.0f} EB"


def format_seconds(seconds: float) -> str:
    """Write a time as people read it, in two units at most.

    Examples
    --------
    >>> [format_seconds(s) for s in (0.04, 0.31, 42, 95, 3600, 7322, 200_000)]
    ['0.04 s', '0.3 s', '42 s', '1 min 35 s', '1 h', '2 h 2 min', '2 d 7 h']
    """
    if seconds < 0.005:
        return "0 s"
    if seconds < 9.95:
        return f"{seconds:.1f} s" if seconds >= 0.095 else f"{seconds:.2f} s"
    whole = round(seconds)
    for large, small, size, part in (
        ("d", "h", 86_400, 3600),
        ("h", "min", 3600, 60),
        ("min", "s", 60, 1),
    ):
        if whole >= size:
            rest = whole % size // part
            return f"{whole // size:,} {large}" + (f" {rest} {small}" if rest else "")
    return f"{whole} s"
