"""Driver: tables of categories that split the axes of a run, and the trees of their slices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from clustergrid.pipeline.annotation_files import MISSING_WORDS
from clustergrid.pipeline.escapes import escape_field, unescape_field
from clustergrid.pipeline.outputs import match_labels, read_table
from clustergrid.pipeline.request import RunRequest
from clustergrid.pipeline.spec import AXIS_NAMES, AxisSpec
from clustergrid.storage.errors import DataValueError
from clustergrid.storage.places import as_path, remove_tree
from clustergrid.storage.rundir import RunDirectory

if TYPE_CHECKING:
    from clustergrid.pipeline.kept import RunStages

__all__ = ["SLICES", "sliced_tree", "splits_of", "stored_split"]

SLICES = "slices"
"""In place of the engine of a tree whose slices were clustered by themselves."""


def splits_of(request: RunRequest, matrix: Any) -> dict[str, pd.DataFrame]:
    """Read the tables of categories that were asked for, by their names in the run.

    Raises
    ------
    StorageError, DataValueError
        One cannot be read, has not one column, lacks a label of the matrix, or has one category.
    """
    found = {}
    for axis, source in enumerate((request.row_split, request.col_split)):
        if source is None:
            continue
        table = read_table(as_path(source), "categories")
        if table.shape[1] != 1:
            raise DataValueError(
                f"{source} has {table.shape[1]} columns of categories: labels and one column split "
                f"the {('rows', 'columns')[axis]}"
            )
        labels = matrix.get_index(matrix.dims[axis])
        kept = table[table.index.isin([str(label) for label in labels])]
        _check(_series(kept, labels, source), labels, axis)
        found[f"{AXIS_NAMES[axis]}_split"] = kept.map(escape_field, na_action="ignore")
    return found


def _series(table: pd.DataFrame, labels: pd.Index, source: object) -> pd.Series:
    """One category for each label that the table has; None where it is missing."""
    column = match_labels(table, labels, source).iloc[:, 0].astype(object)
    return column.where(column.notna() & ~column.isin(MISSING_WORDS), None)


def _check(series: pd.Series, labels: pd.Index, axis: int) -> None:
    """Refuse a table that lacks a label, or has one category."""
    from clustergrid.pipeline.render.splits import read_split

    split = read_split(series, labels, len(labels), f"{AXIS_NAMES[axis]}_split")
    assert split is not None
    if len(split.titles) < 2:
        raise DataValueError(
            f"{AXIS_NAMES[axis]}_split has one category, {split.titles[0]!r}: two are needed to "
            "split anything"
        )


def stored_split(directory: RunDirectory, axis: int, matrix: Any) -> pd.Series | None:
    """Categories of the rows or columns of a run, in the matrix's order; None without any."""
    file = directory.file(f"{AXIS_NAMES[axis]}_split.tsv")
    if not file.exists():
        return None
    labels = matrix.get_index(matrix.dims[axis])
    kept = read_table(file, "categories").rename(index=unescape_field)
    series = _series(kept.map(unescape_field, na_action="ignore"), labels, file)
    return series.reindex(labels)


def sliced_tree(
    directory: RunDirectory, stages: RunStages, axis: int, spec: AxisSpec
) -> np.ndarray:
    """Cluster each slice of an axis of a run by itself, and the slices by their means.

    Parameters
    ----------
    directory
        The run directory, locked, which has the table of categories.
    stages
        Of its matrix.
    axis, spec
        Which axis, and how it is clustered.

    Returns
    -------
    numpy.ndarray
        ``(n - 1, 4)`` float64: its last merges are of whole slices.
    """
    from clustergrid.pipeline.render.matrix import StagedMatrix
    from clustergrid.pipeline.render.slice_trees import tree_of_slices
    from clustergrid.pipeline.render.splits import read_split

    series = stored_split(directory, axis, stages.matrix)
    assert series is not None
    split = read_split(list(series), None, len(series), f"{AXIS_NAMES[axis]}_split")
    assert split is not None
    _remove_parts(directory)  # of a run that was killed
    try:
        matrix = StagedMatrix(stages, None)
        tree, _ = tree_of_slices(matrix, axis, split, spec, are_clustered=True)
    finally:
        _remove_parts(directory)
    return tree


def _remove_parts(directory: RunDirectory) -> None:
    """Remove what was at rest for slices."""
    arrays = as_path(directory.arrays)
    for pattern in ("part-*", "slices-*"):
        for folder in arrays.glob(pattern):
            remove_tree(folder)
