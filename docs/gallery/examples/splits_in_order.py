"""Slices in a given order.

With `cluster_slices=False` slices stand in the order of their categories, without a tree over them.
"""

import pandas as pd

from clustergrid.pipeline import clustermap
from clustergrid.storage.datasets import load_endometrial

rna, clinical = load_endometrial()
tumours = clinical.index[clinical["tissue"] == "Tumor"]
genes = rna.loc[rna[tumours].var(axis=1).nlargest(60).index, tumours]
order = ["POLE", "MSI-H", "CNV_low", "CNV_high"]
g = clustermap(
    genes,
    z_score=0,
    metric="correlation",
    cmap="vlag",
    center=0,
    figsize=(9, 8),
    xticklabels=False,
    cbar_kws={"label": "z-score"},
    cbar_pos=(0.02, 0.83, 0.03, 0.15),
    col_split=pd.Categorical(clinical.loc[tumours, "genomics_subtype"], categories=order),
    cluster_slices=False,
    split_gap=0.015,
)
