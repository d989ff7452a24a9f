"""Driver: what a stage has at rest, file by file with sizes and digests, noted piece by piece.

A manifest is a file of JSON lines. The first names the stage and its key; every other is one file:
its name in the run directory, its bytes, and a digest. A line carries a check of itself, so that a
line torn by a kill, or with a flipped bit, is no note: the piece is looked upon as not done.

A chunk's digest is the CRC-32C that Zarr's ``crc32c`` codec writes as the last four bytes of it;
noting it costs a read of four bytes, and comparing it tells a chunk from another one that is whole
too. Everything else has a SHA-256.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from clustergrid.storage.errors import RunDirectoryError, StorageError
from clustergrid.storage.lines import Lines, open_lines
from clustergrid.storage.links import leads_out
from clustergrid.storage.places import AnyPlace, StorePath, as_path, sha256_of, sizes_of, tail_of

__all__ = [
    "Entry",
    "Manifest",
    "chunk_checksum",
    "chunk_entry",
    "chunk_file",
    "file_entry",
    "metadata_entry",
]

_CHECKSUM_BYTES = 4
"""The Zarr codec ``crc32c`` appends its checksum, little-endian."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One file at rest.

    Attributes
    ----------
    file
        Its name in the run directory, with slashes.
    size_bytes
        Its length.
    digest
        ``"crc32c:"`` and 8 hexadecimal digits of a chunk, ``"sha256:"`` and 64 of another file.
    text
        What is in it, of Zarr's small metadata files: they are put back from here.
    facts
        What the stage wants to know of the piece again, as JSON.
    """

    file: str
    size_bytes: int
    digest: str
    text: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_chunk(self) -> bool:
        """Whether it is a chunk of a Zarr array."""
        return self.digest.startswith("crc32c:")

    def is_there(self, root: StorePath) -> bool:
        """Whether the file is there with its length, and with its digest if it is no chunk."""
        try:
            if (root / self.file).stat().st_size != self.size_bytes:
                return False
            return self.is_chunk or sha256_of(root / self.file) == self.digest
        except OSError:
            return False

    def is_noted_in(self, root: StorePath) -> bool:
        """Whether the file is there with its length and its digest; of a chunk, the one it has."""
        try:
            return self.is_there(root) and (
                not self.is_chunk or _tail_checksum(root / self.file) == self.digest
            )
        except OSError:
            return False


def _tail_checksum(path: StorePath) -> str:
    return _as_checksum(tail_of(path, _CHECKSUM_BYTES)[1])


def _as_checksum(tail: bytes) -> str:
    return f"crc32c:{int.from_bytes(tail, 'little'):08x}"


def chunk_checksum(path: StorePath) -> tuple[str, str]:
    """Checksum that a chunk carries, and that of its bytes, as digests of an `Entry`.

    Raises
    ------
    OSError
        It cannot be read.
    """
    import google_crc32c

    content = path.read_bytes()
    body, tail = content[:-_CHECKSUM_BYTES], content[-_CHECKSUM_BYTES:]
    stored, computed = int.from_bytes(tail, "little"), google_crc32c.value(body)
    return f"crc32c:{stored:08x}", f"crc32c:{computed:08x}"


def chunk_file(array: str, chunk: Iterable[int]) -> str:
    """Name of a chunk's file under a Zarr v3 group.

    Examples
    --------
    >>> chunk_file("matrix", (3, 0))
    'matrix/c/3/0'
    """
    return "/".join([array, "c", *(str(index) for index in chunk)])


def chunk_entry(group: AnyPlace, array: str, chunk: Iterable[int], **facts: Any) -> Entry:
    """Describe a chunk that `write_block` wrote; its file's name is relative to the group's parent.

    Parameters
    ----------
    group
        Directory of the Zarr group.
    array, chunk
        Name of the array, and the chunk's place in its grid.
    **facts
        What to note with it.

    Raises
    ------
    StorageError
        It is not there.
    """
    root = as_path(group)
    path = root / chunk_file(array, chunk)
    try:
        size, tail = tail_of(path, _CHECKSUM_BYTES)
    except OSError as error:
        raise StorageError(f"the chunk {path} is not there after it was written: {error}") from None
    name = f"{root.name}/{chunk_file(array, chunk)}"
    return Entry(file=name, size_bytes=size, digest=_as_checksum(tail), facts=facts)


def file_entry(root: StorePath, name: str) -> Entry:
    """Describe a whole file of the run directory `root`."""
    path = root / name
    return Entry(file=name, size_bytes=path.stat().st_size, digest=sha256_of(path))


def metadata_entry(group: AnyPlace, array: str = "") -> Entry:
    """Describe the metadata of a Zarr group, or of an array in it."""
    root = as_path(group)
    path = root / array / "zarr.json" if array else root / "zarr.json"
    entry = file_entry(root.parent, "/".join(filter(None, (root.name, array, "zarr.json"))))
    return Entry(
        file=entry.file,
        size_bytes=entry.size_bytes,
        digest=entry.digest,
        text=path.read_text(encoding="utf-8"),
    )


class Manifest:
    """The manifest of one stage.

    Parameters
    ----------
    root
        The run directory, which names of files are relative to.
    stage
        Name of the stage.
    lines
        Its file; in a bucket, that of the run directory, which sees that they are put at rest.

    Attributes
    ----------
    name, file : str, StorePath
        Where it is, or will be: in the run directory, and as a path.
    key : str or None
        Key under which the stage wrote; None where nothing readable is there.
    entries : dict
        Entries by the names of their files; of several, the last.
    torn : int
        Lines that are no notes.
    """

    def __init__(self, root: StorePath, stage: str, lines: Lines | None = None) -> None:
        self.root = root
        self.name = f"manifest/{stage}.jsonl"
        self.file = root / self.name
        self._lines = lines or open_lines(self.file)
        self.key: str | None = None
        self.entries: dict[str, Entry] = {}
        self.torn = 0
        self._read()

    def _read(self) -> None:
        lines = self._lines.read().split(b"\n")
        for number, line in enumerate(lines):
            if number == len(lines) - 1 and not line:
                continue
            note = _checked(line)
            if note is None:
                self.torn += 1
            elif "key" in note:
                # Whoever begins anew writes a new file: one key a file.
                self.key = str(note["key"])
            elif _is_inside(note["file"]):
                entry = Entry(**note)
                self.entries[entry.file] = entry
            else:
                self.torn += 1
        if self.key is None:
            self.entries = {}

    def begin(self, key: str, entries: Iterable[Entry] = ()) -> None:
        """Write the manifest anew, with what can be trusted of an earlier one.

        Raises
        ------
        StorageError
            It cannot be written.
        """
        self.key = key
        self.entries = {entry.file: entry for entry in list(entries)}
        self.torn = 0
        text = "".join([_line({"key": key}), *map(_entry_line, self.entries.values())])
        self._lines.replace(text)

    def record(self, *entries: Entry) -> None:
        """Note files whose bytes are at rest.

        Raises
        ------
        StorageError
            The notes cannot be written.
        """
        if self.torn and self.key is not None:
            # Behind a line without an end, the next one would be lost too.
            self.begin(self.key, self.entries.values())
        try:
            self._lines.append("".join(map(_entry_line, entries)))
        except StorageError:
            self.torn += 1
            raise
        self.entries.update({entry.file: entry for entry in entries})

    def remove(self) -> None:
        """Remove the manifest, if it is there: nothing is noted any more."""
        self._lines.remove()
        self.key, self.entries, self.torn = None, {}, 0

    def restore_metadata(self) -> None:
        """Put back metadata files of Zarr that are missing or changed.

        Raises
        ------
        StorageError
            They cannot be written.
        """
        for entry in self.entries.values():
            if entry.text is not None and not entry.is_noted_in(self.root):
                path = self.root / entry.file
                if path.name != "zarr.json" or leads_out(self.root, path):
                    raise RunDirectoryError(
                        f"{self.file} would put back {entry.file!r}, which is no metadata of Zarr "
                        f"in {self.root}"
                    )
                try:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_text(entry.text, encoding="utf-8", newline="")
                except OSError as error:
                    raise StorageError(f"cannot write {path}: {error}") from error

    def forget(self, files: Iterable[str]) -> None:
        """Take back the notes of some files."""
        gone = set(files)
        if self.key is not None and not gone.isdisjoint(self.entries):
            self.begin(self.key, [e for e in self.entries.values() if e.file not in gone])

    @property
    def is_whole(self) -> bool:
        """Whether every file is there with its length; no chunk is opened."""
        if self.key is None:
            return False
        sizes = sizes_of(self.root, self.entries)
        return all(
            sizes.get(entry.file) == entry.size_bytes
            and (entry.is_chunk or entry.is_there(self.root))
            for entry in self.entries.values()
        )


def _line(note: Mapping[str, Any]) -> str:
    text = json.dumps(note, separators=(", ", ": "))
    return f'{text[:-1]}, "check": "{zlib.crc32(text.encode()):08x}"}}\n'


def _entry_line(entry: Entry) -> str:
    note: dict[str, Any] = {
        "file": entry.file,
        "size_bytes": entry.size_bytes,
        "digest": entry.digest,
    }
    if entry.text is not None:
        note["text"] = entry.text
    if entry.facts:
        note["facts"] = dict(entry.facts)
    return _line(note)


def _checked(line: bytes) -> dict[str, Any] | None:
    """Return what a line says; None if that is not what was written."""
    try:
        note = json.loads(line)
        note.pop("check")
        return note if _line(note).encode() == line + b"\n" else None
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _is_inside(name: str) -> bool:
    """Whether a name leads nowhere but into the directory it is relative to."""
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts
