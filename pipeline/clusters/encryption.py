"""Driver: certificates of a run that starts workers on other hosts."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from clustergrid.pipeline.clusters.choice import ClusterChoice
from clustergrid.pipeline.security import allows_plain, configured_certificates
from clustergrid.storage.errors import StorageError

__all__ = ["TlsFiles", "encrypted"]

TlsFiles = tuple[Path, Path, Path | None]
"""The authority's certificate, that of workers, and its key where it is a file of its own."""

_PREFIX = "tls-"


@contextmanager
def encrypted(choice: ClusterChoice, folder: Path) -> Iterator[TlsFiles | None]:
    """Let schedulers, workers and clients that start inside speak TLS with one another.

    The certificates of Dask's configuration are taken where there are some. Otherwise there is an
    authority for this run alone: its own key is kept nowhere, and the rest only as long as it
    lasts, in a directory that this user alone can read.

    Parameters
    ----------
    choice
        Whether the user wants none of it.
    folder
        A directory of this run alone, which all hosts see.

    Yields
    ------
    tuple or None
        Files for workers; None where connections are not encrypted.

    Raises
    ------
    MissingExtraError
        The library that makes certificates is not installed.
    """
    import dask

    if allows_plain(choice):
        yield None
        return
    found = configured_certificates()
    if found is not None:
        with dask.config.set({"distributed.comm.require-encryption": True}):
            yield found
        return
    from clustergrid.pipeline.certificates import make_certificates

    try:
        folder.mkdir(parents=True, exist_ok=True)
        for stale in folder.glob(f"{_PREFIX}*"):  # of a run that was killed
            shutil.rmtree(stale, ignore_errors=True)
        private = tempfile.mkdtemp(prefix=_PREFIX, dir=folder)
    except OSError as error:
        raise StorageError(f"cannot keep certificates in {folder}: {error}") from error
    try:
        made = make_certificates(private)
        settings: dict[str, Any] = made.settings
        with dask.config.set(settings):
            yield made.ca_file.absolute(), made.cert_file.absolute(), made.key_file.absolute()
    finally:
        shutil.rmtree(private, ignore_errors=True)
