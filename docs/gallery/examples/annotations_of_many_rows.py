"""Strips and tracks of more rows than pixels.

Of the rows that share a pixel categories show the most frequent, numbers and bars the mean, and
boxes all values. Here 28,057 genes stand in the order of their means.
"""

import pandas as pd
from scipy.cluster.hierarchy import linkage

from clustergrid.pipeline import Bars, clustermap
from clustergrid.storage.datasets import load_endometrial

rna, clinical = load_endometrial()
means = rna.mean(axis=1)
genes = rna.loc[means.sort_values().index]
level = pd.cut(means, [-1, 0, 4, 8, 20], labels=["none", "low", "medium", "high"])

g = clustermap(
    genes,
    row_cluster=False,
    col_linkage=linkage(rna.T.iloc[:, ::20], "ward"),
    cmap="mako",
    figsize=(8, 8),
    xticklabels=False,
    yticklabels=False,
    cbar_kws={"label": "RNA (log2)"},
    cbar_pos=(0.03, 0.83, 0.03, 0.15),
    dendrogram_ratio=(0.12, 0.15),
    row_annotations={"level": level, "deviation": Bars(genes.std(axis=1))},
    col_annotations=clinical[["tissue", "purity_cancer"]].rename(
        columns={"purity_cancer": "purity"}
    ),
)
