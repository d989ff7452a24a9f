"""Driver: the small files of a run: orders, clusters, trees that were given, tables of colours."""

from __future__ import annotations

import io
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from clustergrid.pipeline.escapes import escape_field, escape_label, unescape_field
from clustergrid.pipeline.request import RunRequest
from clustergrid.pipeline.spec import AXIS_NAMES
from clustergrid.pipeline.tree.cuts import cut
from clustergrid.pipeline.tree.validity import check_linkage
from clustergrid.storage.errors import DataValueError, StorageError
from clustergrid.storage.places import StorePath, as_path, local_copy, sha256_of
from clustergrid.storage.readers.location import Location, check_regular_file
from clustergrid.storage.rundir import RunDirectory

__all__ = [
    "TABLES",
    "check_cut",
    "cluster_lines",
    "colors_of",
    "cut_tree",
    "given_linkage",
    "keep_tables",
    "match_labels",
    "read_table",
    "stored_colors",
    "stored_linkage",
    "write_clusters",
    "write_order",
]

TABLES = ("colors", "annotations", "split")
"""Kinds of tables that a run keeps, for each axis."""

_MOST_TABLE_BYTES = 2**28
"""Of a table of colours or annotations: ten million rows of one strip."""


def write_order(directory: RunDirectory, axis: int, labels: list[str], order: np.ndarray) -> str:
    """Write labels in leaf order, one a line; return the file's name."""
    name = f"order_{AXIS_NAMES[axis]}.txt"
    directory.write_text(name, "".join(f"{escape_label(labels[leaf])}\n" for leaf in order))
    return name


def write_clusters(
    directory: RunDirectory,
    axis: int,
    labels: list[str],
    order: np.ndarray,
    clusters: np.ndarray,
) -> str:
    """Write which cluster each leaf is in, in leaf order; return the file's name.

    `clustergrid.pipeline.escapes.unescape_field` reads its labels.
    """
    name = f"clusters_{AXIS_NAMES[axis]}.tsv"
    directory.write_text(name, cluster_lines(labels, order, clusters))
    return name


def cluster_lines(labels: list[str], order: np.ndarray, clusters: np.ndarray) -> str:
    """Text of a table of clusters: label, place in the leaf order, cluster."""
    lines = [
        f"{escape_field(labels[leaf])}\t{place}\t{clusters[leaf]}\n"
        for place, leaf in enumerate(order)
    ]
    return "label\tposition\tcluster\n" + "".join(lines)


def stored_linkage(directory: RunDirectory, axis: int, n: int) -> np.ndarray | None:
    """Tree of an axis that the run made; None if it was not clustered.

    Raises
    ------
    DataValueError
        What is there is no tree of `n` leaves.
    """
    file = directory.file(f"linkage_{AXIS_NAMES[axis]}.npy")
    if not file.exists():
        return None
    with local_copy(file) as path:
        return _load_linkage(path, n)


def given_linkage(path: str, n: int) -> tuple[np.ndarray, str]:
    """Read the tree that a user brings, and the digest of its file.

    Raises
    ------
    StorageError, DataValueError
        It cannot be read, or is no tree of `n` leaves.
    """
    with local_copy(as_path(path)) as file:
        linkage = _load_linkage(file, n)
        return linkage, sha256_of(file).removeprefix("sha256:")


def _load_linkage(path: Path, n: int) -> np.ndarray:
    try:
        check_regular_file(path)
        # Mapped, so that a header cannot claim more memory than the file has bytes.
        loaded: Any = np.load(path, mmap_mode="r", allow_pickle=False)
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(f"cannot read the linkage matrix {path}: {error}") from error
    except (ValueError, EOFError, MemoryError, RecursionError, OverflowError):
        loaded = None
    if not isinstance(loaded, np.ndarray):
        raise DataValueError(f"{path} is not a linkage matrix in NumPy's .npy format")
    if loaded.dtype.kind == "c":  # NumPy would drop the imaginary parts
        raise DataValueError(f"{path} must be a matrix of real numbers, and holds {loaded.dtype}")
    return check_linkage(loaded, n, str(path))


def check_cut(request: RunRequest, axis: int, n: int) -> None:
    """Refuse, before anything is computed, more clusters than there are leaves."""
    for k in (request.cut(axis).k, *request.figure.cuts(axis)):
        if k is not None and not 1 <= k <= n:
            word = ("rows", "columns")[axis]
            raise DataValueError(f"the {word} cannot be cut into {k} clusters: there are {n}")


def cut_tree(linkage: np.ndarray, request: RunRequest, axis: int) -> np.ndarray | None:
    """Clusters of an axis; None where no cut was asked for."""
    where = request.cut(axis)
    return cut(linkage, k=where.k, height=where.height) if where else None


