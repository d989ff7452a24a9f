"""Driver: which running Dask scheduler may be joined, and how connections are encrypted.

Dask asks nobody for a password: whoever reaches a scheduler or a worker can run code as its user.
So a cluster of more than one host is joined only over TLS, where both sides show a certificate of
one authority, unless the user says that the network is theirs alone.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import ssl
import stat
import time
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clustergrid.pipeline.request import ClusterChoice
from clustergrid.storage.errors import StorageError

if TYPE_CHECKING:
    from distributed import Security

__all__ = [
    "allows_plain",
    "check_hosts",
    "configured_certificates",
    "dashboard_origins",
    "local_security",
    "make_security",
    "refuse_plain",
    "why_closed",
    "wrong_certificate",
]

_ENCRYPTED = ("tls", "wss")
_HANDSHAKE_SECONDS = 5.0
_CONFIG = "distributed.comm.tls"


def refuse_plain(address: str, choice: ClusterChoice, *, what: str = "the Dask scheduler") -> None:
    """Refuse an unencrypted address that other hosts can reach.

    Parameters
    ----------
    address
        Of a scheduler or a worker, as ``tcp://host:8786``.
    choice
        What the user allows.
    what
        Whose address it is, for the message.

    Raises
    ------
    StorageError
        The address is neither encrypted nor of this machine alone.
    """
    if is_encrypted(address) or is_loopback(address) or allows_plain(choice):
        return
    raise StorageError(
        f"{what} {address} can be reached from other hosts without encryption, and whoever "
        "reaches it can run code as you. Start scheduler and workers with TLS (dask scheduler "
        "--protocol tls --tls-ca-file CA --tls-cert CERT --tls-key KEY) and join with --scheduler "
        "tls://HOST:PORT and the same files, or give --insecure if nobody else is on that network"
    )


def check_hosts(addresses: Iterable[str], choice: ClusterChoice) -> None:
    """Refuse a cluster one of whose workers is reached in the open; see `refuse_plain`."""
    for address in addresses:
        refuse_plain(address, choice, what="a Dask worker at")


def allows_plain(choice: ClusterChoice) -> bool:
    """Whether the user, or the site's Dask configuration, says that no encryption is needed."""
    import dask

    # None, the default, is not an answer; it is not even there before distributed is imported.
    asked = dask.config.get("distributed.comm.require-encryption", None)
    return choice.insecure or asked is False


def _scheme(address: str) -> str:
    import dask

    default = str(dask.config.get("distributed.comm.default-scheme", "tcp"))
    return address.partition("://")[0] if "://" in address else default


