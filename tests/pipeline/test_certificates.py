"""Certificates that `make_certificates` and ``clustergrid certs`` make, used and refused."""

import ipaddress
import json
import shutil
import ssl
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import dask.config
import pytest
import yaml
from cryptography import x509
from distributed import Client, LocalCluster

from clustergrid.pipeline.certificates import make_certificates
from clustergrid.pipeline.cluster import connect
from clustergrid.pipeline.request import ClusterChoice
from clustergrid.pipeline.resources import Resources
from clustergrid.storage.errors import DataValueError, MissingExtraError, StorageError

RESOURCES = Resources(memory_bytes=2 * 10**9, threads=2)


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    return make_certificates(tmp_path_factory.mktemp("tls") / "ours", hosts=["node17", "10.0.0.7"])


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def verify(authority, certificate):
    return subprocess.run(
        ["openssl", "verify", "-x509_strict", "-CAfile", authority, certificate],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


# What is made


def test_nobody_else_reads_the_keys(ours):
    folder = ours.key_file.parent
    assert names(folder) == ["ca.pem", "dask.key", "dask.pem"]
    assert mode(folder) == 0o700
    assert mode(ours.key_file) == 0o600
    assert ours.authority_key_file is None


def test_what_the_certificates_say(ours):
    authority = x509.load_pem_x509_certificate(ours.ca_file.read_bytes())
    certificate = x509.load_pem_x509_certificate(ours.cert_file.read_bytes())
    certificate.verify_directly_issued_by(authority)
    now = datetime.now(UTC)
    for each in (authority, certificate):
        assert each.not_valid_after_utc == ours.expires
        assert each.not_valid_before_utc < now
    assert abs(ours.expires - now - timedelta(days=365)) < timedelta(minutes=5)
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert found.get_values_for_type(x509.DNSName) == ["node17"]
    assert found.get_values_for_type(x509.IPAddress) == [ipaddress.ip_address("10.0.0.7")]
    # What it signs is no authority itself.
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


@pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl")
def test_openssl_finds_them_right_when_it_is_strict(ours, tmp_path):
    done = verify(ours.ca_file, ours.cert_file)
    assert done.returncode == 0, done.stderr
    assert verify(ours.ca_file, ours.ca_file).returncode == 0
    theirs = make_certificates(tmp_path / "theirs")
    assert verify(theirs.ca_file, ours.cert_file).returncode != 0


def test_the_authoritys_key_is_kept_apart_when_it_is_asked_for(tmp_path):
    made = make_certificates(tmp_path / "c", authority_key=tmp_path / "ca.key")
    assert made.authority_key_file == tmp_path / "ca.key"
    assert mode(made.authority_key_file) == 0o600
    assert names(tmp_path / "c") == ["ca.pem", "dask.key", "dask.pem"]
    # The key belongs to the authority's certificate.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.ca_file, made.authority_key_file)


def test_dask_reads_the_same_from_all_ways_of_saying_it(ours):
    def flat(settings):
        with dask.config.set(settings):
            return {name: dask.config.get(name) for name in ours.settings}

    assert flat(dask.config.collect(paths=[], env=ours.environment)) == ours.settings
    assert flat(yaml.safe_load("\n".join(ours.yaml_lines()))) == ours.settings
    script = "\n".join([*ours.shell_lines(), "env -0"])
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    exported = dict(line.split("=", 1) for line in done.stdout.split("\0") if line)
    assert flat(dask.config.collect(paths=[], env=exported)) == ours.settings


# What is refused


def test_nothing_is_replaced(ours, tmp_path):
    before = ours.key_file.read_bytes()
    with pytest.raises(StorageError, match=r"ca\.pem.* must not be replaced"):
        make_certificates(ours.key_file.parent)
    assert ours.key_file.read_bytes() == before
    # Neither is the authority's key, nor what a link leads to; nothing else is left.
    (tmp_path / "ca.key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match=r"ca\.key must not be replaced"):
        make_certificates(tmp_path / "c", authority_key=tmp_path / "ca.key")
    assert names(tmp_path) == ["ca.key"]


def test_a_failure_leaves_nothing(tmp_path):
    with pytest.raises(StorageError, match="cannot write certificates to"):
        make_certificates(tmp_path / "c", authority_key=tmp_path / "none" / "ca.key")
    assert names(tmp_path) == []


def test_a_directory_that_is_open_to_others(tmp_path):
    folder = tmp_path / "open"
    folder.mkdir(mode=0o700)
    folder.chmod(0o750)
    with pytest.raises(StorageError, match=r"open to others .*mode 750.*chmod 700"):
        make_certificates(folder)
    assert names(folder) == []
    folder.chmod(0o700)
    assert make_certificates(folder).key_file.exists()


def test_a_file_is_no_directory(tmp_path):
    (tmp_path / "c").touch()
    with pytest.raises(StorageError, match="is no directory"):
        make_certificates(tmp_path / "c")


@pytest.mark.parametrize("days", [0, -1, 3651])
def test_days_out_of_range(tmp_path, days):
    with pytest.raises(DataValueError, match=f"1 to 3,650 days, got {days}"):
        make_certificates(tmp_path / "c", days=days)


@pytest.mark.parametrize("host", ["", "a b", "knötchen", "-a", "10.0.0.7/8", "a..b", "a\nb"])
def test_what_is_no_host(tmp_path, host):
    with pytest.raises(DataValueError, match="a host is a name"):
        make_certificates(tmp_path / "c", hosts=[host])
    assert names(tmp_path) == []


def test_without_the_library_its_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'clustergrid\[tls\]'"):
        make_certificates(tmp_path / "c")


# In use


def test_they_join_a_cluster_that_refuses_others(ours, tmp_path):
    theirs = make_certificates(tmp_path / "theirs")
    with (
        dask.config.set(ours.settings),
        LocalCluster(
            n_workers=1, threads_per_worker=1, processes=False, protocol="tls://",
            host="127.0.0.1", dashboard_address="127.0.0.1:0",
        ) as cluster,
    ):  # fmt: skip
        address = cluster.scheduler_address
        assert address.startswith("tls://")
        # No scheme: the settings say which.
        with Client(address.removeprefix("tls://"), set_as_default=False) as client:
            assert client.submit(sum, [1, 2]).result() == 3
        stranger = ClusterChoice(
            scheduler=address,
            tls_ca_file=str(ours.ca_file),
            tls_cert=str(theirs.cert_file),
            tls_key=str(theirs.key_file),
        )
        with (
            pytest.raises(StorageError, match="it refuses our certificate"),
            connect(stranger, RESOURCES),
        ):
            pass


# The command


def test_the_command_prints_what_a_shell_and_dask_take(call, tmp_path):
    folder = tmp_path / "it's a folder"
    status, out, err = call("certs", folder, "--days", 3, "--host", "node17")
    assert (status, err) == (0, "")
    done = subprocess.run(
        ["sh", "-euc", f'{out}\necho "$DASK_DISTRIBUTED__COMM__TLS__CLIENT__KEY"'],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == f"{folder / 'dask.key'}\n"
    fragment = out.split("~/.config/dask/:\n")[1].replace("# ", "")
    settings = yaml.safe_load(fragment)["distributed"]["comm"]
    assert settings["tls"]["worker"]["cert"] == str(folder / "dask.pem")
    status, out, err = call("certs", folder)
    assert (status, out) == (1, "")
    assert "must not be replaced" in err


def test_the_command_as_json(call, tmp_path):
    status, out, _ = call("certs", tmp_path / "c", "--json", "--authority-key", tmp_path / "ca.key")
    assert status == 0
    said = json.loads(out)
    assert said["authority_key_file"] == str(tmp_path / "ca.key")
    assert said["environment"]["DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION"] == "True"
    assert datetime.fromisoformat(said["expires"]) > datetime.now(UTC)
