"""What the tests of runs share: matrices, requests, a log that stops a run, and its results."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from clustergrid.pipeline.request import FigureOptions, RunRequest
from clustergrid.storage.condensed import open_condensed
from clustergrid.storage.ingest import ingest
from clustergrid.storage.manifest import chunk_file
from clustergrid.storage.matrix import open_matrix
from clustergrid.storage.rundir import RunDirectory

SMALL = FigureOptions(figsize_inches=(3.0, 3.0), dpi=40)
N_TILES = 10  # of 1,600 rows


def frame(n=40, k=6, seed=0):
    values = np.random.default_rng(seed).normal(size=(n, k)).round(6)
    rows = pd.Index([f"g{i}" for i in range(n)], name="gene")
    return pd.DataFrame(values, index=rows, columns=[f"s{i}" for i in range(k)])


def table(folder, data=None, name="a.csv"):
    data = frame() if data is None else data
    if name.endswith(".csv"):
        data.to_csv(folder / name)
    elif name.endswith(".parquet"):
        data.to_parquet(folder / name)
    elif name.endswith(".npy"):
        np.save(folder / name, data.to_numpy())
    else:
        ingest(open_matrix(data), folder / name)
    return str(folder / name)


def request(path, directory, **options):
    options.setdefault("figure", SMALL)
    return RunRequest(input=str(path), directory=Path(directory), **options)


class Log:
    """Keeps events; raises like a signal at a certain one."""

    def __init__(self, stop_at=None):
        self.events, self.stop_at = [], stop_at

    def __call__(self, event):
        self.events.append(event)
        if len(self.events) == self.stop_at:
            raise KeyboardInterrupt

    def stages(self, *states):
        return {event.stage for event in self.events if event.state in states}


def results(directory):
    """The bytes of everything a run is for."""
    found = {}
    for name in ("linkage_row.npy", "linkage_col.npy", "order_row.txt", "order_col.txt",
                 "clusters_row.tsv", "figure.png"):  # fmt: skip
        file = Path(directory) / name
        found[name] = file.read_bytes() if file.exists() else None
    return found


def state_of(directory):
    return json.loads((Path(directory) / "run.json").read_text())


def forget(directory, *stages):
    """Undo what a run killed before these stages would not have noted."""
    opened = RunDirectory(directory)
    for stage in stages:
        opened.state["stages"].pop(stage, None)
    opened.update(finished=None)


def killed_after(directory, n_tiles):
    """Bring a finished run to where a kill would have left it after some tiles of the rows."""
    forget(directory, "distance-row", "distance-col", "linkage-row", "linkage-col", "limits",
           "image", "picture", "outputs")  # fmt: skip
    (directory / "manifest" / "distance-col.jsonl").unlink()
    notes = directory / "manifest" / "distance-row.jsonl"
    lines = notes.read_text().splitlines(keepends=True)
    names = [chunk(directory, tile).relative_to(directory).as_posix() for tile in range(N_TILES)]
    tiles = [line for name in names for line in lines if f'"{name}"' in line]
    assert len(tiles) == N_TILES
    kept = [line for line in lines if line not in tiles] + tiles[:n_tiles]
    notes.write_text("".join(kept) + tiles[0][:-9])
    for name in ("linkage_row.npy", "linkage_col.npy", "figure.png", "order_row.txt"):
        (directory / name).unlink()
    for tile in range(n_tiles, N_TILES):
        chunk(directory, tile).unlink()


def chunk(directory, tile, axis="row"):
    tiles = open_condensed(directory, f"condensed_{axis}").stored
    return Path(tiles.store) / chunk_file(*tiles.place(*tiles.grid.tile(tile)))
