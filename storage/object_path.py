"""Driver: places in a bucket, with those methods of a `pathlib.Path` that runs use.

An object appears whole or not at all, and cannot grow. Folders are what keys have in common: they
are there as long as something is in them. There are no links.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any, cast

from clustergrid.storage.credentials import hide_credentials
from clustergrid.storage.errors import DataValueError
from clustergrid.storage.object_store import bucket_client, is_object_url, naming

if TYPE_CHECKING:
    from obstore.store import ObjectStore

__all__ = ["MOST_AT_ONCE", "WHOLE_BYTES", "ObjectPath", "ObjectStat", "Version"]

MOST_AT_ONCE = 1000
"""Objects that are removed with one request, as S3 has it."""

Version = Any
"""What a store tells the versions of an object apart by."""

_READ_BYTES = 2**22
"""That are asked for at least, of an object of which parts are read."""

WHOLE_BYTES = 2**27
"""Up to here an object is put with one request; a larger one in parts, which appear together."""


@dataclass(frozen=True, slots=True)
class ObjectStat:
    """What a store says of an object.

    Attributes
    ----------
    st_size
        Its bytes.
    etag
        Changes whenever it is put.
    """

    st_size: int
    etag: str


@dataclass(frozen=True, slots=True, order=True)
class ObjectPath:
    """An object of a bucket, or a folder of objects.

    Attributes
    ----------
    bucket
        As ``"s3://bucket"``.
    key
        Without slashes at its ends.

    Examples
    --------
    >>> run = ObjectPath.parse("s3://bucket/runs/1/")
    >>> str(run / "arrays.zarr"), run.name, str(run.parent)
    ('s3://bucket/runs/1/arrays.zarr', '1', 's3://bucket/runs')
    """

    bucket: str
    key: str

    @classmethod
    def parse(cls, url: str) -> ObjectPath:
        """Take a URL apart.

        Raises
        ------
        DataValueError
            It is not one of an object store, or has a login or a signature in it.
        """
        if not is_object_url(url):
            raise DataValueError(f"{url} is not a URL of an object store (s3://, gs://, az://)")
        scheme, _, rest = url.partition("://")
        bucket, _, key = rest.partition("/")
        if "@" in bucket or "?" in rest or hide_credentials(url) != url:
            raise DataValueError(
                f"{hide_credentials(url)} has a login or parameters in it, which would be written "
                "down: give the URL without them, and the credentials in the environment"
            )
        key = key.strip("/")
        if not bucket or (key and not {"", ".", ".."}.isdisjoint(key.split("/"))):
            raise DataValueError(f"{url} is not BUCKET/KEY with names between its slashes")
        return cls(f"{scheme}://{bucket}", key)

    def __str__(self) -> str:
        """Return the URL."""
        return f"{self.bucket}/{self.key}" if self.key else self.bucket

    def __truediv__(self, name: str) -> ObjectPath:
        """Return a place below this one."""
        return ObjectPath(self.bucket, f"{self.key}/{name}".strip("/"))

    @property
    def name(self) -> str:
        """What comes after the last slash."""
        return self.key.rpartition("/")[2]

    @property
    def stem(self) -> str:
        """The name without its suffix."""
        return PurePosixPath(self.name).stem

    @property
    def parts(self) -> tuple[str, ...]:
        """Bucket and names."""
        return (self.bucket, *self.key.split("/")) if self.key else (self.bucket,)

    @property
    def parent(self) -> ObjectPath:
        """The folder that it is in."""
        return ObjectPath(self.bucket, self.key.rpartition("/")[0])

    def with_name(self, name: str) -> ObjectPath:
        """Return its neighbour of another name."""
        return self.parent / name

    def absolute(self) -> ObjectPath:
        """Return itself: every place in a bucket is absolute."""
        return self

    def resolve(self) -> ObjectPath:
        """Return itself: there are no links."""
        return self

    def is_relative_to(self, other: ObjectPath) -> bool:
        """Whether it is a place, or below it."""
        return self.parts[: len(other.parts)] == other.parts

    def relative_to(self, other: ObjectPath) -> PurePosixPath:
        """Return its name as seen from a folder above."""
        if not self.is_relative_to(other):
            raise ValueError(f"{self} is not below {other}")
        return PurePosixPath(*self.parts[len(other.parts) :])

    @property
    def _client(self) -> ObjectStore:
        return bucket_client(self.bucket)

    def stat(self) -> ObjectStat:
        """Ask for the size and version of an object.

        Raises
        ------
        FileNotFoundError, ObjectStoreError
            As in all methods that ask the store.
        """
        with naming(str(self)):
            found = self._client.head(self.key)
        return ObjectStat(found["size"], found["e_tag"] or "")

    def is_file(self) -> bool:
        """Whether there is such an object."""
        try:
            self.stat()
        except FileNotFoundError:
            return False
        return True

    def is_dir(self) -> bool:
        """Whether there is something below it."""
        with naming(str(self)):
            batches = self._client.list(f"{self.key}/" if self.key else None, chunk_size=1)
            return any(len(batch) for batch in batches)

    def exists(self) -> bool:
        """Whether there is an object, or something below it."""
        return bool(self.key and self.is_file()) or self.is_dir()

    def mkdir(self, *, parents: bool = True, exist_ok: bool = True) -> None:
        """Do nothing: a folder is there when something is in it."""
        del parents, exist_ok

    def read_bytes(self) -> bytes:
        """Read an object as a whole."""
        with naming(str(self)):
            return bytes(self._client.get(self.key).bytes())

    def read_version(self) -> tuple[bytes, Version]:
        """Read an object as a whole, and which version of it that was."""
        with naming(str(self)):
            found = self._client.get(self.key)
            # S3 and Azure compare ETags, Google's store generations.
            said = {"e_tag": found.meta["e_tag"], "version": found.meta["version"]}
            version = {name: value for name, value in said.items() if value is not None}
            return bytes(found.bytes()), version

    def read_text(self, encoding: str = "utf-8") -> str:
        """Read an object of text."""
        return self.read_bytes().decode(encoding)

    def read_range(self, start: int, size: int) -> bytes:
        """Read some bytes from a place on."""
        if not size:
            return b""
        with naming(str(self)):
            return bytes(self._client.get_range(self.key, start=start, length=size))

    def tail(self, size: int) -> tuple[int, bytes]:
        """Return the length of an object, and its last bytes, with one request."""
        if self.bucket.startswith("az://"):  # which knows no ranges from the end
            length = self.stat().st_size
            return length, self.read_range(max(0, length - size), min(size, length))
        with naming(str(self)):
            found = self._client.get(self.key, options={"range": {"suffix": size}})
            return found.meta["size"], bytes(found.bytes())

    def pieces(self) -> Iterator[bytes]:
        """Read an object piece by piece, so that a large one is not held."""
        with naming(str(self)):
            for piece in self._client.get(self.key).stream(min_chunk_size=2**20):
                yield bytes(piece)

    def open(
        self, mode: str = "rb", *, encoding: str | None = None, errors: str | None = None
    ) -> IO[Any]:
        """Read a small object into memory, as a file."""
        content = io.BytesIO(self.read_bytes())
        if mode == "rb":
            return content
        if mode != "r":
            raise ValueError(f"an object is opened to be read, not as {mode!r}")
        return io.TextIOWrapper(content, encoding=encoding or "utf-8", errors=errors)

    def reader(self) -> IO[bytes]:
        """Open a large object, of which parts are read."""
        return cast("IO[bytes]", io.BufferedReader(_Reader(self), _READ_BYTES))

    def write_bytes(self, content: bytes) -> None:
        """Put an object, in place of one that is there."""
        with naming(str(self)):
            self._client.put(self.key, content, use_multipart=len(content) > WHOLE_BYTES)

    def write_text(self, text: str, encoding: str = "utf-8", newline: str | None = None) -> None:
        """Put an object of text, whose line ends stay as they are."""
        del newline
        self.write_bytes(text.encode(encoding))

    def upload(self, file: Path) -> None:
        """Put a file of this machine, in place of an object that is there."""
        with naming(str(self)):
            self._client.put(self.key, file, use_multipart=file.stat().st_size > WHOLE_BYTES)

    def create(self, content: bytes) -> bool:
        """Put an object unless there is one; of several who try at once, one succeeds."""
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        try:
            with naming(str(self)):
                self._client.put(self.key, content, mode="create", use_multipart=False)
        except (AlreadyExistsError, PreconditionError):
            return False
        return True

    def exchange(self, content: bytes, version: Version) -> bool:
        """Put an object in place of that very version; of several who try, one succeeds."""
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        try:
            with naming(str(self)):
                self._client.put(self.key, content, mode=version, use_multipart=False)
        except (AlreadyExistsError, PreconditionError, FileNotFoundError):
            return False
        return True

    def unlink(self, *, missing_ok: bool = False) -> None:
        """Remove an object."""
        try:
            with naming(str(self)):
                self._client.delete(self.key)
        except FileNotFoundError:
            if not missing_ok:
                raise

    def remove_all(self) -> None:
        """Remove everything below it."""
        keys = [(self / name).key for name, _ in self.files()]
        with naming(str(self)):
            for start in range(0, len(keys), MOST_AT_ONCE):
                self._client.delete(keys[start : start + MOST_AT_ONCE])

    def files(self) -> Iterator[tuple[str, ObjectStat]]:
        """Yield the names, as seen from here, of all objects below."""
        with naming(str(self)):
            for batch in self._client.list(f"{self.key}/" if self.key else None):
                for found in batch:
                    name = ObjectPath(self.bucket, found["path"]).relative_to(self).as_posix()
                    yield name, ObjectStat(found["size"], found["e_tag"] or "")

    def iterdir(self) -> Iterator[ObjectPath]:
        """Yield the objects and folders directly below."""
        with naming(str(self)):
            found = self._client.list_with_delimiter(f"{self.key}/" if self.key else None)
        keys = {*found["common_prefixes"], *(each["path"] for each in found["objects"])}
        yield from (ObjectPath(self.bucket, key.strip("/")) for key in sorted(keys))

    def glob(self, pattern: str) -> Iterator[ObjectPath]:
        """Yield what matches below, a pattern a folder."""
        found = [self]
        for part in pattern.split("/"):
            found = [
                child
                for folder in found
                for child in folder.iterdir()
                if fnmatchcase(child.name, part)
            ]
        yield from found


class _Reader(io.RawIOBase):
    """An object whose parts are read with a request each."""

    def __init__(self, path: ObjectPath) -> None:
        super().__init__()
        self._path, self._at = path, 0
        self._size = path.stat().st_size

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if origin + offset < 0:
            raise ValueError(f"there is nothing {-origin - offset} bytes before the beginning")
        self._at = origin + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        size = max(0, min(len(buffer), self._size - self._at))
        buffer[:size] = self._path.read_range(self._at, size)
        self._at += size
        return size
