"""Tables of colours and trees from files that are none."""

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.cluster.hierarchy import linkage

from .case import Case, both, frame, numbers
from .npy import header, npy_of, payload, with_header
from .text import zip_of

TREE = linkage(numbers())
GOOD = "label\tkind\n" + "".join(f"g{i}\tred\n" for i in range(12))


def csv(folder: Path) -> None:
    frame().to_csv(folder / "b.csv")


def colors(name: str, says: str, content: str | bytes | Callable[[Path], None], *,
           file: str = "colors.tsv", option: str = "--row-colors",
           status: int = 1) -> Case:  # fmt: skip
    """A case of a good matrix and a table of colours."""
    if isinstance(content, str):
        content = content.encode()

    def write(folder: Path) -> None:
        if callable(content):
            content(folder)
        else:
            (folder / file).write_bytes(content)

    return Case(name=f"colors-{name}", input="b.csv", says=says, write=both(csv, write),
                options=(option, file), status=status)  # fmt: skip


def tree(name: str, says: str, content: bytes | np.ndarray | Callable[[Path], None], *,
         option: str = "--row-linkage", status: int = 1) -> Case:  # fmt: skip
    """A case of a good matrix and a tree."""

    def write(folder: Path) -> None:
        if callable(content):
            content(folder)
            return
        file = content if isinstance(content, bytes) else npy_of(content)
        (folder / "tree.npy").write_bytes(file)

    return Case(name=f"tree-{name}", input="b.csv", says=says, write=both(csv, write),
                options=(option, "tree.npy"), status=status)  # fmt: skip


def changed(row: int, column: int, value: float) -> np.ndarray:
    made = TREE.copy()
    made[row, column] = value
    return made


def pipe(name: str) -> Callable[[Path], None]:
    return lambda folder: os.mkfifo(folder / name)


