"""Clusters in colours, and heights on a scale.

`tree_style` colours the branches of clusters, here six of genes and four of samples, and writes
heights beside the trees; a square root leaves more room to low merges.
"""

from clustergrid.pipeline import clustermap
from clustergrid.storage.datasets import load_endometrial

rna, _ = load_endometrial()
genes = rna.loc[rna.var(axis=1).nlargest(60).index]
g = clustermap(
    genes,
    z_score=0,
    method="ward",
    cmap="vlag",
    center=0,
    figsize=(9, 8),
    xticklabels=False,
    cbar_kws={"label": "z-score"},
    cbar_pos=(0.02, 0.83, 0.03, 0.15),
    tree_kws={"linewidths": 0.9},
    tree_style={"k": 4, "axis": True},
    row_tree_style={"k": 6, "scale": "sqrt", "axis": True},
)
