"""Driver: certificates with which scheduler, workers and clients know one another.

Dask has one role: whoever shows a certificate of the authority may run code as the cluster's user.
So there is one authority a cluster; it signs one certificate that all processes of the cluster
share, and its own key is kept nowhere unless somebody asks for it.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import shlex
import stat
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clustergrid.storage.errors import DataValueError, MissingExtraError, StorageError

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

__all__ = ["MOST_DAYS", "Certificates", "make_certificates"]

MOST_DAYS = 3650
_NAMES = ("ca.pem", "dask.pem", "dask.key")
_ROLES = ("scheduler", "worker", "client")
_PUBLIC, _SECRET = 0o644, 0o600
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_HOST = re.compile(r"(\*\.)?[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_-]+)*")
# Nodes whose clocks are behind would refuse a certificate that begins now.
_CLOCKS_DIFFER_BY = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificates:
    """What every process of a cluster needs to join it.

    Attributes
    ----------
    ca_file
        The authority's certificate (PEM).
    cert_file, key_file
        The certificate of all processes, and its private key (PEM).
    authority_key_file
        The authority's own private key, with which more can be signed; None where it was not kept.
    expires
        When both certificates end, in UTC.
    """

    ca_file: Path
    cert_file: Path
    key_file: Path
    authority_key_file: Path | None
    expires: datetime

    @property
    def settings(self) -> dict[str, Any]:
        """What Dask has to be told, by the names of its configuration."""
        tls = "distributed.comm.tls"
        settings: dict[str, Any] = {
            "distributed.comm.default-scheme": "tls",
            "distributed.comm.require-encryption": True,
            f"{tls}.ca-file": str(self.ca_file),
        }
        for role in _ROLES:
            settings[f"{tls}.{role}.cert"] = str(self.cert_file)
            settings[f"{tls}.{role}.key"] = str(self.key_file)
        return settings

    @property
    def environment(self) -> dict[str, str]:
        """`settings` as environment variables, which Dask reads when it is imported."""
        return {
            "DASK_" + name.upper().replace(".", "__").replace("-", "_"): str(value)
            for name, value in self.settings.items()
        }

    def shell_lines(self) -> list[str]:
        """Write `environment` as lines for a shell."""
        return [f"export {name}={shlex.quote(value)}" for name, value in self.environment.items()]

    def yaml_lines(self) -> list[str]:
        """Write `settings` as a file of Dask's configuration, in YAML."""
        pair = [
            f"cert: {json.dumps(str(self.cert_file))}",
            f"key: {json.dumps(str(self.key_file))}",
        ]
        return [
            "distributed:",
            "  comm:",
            "    default-scheme: tls",
            "    require-encryption: true",
            "    tls:",
            f"      ca-file: {json.dumps(str(self.ca_file))}",
            *(
                line
                for role in _ROLES
                for line in (f"      {role}:", *(f"        {each}" for each in pair))
            ),
        ]


def make_certificates(
    directory: str | os.PathLike[str],
    *,
    days: int = 365,
    hosts: Sequence[str] = (),
    authority_key: str | os.PathLike[str] | None = None,
) -> Certificates:
    """Make an authority, and a certificate of it that scheduler, workers and clients share.

    Parameters
    ----------
    directory
        Where ``ca.pem``, ``dask.pem`` and ``dask.key`` are written. It is made, for this user
        alone; one that is there already must be so, too, and hold none of them.
    days
        How long both certificates are good for, 1 to 3,650 days.
    hosts
        Names and IP addresses that are written into the certificate. Dask does not compare them
        with whom it talks to; proxies in between may.
    authority_key
        A new file for the authority's private key, with which more certificates can be signed.
        None: it is kept nowhere.

    Raises
    ------
    DataValueError
        The number of days is out of range, or a host is neither a name nor an address.
    StorageError
        A file is there already, the directory is open to others, or something cannot be written.
        Nothing is left behind then.
    MissingExtraError
        The library ``cryptography`` is not installed.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     made = make_certificates(f"{folder}/certificates", days=7)
    ...     sorted(path.name for path in made.key_file.parent.iterdir())
    ['ca.pem', 'dask.key', 'dask.pem']
    """
    if not 1 <= days <= MOST_DAYS:
        raise DataValueError(f"certificates are good for 1 to {MOST_DAYS:,} days, got {days}")
    _require_cryptography()
    folder = Path(directory).absolute()
    made = Certificates(
        ca_file=folder / _NAMES[0],
        cert_file=folder / _NAMES[1],
        key_file=folder / _NAMES[2],
        authority_key_file=None if authority_key is None else Path(authority_key).absolute(),
        expires=datetime.now(UTC).replace(microsecond=0) + timedelta(days=days),
    )
    contents = _signed(made, [_general_name(host) for host in hosts])
    _write_all(folder, contents)
    return made


