"""NumPy's files that hold no matrix of numbers, or less of it than they say."""

import io
import pickle
import struct
from pathlib import Path

import numpy as np

from .case import Case, bytes_file, numbers

CREATED = "the-payload-ran"
"""A file that is made when somebody unpickles `Payload`."""


class Payload:
    """Runs code when it is unpickled."""

    def __reduce__(self):
        return (open, (CREATED, "w"))


def payload() -> bytes:
    return pickle.dumps(Payload())


def npy_of(array, **kwargs) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, **kwargs)
    return buffer.getvalue()


def with_header(header: str, content: bytes = bytes(960), version=(1, 0), length=None) -> bytes:
    """A file with any header."""
    encoded = header.encode("latin-1")
    kind = "<H" if version == (1, 0) else "<I"
    size = struct.pack(kind, len(encoded) if length is None else length)
    return b"\x93NUMPY" + bytes(version) + size + encoded + content


def header(descr="'<f8'", order="False", shape="(12, 10)"):
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n"


def array(name, values, says, *options):
    return Case(name=f"npy-{name}", input="b.npy", says=says, options=options,
                write=lambda folder: np.save(folder / "b.npy", values))  # fmt: skip


def content(name, file, says):
    return Case(name=f"npy-{name}", input="b.npy", says=says, write=bytes_file("b.npy", file))


def pickled_object(folder: Path) -> None:
    """An object array whose only element runs code."""
    (folder / "b.npy").write_bytes(
        with_header(header("'|O'", shape="(1, 1)"), payload())
    )  # fmt: skip


def npz_with_pickle(folder: Path) -> None:
    np.savez(folder / "b.npz", a=np.array([[1.0]]))


def huge_header(folder: Path) -> None:
    """A header that claims all of a file of 3 GB, which takes no place on the disk."""
    with open(folder / "b.npy", "wb") as file:
        file.write(b"\x93NUMPY" + bytes((2, 0)) + struct.pack("<I", 3 * 2**30))
        file.truncate(3 * 2**30 + 12)


VALUES = numbers()
WITH_NAN, WITH_INFINITY = VALUES.copy(), VALUES.copy()
WITH_NAN[-1, -1] = np.nan
WITH_INFINITY[4, 0] = np.inf
NO_NUMBER = r"b\.npy has values of type {}"

