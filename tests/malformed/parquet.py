"""Parquet files that hold no matrix of numbers, or are damaged."""

import datetime
import decimal
import json
from pathlib import Path

import numpy as np
import pyarrow
from pyarrow import parquet

from .case import Case, bytes_file, frame


def table(name, columns, says, *options, names=None, metadata=None):
    """A case of some columns; `names` may repeat."""

    def write(folder: Path) -> None:
        made = pyarrow.table(list(columns.values()), names=names or list(columns))
        if metadata is not None:
            made = made.replace_schema_metadata(metadata)
        parquet.write_table(made, folder / "b.parquet")

    return Case(name=f"parquet-{name}", input="b.parquet", says=says, write=write, options=options)


def damaged(name, alter, says):
    """A case of a valid file of which some bytes were altered."""

    def write(folder: Path) -> None:
        path = folder / "b.parquet"
        frame().to_parquet(path)
        content = bytearray(path.read_bytes())
        path.write_bytes(bytes(alter(content)))

    return Case(name=f"parquet-{name}", input="b.parquet", says=says, write=write)


def flipped_from(start, stop):
    """Alter bytes of a page."""

    def alter(content):
        content[start:stop] = bytes(byte ^ 0x55 for byte in content[start:stop])
        return content

    return alter


def metadata_that_lies(folder: Path) -> None:
    """A footer that counts 10^12 rows: its number of rows is a varint, which is made longer."""
    path = folder / "b.parquet"
    parquet.write_table(
        pyarrow.table({"g": ["u"] * 100, "a": np.arange(100.0), "b": np.arange(100.0) ** 2}),
        path, compression="none", use_dictionary=False, write_statistics=False, store_schema=False,
    )  # fmt: skip
    content = path.read_bytes()
    size = int.from_bytes(content[-8:-4], "little")
    body, footer = content[: -8 - size], content[-8 - size : -8]
    zigzag = bytes([0xC8, 0x01])  # 100
    at = footer.index(b"\x16" + zigzag)  # field 3 of FileMetaData, an i64: num_rows
    number, lie = 2 * 10**12, bytearray()
    while number:
        lie.append((number & 0x7F) | (0x80 if number > 0x7F else 0))
        number >>= 7
    footer = footer[: at + 1] + bytes(lie) + footer[at + 3 :]
    path.write_bytes(body + footer + len(footer).to_bytes(4, "little") + b"PAR1")


A, B = pyarrow.array([1.0, 2.0, 4.0]), pyarrow.array([3.0, 5.0, 1.0])
NEITHER = r"b\.parquet: 1 of 3 columns hold neither real numbers nor labels: 'c' \({}"


def column(name, values, kind):
    return table(name, {"a": A, "b": B, "c": values}, NEITHER.format(kind))


PANDAS = {"index_columns": [{"kind": "range", "name": None, "start": 0, "stop": 3, "step": 1}],
          "column_indexes": [], "columns": [], "pandas_version": "2.2.0"}  # fmt: skip


def pandas_metadata(text):
    return {b"pandas": text.encode()}


