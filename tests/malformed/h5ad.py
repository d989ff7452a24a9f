"""AnnData's files that are damaged, contradict themselves, or lead out of themselves."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.sparse

from .case import Case, bytes_file
from .npy import payload

ROWS, COLUMNS = 12, 5
COUNTS = np.random.default_rng(3).poisson(0.8, (ROWS, COLUMNS)).astype(np.float32)
COUNTS[:, 0] = np.arange(ROWS)


def table(file: Any, path: str, labels: list[str]) -> None:
    group = file.create_group(path)
    group.attrs.update({"encoding-type": "dataframe", "encoding-version": "0.2.0",
                        "_index": "_index", "column-order": np.array([], "S1")})  # fmt: skip
    group.create_dataset("_index", data=np.array(labels, dtype=h5py.string_dtype()))


def compressed(file: Any, path: str, form: str, **parts: Any) -> None:
    """Write CSR or CSC, with some of its parts replaced."""
    matrix = (scipy.sparse.csr_matrix if form == "csr" else scipy.sparse.csc_matrix)(COUNTS)
    group = file.create_group(path)
    group.attrs.update({"encoding-type": f"{form}_matrix", "encoding-version": "0.1.0",
                        "shape": np.array(COUNTS.shape)})  # fmt: skip
    for name in ("data", "indices", "indptr"):
        values = parts.get(name, getattr(matrix, name))
        if values is not None:
            group.create_dataset(name, data=values)


def write_valid(path: Path, form: str = "dense") -> None:
    """Write a file of which nothing is wrong."""
    with h5py.File(path, "w") as file:
        file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        table(file, "obs", [f"c{i}" for i in range(ROWS)])
        table(file, "var", [f"g{i}" for i in range(COLUMNS)])
        file.create_group("layers")
        if form == "dense":
            file.create_dataset("X", data=COUNTS, chunks=(4, COLUMNS), compression="gzip")
            file["X"].attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
        else:
            compressed(file, "X", form)


def altered(name: str, says: str, alter: Callable[[Any], None], form: str = "dense",
            options: tuple[str, ...] = ()) -> Case:  # fmt: skip
    """A case of a valid file in which an object was altered."""

    def write(folder: Path) -> None:
        write_valid(folder / "b.h5ad", form)
        with h5py.File(folder / "b.h5ad", "r+") as file:
            alter(file)

    return Case(name=f"h5ad-{name}", input="b.h5ad", says=says, write=write, options=options)


def damaged(name: str, says: str, alter: Callable[[bytearray], bytes | bytearray]) -> Case:
    """A case of a valid file in which bytes were altered."""

    def write(folder: Path) -> None:
        write_valid(folder / "b.h5ad")
        content = bytearray((folder / "b.h5ad").read_bytes())
        (folder / "b.h5ad").write_bytes(bytes(alter(content)))

    return Case(name=f"h5ad-{name}", input="b.h5ad", says=says, write=write)


def replaced(path: str, *args: Any, **kwargs: Any) -> Callable[[Any], None]:
    """Put another dataset in the place of one."""

    def alter(file: Any) -> None:
        attributes = dict(file[path].attrs)
        del file[path]
        file.create_dataset(path, *args, **kwargs).attrs.update(attributes)

    return alter


def deleted(path: str) -> Callable[[Any], None]:
    def alter(file: Any) -> None:
        del file[path]

    return alter


def attribute(path: str, name: str, value: Any) -> Callable[[Any], None]:
    def alter(file: Any) -> None:
        if value is None:
            del file[path].attrs[name]
        else:
            file[path].attrs[name] = value

    return alter


def linked(path: str, link: Any) -> Callable[[Any], None]:
    """Put a link in the place of an object; other files are there to be led to."""

    def alter(file: Any) -> None:
        write_valid(Path("secret.h5ad"))
        os.mkfifo("pipe.h5ad")
        del file[path]
        file[path] = link

    return alter


def part(form: str, name: str, values: Any) -> Callable[[Any], None]:
    def alter(file: Any) -> None:
        del file["X"]
        compressed(file, "X", form, **{name: values})

    return alter


def entry(form: str, name: str, index: int, value: int) -> Callable[[Any], None]:
    def alter(file: Any) -> None:
        file["X"][name][index] = value

    return alter


def external_bytes(file: Any) -> None:
    """A matrix whose bytes are those of another file."""
    Path("secret.bin").write_bytes(os.urandom(ROWS * COLUMNS * 8))
    del file["X"]
    file.create_dataset(
        "X", (ROWS, COLUMNS), "f8", external=[("secret.bin", 0, ROWS * COLUMNS * 8)]
    )


def virtual(file: Any) -> None:
    """A matrix that is put together of other files."""
    write_valid(Path("secret.h5ad"))
    layout = h5py.VirtualLayout((ROWS, COLUMNS), "f4")
    layout[:] = h5py.VirtualSource("secret.h5ad", "X", (ROWS, COLUMNS))
    del file["X"]
    file.create_virtual_dataset("X", layout)


def categorical(codes: Any) -> Callable[[Any], None]:
    def alter(file: Any) -> None:
        del file["obs/_index"]
        group = file.create_group("obs/_index")
        group.attrs["encoding-type"] = "categorical"
        names = np.array(["u", "v"], dtype=h5py.string_dtype())
        group.create_dataset("categories", data=names)
        group.create_dataset("codes", data=np.asarray(codes))

    return alter


def chunk_altered(file: Any) -> None:
    """The second chunk of X: its bytes are no longer what zlib wrote."""
    dataset = file["X"]
    _, chunk = dataset.id.read_direct_chunk((4, 0))
    dataset.id.write_direct_chunk((4, 0), bytes(byte ^ 0xA5 for byte in chunk))


def chunk_short(file: Any) -> None:
    dataset = file["X"]
    _, chunk = dataset.id.read_direct_chunk((8, 0))
    dataset.id.write_direct_chunk((8, 0), chunk[: len(chunk) // 2])


def chunk_checksum(file: Any) -> None:
    """A chunk whose checksum (Fletcher-32) is not that of its bytes."""
    del file["X"]
    dataset = file.create_dataset("X", data=COUNTS, chunks=(4, COLUMNS), fletcher32=True)
    _, chunk = dataset.id.read_direct_chunk((4, 0))
    dataset.id.write_direct_chunk((4, 0), bytes([chunk[0] ^ 1]) + chunk[1:])


def one_chunk_written(file: Any) -> None:
    del file["X"]
    file.create_dataset("X", (ROWS, COLUMNS), "f4", chunks=(4, COLUMNS))[:4] = 1


def unknown_filter(file: Any) -> None:
    """A filter that no plugin of this machine knows."""
    del file["X"]
    created = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    created.set_chunk((4, COLUMNS))
    created.set_filter(31999, h5py.h5z.FLAG_OPTIONAL, ())
    space = h5py.h5s.create_simple((ROWS, COLUMNS))
    made = h5py.h5d.create(file.id, b"X", h5py.h5t.NATIVE_FLOAT, space, created)
    for row in range(0, ROWS, 4):
        made.write_direct_chunk((row, 0), COUNTS[row : row + 4].tobytes())


NAN = COUNTS.copy()
NAN[-1, -1] = np.nan
INFINITE = COUNTS.copy()
INFINITE[3, 2] = np.inf
OTHER = r"link to '.*' in another file, '{}'"
CSC = scipy.sparse.csc_matrix(COUNTS)
CSR = scipy.sparse.csr_matrix(COUNTS)
HUGE = 10**12

CASES = [
    altered("nan-in-the-last-cell", "1 values are NaN.*'c11'", replaced("X", data=NAN)),
    altered("infinite", "1 infinite.*'c3'", replaced("X", data=INFINITE)),
    altered("no-X", r"b\.h5ad has no X and obs", deleted("X")),
    altered("no-obs", r"b\.h5ad has no X and obs", deleted("obs")),
    altered("no-var", r"b\.h5ad has no 'var'", deleted("var")),
    altered("no-index", r"obs of .*b\.h5ad has no '_index'", deleted("obs/_index")),
    altered("index-of-another-name", r"obs of .*b\.h5ad has no 'names'",
            attribute("obs", "_index", "names")),
    altered("index-climbs", r"obs of .*b\.h5ad names '\.\./X' as its index",
            attribute("obs", "_index", "../X")),
    altered("X-is-one-dimensional", r"X of .*b\.h5ad has shape \(5,\)",
            replaced("X", data=np.arange(5.0))),
    altered("X-has-three-dimensions", r"X of .*b\.h5ad has shape \(2, 3, 4\)",
            replaced("X", data=np.zeros((2, 3, 4)))),
    altered("X-is-a-number", r"X of .*b\.h5ad has shape \(\)", replaced("X", data=3.0)),
    altered("X-is-empty", r"X of .*b\.h5ad has shape None", replaced("X", dtype="f4")),
    altered("X-has-no-rows", r"12 labels, and the matrix 0",
            replaced("X", data=np.zeros((0, COLUMNS)))),
    altered("X-is-text", r"X of .*b\.h5ad has values of type object",
            replaced("X", data=np.full((ROWS, COLUMNS), "a", h5py.string_dtype()))),
    altered("X-is-complex", r"X of .*b\.h5ad has values of type complex128",
            replaced("X", data=COUNTS.astype(complex))),
    altered("X-is-a-pickle", r"X of .*b\.h5ad has values of type \|V",
            replaced("X", data=np.array([[np.void(payload())]]))),
    altered("X-is-opaque", r"X of .*b\.h5ad has values of type",
            replaced("X", data=np.zeros((ROWS, COLUMNS), "V8"))),
    altered("X-is-an-enumeration-of-records", r"X of .*b\.h5ad has values of type",
            replaced("X", data=np.zeros((ROWS, COLUMNS), [("a", "f4")]))),
    altered("X-is-a-group", r"X of .*b\.h5ad is stored as 'a group', not as a matrix",
            lambda file: deleted("X")(file) or file.create_group("X")),
    altered("X-is-a-table", r"X of .*b\.h5ad is stored as 'dataframe', not as a matrix",
            lambda file: deleted("X")(file) or table(file, "X", ["a"])),
    altered("X-is-a-named-type", r"'X' of .*b\.h5ad is a type",
            lambda file: deleted("X")(file) or file.__setitem__("X", np.dtype("f8"))),
    altered("obs-shorter-than-X", r"the index '_index' of obs of .*b\.h5ad has 11 labels.*12",
            replaced("obs/_index", data=np.array(["c"] * 11, h5py.string_dtype()))),
    altered("var-longer-than-X", r"the index '_index' of var of .*b\.h5ad has 6 labels.*5",
            replaced("var/_index", data=np.array(["g"] * 6, h5py.string_dtype()))),
    altered("obs-of-two-dimensions", r"obs of .*b\.h5ad has 12 x 1 labels",
            replaced("obs/_index", data=np.full((12, 1), "c", h5py.string_dtype()))),
    altered("obs-is-a-number", r"obs of .*b\.h5ad is no table of labels",
            replaced("obs", data=3.0)),
    altered("labels-not-utf8", r"b\.h5ad cannot be read: UnicodeDecodeError",
            replaced("obs/_index", data=np.array([b"\xff\xfe"] * ROWS, h5py.string_dtype()))),
    altered("codes-out-of-range", r"obs of .*b\.h5ad has code 2 in row 7, and 2 categories",
            categorical([0, 1, 0, 1, 0, 1, 0, 2, 0, 1, 0, 1])),
    altered("codes-below-minus-1", r"obs of .*b\.h5ad has code -2 in row 0",
            categorical([-2] + [0] * 11)),
    altered("codes-are-fractions", r"obs of .*b\.h5ad has codes of type float64",
            categorical([0.5] * ROWS)),
    altered("codes-too-few", r"obs of .*b\.h5ad has 3 labels", categorical([0, 1, 0])),
    altered("layer-missing", r"b\.h5ad has no layer 'counts'; it has none", lambda file: None,
            options=("--layer", "counts")),
    altered("layer-climbs", r"b\.h5ad has no layer '\.\./obs'", lambda file: None,
            options=("--layer", "../obs")),
    altered("layers-is-a-number", r"b\.h5ad", lambda file: deleted("layers")(file) or
            file.create_dataset("layers", data=3.0), options=("--layer", "counts")),
    altered("raw-missing", r"b\.h5ad has no layer 'raw'", lambda file: None,
            options=("--layer", "raw")),
    altered("raw-without-var", r"b\.h5ad has no 'raw/var'",
            lambda file: file.create_dataset("raw/X", data=COUNTS), options=("--layer", "raw")),
    altered("raw-without-X", r"b\.h5ad has no 'raw/X'", lambda file: table(file, "raw/var", ["a"]),
            options=("--layer", "raw")),
    altered("external-link", r"b\.h5ad.*" + OTHER.format(r"secret\.h5ad"),
            linked("X", h5py.ExternalLink("secret.h5ad", "/X"))),
    altered("external-link-to-a-pipe", r"b\.h5ad.*" + OTHER.format(r"pipe\.h5ad"),
            linked("X", h5py.ExternalLink("pipe.h5ad", "/X"))),
    altered("external-link-climbing", r"b\.h5ad.*" + OTHER.format(r"\.\./\.\./etc/passwd"),
            linked("obs", h5py.ExternalLink("../../etc/passwd", "/obs"))),
    altered("external-link-of-labels", r"obs of .*b\.h5ad.*" + OTHER.format(r"secret\.h5ad"),
            linked("obs/_index", h5py.ExternalLink("secret.h5ad", "/obs/_index"))),
    altered("soft-link-to-an-external-link", r"b\.h5ad.*" + OTHER.format(r"secret\.h5ad"),
            lambda file: (linked("X", h5py.SoftLink("/far/X"))(file),
                          file.__setitem__("far", h5py.ExternalLink("secret.h5ad", "/")))[0]),
    altered("soft-link-to-nothing", r"b\.h5ad has no 'X'", linked("X", h5py.SoftLink("/nowhere"))),
    altered("soft-link-to-itself", r"the links at 'X' of .*b\.h5ad go in a circle",
            linked("X", h5py.SoftLink("/X"))),
    altered("soft-links-in-a-circle", r"the links at 'X' of .*b\.h5ad go in a circle",
            lambda file: (linked("X", h5py.SoftLink("/Y"))(file),
                          file.__setitem__("Y", h5py.SoftLink("/X")))[0]),
    altered("group-that-holds-itself", r"X of .*b\.h5ad is stored as",
            lambda file: deleted("X")(file) or file.__setitem__("X", file["/"])),
    altered("bytes-of-another-file", r"'X' of .*b\.h5ad has its values in other files",
            external_bytes),
    altered("virtual", r"'X' of .*b\.h5ad has its values in other files", virtual),
    altered("10^12-rows", r"X of .*b\.h5ad is not all there: .* chunks were never written",
            replaced("X", (HUGE, COLUMNS), "f4", chunks=(1000, COLUMNS))),
    altered("10^12-rows-in-one-piece", r"X of .*b\.h5ad is not all there",
            replaced("X", (HUGE, COLUMNS), "f4")),
    altered("10^12-labels", r"obs of .*b\.h5ad has 1000000000000 labels",
            replaced("obs/_index", (HUGE,), h5py.string_dtype(), chunks=(1000,))),
    altered("never-written", r"X of .*b\.h5ad is not all there: 3 of its 3 chunks",
            replaced("X", (ROWS, COLUMNS), "f4", chunks=(4, COLUMNS))),
    altered("written-in-part", r"X of .*b\.h5ad is not all there: 2 of its 3 chunks",
            one_chunk_written),
    altered("labels-never-written", r"obs of .*b\.h5ad is not all there",
            replaced("obs/_index", (ROWS,), h5py.string_dtype(), chunks=(4,))),
    altered("chunk-altered", r"X of .*b\.h5ad in rows 0 on cannot be read: OSError", chunk_altered),
    altered("chunk-cut-short", r"X of .*b\.h5ad in rows 0 on cannot be read: OSError", chunk_short),
    altered("chunk-checksum", r"X of .*b\.h5ad in rows 0 on cannot be read: OSError",
            chunk_checksum),
    altered("unknown-filter", r"X of .*b\.h5ad in rows 0 on cannot be read: OSError",
            unknown_filter),
    altered("csr-version-unknown", r"X of .*b\.h5ad is stored in version '9\.9\.9'",
            attribute("X", "encoding-version", "9.9.9"), "csr"),
    altered("encoding-unknown", r"X of .*b\.h5ad is stored as 'ragged', not as a matrix",
            attribute("X", "encoding-type", "ragged"), "csr"),
    altered("csr-without-a-shape", r"X of .*b\.h5ad does not say its shape",
            attribute("X", "shape", None), "csr"),
    altered("csr-shape-of-three", r"X of .*b\.h5ad does not say its shape",
            attribute("X", "shape", np.array([3, 4, 5])), "csr"),
    altered("csr-shape-negative", r"X of .*b\.h5ad does not say its shape",
            attribute("X", "shape", np.array([-12, 5])), "csr"),
    altered("csr-shape-of-words", r"X of .*b\.h5ad does not say its shape",
            attribute("X", "shape", "12x5"), "csr"),
    altered("csr-shape-too-high", r"indptr of X of .*b\.h5ad has 13 entries, instead of 1,000,001",
            attribute("X", "shape", np.array([10**6, COLUMNS])), "csr"),
    altered("csr-shape-too-narrow", r"12 labels|5 labels, and the matrix 3",
            attribute("X", "shape", np.array([ROWS, 3])), "csr"),
    altered("csr-no-indptr", r"X of .*b\.h5ad has no 'indptr'", part("csr", "indptr", None), "csr"),
    altered("csr-no-indices", r"X of .*b\.h5ad has no 'indices'", part("csr", "indices", None),
            "csr"),
    altered("csr-no-data", r"X of .*b\.h5ad has no 'data'", part("csr", "data", None), "csr"),
    altered("csr-data-of-text", r"X of .*b\.h5ad has values of type",
            part("csr", "data", np.array([b"a"] * CSR.nnz)), "csr"),
    altered("csr-data-nan", "1 values are NaN.*'c", entry("csr", "data", CSR.nnz - 1, np.nan),
            "csr"),
    altered("csr-data-too-short", r"X of .*b\.h5ad has 3 values and \d+ indices",
            part("csr", "data", CSR.data[:3]), "csr"),
    altered("csr-data-of-two-dimensions", r"data of X of .*b\.h5ad is not an array of one",
            part("csr", "data", CSR.data[None]), "csr"),
    altered("csr-indices-are-fractions", r"indices of X of .*b\.h5ad has type float64",
            part("csr", "indices", CSR.indices.astype(float)), "csr"),
    altered("csr-index-too-large", r"indices of X of .*b\.h5ad are damaged: entry 2 is 7",
            entry("csr", "indices", 2, 7), "csr"),
    altered("csr-index-far-too-large", r"indices of X of .*b\.h5ad are damaged: entry 2 is 2147",
            entry("csr", "indices", 2, 2**31 - 1), "csr"),
    altered("csr-index-negative", r"indices of X of .*b\.h5ad are damaged: entry 2 is -1",
            entry("csr", "indices", 2, -1), "csr"),
    altered("csr-pointer-negative", r"indptr of X of .*b\.h5ad is damaged: entry 4 is -5",
            entry("csr", "indptr", 4, -5), "csr"),
    altered("csr-pointer-too-large", r"indptr of X of .*b\.h5ad is damaged: entry 12 is 10000",
            entry("csr", "indptr", 12, 10_000), "csr"),
    altered("csr-pointers-go-back", r"indptr of X of .*b\.h5ad is damaged: entry 6 is less",
            entry("csr", "indptr", 5, int(CSR.indptr[7])), "csr"),
    altered("csr-pointers-too-few", r"indptr of X of .*b\.h5ad has 12 entries, instead of 13",
            part("csr", "indptr", CSR.indptr[:-1]), "csr"),
    altered("csr-more-entries-than-cells", r"more entries than cells",
            lambda file: (deleted("X")(file), compressed(
                file, "X", "csr", data=np.ones(900), indices=np.zeros(900, int),
                indptr=np.array([0] + [900] * 12)))[-1], "csr"),
    altered("csc-index-too-large", r"indices of X of .*b\.h5ad are damaged: entry 2 is 99",
            entry("csc", "indices", 2, 99), "csc"),
    altered("csc-index-negative", r"indices of X of .*b\.h5ad are damaged: entry 2 is -1",
            entry("csc", "indices", 2, -1), "csc"),
    altered("csc-pointers-go-back", r"indptr of X of .*b\.h5ad is damaged: entry 3 is less",
            entry("csc", "indptr", 2, CSC.nnz), "csc"),
    altered("csc-pointer-too-large", r"indptr of X of .*b\.h5ad is damaged: entry 5 is 10000",
            entry("csc", "indptr", 5, 10_000), "csc"),
    altered("csc-pointers-too-few", r"indptr of X of .*b\.h5ad has 5 entries, instead of 6",
            part("csc", "indptr", CSC.indptr[:-1]), "csc"),
    altered("csc-data-too-long", r"X of .*b\.h5ad has \d+ values and \d+ indices",
            part("csc", "data", np.append(CSC.data, 1)), "csc"),
    damaged("cut-in-half", r"b\.h5ad is not a readable HDF5 file.*truncated",
            lambda content: content[: len(content) // 2]),
    damaged("last-byte-missing", r"b\.h5ad is not a readable HDF5 file.*truncated",
            lambda content: content[:-1]),
    damaged("signature-altered", r"b\.h5ad is not a readable HDF5 file",
            lambda content: b"\x88" + content[1:]),
    damaged("superblock-of-another-version", r"b\.h5ad is not a readable HDF5 file",
            lambda content: content[:8] + b"\x77" + content[9:]),
    damaged("root-group-altered", r"b\.h5ad",
            lambda content: content[:96] + bytes(400) + content[496:]),
    Case(name="h5ad-empty", input="b.h5ad", write=bytes_file("b.h5ad", b""),
         says=r"b\.h5ad is not a readable HDF5 file"),
    Case(name="h5ad-text", input="b.h5ad", write=bytes_file("b.h5ad", b"x,a,b\n"),
         says=r"b\.h5ad is not a readable HDF5 file"),
    Case(name="h5ad-gz", input="b.h5ad.gz", write=bytes_file("b.h5ad.gz", b"\x1f\x8b"),
         says=r"b\.h5ad\.gz.*decompress it"),
    Case(name="h5-of-keras", input="b.h5ad", says=r"b\.h5ad has no X and obs",
         write=lambda folder: h5py.File(folder / "b.h5ad", "w").close()),
    Case(name="h5-called-h5", input="b.h5", says=r"'\.h5' is not one of",
         write=lambda folder: write_valid(folder / "b.h5")),
]  # fmt: skip
