"""Places in buckets, and what is said when a store does not do what it is asked."""

import os
import threading

import pytest

from clustergrid.storage.errors import DataValueError, MissingExtraError, ObjectStoreError
from clustergrid.storage.object_path import ObjectPath
from clustergrid.storage.object_store import bucket_client, is_object_url
from clustergrid.storage.places import (
    as_path,
    files_below,
    local_copy,
    remove_tree,
    sha256_of,
    sizes_of,
    tail_of,
    written_whole,
)
from tests.storage.object_stores.servers import KEY_ID, SECRET, front, use


@pytest.fixture
def root(bucket):
    return ObjectPath.parse(f"{bucket}/runs/1")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        (f"s3://{KEY_ID}:{SECRET}@bucket/run", "has a login"),
        ("s3://me@bucket/run", "has a login"),
        ("gs://bucket/run?X-Goog-Signature=abc", "has a login or parameters"),
        ("s3:///run", "BUCKET/KEY"),
        ("s3://bucket/a/../b", "BUCKET/KEY"),
        ("az://container//a//b", "BUCKET/KEY"),
        ("http://host/a", "not a URL of an object store"),
    ],
)
def test_what_is_no_place_is_refused_and_shows_no_secret(url, says):
    with pytest.raises(DataValueError, match=says) as refused:
        ObjectPath.parse(url)
    assert KEY_ID not in str(refused.value)
    assert SECRET not in str(refused.value)


def test_names_are_those_of_paths():
    path = as_path("gs://bucket/runs/1/")
    file = path / "manifest/matrix.jsonl"
    assert str(file) == "gs://bucket/runs/1/manifest/matrix.jsonl"
    assert (file.name, file.stem, str(file.parent)) == (
        "matrix.jsonl", "matrix", "gs://bucket/runs/1/manifest",
    )  # fmt: skip
    assert file.relative_to(path).as_posix() == "manifest/matrix.jsonl"
    assert not as_path("gs://bucket/runs/12").is_relative_to(path)
    assert not is_object_url("runs/1")
    with pytest.raises(ValueError, match="not below"):
        path.relative_to(file)


def test_objects_are_put_read_listed_and_removed(root, tmp_path):
    (root / "a b/gène #1%25.txt").write_text("eins\n")
    (root / "a b/c/0/1").write_bytes(bytes(range(200)))
    (root.parent / "12").write_bytes(b"a neighbour whose name begins alike")
    assert (root / "a b/gène #1%25.txt").read_text() == "eins\n"
    assert dict(files_below(root)) == {"a b/gène #1%25.txt": 5, "a b/c/0/1": 200}
    assert sizes_of(root, ["a b/c/0/1", "a b/c/0/2", "b"]) == {"a b/c/0/1": 200}
    assert [path.name for path in root.glob("a*/c*")] == ["c"]
    assert tail_of(root / "a b/c/0/1", 4) == (200, bytes([196, 197, 198, 199]))
    assert (root / "a b/c/0/1").read_range(10, 3) == bytes([10, 11, 12])
    assert root.is_dir()
    assert not root.is_file()
    assert not (root / "a").exists()
    with (root / "a b/c/0/1").reader() as file:
        file.seek(-2, os.SEEK_END)
        assert file.read() == bytes([198, 199])
        file.seek(5)
        assert file.read(2) == bytes([5, 6])
    with local_copy(root / "a b/c/0/1") as copy:
        assert sha256_of(copy) == sha256_of(root / "a b/c/0/1")
    with written_whole(root / "figure.png") as temporary:
        assert temporary.suffix == ".png"
        temporary.write_bytes(b"picture")
    assert (root / "figure.png").read_bytes() == b"picture"
    remove_tree(root / "a b")
    (root / "figure.png").unlink()
    (root / "figure.png").unlink(missing_ok=True)
    assert not root.exists()
    assert (root.parent / "12").is_file()


