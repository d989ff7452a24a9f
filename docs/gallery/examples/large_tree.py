"""A tree of 12,000 genes.

Of its 11,999 links those are drawn that can be seen, anew for every resolution; in a PDF or SVG
they are lines too. Five clusters are coloured; a square root leaves more room to low merges.
"""

from clustergrid.pipeline import clustermap
from clustergrid.storage.datasets import load_endometrial

rna, _ = load_endometrial()
g = clustermap(
    rna.loc[rna.var(axis=1).nlargest(12_000).index],
    method="ward",
    cmap="mako",
    figsize=(8, 8),
    xticklabels=False,
    yticklabels=False,
    cbar_kws={"label": "log2 abundance"},
    cbar_pos=(0.02, 0.83, 0.03, 0.15),
    row_tree_style={"k": 5, "scale": "sqrt", "axis": True},
)
