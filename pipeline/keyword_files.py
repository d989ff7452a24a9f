"""Driver: keywords of metrics as the command takes them, and as a run directory keeps them.

A number is written as it is; arrays come from files, and are copied into the run, so that it can
be verified without them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from clustergrid.pipeline.keywords import MetricKeywords
from clustergrid.pipeline.spec import AXIS_NAMES, RunSpec
from clustergrid.storage.errors import DataTypeError, DataValueError, StorageError
from clustergrid.storage.readers.location import check_regular_file
from clustergrid.storage.rundir import RunDirectory

__all__ = ["GivenKeywords", "keep_keywords", "parse_keywords", "stored_keywords"]

_DIMENSIONS = {"w": 1, "V": 1, "VI": 2}
_NUMBERS: dict[str, Callable[[str], float]] = {"p": float, "min_periods": int}


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenKeywords:
    """Keywords of a metric from the command line.

    Attributes
    ----------
    keywords
        The numbers.
    files
        Absolute paths of the files that arrays were read from, by keyword.
    """

    keywords: MetricKeywords = field(default_factory=MetricKeywords)
    files: dict[str, str] = field(default_factory=dict)


def parse_keywords(entries: Iterable[str]) -> GivenKeywords:
    """Read keywords, each as ``NAME=VALUE``: a number, or the path of a file of numbers.

    Parameters
    ----------
    entries
        As ``p=3``, ``w=weights.npy``, ``VI=inverse.csv``.

    Raises
    ------
    DataTypeError, DataValueError
        There is no such keyword, or it has a value that it cannot have.
    StorageError
        A file cannot be read.

    Examples
    --------
    >>> parse_keywords(["p=3"]).keywords.given
    {'p': 3.0}
    """
    values: dict[str, Any] = {}
    files: dict[str, str] = {}
    for entry in entries:
        name, equals, text = entry.partition("=")
        if not equals or not name or not text:
            raise DataValueError(f"{entry!r} is not NAME=VALUE, as p=3 or w=weights.npy")
        if name in values:
            raise DataValueError(f"{name} is given twice")
        if name in _DIMENSIONS:
            files[name] = os.path.abspath(text)
            values[name] = _read_array(name, Path(text))
        else:
            values[name] = _number(name, text)
    return GivenKeywords(keywords=MetricKeywords.from_mapping(values), files=files)


def _number(name: str, text: str) -> float | str:
    """Read a number; what no keyword is called is left to whoever knows the keywords."""
    if name not in _NUMBERS:
        return text
    try:
        return _NUMBERS[name](text)
    except ValueError:
        kind = "whole number" if name == "min_periods" else "number"
        raise DataTypeError(f"{name} must be a {kind}, got {text!r}") from None


def _read_array(name: str, path: Path) -> np.ndarray:
    try:
        check_regular_file(path)
        array = _load(path)
    except StorageError:
        raise
    except (OSError, UnicodeDecodeError) as error:
        raise StorageError(f"cannot read {name} from {path}: {error}") from error
    except (ValueError, EOFError, MemoryError, RecursionError, OverflowError) as error:
        reason = str(error).partition("\n")[0]
        raise DataValueError(
            f"{name}: {path} holds no numbers in NumPy's .npy format or as text ({reason})"
        ) from None
    if array.dtype.kind not in "fiub":
        raise DataTypeError(f"{name} must hold real numbers, and {path} holds {array.dtype}")
    # A text of one line, or of one column, is a vector.
    return array.reshape(-1) if _DIMENSIONS[name] == 1 and 1 in array.shape else array


def _load(path: Path) -> np.ndarray:
    if path.suffix.lower() == ".npy":
        # Mapped, so that a header cannot claim more memory than the file has bytes.
        mapped: Any = np.load(path, mmap_mode="r", allow_pickle=False)
        return np.asarray(mapped)
    delimiter = "," if path.suffix.lower() == ".csv" else None
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    if not lines:
        raise ValueError("it is empty")
    return np.loadtxt(lines, delimiter=delimiter, ndmin=2)


def _file_name(axis: int) -> str:
    return f"metric_kws_{AXIS_NAMES[axis]}.npz"


def keep_keywords(directory: RunDirectory, spec: RunSpec) -> dict[str, str]:
    """Copy the arrays among the keywords into a run; return the names of the files."""
    files = {}
    for axis in (0, 1):
        name, asked = _file_name(axis), spec.axis(axis)
        given = asked.metric_kws.given if asked.is_computed else {}
        arrays: dict[str, Any] = {
            word: value for word, value in given.items() if isinstance(value, np.ndarray)
        }
        if not arrays:
            directory.file(name).unlink(missing_ok=True)
            continue
        with directory.publish(name) as path:
            np.savez(path, **arrays)
        files[f"metric_kws_{AXIS_NAMES[axis]}"] = name
    return files


def stored_keywords(directory: RunDirectory, axis: int, asked: Mapping[str, Any]) -> MetricKeywords:
    """Keywords of the metric of an axis, of which the run's request has the numbers and digests.

    Parameters
    ----------
    directory
        The run directory.
    axis
        Which one.
    asked
        ``metric_kws`` of the axis in the request.

    Raises
    ------
    StorageError, ValueError
        The arrays are not there, or damaged.
    """
    given = {
        name: float(value) if name == "p" else value
        for name, value in asked.items()
        if name not in _DIMENSIONS
    }
    if len(given) < len(asked):
        with (
            directory.file(_file_name(axis)).open("rb") as file,
            np.load(file, allow_pickle=False) as arrays,
        ):
            given |= {name: arrays[name] for name in asked if name in _DIMENSIONS}
    return MetricKeywords.from_mapping(given)
