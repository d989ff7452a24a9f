"""Driver: attributes and coordinates besides labels at rest with a matrix, as xarray finds them."""

from __future__ import annotations

import json
import warnings
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray

from clustergrid.storage.arrays import create_array, open_array, write_block
from clustergrid.storage.readers.labels import is_dimension_name, plain_labels

__all__ = ["plain_attributes", "storable_coordinates", "write_attributes", "write_coordinate"]

_CHUNK = 2**18
_MAX_NAMED = 5


def storable_coordinates(matrix: xarray.DataArray, taken: set[str]) -> dict[str, xarray.Variable]:
    """Coordinates of a matrix that are no labels, and belong to at most one dimension.

    Parameters
    ----------
    matrix
        With its coordinates.
    taken
        Names in the group that are something else.

    Returns
    -------
    dict
        By name, as CF has them: dates are numbers with units. What cannot be stored is warned of,
        and left out.
    """
    found, odd = {}, []
    for name, coordinate in matrix.coords.items():
        if name in matrix.dims:
            continue
        is_usable = is_dimension_name(name) and name not in taken
        if not is_usable or coordinate.ndim > 1:
            odd.append(name)
        else:
            found[str(name)] = _encoded(coordinate.variable)
    if odd:
        warnings.warn(
            f"coordinates that cannot be stored beside the matrix are left out: {_named(odd)}",
            UserWarning,
            stacklevel=2,
        )
    return found


def _encoded(variable: xarray.Variable) -> xarray.Variable:
    """Numbers, dates as numbers, and text; whatever else becomes text."""
    values = np.asarray(variable.values)
    if values.dtype.kind in "mM":
        dated = xarray.Variable(variable.dims, values, variable.attrs)
        encoded: xarray.Variable = xarray.conventions.encode_cf_variable(dated)
        return encoded
    if values.dtype.kind in "iufb":
        return xarray.Variable(variable.dims, values, variable.attrs)
    text = plain_labels(pd.Index(values.ravel(), dtype=object)).to_numpy()
    return xarray.Variable(variable.dims, text.reshape(values.shape), variable.attrs)


def write_coordinate(store: str, name: str, variable: xarray.Variable) -> None:
    """Put a coordinate at rest, in place of an array that is there.

    Parameters
    ----------
    store, name
        Zarr group, and name of the array in it.
    variable
        Of `storable_coordinates`, its dimensions named as those at rest.

    Raises
    ------
    StorageError
        The store refused the bytes.
    """
    values = variable.to_numpy()
    is_text = values.dtype == object
    array = create_array(
        store,
        name,
        shape=values.shape,
        dtype="str" if is_text else values.dtype,
        chunks=tuple(min(_CHUNK, length) for length in values.shape),
        dimension_names=tuple(map(str, variable.dims)),
        attributes=plain_attributes(variable.attrs),
        fill_value="" if is_text else 0,
        overwrite=True,
    )
    write_block(array, (0,) * values.ndim, values)


def write_attributes(
    store: str, path: str, attributes: Mapping[Hashable, Any], coordinates: list[str]
) -> None:
    """Give an array the attributes of a matrix, and the names of its coordinates.

    Parameters
    ----------
    store, path
        Zarr group, and name of the array in it; attributes that it has stay.
    attributes
        Of the matrix.
    coordinates
        Names of arrays in the group, for xarray; those with spaces it would not find.
    """
    found = plain_attributes(attributes)
    listed = [name for name in coordinates if not any(map(str.isspace, name))]
    if listed:
        found["coordinates"] = " ".join(listed)
    if found:
        own = open_array(store, path, mode="r+").attrs
        own.update({name: value for name, value in found.items() if name not in own})


def plain_attributes(attributes: Mapping[Hashable, Any]) -> dict[str, Any]:
    """Attributes that JSON can hold; others are warned of, and left out.

    Examples
    --------
    >>> plain_attributes({"units": "TPM", "scale": np.float32(0.5), 7: np.arange(2)})
    {'units': 'TPM', 'scale': 0.5, '7': [0, 1]}
    """
    found, odd = {}, []
    for name, value in attributes.items():
        plain = value.tolist() if isinstance(value, np.generic | np.ndarray) else value
        try:
            json.dumps(plain, allow_nan=False)
        except (TypeError, ValueError):
            odd.append(name)
        else:
            found[str(name)] = plain
    if odd:
        warnings.warn(
            f"attributes that cannot be stored beside the matrix are left out: {_named(odd)}",
            UserWarning,
            stacklevel=2,
        )
    return found


def _named(things: list[Hashable]) -> str:
    more = ", ..." if len(things) > _MAX_NAMED else ""
    return ", ".join(map(repr, things[:_MAX_NAMED])) + more
