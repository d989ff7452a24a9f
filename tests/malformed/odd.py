"""What looks wrong and is right: inputs that must be read, and as what."""

import gzip
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numcodecs
import numpy as np
import pyarrow
import zarr
from pyarrow import parquet
from zarr.codecs import BloscCodec

from . import h5ad, zarr_metadata
from .case import Write, both, bytes_file, frame, numbers
from .npy import npy_of

VALUES = numbers()
ROWS, COLUMNS = [f"g{i}" for i in range(12)], [f"s{i}" for i in range(5)]
TABLE = frame().to_csv().encode()


@dataclass(frozen=True, kw_only=True)
class Odd:
    """An input that must be read.

    Parameters
    ----------
    name, input, write, options
        As in `Case`.
    values, rows, columns
        What it holds; labels are compared as text.
    warns
        What a warning says, where there is one.
    """

    name: str
    input: str
    write: Write
    values: Any = field(default_factory=lambda: VALUES)
    rows: Any = field(default_factory=lambda: ROWS)
    columns: Any = field(default_factory=lambda: COLUMNS)
    options: tuple[str, ...] = ()
    warns: str = ""


def text(name: str, content: str | bytes, suffix: str = ".csv", **expected: Any) -> Odd:
    content = content.encode() if isinstance(content, str) else content
    input = f"b{suffix}"
    return Odd(name=f"text-{name}", input=input, write=bytes_file(input, content), **expected)


def small(name: str, content: str, rows: Any, columns: Any, values: Any, **more: Any) -> Odd:
    return text(name, content, rows=list(rows), columns=list(columns), values=values, **more)


def npy(name: str, file: bytes, values: Any = VALUES) -> Odd:
    n, k = np.shape(values)
    return Odd(name=f"npy-{name}", input="b.npy", write=bytes_file("b.npy", file), values=values,
               rows=range(n), columns=range(k))  # fmt: skip


def table(name: str, columns: dict[str, Any], rows: Any, values: Any, names: Any = None) -> Odd:
    def write(folder: Path) -> None:
        parquet.write_table(pyarrow.table(columns), folder / "b.parquet")

    return Odd(name=f"parquet-{name}", input="b.parquet", write=write, rows=list(rows),
               columns=names or list("ab"), values=values)  # fmt: skip


def annotated(name: str, form: str, alter: Callable[[Any], Any], values: Any, **more: Any) -> Odd:
    def write(folder: Path) -> None:
        h5ad.write_valid(folder / "b.h5ad", form)
        with h5py.File(folder / "b.h5ad", "r+") as file:
            alter(file)

    labels = {"rows": [f"c{i}" for i in range(12)], "columns": [f"g{i}" for i in range(5)]}
    expected = {**labels, **more}
    return Odd(name=f"h5ad-{name}", input="b.h5ad", write=write, values=values, **expected)


def array(name: str, values: Any = VALUES, *, lost: tuple[str, ...] = (), warns: str = "",
          expected: Any = None, **kwargs: Any) -> Odd:  # fmt: skip
    def write(folder: Path) -> None:
        made = {"chunks": (4, values.shape[1]), **kwargs}
        zarr.create_array(str(folder / "b.zarr"), data=values, **made)
        for chunk in lost:
            (folder / "b.zarr" / chunk).unlink()

    expected = values if expected is None else expected
    return Odd(name=f"zarr-{name}", input="b.zarr", write=write, values=expected, warns=warns,
               rows=range(len(values)), columns=range(values.shape[1]))  # fmt: skip


def few_csr(file: Any) -> None:
    """Indices of a row in no order, and an entry in two parts, as SciPy allows."""
    del file["X"]
    h5ad.compressed(file, "X", "csr", data=np.array([1.5, 7.0, 1.0, 2.0, 3.0], "f4"),
                    indices=np.array([2, 0, 2, 0, 1]),
                    indptr=np.array([0, 3, 4, 5] + [5] * 9))  # fmt: skip