def test_what_could_not_be_written_whole_does_not_appear(root):
    def write():
        with written_whole(root / "half.npy") as temporary:
            temporary.write_bytes(b"ha")
            raise KeyError("killed")

    with pytest.raises(KeyError):
        write()
    assert not (root / "half.npy").exists()


def test_of_many_who_create_or_exchange_one_succeeds(root):
    taken, barrier = [], threading.Barrier(8)

    def take(number, put):
        barrier.wait()
        if put(b"%d" % number):
            taken.append(number)

    def all_take(put):
        taken.clear()
        threads = [threading.Thread(target=take, args=(n, put)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(taken) == 1

    all_take((root / "lock").create)
    content, version = (root / "lock").read_version()
    assert content == b"%d" % taken[0]
    # By other contents: the same would leave the version as it is, and let another succeed, too.
    all_take(lambda content: (root / "lock").exchange(b"later %s" % content, version))
    assert (root / "lock").read_bytes() == b"later %d" % taken[0]
    (root / "lock").unlink()
    assert not (root / "lock").exchange(b"late", version)


def test_an_object_that_is_not_there_is_a_missing_file(root):
    for ask in (root.read_bytes, root.stat, lambda: list(root.pieces()), root.reader):
        with pytest.raises(FileNotFoundError, match=r"there is no such object.*runs/1"):
            ask()


def test_a_bucket_that_is_not_there_is_named(bucket):
    del bucket
    with pytest.raises(ObjectStoreError, match="there is no bucket s3://nobody") as said:
        ObjectPath.parse("s3://nobody/run/run.json").write_bytes(b"{}")
    assert "\n" not in str(said.value)


@pytest.mark.parametrize("status", [401, 403])
def test_denied_says_what_to_give_and_no_key(object_server, monkeypatch, status):
    with front(object_server, lambda *_: status) as endpoint:
        use(monkeypatch, endpoint)
        with pytest.raises(ObjectStoreError, match=r"is denied.*AWS_ACCESS_KEY_ID") as said:
            ObjectPath.parse("s3://bucket/run/run.json").read_bytes()
    assert "s3://bucket/run/run.json" in str(said.value)
    assert "Oops" in str(said.value)
    assert KEY_ID not in str(said.value)
    assert "\n" not in str(said.value)


def test_a_server_that_fails_for_a_while_is_asked_again(object_server, bucket, monkeypatch):
    failures = iter([500, 503, "drop"])
    with front(object_server, lambda *_: next(failures, None)) as endpoint:
        use(monkeypatch, endpoint)
        ObjectPath.parse(f"{bucket}/a").write_bytes(b"at last")
        assert next(failures, None) is None
        assert ObjectPath.parse(f"{bucket}/a").read_bytes() == b"at last"


def test_what_the_store_answers_is_one_line(object_server, monkeypatch):
    with front(object_server, lambda *_: 405) as endpoint:
        use(monkeypatch, endpoint)
        with pytest.raises(ObjectStoreError, match=r"cannot be read or written.*405.*AWS_") as said:
            ObjectPath.parse("s3://bucket/a").read_bytes()
    assert "\n" not in str(said.value)
    assert KEY_ID not in str(said.value)


def test_the_library_is_an_extra(monkeypatch):
    monkeypatch.setattr("clustergrid.storage.object_store.find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'clustergrid\[object-stores\]'"):
        as_path("s3://bucket/run").exists()


def test_clients_of_google_and_azure_are_made_of_the_environment(monkeypatch):
    """No server of theirs is here: what can be seen is that the environment is understood."""
    from obstore.store import AzureStore, GCSStore

    monkeypatch.setenv("GOOGLE_SKIP_SIGNATURE", "true")
    assert isinstance(bucket_client("gs://bucket", "runs/1"), GCSStore)
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)
    with pytest.raises(ObjectStoreError, match=r"az://container.*[Aa]ccount.*AZURE_"):
        bucket_client("az://container", "runs/1")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "site")
    client = bucket_client("az://container", "runs/1")
    assert isinstance(client, AzureStore)
    assert client.prefix == "runs/1"
