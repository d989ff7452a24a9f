"""Driver: tables of annotations that a run is given, and keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from clustergrid.pipeline.escapes import escape_field, unescape_field
from clustergrid.pipeline.outputs import match_labels, read_table
from clustergrid.pipeline.request import TRACKS, FigureOptions, RunRequest
from clustergrid.pipeline.spec import AXIS_NAMES
from clustergrid.storage.errors import DataValueError
from clustergrid.storage.places import as_path
from clustergrid.storage.rundir import RunDirectory

__all__ = ["MISSING_WORDS", "annotations_of", "dressed", "stored_annotations", "typed_column"]

MISSING_WORDS = ("", "NA", "N/A", "NaN", "nan", "None", "null")
"""Cells of a table that say there is no value."""
_ISO_DATE = r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:?\d{2})?)?"


def typed_column(text: pd.Series) -> pd.Series:
    """Take a column of text for what all of its cells are: numbers, booleans, ISO dates or words.

    Parameters
    ----------
    text
        Cells; empty ones and NA, N/A, NaN, nan, None and null are missing.

    Examples
    --------
    >>> typed_column(pd.Series(["3", "", "1e2"])).tolist()
    [3.0, nan, 100.0]
    >>> typed_column(pd.Series(["TRUE", "false"])).tolist()
    [True, False]
    >>> typed_column(pd.Series(["2020-01-31", "NA"])).dtype.kind
    'M'
    >>> typed_column(pd.Series(["1a", "2"])).tolist()
    ['1a', '2']
    """
    is_there = text.notna() & ~text.isin(MISSING_WORDS)
    there = text[is_there]
    words = there.astype(object).reindex(text.index)
    if there.empty:
        return words
    if there.str.lower().isin(["true", "false"]).all():
        return (there.str.lower() == "true").astype("boolean").reindex(text.index)
    numbers = pd.to_numeric(there, errors="coerce")
    if numbers.notna().all():
        return numbers.astype(np.float64).reindex(text.index)
    if there.str.fullmatch(_ISO_DATE).all():
        dates = pd.to_datetime(there, format="ISO8601", errors="coerce", utc=True)
        if dates.notna().all():
            return dates.dt.tz_convert(None).reindex(text.index)
    return words


def annotations_of(request: RunRequest, matrix: Any) -> dict[str, pd.DataFrame]:
    """Read the tables of annotations that were asked for, by their names in the run.

    Raises
    ------
    DataTypeError, DataValueError
        A table has no annotations, labels that are not the matrix's, or what cannot be shown.
    """
    from clustergrid.pipeline.render.annotations import read_annotations
    from clustergrid.pipeline.render.palettes import make_scales

    found: dict[str, pd.DataFrame] = {}
    typed: list[pd.DataFrame | None] = [None, None]
    for axis, source in enumerate((request.row_annotations, request.col_annotations)):
        if source is None:
            continue
        table = read_table(as_path(source), "annotations")
        labels = matrix.get_index(matrix.dims[axis])
        typed[axis] = match_labels(table, labels, source).apply(typed_column)
        # What is not drawn was not looked at, and stays out.
        kept = table[table.index.isin([str(label) for label in labels])]
        found[f"{AXIS_NAMES[axis]}_annotations"] = kept.map(escape_field, na_action="ignore")
    annotations, palettes = dressed(typed, request.figure)
    shown = []
    for axis, given in enumerate(annotations):
        labels = matrix.get_index(matrix.dims[axis])
        source = str((request.row_annotations, request.col_annotations)[axis])
        shown += read_annotations(given, labels, len(labels), source)
    make_scales(shown, palettes)
    return found


def dressed(
    tables: Sequence[Any], figure: FigureOptions
) -> tuple[list[dict[str, Any] | None], dict[str, Any]]:
    """Give annotations the looks that were asked for.

    Parameters
    ----------
    tables
        Of rows and of columns: a DataFrame, a mapping of titles to values, or None.
    figure
        With tracks and palettes.

    Returns
    -------
    annotations, palettes
        As `clustermap` takes them.

    Raises
    ------
    DataValueError
        No table has a column of such a title.
    """
    from clustergrid.pipeline.render.annotations import Bars, Points

    kinds = dict(zip(TRACKS, (Bars, Points), strict=True))
    columns = [{} if table is None else dict(table.items()) for table in tables]
    titles = list(dict.fromkeys(title for each in columns for title in each))
    if unknown := [title for title in (*figure.tracks, *figure.palettes) if title not in titles]:
        raise DataValueError(
            f"no annotation is called {unknown[0]!r}: there are "
            f"{', '.join(map(repr, titles)) or 'none'}"
        )
    annotations = [
        {
            title: kinds[figure.tracks[title]](values) if title in figure.tracks else values
            for title, values in each.items()
        }
        or None
        for each in columns
    ]
    palettes = {
        title: colors if isinstance(colors, str) else _by_label(title, colors, columns)
        for title, colors in figure.palettes.items()
    }
    return annotations, palettes


def _by_label(
    title: str, colors: Mapping[str, str], columns: Sequence[Mapping[str, Any]]
) -> dict[Any, str]:
    """Colours by the labels themselves, of which true and false are no text."""
    labels = [label for each in columns if title in each for label in pd.unique(each[title])]
    return {label: colors[str(label)] for label in labels if str(label) in colors}


def stored_annotations(directory: RunDirectory, axis: int, matrix: Any) -> Any:
    """Annotations that were copied into the run, as `ClusterGrid` takes them; None without any."""
    file = directory.file(f"{AXIS_NAMES[axis]}_annotations.tsv")
    if not file.exists():
        return None
    dimension = matrix.dims[axis]
    labels = matrix.get_index(dimension)
    kept = read_table(file, "annotations").rename(index=unescape_field, columns=unescape_field)
    kept = kept.map(unescape_field, na_action="ignore")
    typed = match_labels(kept, labels, file).apply(typed_column)
    if dimension in matrix.indexes:
        return typed
    # Rows without labels are matched by their numbers.
    by_number = typed.reindex(labels)
    return {title: by_number[title].array for title in by_number.columns}
