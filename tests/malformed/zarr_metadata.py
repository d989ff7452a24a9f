"""Zarr stores whose metadata are damaged, lie, or would run code."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import zarr

from .case import Case, frame, numbers
from .npy import payload


def write_array(folder: Path, **kwargs: Any) -> None:
    zarr.create_array(str(folder / "b.zarr"), data=numbers(), chunks=(4, 5), **kwargs)


def write_group(folder: Path) -> None:
    """Write what xarray writes: a matrix and its labels."""
    table = frame().rename_axis("gene").rename_axis("sample", axis=1)
    table.stack().to_xarray().to_dataset(name="x").to_zarr(folder / "b.zarr", consolidated=True)


def altered(name: str, says: str, alter: Callable[[dict], Any], *, zarr_format: int = 3,
            write: Callable[[Path], None] | None = None, file: str | None = None,
            options: tuple[str, ...] = ()) -> Case:  # fmt: skip
    """A case of a valid store in which one file of metadata was altered."""
    file = file or ("zarr.json" if zarr_format == 3 else ".zarray")

    def make(folder: Path) -> None:
        if write is not None:
            write(folder)
        else:
            write_array(folder, zarr_format=zarr_format)
        path = folder / "b.zarr" / file
        metadata = json.loads(path.read_text())
        result = alter(metadata)
        path.write_text(json.dumps(metadata if result is None else result))

    return Case(name=f"zarr-{name}", input="b.zarr", says=says, write=make, options=options)


def put(key: str, value: Any) -> Callable[[dict], None]:
    return lambda metadata: metadata.__setitem__(key, value)


def without(key: str) -> Callable[[dict], None]:
    def alter(metadata: dict) -> None:
        del metadata[key]

    return alter


def content(name: str, says: str, text: bytes, file: str = "zarr.json") -> Case:
    """A case whose metadata are some bytes."""

    def write(folder: Path) -> None:
        (folder / "b.zarr").mkdir()
        (folder / "b.zarr" / file).write_bytes(text)

    return Case(name=f"zarr-{name}", input="b.zarr", says=says, write=write)


def group_of(arrays: dict[str, Any], **dims: Any) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        group = zarr.create_group(str(folder / "b.zarr"))
        for name, values in arrays.items():
            names = dims.get(name, tuple(f"d{i}" for i in range(np.ndim(values))))
            group.create_array(name, data=np.asarray(values), dimension_names=names)

    return write


def case(name: str, says: str, write: Callable[[Path], None], *options: str) -> Case:
    return Case(name=f"zarr-{name}", input="b.zarr", says=says, write=write, options=options)


def v2_array(folder: Path, name: str, dtype: str, shape: list[int], chunk: bytes, **more: Any):
    """Write an array of format 2 by hand, so that no library refuses to."""
    path = folder / name
    path.mkdir(parents=True)
    metadata = {"zarr_format": 2, "shape": shape, "chunks": shape, "dtype": dtype, "order": "C",
                "fill_value": None if dtype == "|O" else 0, "compressor": None, "filters": None,
                **more}  # fmt: skip
    (path / ".zarray").write_text(json.dumps(metadata))
    (path / ".".join("0" for _ in shape)).write_bytes(chunk)


PICKLE = {"id": "pickle", "protocol": 5}
TEXT = {"id": "vlen-utf8"}


def pickled(dtype: str, **more: Any) -> Callable[[Path], None]:
    """A matrix whose only chunk is a payload."""
    return lambda folder: v2_array(folder, "b.zarr", dtype, [2, 2], payload(), **more)


def v2_group(folder: Path) -> None:
    (folder / "b.zarr").mkdir()
    (folder / "b.zarr/.zgroup").write_text('{"zarr_format": 2}')


def labels_pickled(*filters: Any, compressor: Any = None) -> Callable[[Path], None]:
    """A good matrix of xarray's, whose labels are a payload: xarray reads labels at once."""

    def write(folder: Path) -> None:
        v2_group(folder)
        store = folder / "b.zarr"
        v2_array(store, "x", "<f8", [3, 2], np.arange(6.0).tobytes())
        (store / "x/.zattrs").write_text('{"_ARRAY_DIMENSIONS": ["g", "s"]}')
        v2_array(store, "g", "|O", [3], payload(), filters=list(filters) or None,
                 compressor=compressor)  # fmt: skip
        (store / "g/.zattrs").write_text('{"_ARRAY_DIMENSIONS": ["g"]}')

    return write


