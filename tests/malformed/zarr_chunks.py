"""Zarr stores whose metadata are right and whose chunks are damaged or not there."""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec, GzipCodec, ZstdCodec

from clustergrid.storage import open_matrix
from clustergrid.storage.ingest import ingest

from .case import Case, frame, numbers

CHUNK = "b.zarr/c/1/0"


def array(**kwargs: Any) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        zarr.create_array(str(folder / "b.zarr"), data=numbers(), chunks=(4, 5), **kwargs)

    return write


def altered(name: str, says: str, alter: Callable[[bytes], bytes], *, chunk: str = CHUNK,
            write: Callable[[Path], None] | None = None, options: tuple[str, ...] = (),
            **kwargs: Any) -> Case:  # fmt: skip
    """A case of a valid store in which one chunk was altered."""

    def make(folder: Path) -> None:
        (write or array(**kwargs))(folder)
        path = folder / chunk
        path.write_bytes(alter(path.read_bytes()))

    return Case(name=f"zarr-chunk-{name}", input="b.zarr", says=says, write=make, options=options)


def flipped(content: bytes) -> bytes:
    """Alter one bit in the middle."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 4]) + content[middle + 1 :]


def half(content: bytes) -> bytes:
    return content[: len(content) // 2]


def shard_index_altered(content: bytes) -> bytes:
    """The last bytes of a shard are its index and the checksum of that."""
    return content[:-12] + bytes(byte ^ 0xFF for byte in content[-12:-8]) + content[-8:]


def shard_points_outside(content: bytes) -> bytes:
    """An index whose checksum is right and whose first entry is beyond the end."""
    index = bytearray(content[-(16 * 3 + 4) : -4])
    index[:16] = struct.pack("<QQ", 2**40, 100)
    checksum = struct.pack("<I", google_crc32c.value(bytes(index)))
    return content[: -(16 * 3 + 4)] + bytes(index) + checksum


def ours(folder: Path) -> None:
    """What `ingest` writes, in three chunks."""
    ingest(open_matrix(frame()), folder / "b.zarr", chunks=(4, 5))


def anndata(form: str) -> Callable[[Path], None]:
    """An AnnData store of format 3."""

    def write(folder: Path) -> None:
        root = zarr.create_group(str(folder / "b.zarr"))
        for axis, n in (("obs", 12), ("var", 5)):
            group = root.create_group(axis, attributes={"_index": "_index"})
            group.create_array("_index", data=np.arange(n))
        if form == "dense":
            root.create_array("X", data=numbers(), chunks=(4, 5))
            return
        kind = {"encoding-type": f"{form}_matrix", "encoding-version": "0.1.0", "shape": [12, 5]}
        group = root.create_group("X", attributes=kind)
        n = 12 if form == "csr" else 5
        group.create_array("data", data=np.arange(1.0, 2 * n + 1))
        group.create_array("indices", data=np.tile([0, 2], n))
        group.create_array("indptr", data=2 * np.arange(n + 1))

    return write


def then(write: Callable[[Path], None], alter: Callable[[Any], None]) -> Callable[[Path], None]:
    """Write a store, then alter it through zarr."""

    def make(folder: Path) -> None:
        write(folder)
        alter(zarr.open_group(str(folder / "b.zarr"), mode="r+"))

    return make


def entry(path: str, index: int, value: float) -> Callable[[Any], None]:
    def alter(root: Any) -> None:
        root[path][index] = value

    return alter


def removed(name: str, says: str, *chunks: str, write: Callable[[Path], None] | None = None,
            **kwargs: Any) -> Case:  # fmt: skip
    """A case of a valid store of which some chunks were lost."""

    def make(folder: Path) -> None:
        (write or array(**kwargs))(folder)
        for chunk in chunks:
            (folder / chunk).unlink()

    return Case(name=f"zarr-chunks-{name}", input="b.zarr", says=says, write=make)


def case(name: str, says: str, write: Callable[[Path], None], *options: str) -> Case:
    return Case(name=f"zarr-{name}", input="b.zarr", says=says, write=write, options=options)


NOT_WHOLE = r"b\.zarr is damaged(: its chunk .* has \d+ bytes| in rows \d+ to \d+)"
RAW = {"compressors": None}
CHECKED = {"compressors": (ZstdCodec(), Crc32cCodec())}
DAMAGED = r"b\.zarr is damaged in rows \d+ to \d+"
EMPTY = ("b.zarr/c/0/0", "b.zarr/c/1/0", "b.zarr/c/2/0")
NAN, INFINITE = numbers(), numbers()
NAN[-1, -1], INFINITE[0, 0] = np.nan, -np.inf

CASES = [
    altered("raw-cut-short", DAMAGED, half, **RAW),
    altered("raw-too-long", DAMAGED, lambda content: content * 2, **RAW),
    altered("raw-empty", NOT_WHOLE, lambda content: b"", **RAW),
    altered("zstd-cut-short", DAMAGED, half, compressors=ZstdCodec()),
    altered("zstd-empty", NOT_WHOLE, lambda content: b"", compressors=ZstdCodec()),
    altered("zstd-rubbish", DAMAGED, lambda content: b"rubbish!" * 9, compressors=ZstdCodec()),
    altered("zstd-checksum", DAMAGED, flipped, compressors=ZstdCodec(checksum=True)),
    altered("gzip-cut-short", DAMAGED, half, compressors=GzipCodec()),
    altered("gzip-checksum", DAMAGED, lambda content: content[:-8] + bytes(4) + content[-4:],
            compressors=GzipCodec()),
    altered("gzip-rubbish", DAMAGED, lambda content: b"rubbish", compressors=GzipCodec()),
    altered("blosc-cut-short", NOT_WHOLE, half, compressors=BloscCodec()),
    altered("blosc-rubbish", NOT_WHOLE, lambda content: b"rubbish!" * 9, compressors=BloscCodec()),
    altered("blosc-empty", NOT_WHOLE, lambda content: b"", compressors=BloscCodec()),
    altered("checksum-flipped", DAMAGED, flipped, **CHECKED),
    altered("checksum-first-byte", DAMAGED, lambda content: b"\0" + content[1:], **CHECKED),
    altered("checksum-last-byte", DAMAGED,
            lambda content: content[:-1] + bytes([content[-1] ^ 1]), **CHECKED),
    altered("checksum-cut-short", DAMAGED, half, **CHECKED),
    altered("checksum-alone", DAMAGED, lambda content: content[-4:], **CHECKED),
    altered("ours-flipped", r"array 'matrix' in .*b\.zarr is damaged in rows", flipped,
            chunk="b.zarr/matrix/c/1/0", write=ours),
    altered("ours-labels-flipped", r"b\.zarr.*checksum", flipped, chunk="b.zarr/row/c/0",
            write=ours),
    altered("swapped", "1 values are NaN", lambda content: np.r_[
        np.frombuffer(content)[:-1], np.nan].tobytes(), **RAW),
    altered("v2-cut-short", NOT_WHOLE, half, chunk="b.zarr/1.0", zarr_format=2),
    altered("v2-empty", NOT_WHOLE, lambda content: b"", chunk="b.zarr/1.0", zarr_format=2),
    altered("shard-cut-short", DAMAGED, half, chunk="b.zarr/c/0/0", shards=(12, 5)),
    altered("shard-empty", NOT_WHOLE, lambda content: b"", chunk="b.zarr/c/0/0", shards=(12, 5)),
    altered("shard-index-altered", DAMAGED, shard_index_altered, chunk="b.zarr/c/0/0",
            shards=(12, 5)),
    altered("shard-index-outside", DAMAGED, shard_points_outside, chunk="b.zarr/c/0/0",
            shards=(12, 5)),
    altered("shard-inner-rubbish", DAMAGED, lambda content: b"\xff" * 60 + content[60:],
            chunk="b.zarr/c/0/0", shards=(12, 5)),
    altered("anndata-dense", r"'X' in .*b\.zarr is damaged in rows", half,
            chunk="b.zarr/X/c/1/0", write=anndata("dense")),
    altered("anndata-csr-data", r"'X' in .*b\.zarr is damaged in rows", half,
            chunk="b.zarr/X/data/c/0", write=anndata("csr")),
    altered("anndata-csc-indices", r"X of .*b\.zarr", half, chunk="b.zarr/X/indices/c/0",
            write=anndata("csc")),
    altered("anndata-labels", r"b\.zarr is not a readable Zarr store", half,
            chunk="b.zarr/obs/_index/c/0", write=anndata("dense")),
    removed("all-missing", r"b\.zarr holds no chunk of its matrix", *EMPTY),
    removed("all-missing-v2", r"b\.zarr holds no chunk of its matrix", "b.zarr/0.0", "b.zarr/1.0",
            "b.zarr/2.0", zarr_format=2),
    removed("all-missing-shards", r"b\.zarr holds no chunk of its matrix", "b.zarr/c/0/0",
            shards=(12, 5)),
    removed("one-missing-that-reads-as-nan", "20 values are NaN.*'4', '5', '6', '7'", CHUNK,
            fill_value=np.nan),
    removed("one-missing-of-ours", r"1 of the 3 chunks of 'matrix' of .*b\.zarr are not stored",
            "b.zarr/matrix/c/1/0", write=ours),
    removed("all-missing-of-ours", r"3 of the 3 chunks of 'matrix' of .*b\.zarr are not stored",
            *(f"b.zarr/matrix/c/{i}/0" for i in range(3)), write=ours),
    case("created-and-never-written", r"b\.zarr holds no chunk", lambda folder: zarr.create_array(
        str(folder / "b.zarr"), shape=(10**6, 10**4), chunks=(1000, 1000), dtype="f4")),
    case("nan-in-the-last-cell", "1 values are NaN.*'11'", lambda folder: zarr.create_array(
        str(folder / "b.zarr"), data=NAN)),
    case("infinite", "1 infinite.*'0'", lambda folder: zarr.create_array(
        str(folder / "b.zarr"), data=INFINITE)),
    case("anndata-csr-index-outside", r"indices of X of .*b\.zarr are damaged: entry 3 is 5",
         then(anndata("csr"), entry("X/indices", 3, 5))),
    case("anndata-csr-pointer-outside", r"indptr of X of .*b\.zarr is damaged: entry 12 is 99",
         then(anndata("csr"), entry("X/indptr", 12, 99))),
    case("anndata-csc-index-negative", r"indices of X of .*b\.zarr are damaged: entry 3 is -1",
         then(anndata("csc"), entry("X/indices", 3, -1))),
    case("anndata-obs-too-short", r"obs of .*b\.zarr has 7 labels, and the matrix 12",
         then(anndata("dense"), lambda root: root.create_array(
             "obs/_index", data=np.arange(7), overwrite=True))),
    case("anndata-10^12-labels", r"obs of .*b\.zarr has 1000000000000 labels",
         then(anndata("dense"), lambda root: root.create_array(
             "obs/_index", shape=(10**12,), chunks=(1000,), dtype="i8", overwrite=True))),
    case("anndata-10^12-rows", r"X of .*b\.zarr claims 1,000,000,000,000 rows",
         then(anndata("dense"), lambda root: root.create_array(
             "X", shape=(10**12, 5), chunks=(1000, 5), dtype="f8", overwrite=True))),
    case("anndata-no-layer", r"b\.zarr has no layer 'counts'; it has none", anndata("dense"),
         "--layer", "counts"),
    case("anndata-no-var-index", r"var of .*b\.zarr has no '_index'",
         then(anndata("dense"), lambda root: root.__delitem__("var/_index"))),
    case("anndata-no-X", r"b\.zarr has no X and obs",
         then(anndata("dense"), lambda root: root.__delitem__("X"))),
    case("anndata-csr-no-indptr", r"X of .*b\.zarr has no 'indptr'",
         then(anndata("csr"), lambda root: root.__delitem__("X/indptr"))),
    case("anndata-X-is-text", r"X of .*b\.zarr has values of type",
         then(anndata("dense"), lambda root: root.create_array(
             "X", shape=(12, 5), dtype="str", chunks=(12, 5), overwrite=True))),
]  # fmt: skip