def compressed_half(folder: Path) -> None:
    content = gzip.compress((GOOD * 50).encode())
    (folder / "colors.tsv.gz").write_bytes(content[: len(content) // 2])


def wide_bomb(folder: Path) -> None:
    """2 GB of one letter, in 2 MB."""
    member = gzip.compress(b"r" * 2**26)
    (folder / "colors.tsv.gz").write_bytes(gzip.compress(b"label\tkind\ng1\t") + member * 32)


COLORS = r"colors\.tsv"
TABLE = rf"cannot read the colours in .*{COLORS}"
NO_TREE = r"tree\.npy is not a linkage matrix in NumPy's \.npy format"

CASES = [
    colors("empty", TABLE, ""),
    colors("only-a-header", r"none of the labels in .*colors\.tsv", "label\tkind\n"),
    colors("no-colours", rf"{COLORS} has labels and no column of colours", "label\ng0\ng1\n"),
    colors("commas-in-a-tsv", rf"{COLORS} has labels and no column", "label,kind\ng0,red\n"),
    colors("unknown-colour", "'reddish'", GOOD.replace("g3\tred", "g3\treddish")),
    colors("unknown-hexadecimal", "'#12345g'", GOOD.replace("g3\tred", "g3\t#12345g")),
    colors("label-twice", rf"{COLORS} has the label 'g3' more than once", GOOD + "g3\tblue\n"),
    colors("labels-of-something-else", rf"none of the labels in .*{COLORS}",
           "label\tkind\nmouse\tred\n"),
    colors("of-the-columns", rf"none of the labels in .*{COLORS} \('g0'", GOOD,
           option="--col-colors"),
    colors("row-too-long", TABLE, GOOD + "g1\tred\tblue\tgreen\n"),
    colors("quote-never-closed", TABLE, GOOD.replace("g3\t", '"g3\t')),
    colors("latin1", TABLE, (GOOD + "é\tred\n").encode("latin-1")),
    colors("utf16", rf"{COLORS}", GOOD.encode("utf-16")),
    colors("nul", rf"{COLORS}", b"label\tkind\ng1\tr\0d\n"),
    colors("binary", rf"{COLORS}", bytes(range(256)) * 9),
    colors("html", rf"{COLORS}", "<html><body>no</body></html>\n"),
    colors("json", rf"{COLORS}", json.dumps({"g1": "red"})),
    colors("escape-sequence", r"'\\\\?x1b\[31m", "label\tkind\ng1\t\x1b[31m\n"),
    colors("numbers", "'1'|'2'|is not a colour|color", "label\tkind\ng1\t1.5.2\ng2\t2\n"),
    colors("gz-cut-short", r"cannot read the colours in .*colors\.tsv\.gz", compressed_half,
           file="colors.tsv.gz"),
    colors("gz-not-compressed", r"cannot read the colours in .*colors\.tsv\.gz", GOOD,
           file="colors.tsv.gz"),
    colors("zip", r"cannot read the colours in .*colors\.zip.*NUL", zip_of("colors.tsv", b"\0"),
           file="colors.zip"),
    colors("bomb", r"colors\.tsv\.gz", wide_bomb, file="colors.tsv.gz"),
    colors("directory", "is a directory", lambda f: (f / "colors.tsv").mkdir(), status=2),
    colors("missing", "does not exist", lambda f: None, status=2),
    colors("pipe", rf"{COLORS} is a pipe", pipe("colors.tsv")),
    colors("device", "/dev/zero is a device", lambda f: None, file="/dev/zero"),
    tree("empty", NO_TREE, b""),
    tree("text", NO_TREE, b"0 1 2 3\n"),
    tree("pickle", NO_TREE, payload()),
    tree("pickled-objects", NO_TREE, with_header(header("'|O'", shape="(11, 4)"), payload())),
    tree("npz", NO_TREE, lambda f: np.savez(open(f / "tree.npy", "wb"), a=TREE)),  # noqa: SIM115
    tree("cut-short", NO_TREE, npy_of(TREE)[:-9]),
    tree("10^12-merges", NO_TREE, with_header(header(shape="(1000000000000, 4)"))),
    tree("header-runs-code", NO_TREE, with_header(header("__import__('os').abort()"))),
    tree("of-text", r"tree\.npy must be a matrix of numbers", np.full((11, 4), "a")),
    tree("of-complex", r"tree\.npy must be a matrix of real numbers", TREE.astype(complex)),
    tree("of-five-columns", r"tree\.npy must have two dimensions and 4 columns",
         np.zeros((11, 5))),
    tree("of-one-dimension", r"tree\.npy must have two dimensions", np.zeros(44)),
    tree("of-no-merges", r"tree\.npy must be of at least two", np.zeros((0, 4))),
    tree("of-fewer-leaves", r"tree\.npy has 11 leaves, but 12 observations",
         linkage(numbers()[:11])),
    tree("of-the-columns", r"tree\.npy has 12 leaves, but 5 observations", TREE,
         option="--col-linkage"),
    tree("nan", r"tree\.npy must contain only finite values: row 3", changed(3, 2, np.nan)),
    tree("infinite", r"tree\.npy must contain only finite values: row 3", changed(3, 2, np.inf)),
    tree("negative-height", r"tree\.npy contains negative heights: row 3", changed(3, 2, -1)),
    tree("negative-id", r"tree\.npy contains negative ids: row 3", changed(3, 0, -1)),
    tree("fractional-id", r"tree\.npy contains ids that are not whole", changed(3, 0, 0.5)),
    tree("negative-count", r"tree\.npy contains negative counts: row 3", changed(3, 3, -2)),
    tree("count-too-large", r"tree\.npy counts more observations", changed(3, 3, 99)),
    tree("cluster-from-the-future", r"tree\.npy uses a cluster before it is formed: row 3",
         changed(3, 1, 20)),
    tree("cluster-twice", r"tree\.npy uses cluster \d+ more than once",
         changed(10, 0, TREE[0, 0])),
    tree("pipe", r"tree\.npy is a pipe", pipe("tree.npy")),
    tree("directory", "is a directory", lambda f: (f / "tree.npy").mkdir(), status=2),
    tree("missing", "does not exist", lambda f: None, status=2),
]  # fmt: skip
