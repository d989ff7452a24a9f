"""Driver: HDF5 objects that are what they seem: in this file, and with bytes of its own.

HDF5 follows links into other files, and a dataset may take its bytes from any file at all. So an
h5ad from somebody else could show what lies elsewhere on this machine, or wait for ever on a pipe.
"""

from __future__ import annotations

from math import prod
from typing import Any

from clustergrid.storage.errors import DataValueError, IntegrityError

__all__ = ["check_written", "hdf5_object"]

_MOST_LINKS = 40


def hdf5_object(root: Any, path: str, where: str) -> Any:
    """Open an object of a file, without leaving it.

    Parameters
    ----------
    root
        A group of the file.
    path
        Of the object, in the group.
    where
        What errors call the file.

    Raises
    ------
    DataValueError
        There is none, its links go in a circle or into another file, or it has its bytes there.
    """
    import h5py

    group, left, links = root, [part for part in path.split("/") if part], 0
    while left:
        name = left.pop(0)
        link = group.get(name, getlink=True) if isinstance(group, h5py.Group) else None
        if link is None:
            raise DataValueError(f"{where} has no {path!r}")
        if isinstance(link, h5py.ExternalLink):
            raise DataValueError(
                f"{path!r} of {where} is a link to {link.path!r} in another file, "
                f"{link.filename!r}, which is not followed: copy it into one file (h5repack)"
            )
        if isinstance(link, h5py.SoftLink):
            links += 1
            if links > _MOST_LINKS:
                raise DataValueError(f"the links at {path!r} of {where} go in a circle")
            group = group.file if link.path.startswith("/") else group
            left[:0] = [part for part in link.path.split("/") if part not in ("", ".")]
            continue
        group = group[name]
    if isinstance(group, h5py.Datatype):
        raise DataValueError(f"{path!r} of {where} is a type, and holds no values")
    if isinstance(group, h5py.Dataset) and (group.external or group.is_virtual):
        raise DataValueError(
            f"{path!r} of {where} has its values in other files, which are not read: copy them "
            "into one file (h5repack)"
        )
    return group


def check_written(dataset: Any, what: str) -> None:
    """Refuse a dataset that was created and never written, which reads as zeros.

    Raises
    ------
    IntegrityError
        Not all of it was written.
    """
    if not prod(dataset.shape):
        return
    if dataset.chunks is None:
        # What is small may be stored in the header.
        missing = dataset.id.get_storage_size() == 0
        total, found = 1, int(not missing)
    else:
        grid = (-(-n // step) for n, step in zip(dataset.shape, dataset.chunks, strict=True))
        total, found = prod(grid), int(dataset.id.get_num_chunks())
    if found < total:
        raise IntegrityError(
            f"{what} is not all there: {total - found:,} of its {total:,} chunks were never "
            "written. Write the file again."
        )
