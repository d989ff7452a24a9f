"""Columns marked by name.

``col_mark`` names some of many columns below the body, as ``row_mark`` does beside it; a bool for
each marks those that are true. Here it is the samples of tumours with few cancer cells.
"""

from clustergrid.pipeline import clustermap
from clustergrid.storage.datasets import load_endometrial

rna, clinical = load_endometrial()
genes = rna.loc[rna.var(axis=1).nlargest(300).index]
purity = clinical["purity_cancer"].rename("purity")
g = clustermap(
    genes,
    z_score=0,
    metric="correlation",
    cmap="vlag",
    center=0,
    vmin=-3,
    vmax=3,
    figsize=(9, 7),
    yticklabels=False,
    cbar_kws={"label": "z-score"},
    cbar_pos=(0.02, 0.83, 0.03, 0.15),
    col_annotations=purity,
    col_mark=(purity < 0.3).to_numpy(),
)
