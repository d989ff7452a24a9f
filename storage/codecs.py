"""Driver: refuse arrays whose chunks would run code when they are decoded.

A Zarr array names the codecs of its chunks, and numcodecs knows one that unpickles. zarr-python
refuses it in the places it looks at; this looks at all of them, and before anything is decoded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from clustergrid.storage.errors import DataTypeError

__all__ = ["refuse_pickles"]


def refuse_pickles(array: Any, where: str) -> None:
    """Refuse a Zarr array that has pickled chunks.

    Parameters
    ----------
    array
        The array; only its metadata are read.
    where
        What the error calls it.

    Raises
    ------
    DataTypeError
        One of its codecs unpickles.
    """
    for name in _codec_names(array.metadata.to_dict()):
        if "pickle" in name.lower():
            raise DataTypeError(
                f"{where} is stored with the codec {name!r}: unpickling a file runs whatever code "
                "it holds, so it is not read. Write the array again with another codec."
            )


def _codec_names(metadata: Any) -> Iterator[str]:
    """Yield the names of all codecs, at any depth: sharding has codecs of its own."""
    waiting = [metadata]
    while waiting:
        node = waiting.pop()
        if isinstance(node, Mapping):
            for key in ("id", "name"):
                if isinstance(node.get(key), str):
                    yield node[key]
            waiting.extend(value for key, value in node.items() if key != "attributes")
        elif isinstance(node, list | tuple):
            waiting.extend(node)
        elif isinstance(codec := getattr(node, "codec_id", None), str):
            yield codec
