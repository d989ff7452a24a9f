"""A scheduler on other hosts is joined over TLS, or not at all."""

import datetime
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import time
import warnings
from pathlib import Path

import dask
import numpy as np
import psutil
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from distributed import LocalCluster, Security

from clustergrid.pipeline.cluster import connect
from clustergrid.pipeline.request import ClusterChoice
from clustergrid.pipeline.resources import Resources
from clustergrid.pipeline.security import dashboard_origins, is_loopback
from clustergrid.storage.errors import DataValueError, StorageError
from tests.pipeline.commands import COMMAND

ROOT = Path(__file__).parents[2]
RESOURCES = Resources(memory_bytes=2 * 10**9, threads=2)


class Authority:
    """A certificate authority, in a folder of its own."""

    def __init__(self, folder: Path, name: str) -> None:
        folder.mkdir()
        self.folder, self.name = folder, x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = self._sign(self.name, self._key.public_key(), is_authority=True)
        self.file = folder / "ca.pem"
        self.file.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))

    def _sign(self, subject, public_key, *, is_authority):
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=5))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )

    def issue(self, name: str) -> tuple[str, str]:
        """Make a certificate and its key; return their files."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self._sign(subject, key.public_key(), is_authority=False)
        cert_file, key_file = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        key_file.touch(mode=0o600)
        key_file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return str(cert_file), str(key_file)


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("tls") / "ours", "ours")


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("tls") / "theirs", "theirs")


def tls_cluster(ca_file, cert, key):
    """A scheduler and a worker in this process that speak TLS only."""
    names = [f"tls_{role}" for role in ("scheduler", "worker", "client")]
    security = Security(
        require_encryption=True,
        tls_ca_file=str(ca_file),
        **{f"{name}_cert": str(cert) for name in names},
        **{f"{name}_key": str(key) for name in names},
    )
    return LocalCluster(
        n_workers=1,
        threads_per_worker=1,
        processes=False,
        protocol="tls://",
        security=security,
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
    )


@pytest.fixture(scope="module")
def cluster(ours):
    with (
        dask.config.set({"distributed.scheduler.no-workers-timeout": "300s"}),
        tls_cluster(ours.file, *ours.issue("node")) as cluster,
    ):
        yield cluster


def choice(address, authority, cert=None, key=None, **more):
    return ClusterChoice(
        scheduler=address, tls_ca_file=str(authority.file), tls_cert=cert, tls_key=key, **more
    )


def join(choice):
    with connect(choice, RESOURCES) as client:
        return client.submit(sum, [1, 2]).result()


def end(process):
    """Terminate a process; one that waits for a scheduler that is gone needs more."""
    process.terminate()
    try:
        process.wait(timeout=15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(timeout=15)


def assert_refused(choice, says):
    started = time.monotonic()
    with pytest.raises(StorageError, match=says):
        join(choice)
    assert time.monotonic() - started < 10


# A scheduler with TLS


def test_a_certificate_of_the_same_authority_joins(cluster, ours):
    address = cluster.scheduler_address
    assert address.startswith("tls://127.0.0.1:")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing to complain of
        assert join(choice(address, ours, *ours.issue("client"))) == 3


def test_certificates_of_dasks_configuration_join(cluster, ours):
    cert, key = ours.issue("configured")
    settings = {"ca-file": str(ours.file), "client.cert": cert, "client.key": key}
    with dask.config.set({f"distributed.comm.tls.{name}": file for name, file in settings.items()}):
        assert join(ClusterChoice(scheduler=cluster.scheduler_address)) == 3
        # Each file that is given goes before the configuration's.
        assert_refused(
            ClusterChoice(scheduler=cluster.scheduler_address, tls_cert=str(ours.file)),
            "the TLS files cannot be used",
        )


def test_a_client_without_a_certificate_is_refused(cluster, ours):
    assert_refused(
        ClusterChoice(scheduler=cluster.scheduler_address),
        r"needs --tls-ca-file .* and --tls-cert \(or distributed\.comm\.tls\.client\.cert in",
    )
    # The scheduler itself refuses, whatever a client leaves out.
    context = ssl.create_default_context(cafile=str(ours.file))
    context.check_hostname = False
    host, port = cluster.scheduler_address.removeprefix("tls://").split(":")
    with (
        socket.create_connection((host, int(port)), 5) as plain,
        pytest.raises(ssl.SSLError, match="CERTIFICATE_REQUIRED"),
        context.wrap_socket(plain) as encrypted,
    ):
        encrypted.recv(1)


def test_a_certificate_of_another_authority_is_refused(cluster, ours, theirs):
    assert_refused(
        choice(cluster.scheduler_address, ours, *theirs.issue("stranger")),
        r"cannot join .*: it refuses our certificate",
    )


def test_a_scheduler_of_another_authority_is_refused(cluster, theirs):
    assert_refused(
        choice(cluster.scheduler_address, theirs, *theirs.issue("client")),
        r"cannot join .*: its certificate is not of the authority in --tls-ca-file",
    )


def test_a_client_without_tls_is_refused(cluster):
    address = cluster.scheduler_address.replace("tls://", "tcp://")
    assert_refused(
        ClusterChoice(scheduler=address), r"cannot reach .* If it speaks TLS, join it as tls://"
    )


def test_a_scheduler_without_tls_is_not_taken_for_one_with(ours):
    with (
        LocalCluster(
            n_workers=0, processes=False, protocol="tcp://", host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
        ) as plain,
    ):  # fmt: skip
        address = plain.scheduler_address.replace("tcp://", "tls://")
        assert_refused(choice(address, ours, *ours.issue("eager")), "it does not speak TLS")


def test_nobody_there_is_said(ours, monkeypatch):
    monkeypatch.setattr("clustergrid.pipeline.clusters.joined._CONNECT_SECONDS", 0.5)
    assert_refused(
        choice("tls://127.0.0.1:9", ours, *ours.issue("early")), "cannot reach .* refused"
    )


# A cluster of ours


def test_a_local_cluster_takes_the_certificates_of_the_configuration(ours):
    cert, key = ours.issue("local")
    settings = {"distributed.comm.tls.ca-file": str(ours.file)}
    for role in ("scheduler", "worker", "client"):
        settings |= {
            f"distributed.comm.tls.{role}.cert": cert,
            f"distributed.comm.tls.{role}.key": key,
        }
    with (
        dask.config.set(settings),
        connect(ClusterChoice(dashboard_port=0), RESOURCES) as client,
    ):
        address = client.scheduler.address
        assert address.startswith("tls://127.0.0.1:")
        assert all(worker.startswith("tls://127.0.0.1:") for worker in client.nthreads())
        assert client.submit(sum, [1, 2]).result() == 3
        plain = ClusterChoice(scheduler=address.replace("tls://", "tcp://"))
        assert_refused(plain, "cannot reach")


def test_encryption_that_is_required_needs_certificates():
    with (
        dask.config.set({"distributed.comm.require-encryption": True}),
        pytest.raises(StorageError, match=r"requires encryption .* does not name a certificate"),
        connect(ClusterChoice(dashboard_port=0), RESOURCES),
    ):
        pass


# Certificates


def test_files_that_are_no_certificates(ours, tmp_path):
    cert, key = ours.issue("whole")
    _, other_key = ours.issue("other")
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_text("no certificate\n")
    nonsense.chmod(0o600)
    for wrong in ((str(nonsense), key), (cert, other_key), (cert, str(nonsense))):
        assert_refused(choice("tls://127.0.0.1:9", ours, *wrong), "the TLS files cannot be used")
    assert_refused(choice("tls://127.0.0.1:9", ours, cert, str(tmp_path / "none")), "No such file")


def test_certificates_for_an_address_without_tls(ours):
    assert_refused(
        choice("tcp://127.0.0.1:9", ours, *ours.issue("vain")), "is not encrypted: a scheduler with"
    )


def test_a_private_key_that_others_can_read_is_warned_of(cluster, ours):
    cert, key = ours.issue("careless")
    os.chmod(key, 0o640)
    with pytest.warns(UserWarning, match=rf"{key} is open to other users .*640.*chmod 600"):
        join(choice(cluster.scheduler_address, ours, cert, key))


# Without TLS


@pytest.mark.parametrize(
    "address",
    ["tcp://10.11.12.13:8786", "10.11.12.13:8786", "ws://10.11.12.13:8786", "tcp://0.0.0.0:8786",
     "tcp://[2001:db8::7]:8786", "tcp://no.such.host.invalid:8786"],
)  # fmt: skip
def test_another_host_is_not_joined_in_the_open(address):
    assert_refused(ClusterChoice(scheduler=address), "whoever reaches it can run code as you.*tls:")


def test_a_scheduler_file_is_no_way_round(tmp_path):
    file = tmp_path / "scheduler.json"
    file.write_text(json.dumps({"address": "tcp://10.11.12.13:8786"}))
    assert_refused(ClusterChoice(scheduler_file=str(file)), "can run code as you")


def test_words_that_are_no_address():
    for address in ("tcp://", "nonsense", "tcp://a:b:c"):
        assert_refused(ClusterChoice(scheduler=address), "not the address|can run code as you")


def own_address() -> str | None:
    """An address of this machine that other hosts can reach."""
    return next(
        (
            entry.address
            for entries in psutil.net_if_addrs().values()
            for entry in entries
            if entry.family == socket.AF_INET and not entry.address.startswith("127.")
        ),
        None,
    )


@pytest.mark.skipif(own_address() is None, reason="this machine has no network")
def test_an_open_scheduler_is_seen_through_the_loopback_door():
    with LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, protocol="tcp://", host="0.0.0.0",
        dashboard_address="127.0.0.1:0",
    ) as cluster:  # fmt: skip
        port = cluster.scheduler_address.rsplit(":", 1)[1]
        address = f"tcp://127.0.0.1:{port}"
        assert_refused(ClusterChoice(scheduler=address), "can be reached from other hosts")
        insecure = ClusterChoice(scheduler=address, insecure=True)
        with (
            dask.config.set({"distributed.scheduler.no-workers-timeout": None}),
            pytest.warns(UserWarning, match=r"wait for ever .*no-workers-timeout set"),
        ):
            assert join(insecure) == 3
        with dask.config.set({"distributed.comm.require-encryption": False}):
            assert join(ClusterChoice(scheduler=address)) == 3


@pytest.mark.skipif(own_address() is None, reason="this machine has no network")
def test_an_open_worker_of_a_loopback_scheduler_is_seen():
    with (
        LocalCluster(
            n_workers=0, processes=False, protocol="tcp://", host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
        ) as cluster,
        subprocess.Popen(
            [sys.executable, "-m", "dask", "worker", cluster.scheduler_address, "--host",
             str(own_address()), "--no-dashboard", "--no-nanny"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as worker,
    ):  # fmt: skip
        try:
            with pytest.raises(StorageError, match=r"a Dask worker at tcp://.* can be reached"):
                join(ClusterChoice(scheduler=cluster.scheduler_address))
        finally:
            end(worker)


def test_what_loopback_is():
    assert is_loopback("tcp://127.0.0.1:8786")
    assert is_loopback("tcp://localhost:8786")
    assert is_loopback("tcp://[::1]:8786")
    assert is_loopback("inproc://10.0.0.1/1/2")
    assert not is_loopback("tcp://0.0.0.0:8786")


def test_options_that_need_a_scheduler():
    with pytest.raises(DataValueError, match="belong to a running scheduler"):
        ClusterChoice(tls_cert="a.pem")
    with pytest.raises(DataValueError, match=r"--insecure says nothing to --cluster local.*sched"):
        ClusterChoice(insecure=True)


def test_origins_of_the_users_configuration_are_kept():
    setting = "distributed.scheduler.dashboard.bokeh-application.allow_websocket_origin"
    with dask.config.set({setting: ["*", "hub.example.org:443"]}):
        assert dashboard_origins(8787)[2:] == ["hub.example.org:443"]


# The documented lines


def documented_commands() -> str:
    text = (ROOT / "deploy" / "README.md").read_text(encoding="utf-8")
    (block,) = (found for found in re.findall(r"```sh\n(.*?)```", text, re.S) if "openssl" in found)
    return str(block)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl")
def test_the_documented_lines_make_certificates_that_work(tmp_path):
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", documented_commands()],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    made = tmp_path / "certificates"
    for key in made.glob("*.key"):
        assert key.stat().st_mode & 0o077 == 0
    assert made.stat().st_mode & 0o077 == 0
    ca, cert, key = (str(made / name) for name in ("ca.pem", "dask.pem", "dask.key"))
    with (
        dask.config.set({"distributed.scheduler.no-workers-timeout": "300s"}),
        tls_cluster(ca, cert, key) as cluster,
    ):
        assert join(
            ClusterChoice(
                scheduler=cluster.scheduler_address, tls_ca_file=ca, tls_cert=cert, tls_key=key
            )
        ) == 3  # fmt: skip


# The command, with processes of its own


@pytest.mark.slow
def test_a_run_over_tls_gives_the_same_tree_and_strangers_are_sent_away(ours, theirs, tmp_path):
    np.save(tmp_path / "m.npy", np.random.default_rng(3).normal(size=(900, 40)))
    cert, key = ours.issue("server")
    tls = ["--tls-ca-file", str(ours.file), "--tls-cert", cert, "--tls-key", key]
    environment = {**os.environ, "DASK_CONFIG": str(ROOT / "deploy" / "dask.yaml")}
    small = ["--figsize", "3", "3", "--dpi", "40"]

    def start(*arguments):
        return subprocess.Popen(
            [sys.executable, "-m", "dask", *arguments],
            cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def run(output, *options, **variables):
        return subprocess.run(
            [*COMMAND, "run", "m.npy", "-o", output, *small, *options],
            cwd=tmp_path, env={**environment, **variables}, capture_output=True, text=True,
            timeout=200, check=False,
        )  # fmt: skip

    host = own_address() or "127.0.0.1"
    processes = [
        start("scheduler", "--protocol", "tls", "--host", host, "--port", "0",
              "--dashboard-address", "127.0.0.1:0", "--scheduler-file", "scheduler.json", *tls),
    ]  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while not (tmp_path / "scheduler.json").exists():
            assert time.monotonic() < deadline
            time.sleep(0.1)
        processes.append(
            start("worker", "--host", host, "--scheduler-file", "scheduler.json",
                  "--nthreads", "2", "--memory-limit", "2GB", "--no-dashboard", *tls)
        )  # fmt: skip
        address = json.loads((tmp_path / "scheduler.json").read_text())["address"]
        assert address.startswith(f"tls://{host}:")
        mine = ours.issue("driver")
        joined = run("joined", "--scheduler", address, "--tls-ca-file", str(ours.file),
                     "--tls-cert", mine[0], "--tls-key", mine[1])  # fmt: skip
        assert joined.returncode == 0, joined.stderr
        configured = run(
            "configured", "--scheduler-file", "scheduler.json",
            DASK_DISTRIBUTED__COMM__TLS__CA_FILE=str(ours.file),
            DASK_DISTRIBUTED__COMM__TLS__CLIENT__CERT=mine[0],
            DASK_DISTRIBUTED__COMM__TLS__CLIENT__KEY=mine[1],
        )  # fmt: skip
        assert configured.returncode == 0, configured.stderr
        alone = run("alone", "--cluster", "none")
        assert alone.returncode == 0, alone.stderr
        stranger = theirs.issue("stranger")
        refused = {
            "needs --tls-ca-file": [address],
            "it refuses our certificate": [
                address, "--tls-ca-file", str(ours.file), "--tls-cert", stranger[0],
                "--tls-key", stranger[1],
            ],
            "tls://": [address.replace("tls://", "tcp://")],
        }  # fmt: skip
        for says, options in refused.items():
            started = time.monotonic()
            done = run("refused", "--scheduler", *options)
            assert time.monotonic() - started < 30
            assert done.returncode == 1
            assert "Traceback" not in done.stderr
            (line,) = [x for x in done.stderr.splitlines() if x.startswith("clustergrid:")]
            assert says in line
    finally:
        for process in reversed(processes):
            end(process)
    for name in ("linkage_row.npy", "linkage_col.npy", "order_row.txt"):
        expected = (tmp_path / "alone" / name).read_bytes()
        assert (tmp_path / "joined" / name).read_bytes() == expected
        assert (tmp_path / "configured" / name).read_bytes() == expected
    assert list((tmp_path / "joined" / "report").iterdir())
