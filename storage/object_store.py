"""Driver: buckets of S3, Google Cloud Storage and Azure: their clients, and errors of one line.

What a client needs to know (endpoint, region, credentials, whether plain HTTP is allowed) is in the
environment, under the names that the makers of the stores gave it: ``AWS_ENDPOINT_URL``,
``AWS_ACCESS_KEY_ID``, ``AWS_ALLOW_HTTP``, ``GOOGLE_APPLICATION_CREDENTIALS``,
``AZURE_STORAGE_ACCOUNT_NAME`` and so on. Nothing of it is in a URL, so that none of it is ever
written down, and a worker finds its own.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import lru_cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from clustergrid.storage.errors import MissingExtraError, ObjectStoreError

if TYPE_CHECKING:
    from obstore.store import ObjectStore

__all__ = ["bucket_client", "has_object_stores", "is_object_url", "naming"]

_SCHEME = re.compile(r"(s3|gs|az)://")
_VARIABLES = {"s3": ("AWS_",), "gs": ("GOOGLE_", "GCP_"), "az": ("AZURE_",)}
_HINTS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_SKIP_SIGNATURE=true where all may",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS, or GOOGLE_SKIP_SIGNATURE=true where all may",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY, or AZURE_SKIP_SIGNATURE=true "
    "where all may",
}
_REQUEST_SECONDS = 300
"""Of one request with its body, a tile of 64 MB among them; then it is sent again."""

_RETRY_SECONDS = 60
"""For so long a request that fails is sent again: long for a store, short for a wrong address."""

_MOST_RETRIES = 1000
"""More than there is time for: ten, obstore's own limit, were over after two seconds."""

_LONGEST_PAUSE_SECONDS = 5

_LONGEST_REASON = 300


def is_object_url(text: object) -> bool:
    """Whether a text names something in a bucket.

    Examples
    --------
    >>> is_object_url("s3://bucket/run"), is_object_url("run"), is_object_url("https://host/m.csv")
    (True, False, False)
    """
    return isinstance(text, str) and _SCHEME.match(text) is not None


def has_object_stores() -> bool:
    """Whether the library that speaks with the stores is installed."""
    return find_spec("obstore") is not None


def bucket_client(bucket: str, prefix: str = "") -> ObjectStore:
    """Return a client of a bucket, with what the environment says at this moment.

    Parameters
    ----------
    bucket
        As ``"s3://bucket"``.
    prefix
        What the keys of all objects begin with, without slashes at its ends.

    Raises
    ------
    MissingExtraError
        The library is not installed.
    ObjectStoreError
        What the environment says makes no client.
    """
    if not has_object_stores():
        raise MissingExtraError(f"{bucket} needs obstore: pip install 'clustergrid[object-stores]'")
    names = _VARIABLES[bucket.partition(":")[0]]
    said = sorted(item for item in os.environ.items() if item[0].upper().startswith(names))
    # Connections do not outlive a fork, nor a change of the environment.
    version = hashlib.sha256(repr((os.getpid(), said)).encode()).hexdigest()
    return _client(bucket, prefix, version)


@lru_cache(maxsize=64)
def _client(bucket: str, prefix: str, version: str) -> ObjectStore:
    del version  # what is cached is of it
    from obstore.store import AzureStore, GCSStore, S3Store

    scheme, _, name = bucket.partition("://")
    kinds: dict[str, Any] = {"s3": S3Store, "gs": GCSStore, "az": AzureStore}
    options: dict[str, Any] = {"timeout": timedelta(seconds=_REQUEST_SECONDS)}
    allowed = f"{_VARIABLES[scheme][0]}ALLOW_HTTP"
    if os.environ.get(allowed, "").lower() in ("1", "true"):
        options["allow_http"] = True
    with naming(bucket):
        client: ObjectStore = kinds[scheme](
            name,
            prefix=prefix or None,
            client_options=options,
            retry_config={
                "max_retries": _MOST_RETRIES,
                "retry_timeout": timedelta(seconds=_RETRY_SECONDS),
                "backoff": {
                    "init_backoff": timedelta(milliseconds=100),
                    "max_backoff": timedelta(seconds=_LONGEST_PAUSE_SECONDS),
                    "base": 2,
                },
            },
        )
    return client


@contextmanager
def naming(url: str) -> Iterator[None]:
    """Turn what a client raises into an error of one line that names the object.

    Of the answers of a store no more is shown than its code: they may quote access keys.

    Raises
    ------
    FileNotFoundError
        There is no such object.
    ObjectStoreError
        The store cannot be reached, or refuses.
    """
    from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError

    try:
        yield
    except (AlreadyExistsError, PreconditionError):
        raise  # the answer that a conditional write may get
    except (FileNotFoundError, BaseError) as error:
        raise _named(error, url) from None


def _named(error: Exception, url: str) -> Exception:
    """Make of what a client raised an error that names the object."""
    from obstore.exceptions import PermissionDeniedError, UnauthenticatedError

    scheme = url.partition(":")[0]
    if "NoSuchBucket" in str(error) or "ContainerNotFound" in str(error):
        bucket = "/".join(url.split("/")[:3])
        return ObjectStoreError(
            f"there is no bucket {bucket}, where {url} would be: make it, or name another one"
        )
    if isinstance(error, FileNotFoundError):
        return FileNotFoundError(errno.ENOENT, "there is no such object", url)
    if isinstance(error, PermissionDeniedError | UnauthenticatedError):
        return ObjectStoreError(
            f"access to {url} is denied ({_reason(error)}). See that the environment has "
            f"credentials that may read and write there: {_HINTS[scheme]}"
        )
    return ObjectStoreError(
        f"{url} cannot be read or written: {_reason(error)}. See that the network and the store "
        f"work, and what the environment says of it ({_VARIABLES[scheme][0]}...); the same command "
        "again goes on from here"
    )


def _reason(error: Exception) -> str:
    """Say what happened, without what the store's answer quotes."""
    text = str(error).partition("\n\nDebug source")[0]
    code = re.search(r"<Code>(\w+)</Code>", text)
    said = text.partition("\n")[0].partition("<")[0].strip().rstrip(":")
    said = said.split(": Error performing ")[-1]
    return f"{said[:_LONGEST_REASON]}{f' {code[1]}' if code else ''}"
