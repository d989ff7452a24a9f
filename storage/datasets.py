"""Driver: the real matrix that ships with the package."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import pandas as pd

__all__ = ["endometrial_path", "load_endometrial"]


def endometrial_path() -> Path:
    """Path of the RNA matrix as a Parquet file, for everything that takes a path.

    Examples
    --------
    >>> endometrial_path().name
    'endometrial_rna.parquet'
    """
    return _path("endometrial_rna.parquet")


def load_endometrial() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Load RNA abundance in endometrial carcinoma, and what is known of the samples.

    Returns
    -------
    rna : DataFrame
        28,057 genes x 115 samples, float64, log2 scale; 2,135 genes are constant.
    clinical : DataFrame
        115 samples x 14 columns. 101 samples are tumours and 14 adjacent normal tissue
        (column ``tissue``), for which most other columns are missing.

    Notes
    -----
    Apache License 2.0; see ``README.md`` beside the files. Cite Dou et al., *Cell* 180(4):729-748
    (2020), https://doi.org/10.1016/j.cell.2020.01.026.

    Examples
    --------
    >>> rna, clinical = load_endometrial()
    >>> rna.shape, bool((rna.columns == clinical.index).all())
    ((28057, 115), True)
    >>> clinical["genomics_subtype"].value_counts().to_dict()
    {'CNV_low': 44, 'MSI-H': 26, 'CNV_high': 24, 'POLE': 7}
    """
    rna = pd.read_parquet(endometrial_path())
    clinical = pd.read_parquet(_path("endometrial_clinical.parquet"))
    return rna, clinical


def _path(name: str) -> Path:
    """Path of a shipped file; the package is always installed as files, never zipped."""
    return Path(str(resources.files("clustergrid.storage.data") / name))
