"""What a malformed input is, and what the cases are written with."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

Write = Callable[[Path], None]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One malformed input.

    Parameters
    ----------
    name
        What is wrong with it.
    input
        The argument INPUT, a path in the folder that `write` fills.
    says
        What the one line must say: a regular expression.
    write
        Writes it (and whatever else it needs) into an empty folder, the working directory.
    options
        More arguments of ``clustergrid run``.
    output
        The run directory.
    status
        Exit status: 2 for what is wrong with the command line, otherwise 1.
    in_process
        Whether only `main` can be given it: no process can have a NUL in its arguments.
    """

    name: str
    input: str
    says: str
    write: Write = lambda folder: None
    options: tuple[str, ...] = ()
    output: str = "run"
    status: int = 1
    in_process: bool = False

    def arguments(self) -> list[str]:
        """Arguments of the command."""
        # A tiny picture: a case that gets so far by mistake should not take long.
        figure = [] if "--figsize" in self.options else ["--figsize", "3", "3"]
        dpi = [] if "--dpi" in self.options else ["--dpi", "40"]
        return ["run", self.input, "-o", self.output, *figure, *dpi, *self.options]


def numbers(n_rows: int = 12, n_columns: int = 5, seed: int = 0) -> np.ndarray:
    """Some values of which nothing is wrong."""
    return np.random.default_rng(seed).normal(size=(n_rows, n_columns)).round(6)


def frame(n_rows: int = 12, n_columns: int = 5, seed: int = 0) -> pd.DataFrame:
    """A table of which nothing is wrong: rows g0, g1, ..., columns s0, s1, ..."""
    return pd.DataFrame(
        numbers(n_rows, n_columns, seed),
        index=[f"g{i}" for i in range(n_rows)],
        columns=[f"s{i}" for i in range(n_columns)],
    )


def bytes_file(name: str, content: bytes) -> Write:
    """Write a file of some bytes."""

    def write(folder: Path) -> None:
        (folder / name).write_bytes(content)

    return write


def both(*writes: Write) -> Write:
    """Write one thing after another."""

    def write(folder: Path) -> None:
        for each in writes:
            each(folder)

    return write
