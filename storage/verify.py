"""Driver: every stored byte of a run directory against the digest that was noted of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from clustergrid.storage.manifest import Entry, chunk_checksum
from clustergrid.storage.places import names_below, sha256_of, sizes_of
from clustergrid.storage.rundir import RunDirectory
from clustergrid.storage.runlock import LOCK

__all__ = ["Damage", "fault_of", "noted_bytes", "unknown_files", "verify_bytes"]

_LOGS = ("run.json", "progress.jsonl", LOCK)


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """Something in a run directory that is not as it was written, or does not mean what it should.

    Attributes
    ----------
    file
        Its name in the run directory.
    what
        What is wrong with it.
    stage
        The stage that wrote it.
    by_meaning
        Whether its bytes are as they were written, and were wrong from the beginning.
    """

    file: str
    what: str
    stage: str
    by_meaning: bool = False

    def __str__(self) -> str:
        """Return a line for people."""
        return f"{self.file}: {self.what}"


def verify_bytes(
    directory: RunDirectory, *, threads: int, progress: Callable[[int], None]
) -> tuple[list[Damage], int]:
    """Read every file that a stage noted.

    Parameters
    ----------
    directory
        The run directory.
    threads
        Files that are read at once.
    progress
        Called with the bytes that were read since the last call.

    Returns
    -------
    damages
        What is not as it was written, in the order of the names.
    n_files
        How many files were looked at.
    """
    noted = list(_noted(directory))
    damages = [
        damage for stage in _stages(directory) for damage in _manifest_damage(directory, stage)
    ]
    with ThreadPoolExecutor(threads, "clustergrid-verify") as pool:
        found = pool.map(lambda each: fault_of(directory, each[1]), noted)
        for (stage, entry), what in zip(noted, found, strict=True):
            if what is not None:
                damages.append(Damage(file=entry.file, what=what, stage=stage))
            progress(entry.size_bytes)
    return sorted(damages, key=lambda damage: damage.file), len(noted)


def noted_bytes(directory: RunDirectory) -> int:
    """Bytes that `verify_bytes` reads."""
    return sum(entry.size_bytes for _, entry in _noted(directory))


def _stages(directory: RunDirectory) -> list[str]:
    begun = {file.stem for file in (directory.path / "manifest").glob("*.jsonl")}
    return sorted(begun | directory.state["stages"].keys())


def _noted(directory: RunDirectory) -> Iterator[tuple[str, Entry]]:
    """Yield every file whose bytes are known, with its stage."""
    for stage in _stages(directory):
        for name, digest in directory.state["stages"].get(stage, {}).get("files", {}).items():
            # The length was not noted; the digest tells a file that is longer or shorter.
            sizes = sizes_of(directory.path, [name])
            size = sizes.get(name, 0)
            yield stage, Entry(file=name, size_bytes=size, digest=str(digest))
        # Metadata is noted again when it changes: a kill, or damage, leaves an older note of it.
        is_last = stage in directory.state["stages"] and not any(_manifest_damage(directory, stage))
        for entry in directory.manifest(stage).entries.values():
            if entry.text is None or is_last:
                yield stage, entry


def _manifest_damage(directory: RunDirectory, stage: str) -> Iterator[Damage]:
    manifest = directory.manifest(stage)
    noted = directory.state["stages"].get(stage, {}).get("manifest")
    if noted is not None and directory.digest(manifest.name) != noted:
        what = "is not as it was written" if manifest.file.exists() else "is missing"
        yield Damage(file=manifest.name, what=what, stage=stage)


def fault_of(directory: RunDirectory, entry: Entry) -> str | None:
    """Read a file that was noted; say what is wrong with it, None where it is as it was written."""
    path = directory.file(entry.file)
    try:
        size = path.stat().st_size
        if size != entry.size_bytes:
            return f"has {size:,} bytes and was written with {entry.size_bytes:,}"
        if not entry.is_chunk:
            return None if sha256_of(path) == entry.digest else "is not as it was written"
        stored, computed = chunk_checksum(path)
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if computed != stored:
        return "fails its checksum: bytes of it changed"
    return None if stored == entry.digest else "is whole, and is not the chunk that was written"


def unknown_files(directory: RunDirectory) -> list[str]:
    """Names of files that no stage of the run noted: left over, or somebody else's."""
    known = {entry.file for _, entry in _noted(directory)}
    known.update(*(directory.manifest(stage).entries for stage in _stages(directory)))
    names = (name for name in names_below(directory.path) if name not in _LOGS)
    return sorted(
        name
        for name in names
        if name not in known and name.split("/")[0] not in ("manifest", "pieces")
    )
