"""Driver: Zarr's store of objects, whose errors name the object, and which travels as a URL."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from typing import TYPE_CHECKING, Any, Self

from zarr.storage import ObjectStore

from clustergrid.storage.object_path import MOST_AT_ONCE, WHOLE_BYTES, ObjectPath
from clustergrid.storage.object_store import bucket_client, naming

if TYPE_CHECKING:
    from zarr.abc.store import ByteRequest
    from zarr.core.buffer import Buffer, BufferPrototype

__all__ = ["NamedObjectStore", "open_objects"]


def open_objects(url: str) -> NamedObjectStore:
    """Open a folder of a bucket as a Zarr store.

    Raises
    ------
    DataValueError, MissingExtraError, ObjectStoreError
        The URL is none, the library is not installed, or the environment makes no client.
    """
    return NamedObjectStore(url=url)


class NamedObjectStore(ObjectStore[Any]):
    """Objects below a URL.

    Pickled it is the URL alone: whoever opens it again, in another process, has credentials of
    their own, and none travel.

    Parameters
    ----------
    url
        Of the folder.
    read_only
        As in zarr.
    """

    def __init__(self, *, url: str, read_only: bool = False) -> None:
        path = ObjectPath.parse(url)
        super().__init__(bucket_client(path.bucket, path.key), read_only=read_only)
        self.url = str(path)

    def with_read_only(self, read_only: bool = False) -> Self:
        """Return the same store, to be read or to be written."""
        return type(self)(url=self.url, read_only=read_only)

    def __str__(self) -> str:
        """Return the URL."""
        return self.url

    def __eq__(self, other: object) -> bool:
        """Whether it is the same place, opened the same way."""
        if not isinstance(other, NamedObjectStore):
            return False
        return (self.url, self.read_only) == (other.url, other.read_only)

    def __hash__(self) -> int:
        """Hash of the place."""
        return hash((self.url, self.read_only))

    def __getstate__(self) -> dict[Any, Any]:
        """Send the place, not the client, which has credentials."""
        return {"url": self.url, "read_only": self.read_only}

    def __setstate__(self, state: dict[Any, Any]) -> None:
        """Open it again."""
        self.__init__(**state)  # type: ignore[misc]

    def _named(self, key: str) -> Any:
        return naming(f"{self.url}/{key}")

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Read an object, or a part; None where there is none."""
        try:
            with self._named(key):
                return await super().get(key, prototype, byte_range)
        except FileNotFoundError:
            return None

    async def get_partial_values(
        self,
        prototype: BufferPrototype,
        key_ranges: Iterable[tuple[str, ByteRequest | None]],
    ) -> list[Buffer | None]:
        """Read parts of objects."""
        with self._named(""):
            return await super().get_partial_values(prototype, key_ranges)

    async def exists(self, key: str) -> bool:
        """Whether there is an object."""
        with self._named(key):
            return await super().exists(key)

    async def set(self, key: str, value: Buffer) -> None:
        """Put an object: with one request, unless it is very large."""
        self._check_writable()
        content = value.as_buffer_like()
        with self._named(key):
            await self.store.put_async(key, content, use_multipart=len(value) > WHOLE_BYTES)

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        """Put an object unless there is one."""
        with self._named(key):
            await super().set_if_not_exists(key, value)

    async def delete(self, key: str) -> None:
        """Remove an object."""
        with self._named(key):
            await super().delete(key)

    async def delete_dir(self, prefix: str) -> None:
        """Remove all objects below."""
        self._check_writable()
        below = f"{prefix.strip('/')}/" if prefix.strip("/") else None
        with self._named(prefix):
            found = await self.store.list(below).collect_async()
            keys = [each["path"] for each in found]
            for start in range(0, len(keys), MOST_AT_ONCE):
                await self.store.delete_async(keys[start : start + MOST_AT_ONCE])

    async def _list(self, prefix: str | None = None) -> AsyncGenerator[Any, None]:
        with self._named(prefix or ""):
            async for found in super()._list(prefix):
                yield found

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:  # type: ignore[override]
        """Yield the names directly below."""
        with self._named(prefix):
            async for name in super().list_dir(prefix):
                yield name

    async def getsize(self, key: str) -> int:
        """Return the bytes of an object."""
        with self._named(key):
            return await super().getsize(key)
