"""All 28,057 genes.

Of the 28,056 links of the row tree those are drawn that can be seen, anew for every resolution; in
a PDF or SVG they are lines too. A logarithmic scale shows how low most genes merge.
"""

from clustergrid.pipeline import clustermap
from clustergrid.storage.datasets import load_endometrial

rna, _ = load_endometrial()
g = clustermap(
    rna,
    method="ward",
    cmap="mako",
    figsize=(8, 9),
    xticklabels=False,
    yticklabels=False,
    cbar_kws={"label": "log2 abundance"},
    cbar_pos=(0.02, 0.83, 0.03, 0.15),
    row_tree_style={"k": 5, "scale": "log", "axis": True},
)
