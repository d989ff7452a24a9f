"""Plan: URLs without the passwords and signatures in them, to be shown and kept."""

from __future__ import annotations

import re

__all__ = ["HIDDEN", "hide_credentials", "lacks_credentials"]

HIDDEN = "***"
"""Stands where a password, a token or a signature was."""

# Of http, whatever is before the host logs somebody in; elsewhere it may be the name of a container
# (abfs://container@account/...), and only what has a password does. Secret keys may hold slashes.
_LOGIN = re.compile(
    r"""(?<=://)(?:(?<=https://)[^\s/?#'"]+|(?<=http://)[^\s/?#'"]+"""
    r"""|[^\s/?#@:'"\[]*:(?!\d+(?:[/?#]|$))[^\s'"]*)@""",
)
_PARAMETER = re.compile(
    r"""([?&;](?:sig|[^=&;?\s]*(?:signature|token|secret|passw|credential|api[-_]?key|access[-_]?key"""
    r"""|auth)[^=&;?\s]*)=)[^&;#\s'"]*[^&;#\s'":.,)]""",
    re.IGNORECASE,
)


def hide_credentials(text: str) -> str:
    """Hide logins and signatures in the URLs of a text; other text stays as it is.

    Examples
    --------
    >>> hide_credentials("cannot open s3://AKIA:a/b+c@bucket/m.zarr?x=1: denied")
    'cannot open s3://***@bucket/m.zarr?x=1: denied'
    >>> hide_credentials("https://host/m.csv?X-Amz-Signature=0a1b&part=2")
    'https://host/m.csv?X-Amz-Signature=***&part=2'
    >>> hide_credentials("abfs://container@account/m.csv")
    'abfs://container@account/m.csv'
    """
    if "://" not in text:
        return text
    return _PARAMETER.sub(rf"\g<1>{HIDDEN}", _LOGIN.sub(f"{HIDDEN}@", text))


def lacks_credentials(url: str) -> bool:
    """Whether something was hidden in a URL, so that it opens nothing any more.

    Examples
    --------
    >>> lacks_credentials("s3://***@bucket/m.zarr"), lacks_credentials("s3://bucket/m.zarr")
    (True, False)
    """
    return f"://{HIDDEN}@" in url or ("://" in url and f"={HIDDEN}" in url)
