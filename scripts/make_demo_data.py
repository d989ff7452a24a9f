"""Make the real matrix that the package ships, from the wheel that carries it.

    python scripts/make_demo_data.py [--wheel cptac-0.4.1-py3-none-any.whl] [--output storage/data]

Without ``--wheel``, pip downloads cptac 0.4.1 to a temporary directory. The wheel's sha256 is
checked before anything is read from it; nothing of it is imported or installed.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

WHEEL = "cptac-0.4.1-py3-none-any.whl"
SHA256 = "adf8af907497938134815dfc6b5986ffda5a4eb114d0a3c29e3eb1b3eed5de10"
RNA = "cptac/endometrial/data/transcriptomics_linear.cct.gz"
CLINICAL = "cptac/endometrial/data/clinical.txt"
LICENSE = "cptac-0.4.1.dist-info/LICENSE.md"

# The published column, and the name and type it is shipped under.
COLUMNS = {
    "Proteomics_Participant_ID": ("participant", "str"),
    "Proteomics_Tumor_Normal": ("tissue", "category"),
    "Case_excluded": ("case_excluded", "yes/no"),
    "Genomics_subtype": ("genomics_subtype", "category"),
    "MSI_status": ("msi_status", "category"),
    "CNV_class": ("cnv_class", "category"),
    "POLE_subtype": ("pole_subtype", "yes/no"),
    "TP53_TP53": ("tp53_mutated", "flag"),
    "Histologic_type": ("histologic_type", "category"),
    "Histologic_Grade_FIGO": ("figo_grade", "category"),
    "FIGO_stage": ("figo_stage", "category"),
    "Purity_Cancer": ("purity_cancer", "float64"),
    "Age": ("age", "float64"),
    "BMI": ("bmi", "float64"),
}


def fetch_wheel(folder: Path) -> Path:
    """Download the wheel with pip and return its path."""
    subprocess.run(
        [sys.executable, "-m", "pip", "download", "--no-deps", "-d", str(folder), "cptac==0.4.1"],
        check=True,
    )
    return folder / WHEEL


def verify(wheel: Path) -> None:
    """Exit with a message unless the wheel is the one that was used."""
    found = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if found != SHA256:
        raise SystemExit(f"{wheel}: sha256 is {found}, not {SHA256}; nothing was written")


def read_rna(archive: zipfile.ZipFile) -> pd.DataFrame:
    """Read genes x samples; every number is the double nearest to the published decimal."""
    text = io.BytesIO(gzip.decompress(archive.read(RNA)))
    frame = pd.read_csv(text, sep="\t", index_col=0, float_precision="round_trip")
    return frame.astype("float64").rename_axis(index="gene", columns=None)


def read_clinical(archive: zipfile.ZipFile, samples: pd.Index) -> pd.DataFrame:
    """Read the chosen columns for the samples of the matrix, in its order."""
    text = io.BytesIO(archive.read(CLINICAL))
    published = pd.read_csv(text, sep="\t", index_col=0, encoding="cp1252").loc[samples]
    chosen = {}
    for column, (name, kind) in COLUMNS.items():
        values = published[column]
        if kind == "yes/no":
            chosen[name] = values.map({"Yes": True, "No": False}).astype("boolean")
        elif kind == "flag":
            chosen[name] = values.astype("boolean")
        else:
            chosen[name] = values.astype(kind)
    return pd.DataFrame(chosen).rename_axis(index="sample")


def write_parquet(frame: pd.DataFrame, path: Path) -> None:
    """Write one row group, dictionary-encoded: the matrix has only 2,148 different numbers."""
    pq.write_table(
        pa.Table.from_pandas(frame),
        path,
        compression="zstd",
        compression_level=19,
        row_group_size=len(frame),
        data_page_size=2**22,
        dictionary_pagesize_limit=2**22,
        write_statistics=False,
    )
    pd.testing.assert_frame_equal(pd.read_parquet(path), frame, check_exact=True)
    print(f"{path}: {frame.shape[0]:,} x {frame.shape[1]:,}, {path.stat().st_size:,} bytes")


def main() -> None:
    """Write the two Parquet files and the licence."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--wheel", type=Path, help="a wheel that was downloaded before")
    parser.add_argument("--output", type=Path, default=Path("storage/data"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        wheel = arguments.wheel or fetch_wheel(Path(folder))
        verify(wheel)
        with zipfile.ZipFile(wheel) as archive:
            rna = read_rna(archive)
            write_parquet(rna, arguments.output / "endometrial_rna.parquet")
            clinical = read_clinical(archive, rna.columns)
            write_parquet(clinical, arguments.output / "endometrial_clinical.parquet")
            licence = archive.read(LICENSE).replace(b"\r\n", b"\n")
            (arguments.output / "LICENSE-cptac.txt").write_bytes(licence)


if __name__ == "__main__":
    main()
