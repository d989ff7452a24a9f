"""Certificates of a run: its own unless the site has some, private, and gone afterwards."""

import copy
import stat

import dask
import pytest
from distributed import Security

from clustergrid.pipeline.certificates import make_certificates
from clustergrid.pipeline.clusters.choice import ClusterChoice
from clustergrid.pipeline.clusters.encryption import encrypted
from clustergrid.storage.errors import StorageError

CHOICE = ClusterChoice(cluster="slurm")


def test_a_run_has_an_authority_of_its_own(tmp_path):
    folder = tmp_path / "jobs"
    (folder / "tls-stale").mkdir(parents=True)  # of a run that was killed
    before = copy.deepcopy(dask.config.get("distributed.comm"))
    with encrypted(CHOICE, folder) as files:
        ca_file, _, key_file = files
        (private,) = folder.iterdir()
        assert {file.parent for file in files} == {private}
        assert stat.S_IMODE(private.stat().st_mode) == 0o700
        assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
        found = Security()
        assert found.require_encryption
        assert found.tls_ca_file == str(ca_file)
        for role in ("scheduler", "worker", "client"):
            assert found.get_connection_args(role)["ssl_context"]
    assert list(folder.iterdir()) == []
    assert dask.config.get("distributed.comm") == before


def test_certificates_of_the_site_are_used(tmp_path):
    made = make_certificates(tmp_path / "site")
    with dask.config.set(made.settings), encrypted(CHOICE, tmp_path / "jobs") as files:
        assert files == (made.ca_file, made.cert_file, made.key_file)
        assert Security().require_encryption
    assert not (tmp_path / "jobs").exists()


def test_who_wants_none_has_none(tmp_path):
    insecure = ClusterChoice(cluster="slurm", insecure=True)
    with encrypted(insecure, tmp_path / "jobs") as files:
        assert files is None
    with (
        dask.config.set({"distributed.comm.require-encryption": False}),
        encrypted(CHOICE, tmp_path / "jobs") as files,
    ):
        assert files is None
    assert not (tmp_path / "jobs").exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "jobs").write_text("")
    with (
        pytest.raises(StorageError, match=r"cannot keep certificates in .*jobs"),
        encrypted(CHOICE, tmp_path / "jobs"),
    ):
        pass
