"""Slices where the tree is cut at a height.

``{"height": h}`` splits rows, or columns, into the clusters below a height, however many these are;
a whole number asks for so many clusters. The height is on the axis beside the tree.
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
    row_split={"height": 20},
    col_split=3,
    row_tree_style={"axis": True, "color_threshold": 20},
    split_gap=0.012,
)
