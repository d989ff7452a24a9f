"""Slices by category.

Samples are split by the subtype of the tumour. Each slice has a tree of its own; the tree over the
slices, above the dashed line, is that of their means. Genes are cut into four clusters.
"""

from clustergrid.pipeline import clustermap
from clustergrid.storage.datasets import load_endometrial

rna, clinical = load_endometrial()
genes = rna.loc[rna.var(axis=1).nlargest(60).index]
subtype = clinical["genomics_subtype"].cat.add_categories("normal").fillna("normal")
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
    col_split=subtype,
    row_split=4,
)
