"""Damage that a worker process finds ends the command with one line too."""

import h5py
import numpy as np
import pytest
import scipy.sparse
import zarr
from zarr.codecs import Crc32cCodec, ZstdCodec

from clustergrid.storage.readers.location import Location

from . import h5ad
from .case import Case
from .test_malformed import assert_refused, run_process

N, K = 6000, 40
OPTIONS = ("--no-col-cluster", "--dashboard-port", "0")


def values():
    return np.random.default_rng(0).normal(size=(N, K)).astype(np.float32)


def chunk_flipped(folder):
    codecs = (ZstdCodec(), Crc32cCodec())
    zarr.create_array(str(folder / "b.zarr"), data=values(), chunks=(1000, K), compressors=codecs)
    chunk = folder / "b.zarr/c/4/0"
    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 1
    chunk.write_bytes(content)


def nan_in_the_last_cell(folder):
    made = values()
    made[-1, -1] = np.nan
    np.save(folder / "b.npy", made)


def write_sparse(folder, alter):
    matrix = scipy.sparse.csr_matrix(np.maximum(values(), 0))
    alter(matrix)
    with h5py.File(folder / "b.h5ad", "w") as file:
        h5ad.table(file, "obs", [f"c{i}" for i in range(N)])
        h5ad.table(file, "var", [f"g{i}" for i in range(K)])
        group = file.create_group("X")
        group.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0",
                            "shape": np.array([N, K])})  # fmt: skip
        for name in ("data", "indices", "indptr"):
            group.create_dataset(name, data=getattr(matrix, name), chunks=(5000,))


def index_outside(folder):
    def alter(matrix):
        matrix.indices[-1] = 10**6

    write_sparse(folder, alter)


CASES = [
    Case(name="chunk-flipped", input="b.zarr", write=chunk_flipped, options=OPTIONS,
         says=r"b\.zarr is damaged in rows \d+ to \d+"),
    Case(name="nan-in-the-last-cell", input="b.npy", write=nan_in_the_last_cell, options=OPTIONS,
         says="1 values are NaN.*'5999'"),
    Case(name="index-outside", input="b.h5ad", write=index_outside, options=OPTIONS,
         says=r"indices of X of .*b\.h5ad are damaged: entry \d+ is 1000000"),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_damage_that_a_worker_finds(case, tmp_path):
    folder = tmp_path / "case"
    folder.mkdir()
    case.write(folder)
    assert Location.parse(folder / case.input).exists()
    case, folder, _, answer = run_process(case, folder)
    assert_refused(case, folder, *answer)
    assert "dashboard" in answer[2], "no worker process was started"
