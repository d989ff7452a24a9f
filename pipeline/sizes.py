"""Plan: sizes in bytes, as people write and read them."""

from __future__ import annotations

import re

__all__ = ["format_bytes", "parse_bytes"]

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_BINARY_UNITS = {"ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}


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
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*([kmgt]i?|)b?\s*", str(text).lower())
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
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB" if size < 999.5 else f"{size:.0f} TB"