def colors_of(request: RunRequest, matrix: Any) -> dict[str, pd.DataFrame]:
    """Read the colour tables that were asked for, by the names that they will have in the run.

    Raises
    ------
    DataValueError
        A table has no colours, colours that do not exist, or labels that are not the matrix's.
    """
    from clustergrid.pipeline.render.colors import prepare_colors

    found = {}
    for axis, source in enumerate((request.row_colors, request.col_colors)):
        if source is None:
            continue
        colors = read_colors(as_path(source))
        labels = matrix.get_index(matrix.dims[axis])
        prepare_colors(match_labels(colors, labels, source), labels, len(labels), source)
        # What is not drawn was not looked at, and stays out.
        kept = colors[colors.index.isin([str(label) for label in labels])]
        found[f"{AXIS_NAMES[axis]}_colors"] = kept
    return found


def keep_tables(directory: RunDirectory, tables: dict[str, pd.DataFrame]) -> dict[str, str]:
    """Keep tables of colours, annotations and splits, so that a run can be drawn without them."""
    for name in (f"{axis}_{kind}" for kind in TABLES for axis in AXIS_NAMES):
        if name not in tables:
            directory.file(f"{name}.tsv").unlink(missing_ok=True)
            continue
        with directory.publish(f"{name}.tsv") as path:
            tables[name].rename(index=escape_field, columns=escape_field).to_csv(
                path, sep="\t", index_label="label", lineterminator="\n"
            )
    return {name: f"{name}.tsv" for name in tables}


def read_colors(path: StorePath) -> pd.DataFrame:
    """Read a table of colours: labels first, then a column a strip; empty cells are white.

    Raises
    ------
    StorageError, DataValueError
        It cannot be read, has no colours, or a label twice.
    """
    return read_table(path, "colours").replace("", np.nan)


def read_table(path: StorePath, what: str) -> pd.DataFrame:
    """Read a table of text by labels, its first column.

    Parameters
    ----------
    path
        Comma-separated if it is called .csv (or .csv.gz), else by tabs.
    what
        What its columns are, for messages.

    Raises
    ------
    StorageError, DataValueError
        It cannot be read, has no columns, or a label twice.
    """
    is_csv = path.name.lower().removesuffix(".gz").endswith(".csv")
    try:
        with Location.parse(path).open(decompress=True) as file:
            content = file.read(_MOST_TABLE_BYTES + 1)
        if len(content) > _MOST_TABLE_BYTES:
            raise ValueError(f"it has more than {_MOST_TABLE_BYTES:,} bytes")
        if b"\0" in content:  # pandas would end the cell there
            raise ValueError("it holds NUL characters: is it text in UTF-8?")
        table = pd.read_csv(
            io.BytesIO(content),
            sep="," if is_csv else "\t",
            index_col=0,
            dtype=str,
            keep_default_na=False,
        )
    except StorageError:
        raise
    except (OSError, ValueError, EOFError, zlib.error) as error:
        raise StorageError(f"cannot read the {what} in {path}: {error}") from error
    if table.shape[1] == 0:
        raise DataValueError(f"{path} has labels and no column of {what}")
    table.index = table.index.astype(str)
    if not table.index.is_unique:
        twice = table.index[table.index.duplicated()][0]
        raise DataValueError(f"{path} has the label {twice!r} more than once")
    return table


def match_labels(table: pd.DataFrame, labels: pd.Index, source: object) -> pd.DataFrame:
    """Give a table the type of the matrix's labels; text is all a file can hold.

    Raises
    ------
    DataValueError
        None of its labels is one of the matrix's.
    """
    by_text = {str(label): label for label in labels}
    known = table[table.index.isin(list(by_text))]
    if known.empty:
        theirs, ours = (
            ", ".join(map(repr, some[:3])) for some in (list(table.index), list(by_text))
        )
        raise DataValueError(
            f"none of the labels in {source} ({theirs}, ...) is one of the matrix's ({ours}, ...)"
        )
    return known.set_axis(pd.Index([by_text[label] for label in known.index]), axis=0)


def stored_colors(directory: RunDirectory, axis: int, matrix: Any) -> Any:
    """Colours that were copied into the run, as `ClusterGrid` takes them; None where none were."""
    file = directory.file(f"{AXIS_NAMES[axis]}_colors.tsv")
    if not file.exists():
        return None
    dimension = matrix.dims[axis]
    labels = matrix.get_index(dimension)
    kept = read_colors(file).rename(index=unescape_field, columns=unescape_field)
    colors = match_labels(kept, labels, file)
    if dimension in matrix.indexes:
        return colors
    # Rows without labels are matched by their numbers.
    return [strip.tolist() for _, strip in colors.reindex(labels).items()]
