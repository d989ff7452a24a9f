"""Driver: labels at rest, a Zarr array a dimension, as xarray finds them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from clustergrid.storage.arrays import create_array, open_array, write_block
from clustergrid.storage.errors import StorageError
from clustergrid.storage.grid import slabs
from clustergrid.storage.places import AnyPlace

__all__ = ["read_labels", "write_labels"]

_LABEL_CHUNK = 2**18


def write_labels(store: AnyPlace, path: str, labels: pd.Index, dim: str) -> None:
    """Put the labels of a dimension at rest, in place of an array that is there.

    Parameters
    ----------
    store, path
        Zarr group, and name of the array in it.
    labels
        Numbers or text, as `clustergrid.storage.readers.labels.plain_labels` makes them.
    dim
        Name of the dimension, which xarray reads.

    Raises
    ------
    StorageError
        The store refused the bytes.
    """
    values = labels.to_numpy()
    is_text = values.dtype == object
    array = create_array(
        store,
        path,
        shape=(len(labels),),
        dtype="str" if is_text else values.dtype,
        chunks=(min(_LABEL_CHUNK, len(labels)),),
        dimension_names=(dim,),
        fill_value="" if is_text else 0,
        overwrite=True,
    )
    for part in slabs(len(labels), _LABEL_CHUNK):
        write_block(array, (part.start,), values[part])


def read_labels(store: AnyPlace, path: str, n: int) -> pd.Index:
    """Read what `write_labels` wrote.

    Parameters
    ----------
    store, path
        As there.
    n
        How many labels there have to be.

    Raises
    ------
    StorageError
        There is no such array, or it has another length.
    """
    array = open_array(store, path)
    if array.shape != (n,):
        raise StorageError(
            f"{store}/{path} has {' x '.join(map(str, array.shape))} labels of {n:,} observations"
        )
    values = np.asarray(array[:])
    names = getattr(array.metadata, "dimension_names", None) or (None,)
    is_number = values.dtype.kind in "iufb"
    labels: pd.Index = pd.Index(values if is_number else values.astype(object), name=names[0])
    return labels
