"""Kernel: digests of arrays in memory, to make keys of."""

from __future__ import annotations

import hashlib

import numpy as np

__all__ = ["array_digest"]


def array_digest(*arrays: np.ndarray | None) -> str:
    """Digest of some arrays' bytes, to make keys of.

    Examples
    --------
    >>> array_digest(np.arange(3)) == array_digest(np.arange(3), None)
    False
    """
    digest = hashlib.sha256()
    for array in arrays:
        if array is None:
            digest.update(b"none")
        else:
            digest.update(f"{array.dtype.str}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
