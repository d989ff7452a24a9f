"""Driver: arrays that are at rest for the time of a stage: whose they are, and those of the dead.

A process that ends, also by an error, removes its own. What a killed one left in a store that is no
run directory, under a name that nobody else has, is removed by the next that puts something there.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from clustergrid.storage.arrays import remove_array
from clustergrid.storage.holder import Holder, myself, parse_holder
from clustergrid.storage.places import StorePath, as_path

__all__ = ["owned", "remove_leftovers"]

_HOLDER = "clustergrid_holder"


def owned() -> dict[str, Any]:
    """Return the attributes that say of an array that it is this process's."""
    return {_HOLDER: asdict(myself())}


def remove_leftovers(store: str, *kinds: str) -> None:
    """Remove arrays of processes of this machine that are no more.

    Parameters
    ----------
    store
        Directory or URL of a Zarr group.
    kinds
        What the names of the arrays begin with.
    """
    for kind in kinds:
        for array in as_path(store).glob(f"{kind}-*"):
            holder = _holder_of(array)
            if holder is not None and not holder.is_alive:
                remove_array(store, array.name)


def _holder_of(array: StorePath) -> Holder | None:
    """Whose an array is; None where nothing says so."""
    try:
        attributes = json.loads((array / "zarr.json").read_text(encoding="utf-8"))["attributes"]
        return parse_holder(json.dumps(attributes[_HOLDER]).encode())
    except (OSError, ValueError, KeyError, TypeError):
        return None