CASES = [
    column("lists", pyarrow.array([[1.0], [2.0], [3.0]]), "list"),
    column("structures", pyarrow.array([{"x": 1}, {"x": 2}, {"x": 3}]), "struct"),
    column("maps", pyarrow.array([[("k", 1)]] * 3, pyarrow.map_("string", "int64")), "map"),
    column("decimals", pyarrow.array([decimal.Decimal("1.5")] * 3), "decimal128"),
    column("nothing-but-null", pyarrow.nulls(3), "null"),
    column("binary", pyarrow.array([b"\0", b"\1", b"\2"]), "binary"),
    column("fixed-size-binary", pyarrow.array([b"ab"] * 3, pyarrow.binary(2)),
           "fixed_size_binary"),
    table("second-column-of-text", {"g": pyarrow.array(list("uvw")), "a": A,
                                    "t": pyarrow.array(list("xyz"))}, "'t'"),
    table("dates-among-the-numbers",
          {"g": pyarrow.array(list("uvw")), "a": A,
           "t": pyarrow.array([datetime.date(2024, 1, 1)] * 3)}, "'t'"),
    table("time-stamps-among-the-numbers",
          {"g": pyarrow.array(list("uvw")), "a": A,
           "t": pyarrow.array([datetime.datetime(2024, 1, 1)] * 3)}, "'t'"),
    table("categories-among-the-numbers",
          {"g": pyarrow.array(list("uvw")), "a": A,
           "t": pyarrow.array(list("xyx")).dictionary_encode()}, "'t'"),
    table("one-name-twice", {"a": A, "b": B}, r"b\.parquet has the column 'a' more than once",
          names=["a", "a"]),
    table("no-rows", {"a": A[:0], "b": B[:0]}, r"b\.parquet has 0 rows"),
    table("no-columns", {}, r"b\.parquet has 0 rows and 0 columns"),
    table("only-labels", {"g": pyarrow.array(list("uvw"))}, r"b\.parquet.*0 columns of numbers"),
    table("null", {"a": pyarrow.array([1.0, None, 2.0]), "b": B}, "1 values are NaN.*'1'"),
    table("null-integer", {"g": pyarrow.array(list("uvw")), "a": pyarrow.array([1, None, 2]),
                           "b": B}, "1 values are NaN.*'v'"),
    table("infinite", {"a": pyarrow.array([1.0, np.inf, 2.0]), "b": B}, "1 infinite.*'1'"),
    table("column-all-null", {"a": pyarrow.array([None] * 3, "float64"), "b": B},
          "3 values are NaN"),
    table("pandas-metadata-is-no-json", {"a": A, "b": B}, r"b\.parquet is not a readable Parquet",
          metadata=pandas_metadata("{")),
    table("pandas-metadata-is-a-list", {"a": A, "b": B}, r"b\.parquet is not a readable Parquet",
          metadata=pandas_metadata("[1]")),
    table("pandas-index-that-is-not-there", {"a": A, "b": B},
          r"b\.parquet (is not a readable Parquet|has no column 'z')",
          metadata=pandas_metadata(json.dumps({**PANDAS, "index_columns": ["z"]}))),
    table("pandas-range-without-an-end", {"a": A, "b": B}, r"b\.parquet is not a readable Parquet",
          metadata=pandas_metadata(json.dumps({**PANDAS, "index_columns": [{"kind": "range"}]}))),
    table("pandas-range-with-step-0", {"a": A, "b": B}, r"b\.parquet is not a readable Parquet",
          metadata=pandas_metadata(json.dumps({**PANDAS, "index_columns": [
              {"kind": "range", "name": None, "start": 0, "stop": 3, "step": 0}]}))),
    damaged("empty", lambda content: b"", r"b\.parquet is not a readable Parquet"),
    damaged("only-the-magic", lambda content: b"PAR1", r"b\.parquet is not a readable Parquet"),
    damaged("text", lambda content: b"x,a,b\ng,1,2\n", r"b\.parquet is not a readable Parquet"),
    damaged("cut-in-half", lambda content: content[: len(content) // 2],
            r"b\.parquet is not a readable Parquet"),
    damaged("last-byte-missing", lambda content: content[:-1],
            r"b\.parquet is not a readable Parquet"),
    damaged("first-half-missing", lambda content: content[len(content) // 2 :],
            r"b\.parquet is not a readable Parquet"),
    damaged("footer-length-huge", lambda content: content[:-8] + b"\xff\xff\xff\x7fPAR1",
            r"b\.parquet is not a readable Parquet"),
    damaged("footer-length-0", lambda content: content[:-8] + bytes(4) + b"PAR1",
            r"b\.parquet is not a readable Parquet"),
    damaged("encrypted", lambda content: content[:-4] + b"PARE",
            r"b\.parquet is not a readable Parquet"),
    damaged("first-page-altered", flipped_from(4, 60),
            r"b\.parquet is not a readable Parquet file from row 0"),
    damaged("footer-altered", flipped_from(-300, -200), r"b\.parquet is not a readable Parquet"),
    Case(name="parquet-10^12-rows", input="b.parquet", write=metadata_that_lies,
         says=r"b\.parquet is not a readable Parquet|the stage linkage-row needs [\d.]+ PB"),
    Case(name="parquet-layer", input="b.parquet", options=("--layer", "x"), says="has no layers",
         write=lambda folder: frame().to_parquet(folder / "b.parquet")),
    Case(name="parquet-directory", input="b.parquet", says=r"b\.parquet is a directory",
         write=lambda folder: (folder / "b.parquet").mkdir()),
    Case(name="feather", input="b.feather", says=r"'\.feather' is not one of",
         write=bytes_file("b.feather", b"ARROW1")),
]  # fmt: skip