def _require_cryptography() -> None:
    try:
        import cryptography  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            "making certificates needs cryptography: pip install 'clustergrid[tls]'"
        ) from error


def _signed(made: Certificates, names: list[x509.GeneralName]) -> dict[Path, tuple[bytes, int]]:
    """Sign everything; return what each file holds, and its permissions."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID

    authority_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    builder = (
        x509.CertificateBuilder()
        .issuer_name(_common_name("clustergrid authority"))
        .not_valid_before(datetime.now(UTC) - _CLOCKS_DIFFER_BY)
        .not_valid_after(made.expires)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()),
            critical=False,
        )
    )
    ours = builder.subject_name(_common_name("clustergrid")).add_extension(
        # Every process is a server to some and a client to others.
        x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
        critical=False,
    )
    if names:
        ours = ours.add_extension(x509.SubjectAlternativeName(names), critical=False)
    authority = builder.subject_name(_common_name("clustergrid authority"))
    contents = {
        made.key_file: (_pem_of_key(key), _SECRET),
        made.ca_file: (_certificate(authority, authority_key, authority_key), _PUBLIC),
        made.cert_file: (_certificate(ours, key, authority_key), _PUBLIC),
    }
    if made.authority_key_file is not None:
        contents[made.authority_key_file] = (_pem_of_key(authority_key), _SECRET)
    return contents


def _certificate(
    builder: x509.CertificateBuilder,
    key: EllipticCurvePrivateKey,
    authority_key: EllipticCurvePrivateKey,
) -> bytes:
    """Certify a key with what OpenSSL asks for when it is strict, as Python 3.13 and newer are."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization

    is_authority = key is authority_key
    usage = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
         "encipher_only", "decipher_only"), False,
    )  # fmt: skip
    certificate = (
        builder.public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .add_extension(
            x509.BasicConstraints(ca=is_authority, path_length=0 if is_authority else None),
            critical=True,
        )
        .add_extension(
            x509.KeyUsage(
                digital_signature=not is_authority,
                key_cert_sign=is_authority,
                crl_sign=is_authority,
                **usage,
            ),
            critical=True,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM)


def _pem_of_key(key: EllipticCurvePrivateKey) -> bytes:
    from cryptography.hazmat.primitives import serialization

    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _common_name(name: str) -> x509.Name:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _general_name(host: str) -> x509.GeneralName:
    from cryptography import x509

    with suppress(ValueError):
        return x509.IPAddress(ipaddress.ip_address(host))
    # Names beyond ASCII are written as xn--..., which only their owner can decide.
    if _HOST.fullmatch(host):
        return x509.DNSName(host)
    raise DataValueError(f"a host is a name as node17.example.org or an IP address, got {host!r}")


def _write_all(folder: Path, contents: dict[Path, tuple[bytes, int]]) -> None:
    """Write files that nobody else may have a hand in: all of them, or none."""
    taken = ", ".join(str(path) for path in contents if os.path.lexists(path))
    if taken:
        raise StorageError(
            f"{taken} must not be replaced: whoever uses it would be shut out. Name another "
            "directory, or remove it"
        )
    written: list[Path] = []
    is_new = not folder.exists()
    try:
        if is_new:
            folder.parent.mkdir(parents=True, exist_ok=True)
            folder.mkdir(mode=0o700)
        _refuse_open(folder)
        for path, (content, mode) in contents.items():
            # Never through a link, and never into a file that somebody has open.
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            written.append(path)
            with open(descriptor, "wb") as file:
                file.write(content)
    except BaseException as error:
        for path in written:
            path.unlink(missing_ok=True)
        if is_new:
            with suppress(OSError):
                folder.rmdir()
        if isinstance(error, OSError) and not isinstance(error, StorageError):
            raise StorageError(f"cannot write certificates to {folder}: {error}") from error
        raise


def _refuse_open(folder: Path) -> None:
    found = folder.stat()
    if not stat.S_ISDIR(found.st_mode):
        raise StorageError(f"{folder} is no directory: name another one for the certificates")
    mode = stat.S_IMODE(found.st_mode)
    if found.st_uid != os.geteuid() or mode & _OTHERS:
        raise StorageError(
            f"{folder} is open to others (owner {found.st_uid}, mode {mode:o}), and whoever can "
            f"put certificates there can run code as you: chmod 700 {shlex.quote(str(folder))}, or "
            "name a directory that is not there yet"
        )
