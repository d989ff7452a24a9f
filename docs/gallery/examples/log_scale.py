"""Heights on a logarithmic axis, and clusters below a threshold.

Groups within groups, each ten times as tight as the one around it: on a logarithmic scale all of
the tree can be seen. ``color_threshold`` colours what merges below a height, as SciPy does.
"""

import numpy as np

from clustergrid.pipeline import clustermap

rng = np.random.default_rng(6)
centres = rng.normal(0, 100, (3, 20)).repeat(16, axis=0)
centres += rng.normal(0, 10, (12, 20)).repeat(4, axis=0)
values = centres + rng.normal(0, 1, (48, 20)) * rng.choice([0.05, 1], (48, 1))

g = clustermap(
    values,
    figsize=(8, 7),
    cmap="vlag",
    center=0,
    dendrogram_ratio=(0.3, 0.15),
    cbar_pos=(0.02, 0.86, 0.03, 0.12),
    xticklabels=False,
    yticklabels=False,
    row_tree_style={"color_threshold": 30, "scale": "log", "axis": True},
)
