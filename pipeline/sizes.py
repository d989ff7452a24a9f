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
    """Write a time as people say it, no more exactly than an estimate deserves.

    Examples
    --------
    >>> format_seconds(0.04), format_seconds(12.3), format_seconds(200), format_seconds(9000)
    ('0.04 s', '12 s', '3.3 min', '2.5 h')
    >>> format_seconds(400_000)
    '4.6 days'
    """
    if seconds < 0.005:
        return "0 s"
    for unit, length in (("s", 60.0), ("min", 60.0), ("h", 48.0)):
        if seconds < length:
            return f"{seconds:.2g} {unit}"
        seconds /= 24.0 if unit == "h" else length
    return f"{seconds:,.0f} days" if seconds >= 9.5 else f"{seconds:.2g} days"
