"""A note is what was written, or it is none."""

import json

import numpy as np
import pytest

from clustergrid.storage.arrays import write_array
from clustergrid.storage.chunks import stored_entries
from clustergrid.storage.errors import StorageError
from clustergrid.storage.manifest import (
    Entry,
    Manifest,
    chunk_checksum,
    chunk_entry,
    file_entry,
    metadata_entry,
)


@pytest.fixture
def group(tmp_path):
    write_array(tmp_path / "a.zarr", "x", np.arange(6.0).reshape(2, 3))
    return tmp_path / "a.zarr"


@pytest.fixture
def manifest(group):
    made = Manifest(group.parent, "stage")
    made.begin("k", [metadata_entry(group), *stored_entries(group, "x")])
    return made


def reread(manifest):
    return Manifest(manifest.root, "stage")


def test_what_was_noted_is_read_again(manifest, group):
    (group.parent / "a.txt").write_text("a")
    manifest.record(file_entry(group.parent, "a.txt"), chunk_entry(group, "x", (0, 0), missing=3))
    found = reread(manifest)
    assert found.key == "k"
    assert found.entries == manifest.entries
    assert set(found.entries) == {
        "a.zarr/zarr.json",
        "a.zarr/x/zarr.json",
        "a.zarr/x/c/0/0",
        "a.txt",
    }
    assert found.entries["a.zarr/x/c/0/0"].facts == {"missing": 3}
    assert found.is_whole
    assert found.torn == 0


def test_nothing_is_there_before_it_begins(tmp_path):
    found = Manifest(tmp_path, "stage")
    assert found.key is None
    assert not found.is_whole
    found.forget(["x"])
    assert not found.file.exists()


def test_a_chunks_digest_is_the_checksum_that_zarr_wrote(group):
    entry = chunk_entry(group, "x", (0, 0))
    stored, computed = chunk_checksum(group / "x" / "c" / "0" / "0")
    assert entry.digest == stored == computed
    assert entry.size_bytes == (group / "x" / "c" / "0" / "0").stat().st_size
    with pytest.raises(StorageError, match="is not there after it was written"):
        chunk_entry(group, "x", (7, 0))


def test_every_flip_and_cut_of_a_note_is_seen(manifest):
    whole = manifest.file.read_bytes()
    before = dict(manifest.entries)
    rng = np.random.default_rng(1)
    for place in rng.integers(0, len(whole), 300):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << rng.integers(8)
        manifest.file.write_bytes(damaged)
        found = reread(manifest)
        assert found.torn or found.key is None
        assert found.entries.items() <= before.items()
    for length in range(0, len(whole), 7):
        manifest.file.write_bytes(whole[:length])
        assert reread(manifest).entries.items() <= before.items()


@pytest.mark.parametrize("line", [b"[]", b"7", b"null", b"\xff", b"{}", b'{"check": "00000000"}'])
def test_odd_lines_are_no_notes(manifest, line):
    with manifest.file.open("ab") as file:
        file.write(line + b"\n")
    assert reread(manifest).torn == 1
    assert reread(manifest).entries == manifest.entries


def test_without_its_key_a_manifest_says_nothing(manifest):
    lines = manifest.file.read_text().splitlines(keepends=True)
    manifest.file.write_text("".join(lines[1:]))
    assert reread(manifest).entries == {}


@pytest.mark.parametrize("name", ["/etc/passwd", "../x", "a/../../x"])
def test_no_name_leads_out(manifest, name):
    manifest.record(Entry(file=name, size_bytes=1, digest="sha256:0", text="evil"))
    found = reread(manifest)
    assert name not in found.entries
    assert found.torn == 1


def test_metadata_is_put_back(manifest, group):
    metadata = group / "x" / "zarr.json"
    whole = metadata.read_text()
    metadata.write_text(json.dumps({**json.loads(whole), "shape": [9, 9]}))
    assert not manifest.is_whole
    reread(manifest).restore_metadata()
    assert metadata.read_text() == whole
    metadata.unlink()
    reread(manifest).restore_metadata()
    assert metadata.read_text() == whole
    assert manifest.is_whole


def test_what_is_forgotten_is_no_longer_noted(manifest):
    manifest.forget(["a.zarr/x/c/0/0", "never there"])
    assert set(reread(manifest).entries) == {"a.zarr/zarr.json", "a.zarr/x/zarr.json"}


def test_whoever_begins_again_forgets_the_rest(manifest):
    manifest.begin("another")
    assert reread(manifest).key == "another"
    assert reread(manifest).entries == {}


def test_a_disk_that_is_full_is_named(tmp_path):
    (tmp_path / "manifest").write_text("in the way")
    found = Manifest(tmp_path, "stage")
    for write in (lambda: found.begin("k"), lambda: found.record(Entry(
            file="a", size_bytes=1, digest="sha256:0"))):  # fmt: skip
        with pytest.raises(StorageError, match=r"cannot write .*stage\.jsonl"):
            write()