def anndata_pickled(path: str) -> Callable[[Path], None]:
    """An AnnData store in which one array is a payload."""

    def write(folder: Path) -> None:
        v2_group(folder)
        text = numcodecs.VLenUTF8().encode
        arrays = {
            "X": ("<f8", [3, 2], np.arange(6.0).tobytes(), None),
            "obs/_index": ("|O", [3], bytes(text(np.array(["a", "b", "c"], object))), [TEXT]),
            "var/_index": ("|O", [2], bytes(text(np.array(["u", "v"], object))), [TEXT]),
        }
        for axis in ("obs", "var"):
            (folder / "b.zarr" / axis).mkdir()
            (folder / "b.zarr" / axis / ".zgroup").write_text('{"zarr_format": 2}')
            (folder / "b.zarr" / axis / ".zattrs").write_text('{"_index": "_index"}')
        for name, (dtype, shape, chunk, filters) in arrays.items():
            chunk, more = (payload(), {"compressor": PICKLE}) if name == path else (chunk, {})
            v2_array(folder / "b.zarr", name, dtype, shape, chunk, filters=filters, **more)

    return write


def consolidated_lies(alter: Callable[[dict], None]) -> Callable[[Path], None]:
    """Write a store whose consolidated metadata are right and whose real ones are not."""

    def write(folder: Path) -> None:
        write_group(folder)
        path = folder / "b.zarr/x/zarr.json"
        metadata = json.loads(path.read_text())
        alter(metadata)
        path.write_text(json.dumps(metadata))

    return write


HUGE = 10**12
UNREADABLE = r"b\.zarr is not a readable Zarr store"
NO_GROUP = r"b\.zarr is not a group that xarray reads"
UNPICKLES = r"b\.zarr.*(codec 'pickle': unpickling a file runs|object_codec_id)"
DEEP = b'{"a":' * 100_000 + b"1" + b"}" * 100_000