CASES = [
    array("nan-in-the-last-cell", WITH_NAN, "1 values are NaN.*'11'"),
    array("infinite", WITH_INFINITY, "1 infinite.*'4'"),
    array("nan-everywhere", np.full((5, 4), np.nan), "20 values are NaN"),
    array("overflowing-float16", np.full((4, 4), np.inf, np.float16), "16 infinite"),
    array("scalar", np.float64(3), r"b\.npy has shape \(\): a matrix has two"),
    array("vector", np.arange(4.0), r"b\.npy has shape \(4,\): a matrix has two"),
    array("three-dimensions", np.zeros((2, 3, 4)), r"b\.npy has shape \(2, 3, 4\)"),
    array("no-rows", np.zeros((0, 3)), r"b\.npy has no rows"),
    array("no-columns", np.zeros((3, 0)), r"b\.npy has no columns"),
    array("nothing", np.zeros((0, 0)), r"b\.npy has no rows"),
    array("one-by-one", np.ones((1, 1)), "one row only"),
    array("one-row", np.ones((1, 5)), "one row only.*--no-row-cluster"),
    array("one-column", np.arange(5.0).reshape(5, 1), "one column only.*--no-col-cluster"),
    array("complex", np.ones((3, 3), complex), NO_NUMBER.format("complex128") + ".*real part"),
    array("text", np.array([["a", "b"]]), NO_NUMBER.format("<U1")),
    array("bytes", np.array([[b"a", b"b"]]), NO_NUMBER.format(r"\|S1")),
    array("dates", np.zeros((3, 3), "M8[s]"), NO_NUMBER.format(r"datetime64\[s\]")),
    array("durations", np.zeros((3, 3), "m8[s]"), NO_NUMBER.format(r"timedelta64\[s\]")),
    array("records", np.zeros((3, 3), [("a", float), ("b", int)]), r"b\.npy has values of type"),
    array("void", np.zeros((3, 3), "V8"), NO_NUMBER.format(r"\|V8")),
    array("longdouble", np.ones((3, 3), np.longdouble), NO_NUMBER.format(r"float\d+.*float64")),
    array("objects", np.array([[1, None], [2, 3]]), NO_NUMBER.format("object")),
    array("constant-rows-correlated", np.ones((5, 4)), "5 of 5 rows are constant",
          "--metric", "correlation"),
    array("constant-rows-z-scored", np.ones((5, 4)), "5 of 5 rows are constant", "--z-score",
          "rows"),
    array("zero-row-cosine", np.vstack([VALUES, np.zeros(5)]), "1 of 13 rows is.*'12'",
          "--metric", "cosine", "--no-col-cluster"),
    Case(name="npy-pickled-payload", input="b.npy", write=pickled_object,
         says=NO_NUMBER.format("object")),
    content("pickle-without-a-header", payload(), r"b\.npy is not a \.npy file"),
    Case(name="npz", input="b.npz", write=npz_with_pickle, says=r"'\.npz' is not one of"),
    content("empty", b"", r"b\.npy is not a \.npy file"),
    content("three-bytes", b"\x93NU", r"b\.npy is not a \.npy file"),
    content("only-the-magic", b"\x93NUMPY\x01\x00", r"b\.npy is not a \.npy file"),
    content("text-inside", b"1 2 3\n4 5 6\n", r"b\.npy is not a \.npy file"),
    content("header-cut-off", npy_of(VALUES)[:40], r"b\.npy is not a \.npy file"),
    content("one-value-short", npy_of(VALUES)[:-8], r"b\.npy is cut short: 600 bytes, of 608"),
    content("one-byte-short", npy_of(VALUES)[:-1], r"b\.npy is cut short"),
    content("only-the-header", npy_of(VALUES)[:128], r"b\.npy is cut short"),
    content("version-9", with_header(header(), version=(9, 9)), r"b\.npy.*version 9\.9"),
    content("header-is-no-dictionary", with_header("[1, 2]\n"), r"b\.npy is not a \.npy file"),
    content("header-lacks-the-shape", with_header("{'descr': '<f8'}\n"),
            r"b\.npy is not a \.npy file"),
    content("header-has-more", with_header(header()[:-2] + "'a': 1}\n"),
            r"b\.npy is not a \.npy file"),
    content("header-runs-code", with_header(header("__import__('os').abort()")),
            r"b\.npy is not a \.npy file"),
    content("header-nests", with_header("(" * 9000), r"b\.npy is not a \.npy file"),
    content("header-of-minus-signs", with_header("-" * 9990 + "1"), r"b\.npy is not a \.npy file"),
    content("header-in-nul", with_header("\0" * 118), r"b\.npy is not a \.npy file"),
    content("header-not-latin1", with_header(header(), version=(3, 0)).replace(b"<f8", b"<\xfff"),
            r"b\.npy is not a \.npy file"),
    content("negative-shape", with_header(header(shape="(-1, 5)")), r"b\.npy.*shape \(-1, 5\)"),
    content("fractional-shape", with_header(header(shape="(1.5, 5)")),
            r"b\.npy is not a \.npy file"),
    content("shape-is-a-word", with_header(header(shape="'ab'")), r"b\.npy is not a \.npy file"),
    content("order-is-a-word", with_header(header(order="'maybe'")), r"b\.npy is not a \.npy file"),
    content("unknown-type", with_header(header("'<q9'")), r"b\.npy is not a \.npy file"),
    content("a-type-in-a-type", with_header(header("('<f8', (3,))")), r"b\.npy has values of type"),
    content("10^12-rows", with_header(header(shape="(1000000000000, 10)")), r"b\.npy is cut short"),
    content("10^40-rows", with_header(header(shape=f"({10**40}, 10)")), r"b\.npy is cut short"),
    Case(name="npy-header-of-3-GB", input="b.npy", write=huge_header,
         says=r"b\.npy.*header claims 3,221,225,472 bytes"),
    Case(name="npy-gz", input="b.npy.gz", write=bytes_file("b.npy.gz", npy_of(VALUES)),
         says=r"b\.npy\.gz.*decompress it"),
    Case(name="npy-layer", input="b.npy", write=bytes_file("b.npy", npy_of(VALUES)),
         says="has no layers", options=("--layer", "counts")),
]  # fmt: skip
