"""Valid files of every format in which bytes were altered, at places that a seed chooses.

A format without checksums cannot tell an altered number from another number. So each format comes
with a reader of somebody else: what it reads from the altered file is what the file now says.
"""

import gzip
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import zarr
from zarr.codecs import Crc32cCodec, ZstdCodec

from . import h5ad
from .case import frame, numbers


@dataclass(frozen=True, kw_only=True)
class Format:
    """A format: how a valid file is written, which of its bytes are altered, who else reads it."""

    input: str
    write: Callable[[Path], Any]
    read: Callable[[Path], Any]
    altered: str = ""
    is_checked: bool = False


def _compressed_text(path: Path) -> None:
    path.write_bytes(gzip.compress(frame().to_csv().encode(), mtime=0))


def _read_h5ad(path: Path) -> Any:
    with h5py.File(path, "r") as file:
        return file["X"][:]


def _zarr(**kwargs: Any) -> Callable[[Path], Any]:
    return lambda path: zarr.create_array(str(path), data=numbers(), chunks=(4, 5), **kwargs)


def _read_zarr(path: Path) -> Any:
    return zarr.open_array(str(path), mode="r")[:]


CHECKED = {"compressors": (ZstdCodec(), Crc32cCodec())}
FORMATS = {
    "text-gz": Format(input="b.csv.gz", write=_compressed_text, is_checked=True,
                      read=lambda path: pd.read_csv(path, index_col=0).to_numpy()),
    "npy": Format(input="b.npy", write=lambda path: np.save(path, numbers()), read=np.load),
    "parquet": Format(input="b.parquet", write=lambda path: frame().to_parquet(path),
                      read=lambda path: pd.read_parquet(path).to_numpy()),
    "h5ad": Format(input="b.h5ad", write=h5ad.write_valid, read=_read_h5ad),
    "zarr-metadata": Format(input="b.zarr", write=_zarr(), read=_read_zarr, altered="zarr.json"),
    "zarr-chunk": Format(input="b.zarr", write=_zarr(), read=_read_zarr, altered="c/1/0"),
    "zarr-checked-chunk": Format(input="b.zarr", write=_zarr(**CHECKED), read=_read_zarr,
                                 altered="c/1/0", is_checked=True),
}  # fmt: skip


def alter(path: Path, seed: int) -> None:
    """Flip a bit, replace a byte, zero some, cut the file short, or put bytes in."""
    random = np.random.default_rng(seed)
    content = bytearray(path.read_bytes())
    at = int(random.integers(len(content)))
    match seed % 5:
        case 0:
            content[at] ^= 1 << int(random.integers(8))
        case 1:
            content[at] = int(random.integers(256))
        case 2:
            content[at : at + 16] = bytes(len(content[at : at + 16]))
        case 3:
            del content[at:]
        case 4:
            content[at:at] = random.bytes(7)
    path.write_bytes(content)
