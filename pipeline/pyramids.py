"""Driver: the pyramid of a reordered matrix, made level by level in tasks of whole chunks."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

from clustergrid.pipeline.execution import Executor, end_if_stopped
from clustergrid.pipeline.monitor import Progress
from clustergrid.storage.arrays import open_array
from clustergrid.storage.chunks import Chunk
from clustergrid.storage.manifest import Manifest, chunk_entry, metadata_entry
from clustergrid.storage.places import AnyPlace, StorePath, as_path
from clustergrid.storage.pyramid import (
    PARTS,
    Level,
    create_level,
    level_dtype,
    level_path,
    levels,
    write_region,
)

__all__ = ["pyramid_arrays", "pyramid_levels", "write_pyramid"]


def pyramid_levels(group: AnyPlace, source: str) -> list[Level]:
    """Describe the levels above a matrix.

    Parameters
    ----------
    group, source
        Directory of a Zarr group, and name of the matrix in it.
    """
    matrix = open_array(group, source)
    n, k = matrix.shape
    return [
        Level(
            store=str(group),
            source=source,
            number=number,
            shape=shape,
            dtype=level_dtype(matrix.dtype),
        )
        for number, shape in enumerate(levels((n, k)), 1)
    ]


def pyramid_arrays(group: AnyPlace, source: str) -> list[str]:
    """Names of all arrays of the pyramid of a matrix."""
    return [
        f"{level_path(level.number)}/{part}"
        for level in pyramid_levels(group, source)
        for part in PARTS
    ]


def write_pyramid(
    group: StorePath,
    source: str,
    manifest: Manifest,
    *,
    executor: Executor,
    progress: Progress,
) -> None:
    """Write the levels above a matrix, or what is missing of them.

    Parameters
    ----------
    group, source
        Directory of a Zarr group, and name of the matrix in it.
    manifest
        Begun under the key of the pyramid; every chunk is noted in it. Its directory is that of the
        group.
    executor, progress
        Where tasks run, and who is told, as stage ``"pyramid"``.

    Raises
    ------
    StorageError
        The bytes cannot be written.
    """
    assert manifest.key is not None
    metadata: Any = open_array(group, source).metadata
    dims: tuple[str, str] = metadata.dimension_names
    found = pyramid_levels(group, source)
    regions = {level.number: level.regions() for level in found}
    total = sum(map(len, regions.values()))
    with progress.stage("pyramid", total=total, unit="regions") as stage:
        for level in found:
            if not _is_begun(level, manifest):
                names = create_level(level, dims, manifest.key)
                prefix = f"{group.name}/{level_path(level.number)}/"
                manifest.forget([file for file in manifest.entries if file.startswith(prefix)])
                groups = ["pyramid", level_path(level.number)]
                manifest.record(*(metadata_entry(group, name) for name in (*groups, *names)))
            left = [r for r in regions[level.number] if not _is_noted(level, r, manifest)]
            kept = len(regions[level.number]) - len(left)
            stage.kept += kept
            stage.advance(kept)
            work = _Work(level=level, key=manifest.key)
            for region in executor.map(
                _write, executor.share(work), left, name=f"pyramid-{level.number}"
            ):
                for part, chunk in product(PARTS, _chunks(level, region)):
                    name = f"{level_path(level.number)}/{part}"
                    manifest.record(chunk_entry(group, name, chunk))
                stage.advance()
        manifest.record(metadata_entry(group))


@dataclass(frozen=True, kw_only=True)
class _Work:
    level: Level
    key: str


def _write(work: _Work, region: tuple[slice, slice]) -> tuple[slice, slice]:
    end_if_stopped()
    write_region(work.level, region, work.key)
    return region


def _chunks(level: Level, region: tuple[slice, slice]) -> list[Chunk]:
    ranges = (
        range(part.start // step, -(-part.stop // step))
        for part, step in zip(region, level.chunks, strict=True)
    )
    return list(product(*ranges))


def _files(level: Level, names: list[str]) -> list[str]:
    group = as_path(level.store).name
    return [f"{group}/{level_path(level.number)}/{name}" for name in names]


def _is_begun(level: Level, manifest: Manifest) -> bool:
    """Whether an earlier run made the arrays of a level."""
    files = _files(level, [f"{part}/zarr.json" for part in PARTS])
    entries = [manifest.entries.get(file) for file in files]
    return all(entry is not None and entry.is_noted_in(manifest.root) for entry in entries)


def _is_noted(level: Level, region: tuple[slice, slice], manifest: Manifest) -> bool:
    """Whether all chunks of a region are at rest."""
    chunks = _chunks(level, region)
    names = [f"{part}/c/{row}/{column}" for part in PARTS for row, column in chunks]
    entries = [manifest.entries.get(file) for file in _files(level, names)]
    return all(entry is not None and entry.is_noted_in(manifest.root) for entry in entries)
