"""Driver: files and URLs, alike."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from clustergrid.storage.credentials import hide_credentials, lacks_credentials
from clustergrid.storage.errors import (
    DataValueError,
    MissingExtraError,
    MissingFileError,
    StorageError,
)
from clustergrid.storage.object_path import ObjectPath
from clustergrid.storage.object_store import has_object_stores, is_object_url
from clustergrid.storage.places import AnyPlace

__all__ = ["ZARR_METADATA", "Location", "check_regular_file"]

ZARR_METADATA = ("zarr.json", ".zarray", ".zgroup", ".zmetadata")
"""Files that a directory has if it is a Zarr array or group."""

_SAMPLE_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class Location:
    """Where an input is: an absolute path, a URL of an object store, or one that fsspec knows.

    Object stores are read through obstore, where that is installed.

    Examples
    --------
    >>> Location.parse("s3://bucket/folder/counts.TSV.gz").suffix
    '.tsv'
    >>> Location.parse("s3://bucket/folder/counts.TSV.gz").is_compressed
    True
    """

    url: str

    @classmethod
    def parse(cls, path: AnyPlace) -> Location:
        """Make relative paths absolute, so that tasks on other working directories find them.

        Raises
        ------
        DataValueError
            It is empty, or no file can have such a name.
        StorageError
            Its login was left out where it was kept.
        """
        text = str(path) if isinstance(path, ObjectPath) else os.fspath(path)
        if not text or "\0" in text:
            raise DataValueError(f"{text!r} is not a path, nor a URL")
        for local in ("file://", "local://"):
            text = text.removeprefix(local)
        if lacks_credentials(text):
            raise StorageError(
                f"the login of {text} was not kept. Let the store find it elsewhere, in the "
                "environment or in fsspec's configuration, and give the URL without it"
            )
        if "://" in text or "::" in text:
            return cls(text)
        try:
            return cls(str(Path(text).expanduser().absolute()))
        except RuntimeError as error:  # ~somebody
            raise MissingFileError(f"no such file or directory: {text} ({error})") from error

    @property
    def shown(self) -> str:
        """Without passwords and signatures, as it is written anywhere."""
        return hide_credentials(self.url)

    @property
    def is_local(self) -> bool:
        """Whether it is a path of this machine."""
        return "://" not in self.url and "::" not in self.url

    @property
    def objects(self) -> ObjectPath | None:
        """The place in a bucket; None where it is none, or nothing is installed to read it."""
        if not is_object_url(self.url) or not has_object_stores():
            return None
        return ObjectPath.parse(self.url)

    @property
    def is_compressed(self) -> bool:
        """Whether the name ends in ``.gz``."""
        return self.url.lower().endswith(".gz")

    @property
    def suffix(self) -> str:
        """The suffix in lower case, without ``.gz``."""
        name = self.url.rstrip("/").rsplit("/", 1)[-1].lower().removesuffix(".gz")
        return os.path.splitext(name)[1]

    def child(self, name: str) -> Location:
        """Location of a file in this directory."""
        return Location(f"{self.url.rstrip('/')}/{name}")

    def overlaps(self, folder: AnyPlace) -> bool:
        """Whether it is a folder, is in it, or is a directory that it is in."""
        if isinstance(folder, ObjectPath) or is_object_url(folder):
            one, other = (f"{url.rstrip('/')}/" for url in (self.url, str(folder)))
            return one.startswith(other) or other.startswith(one)
        if not self.is_local or "\0" in os.fspath(folder):
            return False
        ours, theirs = (Path(os.path.realpath(path)) for path in (self.url, folder))
        return ours.is_relative_to(theirs) or (theirs.is_relative_to(ours) and ours.is_dir())

    def exists(self) -> bool:
        """Whether there is a file or directory."""
        if self.is_local:
            return os.path.exists(self.url)
        if self.objects is not None:
            return self.objects.exists()
        with self._remote() as (filesystem, path):
            return bool(filesystem.exists(path))

    def is_directory(self) -> bool:
        """Whether it is a directory, or a prefix that objects share."""
        if self.is_local:
            return os.path.isdir(self.url)
        if self.objects is not None:
            return self.objects.is_dir()
        with self._remote() as (filesystem, path):
            return bool(filesystem.isdir(path))

    @contextmanager
    def open(self, *, decompress: bool = False) -> Iterator[IO[bytes]]:
        """Open the file to read bytes, and close it at the end of the block.

        Raises
        ------
        MissingFileError
            There is no such file.
        StorageError
            It cannot be read, or is no regular file.
        """
        with ExitStack() as stack:
            try:
                file = stack.enter_context(self._open())
            except FileNotFoundError as error:
                raise self.missing() from error
            except StorageError:
                raise
            except OSError as error:
                raise StorageError(f"cannot read {self.url}: {error}") from error
            if decompress and self.is_compressed:
                file = stack.enter_context(cast("IO[bytes]", gzip.GzipFile(fileobj=file)))
            yield file

    def missing(self) -> MissingFileError:
        """Make the error that says there is nothing here."""
        return MissingFileError(f"no such file or directory: {self.url}")

    def fingerprint(self) -> dict[str, Any]:
        """Describe the content well enough to notice that it changed; see `ingest.fingerprint`."""
        if self.is_directory():
            return {"url": self.shown, **self._directory_fingerprint()}
        with self.open() as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            sample = hashlib.sha256(file.read(_SAMPLE_BYTES))
            file.seek(max(0, size - _SAMPLE_BYTES))
            sample.update(file.read(_SAMPLE_BYTES))
        modified = os.stat(self.url).st_mtime_ns if self.is_local else None
        etag = {} if self.objects is None else {"etag": self.objects.stat().etag}
        return {
            "url": self.shown,
            "size": size,
            "mtime_ns": modified,
            "sha256_of_ends": sample.hexdigest(),
            **etag,
        }

    def identity(self) -> dict[str, Any]:
        """As `fingerprint`, without listing a remote directory, which may hold a million chunks."""
        if self.is_local or not self.is_directory():
            return self.fingerprint() if self.exists() else {"url": self.shown}
        found = [self.child(name) for name in ZARR_METADATA]
        return {"url": self.shown, "metadata": [f.fingerprint() for f in found if f.exists()]}

    def _directory_fingerprint(self) -> dict[str, Any]:
        """Names, sizes and times of all files below a directory, as one digest."""
        found = sorted(_list_local(self.url) if self.is_local else self._list_remote())
        digest = hashlib.sha256()
        for name, size, stamp in found:
            digest.update(f"{name}\0{size}\0{stamp}\n".encode(errors="surrogateescape"))
        total = sum(size for _, size, _ in found)
        return {"size": total, "files": len(found), "sha256_of_listing": digest.hexdigest()}

    def _list_remote(self) -> Iterator[tuple[str, int, str]]:
        """Yield names, sizes and whatever tells versions apart."""
        if self.objects is not None:
            yield from ((name, s.st_size, s.etag) for name, s in self.objects.files())
            return
        with self._remote() as (filesystem, path):
            found = filesystem.find(path, detail=True)
        for name, entry in found.items():
            stamp = entry.get("ETag") or entry.get("mtime") or entry.get("created") or ""
            yield name, int(entry["size"] or 0), str(stamp)

    def _open(self) -> IO[bytes]:
        """Open the file as it is."""
        if self.is_local:
            check_regular_file(self.url)
            return open(self.url, "rb")
        if self.objects is not None:
            return self.objects.reader()
        with self._remote() as (filesystem, path):
            # fsspec's files know no readline(size), and read a line in pieces.
            return cast("IO[bytes]", io.BufferedReader(filesystem.open(path, "rb")))

    @contextmanager
    def _remote(self) -> Iterator[tuple[Any, str]]:
        """Give the fsspec file system and the path in it; name the URL in whatever they raise."""
        import fsspec

        try:
            yield fsspec.core.url_to_fs(self.url)
        except FileNotFoundError as error:
            raise self.missing() from error
        except ImportError as error:
            raise MissingExtraError(f"cannot open {self.url}: {error}") from error
        except Exception as error:  # every file system has errors of its own
            raise StorageError(
                f"cannot open {self.url}: {type(error).__name__}: {error}"
            ) from error


def check_regular_file(path: str | os.PathLike[str]) -> None:
    """Refuse pipes, sockets and devices, which have no end or wait for ever.

    Raises
    ------
    StorageError
        It is one.
    OSError
        There is nothing.
    """
    mode = os.stat(path).st_mode
    kinds = (
        (stat.S_ISFIFO, "a pipe"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISCHR, "a device"),
        (stat.S_ISBLK, "a device"),
        (stat.S_ISDIR, "a directory"),
    )
    for is_kind, kind in kinds:
        if is_kind(mode):
            raise StorageError(
                f"{os.fspath(path)} is {kind}, not a regular file. It would be read more than "
                "once: write it to a file first."
            )


def _list_local(folder: str) -> Iterator[tuple[str, int, str]]:
    """Yield paths, sizes and times of the files below a directory; links are not followed."""

    def fail(error: OSError) -> None:
        raise StorageError(f"cannot list {folder}: {error}") from error

    for parent, _, names in os.walk(folder, onerror=fail):
        for name in names:
            path = os.path.join(parent, name)
            try:
                check_regular_file(path)
                status = os.stat(path)
            except StorageError:
                raise
            except OSError as error:  # a link to nothing, or in a circle
                raise StorageError(f"cannot read {path}: {error}") from error
            yield path, status.st_size, str(status.st_mtime_ns)
