"""Rows marked by name.

A few of 2,000 genes, named beside the body with lines to their rows. Labels keep the order of the
rows, never touch, and stand as near to them as they can.
"""

from clustergrid.pipeline import clustermap
from clustergrid.storage.datasets import load_endometrial

rna, clinical = load_endometrial()
genes = rna.loc[rna.var(axis=1).nlargest(2000).index]
known = ["ESR1", "PGR", "MSX1", "TFF3", "SCGB2A1", "PAX8", "L1CAM", "CLDN6", "CDKN2A", "IGF2BP3"]
muscle = ["DES", "ACTG2", "MYH11", "CNN1", "SYNPO2"]
g = clustermap(
    genes,
    z_score=0,
    metric="correlation",
    cmap="vlag",
    center=0,
    vmin=-3,
    vmax=3,
    figsize=(8, 8),
    xticklabels=False,
    cbar_kws={"label": "z-score"},
    cbar_pos=(0.02, 0.83, 0.03, 0.15),
    row_mark=[gene for gene in known + muscle if gene in genes.index],
    col_annotations=clinical[["tissue"]],
)