FEW = np.zeros((12, 5), np.float32)
FEW[0, 0], FEW[0, 2], FEW[1, 0], FEW[2, 1] = 7, 2.5, 2, 3
LOST = VALUES.copy()
LOST[4:8] = 0.5
LARGE = np.array([[2**53, 2**53 + 2, 1], [1, 2, 3], [3, 2, 1]], np.int64)
AB, GH = np.array([[1.0, 2.0], [3.0, 5.0]]), "gh"
FLOATS = [pyarrow.array([1.0, 3.0]), pyarrow.array([2.0, 5.0])]

CASES = [
    text("byte-order-mark", b"\xef\xbb\xbf" + TABLE),
    text("crlf", TABLE.replace(b"\n", b"\r\n")),
    text("blank-lines-below", TABLE + b"\n\n\r\n"),
    text("blank-lines-above", b"\n\r\n" + TABLE),
    text("no-end-of-line", TABLE.rstrip()),
    text("gz", gzip.compress(TABLE), ".csv.gz"),
    text("gz-of-several-members", gzip.compress(TABLE[:100]) + gzip.compress(TABLE[100:]),
         ".csv.gz"),
    text("gz-with-zeros-behind", gzip.compress(TABLE) + bytes(512), ".csv.gz"),
    text("suffix-in-capitals", TABLE, ".CSV"),
    text("semicolons", TABLE.replace(b",", b";")),
    text("tabs-called-csv", TABLE.replace(b",", b"\t")),
    text("commas-called-tsv", TABLE, ".tsv"),
    text("all-quoted", b"\n".join(b'"' + line.replace(b",", b'","') + b'"'
                                  for line in TABLE.splitlines())),
    text("header-as-R-writes-it", TABLE.removeprefix(b",")),
    small("labels-with-newlines", 'x,a,b\n"g\n1",1,2\n"h ""2""",3,5\n', ["g\n1", 'h "2"'],
          "ab", AB),
    small("labels-with-delimiters", 'x,"a,a",b\n"g,1",1,2\nh,3,5\n', ["g,1", "h"],
          ["a,a", "b"], AB),
    small("labels-like-missing-values", "x,NA,nan\nNA,1,2\nnull,3,5\n", ["NA", "null"],
          ["NA", "nan"], AB),
    small("labels-twice", "x,a,a\ng,1,2\ng,3,5\n", "gg", "aa", AB),
    small("labels-empty", "x,a,\n,1,2\nh,3,5\n", ["", "h"], ["a", ""], AB),
    small("labels-of-everywhere", "x,ü,基因\n🧬,1,2\nע,3,5\n", ["🧬", "ע"], ["ü", "基因"], AB),
    small("labels-like-numbers", "x,1,2\n007,1,2\n1e3,3,5\n", ["007", "1e3"], ["1", "2"], AB),
    small("labels-like-formulas", "x,=A1,@b\n+g,1,2\n-h,3,5\n", ["+g", "-h"], ["=A1", "@b"], AB),
    small("labels-of-html", "x,<script>,b\n<b>g,1,2\n&amp;,3,5\n", ["<b>g", "&amp;"],
          ["<script>", "b"], AB),
    small("labels-of-escape-sequences", "x,\x1b[2J,b\n\x1b]0;t\x07,1,2\nh,3,5\n",
          ["\x1b]0;t\x07", "h"], ["\x1b[2J", "b"], AB),
    small("label-of-100-kB", f"x,a,b\n{'g' * 100_000},1,2\nh,3,5\n", ["g" * 100_000, "h"],
          "ab", AB),
    small("labels-in-brackets", "[x],a,b\n[g],1,2\n{h},3,5\n", ["[g]", "{h}"], "ab", AB),
    small("blanks-around-numbers", "x,a,b\ng, 1 ,2\nh,3 , 5\n", GH, "ab", AB),
    small("numbers-in-every-form", "x,a,b\ng,+1,2.\nh,3e0,.5E1\n", GH, "ab", AB),
    small("integers-beyond-2^53", "x,a,b\ng,9007199254740993,1\nh,2,3\n", GH, "ab",
          [[2.0**53, 1], [2, 3]]),
    small("numbers-almost-0", "x,a,b\ng,5e-324,1\nh,1e-400,3\n", GH, "ab", [[5e-324, 1], [0, 3]]),
    npy("fortran", npy_of(np.asfortranarray(VALUES))),
    npy("big-endian", npy_of(VALUES.astype(">f8"))),
    npy("big-endian-integers", npy_of(LARGE.astype(">i8")), LARGE),
    npy("float16", npy_of(VALUES.astype(np.float16)), VALUES.astype(np.float16)),
    npy("booleans", npy_of(VALUES > 0), VALUES > 0),
    npy("int8", npy_of((VALUES * 9).astype(np.int8)), (VALUES * 9).astype(np.int8)),
    npy("uint64", npy_of(LARGE.astype(np.uint64)), LARGE.astype(np.uint64)),
    npy("version-2", b"\x93NUMPY\x02\x00" + npy_of(VALUES)[8:10] + b"\0\0" + npy_of(VALUES)[10:]),
    npy("another-array-behind", npy_of(VALUES) + npy_of(VALUES)),
    table("float16", {"g": ["g", "h"], "a": pyarrow.array([1, 3], "float16"),
                      "b": pyarrow.array([2, 5], "float16")}, GH, AB),
    table("mixed-numbers", {"g": ["g", "h"], "a": pyarrow.array([1, 3], "int8"), "b": FLOATS[1]},
          GH, AB),
    table("booleans", {"g": ["g", "h"], "a": [True, False], "b": [False, True]}, GH,
          [[1, 0], [0, 1]]),
    table("labels-in-categories", {"g": pyarrow.array(["g", "h"]).dictionary_encode(),
                                   "a": FLOATS[0], "b": FLOATS[1]}, GH, AB),
    table("labels-twice", {"g": ["g", "g"], "a": FLOATS[0], "b": FLOATS[1]}, "gg", AB),
    table("column-named-as-a-path", {"g": ["g", "h"], "a": FLOATS[0], "a.b": FLOATS[1]}, GH, AB,
          ["a", "a.b"]),
    table("numbers-in-categories", {"g": ["g", "h"], "a": FLOATS[0].dictionary_encode(),
                                    "b": FLOATS[1]}, GH, AB),
    annotated("soft-link-inside", "dense", lambda file: (
        file.move("X", "Y"), file.__setitem__("X", h5py.SoftLink("/Y"))), h5ad.COUNTS),
    annotated("csr-in-no-order", "csr", few_csr, FEW),
    annotated("csc", "csc", lambda file: None, h5ad.COUNTS),
    annotated("label-missing", "dense", h5ad.categorical([0, 1, -1] * 4), h5ad.COUNTS,
              rows=["u", "v", "nan"] * 4),
    annotated("integers", "dense", h5ad.replaced("X", data=h5ad.COUNTS.astype("i2")), h5ad.COUNTS),
    annotated("layer-named-oddly", "dense", lambda file: file.create_dataset(
        "layers/log 1+x", data=h5ad.COUNTS * 2), h5ad.COUNTS * 2, options=("--layer", "log 1+x")),
    array("v3"),
    array("v2", zarr_format=2),
    array("v2-fortran", zarr_format=2, order="F"),
    array("v2-big-endian", VALUES.astype(">f4"), zarr_format=2, expected=VALUES.astype("f4")),
    array("sharded", chunks=(4, 5), shards=(12, 5)),
    array("blosc", compressors=BloscCodec()),
    array("blosc-v2", zarr_format=2, compressors=numcodecs.Blosc()),
    array("float16", VALUES.astype("f2")),
    array("booleans", VALUES > 0),
    array("one-chunk-not-stored", lost=("c/1/0",), fill_value=0.5, expected=LOST,
          warns="1 of the 3 chunks of .*b.zarr are not stored, and read as its fill value, 0.5"),
    array("chunks-beyond-the-end", chunks=(100, 100)),
    Odd(name="zarr-consolidated-lies", input="b.zarr", write=both(
        zarr_metadata.write_group, lambda folder: (folder / "b.zarr/zarr.json").write_text(
            (folder / "b.zarr/zarr.json").read_text().replace("float64", "float32")))),
]  # fmt: skip