def is_encrypted(address: str) -> bool:
    """Whether a connection to an address of Dask's is encrypted.

    Examples
    --------
    >>> is_encrypted("tls://node17:8786"), is_encrypted("tcp://node17:8786")
    (True, False)
    """
    return _scheme(address) in _ENCRYPTED


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach an address of Dask's.

    Examples
    --------
    >>> is_loopback("tcp://127.0.0.1:8786"), is_loopback("tcp://10.0.0.7:8786")
    (True, False)
    """
    if _scheme(address) == "inproc":
        return True
    host, _ = _host_and_port(address)
    try:
        found = {str(entry[4][0]) for entry in socket.getaddrinfo(host, None)}
    except OSError:  # a host that nobody knows: connecting will say so, but never in the open
        return False
    return all(ipaddress.ip_address(ip.partition("%")[0]).is_loopback for ip in found)


def _host_and_port(address: str) -> tuple[str, int]:
    from distributed.comm.addressing import get_address_host_port

    try:
        host, port = get_address_host_port(address)
    except (ValueError, RuntimeError, TypeError) as error:
        raise StorageError(
            f"{address!r} is not the address of a Dask scheduler, as tls://host:8786: {error}"
        ) from error
    return str(host), int(port)


def make_security(address: str, choice: ClusterChoice) -> Security | None:
    """Make what a client needs for a connection, of the options and of Dask's configuration.

    Returns
    -------
    distributed.Security or None
        None where the connection is not encrypted.

    Raises
    ------
    StorageError
        A certificate is missing or cannot be used, or is given for an address without TLS.
    """
    from distributed import Security

    given = {
        "tls_ca_file": choice.tls_ca_file,
        "tls_client_cert": choice.tls_cert,
        "tls_client_key": choice.tls_key,
    }
    given = {name: path for name, path in given.items() if path is not None}
    if not is_encrypted(address):
        if given:
            raise StorageError(
                f"certificates are given, but {address} is not encrypted: a scheduler with TLS "
                "has an address that starts with tls://"
            )
        return None
    # Any: its attributes are slots that it sets by name.
    security: Any = Security(require_encryption=True, **given)
    missing = [
        f"{option} (or {_CONFIG}.{setting} in Dask's configuration)"
        for option, setting, value in (
            ("--tls-ca-file", "ca-file", security.tls_ca_file),
            ("--tls-cert", "client.cert", security.tls_client_cert),
        )
        if not value
    ]
    if missing:
        raise StorageError(f"{address} is joined over TLS, which needs {' and '.join(missing)}")
    _warn_of_open_key(security.tls_client_key)
    try:
        security.get_connection_args("client")
    except OSError as error:  # an ssl.SSLError is one too
        files = ", ".join(
            str(file)
            for file in (security.tls_ca_file, security.tls_client_cert, security.tls_client_key)
            if file and "\n" not in str(file)
        )
        raise StorageError(
            f"the TLS files cannot be used ({files}): {error.strerror or error}. They are PEM "
            "files: the authority's certificate, ours, and the key that belongs to ours"
        ) from error
    return security  # type: ignore[no-any-return]


def local_security() -> Security | None:
    """Make what a cluster of this machine needs, where Dask's configuration has certificates.

    They keep out the other people who are logged in here, and reach 127.0.0.1 as well.

    Returns
    -------
    distributed.Security or None
        None where there are none.

    Raises
    ------
    StorageError
        The configuration requires encryption and names no certificates.
    """
    from distributed import Security

    security: Any = Security()
    if configured_certificates() is not None:
        return Security(require_encryption=True)
    if security.require_encryption:
        raise StorageError(
            "Dask's configuration requires encryption (distributed.comm.require-encryption), and "
            f"does not name a certificate ({_CONFIG}.ca-file, and cert and key of scheduler, "
            "worker and client). Name them, or run without a cluster (--cluster none)"
        )
    return None


def configured_certificates() -> tuple[Path, Path, Path | None] | None:
    """Find what Dask's configuration has for scheduler, worker and client.

    Returns
    -------
    tuple or None
        Of workers: the authority's certificate, theirs, and its key, unless the certificate's file
        holds it. None where one of the three processes would have no certificate.
    """
    from distributed import Security

    security: Any = Security()
    roles = ("scheduler", "worker", "client")
    if not (security.tls_ca_file and all(getattr(security, f"tls_{role}_cert") for role in roles)):
        return None
    _warn_of_open_key(security.tls_scheduler_key)
    key = security.tls_worker_key
    return Path(security.tls_ca_file), Path(security.tls_worker_cert), Path(key) if key else None


def _warn_of_open_key(key: str | None) -> None:
    """Say so where others may read the private key: they could pose as this user."""
    if key is None or "\n" in key:
        return
    try:
        mode = stat.S_IMODE(os.stat(key).st_mode)
    except OSError:
        return  # loading it says why
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        warnings.warn(
            f"the private key {key} is open to other users of this machine (mode {mode:o}): "
            f"chmod 600 {key}",
            stacklevel=2,
        )


def wrong_certificate(address: str, security: Security, timeout_seconds: float) -> str | None:
    """Shake hands with a scheduler, to learn at once what Dask would retry in vain.

    Parameters
    ----------
    address
        Of the scheduler.
    security
        Of `make_security`.
    timeout_seconds
        How long a scheduler that does not answer yet is waited for.

    Returns
    -------
    str or None
        Why the two sides do not trust each other; None where they do.

    Raises
    ------
    OSError
        Nobody answers.
    """
    if _scheme(address) != "tls":
        return None
    context = security.get_connection_args("client")["ssl_context"]
    deadline = time.monotonic() + timeout_seconds
    while True:
        try:
            with (
                socket.create_connection(_host_and_port(address), _HANDSHAKE_SECONDS) as plain,
                context.wrap_socket(plain) as encrypted,
            ):
                # TLS 1.3 tells a client that it is refused only with the first data. Dask's
                # servers speak first.
                return None if encrypted.recv(1) else _REFUSED
        except ssl.SSLError as error:
            return _explain(error)
        except OSError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.2)


_REFUSED = "it refuses our certificate, which has to be of the authority that it trusts"


def _explain(error: ssl.SSLError) -> str:
    reason = error.reason or str(error)
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            "its certificate is not of the authority in --tls-ca-file "
            f"({error.verify_message or reason})"
        )
    if reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"):
        return "it does not speak TLS"
    return f"{_REFUSED} ({reason})"


def why_closed(address: str, error: BaseException) -> str:
    """Explain a connection that the other side closed as it began."""
    if is_encrypted(address) or not isinstance(error, OSError) or "Timed out" in str(error):
        return str(error)
    return (
        f"{error}. If it speaks TLS, join it as tls:// with --tls-ca-file, --tls-cert and --tls-key"
    )


def dashboard_origins(port: int) -> list[str]:
    """Web pages that may open a connection to a dashboard on loopback: its own.

    Without this, Dask lets any page that is open in the user's browser read the dashboard. What the
    user's own Dask configuration names is allowed too.
    """
    import dask

    setting = dask.config.get(
        "distributed.scheduler.dashboard.bokeh-application.allow_websocket_origin", []
    )
    return [f"127.0.0.1:{port}", f"localhost:{port}", *(name for name in setting if name != "*")]