CASES = [
    content("metadata-empty", UNREADABLE, b""),
    content("metadata-cut-short", UNREADABLE, b'{"zarr_format": 3, "node_type": "arr'),
    content("metadata-no-json", UNREADABLE, b"zarr"),
    content("metadata-a-list", UNREADABLE, b"[]"),
    content("metadata-a-number", UNREADABLE, b"3"),
    content("metadata-null", UNREADABLE, b"null"),
    content("metadata-nothing-in-it", r"b\.zarr has 0 matrices", b"{}"),
    content("metadata-not-utf8", UNREADABLE, b'{"zarr_format": 3, "node_type": "\xff"}'),
    content("metadata-nests", UNREADABLE, DEEP),
    content("metadata-of-format-9", UNREADABLE, b'{"zarr_format": 9, "node_type": "array"}'),
    content("metadata-of-another-node", UNREADABLE, b'{"zarr_format": 3, "node_type": "tree"}'),
    content("metadata-is-a-pickle", UNREADABLE, payload()),
    content("v2-metadata-empty", UNREADABLE, b"", ".zarray"),
    content("v2-metadata-cut-short", UNREADABLE, b'{"zarr_format": 2, "shape": [3', ".zarray"),
    content("v2-group-empty", UNREADABLE, b"", ".zgroup"),
    content("v2-group-of-nothing", r"b\.zarr has 0 matrices \(none\)", b'{"zarr_format": 2}',
            ".zgroup"),
    content("only-consolidated", r"b\.zarr", b'{"zarr_consolidated_format": 1, "metadata": {}}',
            ".zmetadata"),
    altered("no-shape", UNREADABLE, without("shape")),
    altered("no-codecs", UNREADABLE, without("codecs")),
    altered("no-chunk-grid", UNREADABLE, without("chunk_grid")),
    altered("no-type", UNREADABLE, without("data_type")),
    altered("shape-of-words", UNREADABLE, put("shape", ["a", "b"])),
    altered("shape-of-fractions", UNREADABLE, put("shape", [12.5, 5])),
    altered("shape-negative", UNREADABLE, put("shape", [-12, 5])),
    altered("shape-null", UNREADABLE, put("shape", None)),
    altered("shape-is-a-word", UNREADABLE, put("shape", "ab")),
    altered("shape-of-one", UNREADABLE + r"|b\.zarr has shape \(60,\)", put("shape", [60])),
    altered("10^12-rows", r"b\.zarr claims 1,000,000,000,000 rows", put("shape", [HUGE, 5])),
    altered("10^12-columns", r"b\.zarr claims 12 rows and 1,000,000,000,000 columns",
            put("shape", [12, HUGE])),
    altered("10^40-rows", r"b\.zarr", put("shape", [10**40, 5])),
    altered("10^9-rows", r"would do|needs|not fit", put("shape", [10**9, 5])),
    altered("chunks-of-0", UNREADABLE, put("chunk_grid", {
        "name": "regular", "configuration": {"chunk_shape": [0, 5]}})),
    altered("chunks-negative", UNREADABLE, put("chunk_grid", {
        "name": "regular", "configuration": {"chunk_shape": [-4, 5]}})),
    altered("chunks-of-three", UNREADABLE, put("chunk_grid", {
        "name": "regular", "configuration": {"chunk_shape": [4, 5, 6]}})),
    altered("chunks-of-8-TB", r"b\.zarr has chunks of 1,000,000 x 1,000,000", put("chunk_grid", {
        "name": "regular", "configuration": {"chunk_shape": [10**6, 10**6]}})),
    altered("chunks-larger-than-they-are", r"b\.zarr is damaged in rows 0 to", put("chunk_grid", {
        "name": "regular", "configuration": {"chunk_shape": [6, 5]}})),
    altered("chunk-grid-unknown", UNREADABLE, put("chunk_grid", {"name": "hexagonal"})),
    altered("type-unknown", UNREADABLE, put("data_type", "float99")),
    altered("type-wider-than-it-is", r"b\.zarr is damaged in rows 0 to|" + UNREADABLE,
            put("data_type", "complex128")),
    altered("type-narrower-than-it-is", r"b\.zarr is damaged in rows 0 to",
            put("data_type", "float32")),
    altered("fill-value-no-number", UNREADABLE, put("fill_value", "red")),
    altered("codec-unknown", UNREADABLE, put("codecs", [{"name": "bytes"}, {"name": "nocodec"}])),
    altered("codec-without-a-name", UNREADABLE, put("codecs", [{}])),
    altered("codecs-empty", UNREADABLE, put("codecs", [])),
    altered("codec-of-another-compressor", r"b\.zarr is damaged in rows 0 to", put(
        "codecs", [{"name": "bytes", "configuration": {"endian": "little"}},
                   {"name": "gzip", "configuration": {"level": 1}}])),
    altered("codec-zstd-with-a-level-of-words", UNREADABLE, put(
        "codecs", [{"name": "bytes"}, {"name": "zstd", "configuration": {"level": "high"}}])),
    altered("codec-pickle", UNREADABLE + "|" + UNPICKLES, put(
        "codecs", [{"name": "bytes"}, {"name": "numcodecs.pickle"}])),
    altered("must-understand-an-extension", UNREADABLE, put(
        "frobnicate", {"must_understand": True, "name": "x"})),
    altered("storage-transformers", UNREADABLE, put("storage_transformers", [{"name": "x"}])),
    altered("chunk-keys-unknown", UNREADABLE, put("chunk_key_encoding", {"name": "x"})),
    altered("chunk-keys-of-another-kind", UNREADABLE, put(
        "chunk_key_encoding", {"name": "v2", "configuration": {"separator": "-"}})),
    altered("v2-compressor-unknown", UNREADABLE, put("compressor", {"id": "nocodec"}),
            zarr_format=2),
    altered("v2-compressor-a-word", UNREADABLE, put("compressor", "zlib"), zarr_format=2),
    altered("v2-type-unknown", UNREADABLE, put("dtype", "<q9"), zarr_format=2),
    altered("v2-type-of-objects", UNREADABLE + "|values of type object", put("dtype", "|O"),
            zarr_format=2),
    altered("v2-10^12-rows", r"b\.zarr claims 1,000,000,000,000 rows", put("shape", [HUGE, 5]),
            zarr_format=2),
    altered("v2-chunks-of-0", UNREADABLE + "|is damaged", put("chunks", [0, 5]), zarr_format=2),
    altered("v2-order-unknown", UNREADABLE, put("order", "Q"), zarr_format=2),
    altered("v2-other-compressor", r"b\.zarr is damaged in rows 0 to",
            put("compressor", {"id": "zlib", "level": 1}), zarr_format=2),
    case("v2-pickle-filter", UNPICKLES, pickled("<f8", filters=[PICKLE])),
    case("v2-pickle-compressor", UNPICKLES, pickled("<f8", compressor=PICKLE)),
    case("v2-pickle-behind-a-filter", UNPICKLES,
         pickled("<f8", filters=[{"id": "delta", "dtype": "<f8"}, PICKLE])),
    case("v2-pickle-of-objects", UNPICKLES, pickled("|O", filters=[PICKLE])),
    case("v2-pickle-of-text", UNPICKLES, pickled("|O", filters=[TEXT, PICKLE])),
    case("v2-pickle-around-text", UNPICKLES, pickled("|O", filters=[TEXT], compressor=PICKLE)),
    case("v2-labels-pickled", r"b\.zarr", labels_pickled(PICKLE)),
    case("v2-labels-pickled-text", UNPICKLES, labels_pickled(TEXT, PICKLE)),
    case("v2-labels-pickled-around-text", UNPICKLES, labels_pickled(TEXT, compressor=PICKLE)),
    case("v2-anndata-labels-pickled", UNPICKLES, anndata_pickled("obs/_index")),
    case("v2-anndata-columns-pickled", UNPICKLES, anndata_pickled("var/_index")),
    case("v2-anndata-X-pickled", UNPICKLES, anndata_pickled("X")),
    case("three-dimensions", r"b\.zarr has shape \(2, 3, 4\)", lambda folder: zarr.create_array(
        str(folder / "b.zarr"), data=np.ones((2, 3, 4)))),
    case("one-dimension", r"b\.zarr has shape \(7,\)", lambda folder: zarr.create_array(
        str(folder / "b.zarr"), data=np.ones(7))),
    case("no-rows", r"b\.zarr has no rows", lambda folder: zarr.create_array(
        str(folder / "b.zarr"), shape=(0, 4), chunks=(1, 4), dtype="f8")),
    case("no-columns", r"b\.zarr has no columns", lambda folder: zarr.create_array(
        str(folder / "b.zarr"), shape=(4, 0), chunks=(4, 1), dtype="f8")),
    case("of-text", r"b\.zarr has values of type", lambda folder: zarr.create_array(
        str(folder / "b.zarr"), data=np.array([["a", "b"], ["c", "d"]]))),
    case("complex", r"b\.zarr has values of type complex128", lambda folder: zarr.create_array(
        str(folder / "b.zarr"), data=np.ones((3, 3), complex))),
    case("dates", r"b\.zarr has values of type datetime64", lambda folder: zarr.create_array(
        str(folder / "b.zarr"), data=np.zeros((3, 3), "M8[s]"))),
    case("layer-of-an-array", r"b\.zarr is one array: it has no layer 'x'", write_array,
         "--layer", "x"),
    case("group-empty", r"b\.zarr has 0 matrices \(none\)",
         lambda folder: zarr.create_group(str(folder / "b.zarr"))),
    case("group-of-two", r"b\.zarr has 2 matrices \('x', 'y'\): choose one with --layer",
         group_of({"x": numbers(), "y": numbers()})),
    case("group-without-that-layer", r"b\.zarr has no matrix 'z'; it has 'x'",
         group_of({"x": numbers()}), "--layer", "z"),
    case("group-layer-of-one-dimension", r"'v' of .*b\.zarr has shape \(3,\)",
         group_of({"x": numbers(), "v": np.arange(3)}, v=("w",)), "--layer", "v"),
    case("group-without-dimension-names", NO_GROUP, group_of({"x": numbers()}, x=None)),
    case("group-of-other-lengths", NO_GROUP, group_of(
        {"x": numbers(), "g": np.arange(11)}, x=("g", "s"), g=("g",))),
    case("group-of-text", r"'x' of .*b\.zarr has values of type", group_of(
        {"x": np.array([["a", "b"], ["c", "d"]])})),
    case("group-of-groups", r"b\.zarr has 0 matrices", lambda folder: zarr.create_group(
        str(folder / "b.zarr")).create_group("inner").create_array("x", data=numbers())),
    case("record-says-incomplete", r"b\.zarr was not written to its end", lambda folder: (
        group_of({"matrix": numbers()})(folder),
        zarr.open_group(str(folder / "b.zarr")).attrs.update(
            {"clustergrid": {"matrix": {"complete": False}}}))[0]),
    case("record-is-a-list", r"b\.zarr", lambda folder: (
        group_of({"matrix": numbers()})(folder),
        zarr.open_group(str(folder / "b.zarr")).attrs.update({"clustergrid": [1]}))[0]),
    case("consolidated-lies-about-the-shape", r"b\.zarr", consolidated_lies(
        put("shape", [12, 4]))),
    case("consolidated-hides-a-codec", r"b\.zarr", consolidated_lies(
        put("codecs", [{"name": "bytes"}, {"name": "nocodec"}]))),
    case("consolidated-hides-10^12-rows", r"b\.zarr", consolidated_lies(put("shape", [HUGE, 5]))),
    case("scale-of-words", r"b\.zarr", lambda folder: (
        group_of({"x": numbers()})(folder),
        zarr.open_array(str(folder / "b.zarr"), path="x").attrs.update(
            {"scale_factor": "red"}))[0]),
    case("scale-of-0", r".", lambda folder: (
        group_of({"x": np.ones((4, 4), "i2")})(folder),
        zarr.open_array(str(folder / "b.zarr"), path="x").attrs.update(
            {"scale_factor": float("nan")}))[0]),
    case("units-of-time", r"b\.zarr", lambda folder: (
        group_of({"x": numbers()})(folder),
        zarr.open_array(str(folder / "b.zarr"), path="x").attrs.update(
            {"units": "days since yesterday"}))[0]),
    case("v2-array-named-with-dots", UNREADABLE + "|" + NO_GROUP, lambda folder: (
        v2_group(folder), v2_array(folder / "b.zarr", "..x", "<f8", [2, 2], bytes(32)))[0]),
    case("nczarr-consolidated-climbs", r"b\.zarr has 0 matrices", lambda folder: (
        v2_group(folder), write_outside(folder))[0]),
]  # fmt: skip


def write_outside(folder: Path) -> None:
    """Consolidated metadata that name an array above the store."""
    v2_array(folder, "secret", "<f8", [2, 2], np.arange(4.0).tobytes())
    (folder / "secret/.zattrs").write_text('{"_ARRAY_DIMENSIONS": ["a", "b"]}')
    metadata = {
        ".zgroup": {"zarr_format": 2},
        "../secret/.zarray": json.loads((folder / "secret/.zarray").read_text()),
        "../secret/.zattrs": json.loads((folder / "secret/.zattrs").read_text()),
    }
    (folder / "b.zarr/.zmetadata").write_text(
        json.dumps({"zarr_consolidated_format": 1, "metadata": metadata})
    )
