"""A clustered heatmap.

Seaborn's function with seaborn's arguments: genes that vary most over 115 samples, their rows
z-scored.
"""

from clustergrid.pipeline import clustermap
from clustergrid.storage.datasets import load_endometrial

rna, _ = load_endometrial()
genes = rna.loc[rna.var(axis=1).nlargest(60).index]
g = clustermap(
    genes,
    z_score=0,
    metric="correlation",
    cmap="vlag",
    center=0,
    figsize=(9, 8),
    xticklabels=False,
    cbar_kws={"label": "z-score"},
)
