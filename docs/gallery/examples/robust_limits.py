"""Colours that outliers do not decide.

``robust=True`` lets the colours span the 2nd to the 98th percentile. On the left five values decide
them, and the groups of the others cannot be seen.
"""

import matplotlib.pyplot as plt
import numpy as np

from clustergrid.pipeline import clustermap

rng = np.random.default_rng(8)
values = rng.normal(size=(60, 24)) + 3 * np.kron(rng.normal(size=(4, 3)), np.ones((15, 8)))
values[rng.integers(0, 60, 5), rng.integers(0, 24, 5)] = 120

figure = plt.figure(figsize=(9, 4.5))
for part, robust in zip(figure.subfigures(1, 2), (False, True), strict=True):
    part.suptitle(f"robust={robust}")
    clustermap(
        values,
        robust=robust,
        metric="correlation",
        figure=part,
        dendrogram_ratio=0.12,
        cbar_pos=(0.02, 0.86, 0.03, 0.12),
        xticklabels=False,
        yticklabels=False,
    )
