"""Clusters as a table.

``g.clusters`` cuts a tree and numbers its clusters along the picture; ``g.to_dataset`` gathers
orders, trees, labels, clusters, and how they were made, as an xarray Dataset that can be stored.
Here the clusters of genes found in tumours annotate the same genes in normal tissue.
"""

import matplotlib.pyplot as plt

from clustergrid.pipeline import clustermap
from clustergrid.storage.datasets import load_endometrial

rna, clinical = load_endometrial()
tumours = clinical.index[clinical["tissue"] == "Tumor"]
genes = rna.loc[rna[tumours].var(axis=1).nlargest(60).index]

found = clustermap(genes[tumours], z_score=0, method="ward")
clusters = found.clusters(k=4)
assert clusters.value_counts().sum() == 60
dataset = found.to_dataset(row_k=4)
assert dataset["row_cluster"].to_series().equals(clusters.rename_axis("row").rename("row_cluster"))
assert dataset.attrs["row_method"] == "ward"
plt.close(found.figure)

normal = genes.drop(columns=tumours)
g = clustermap(
    normal.loc[normal.std(axis=1) > 0],
    z_score=0,
    method="ward",
    cmap="vlag",
    center=0,
    figsize=(7, 9),
    dendrogram_ratio=(0.2, 0.1),
    cbar_kws={"label": "z-score"},
    cbar_pos=(0.02, 0.9, 0.03, 0.08),
    xticklabels=False,
    row_annotations={"cluster in tumours": clusters.astype("category")},
)
