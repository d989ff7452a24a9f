"""Leaves in the best order that a tree allows.

A tree says what is merged, not which branch is left and which right. With ``optimal_ordering=True``
branches are turned so that neighbours are as alike as they can be: species and stations along a
river stand in two long runs, where the tree alone leaves them in pieces.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from clustergrid.pipeline import clustermap

rng = np.random.default_rng(2)
places = np.linspace(0, 1, 50)
peaks = np.linspace(-0.1, 1.1, 30)
abundance = np.exp(-(((places[:, None] - peaks) / 0.12) ** 2)) + rng.normal(0, 0.08, (50, 30))
stations = pd.DataFrame(abundance).sample(frac=1, random_state=4)

figure = plt.figure(figsize=(9, 4.5))
for part, is_optimal in zip(figure.subfigures(1, 2), (False, True), strict=True):
    part.suptitle(f"optimal_ordering={is_optimal}")
    clustermap(
        stations,
        optimal_ordering=is_optimal,
        figure=part,
        cmap="mako",
        dendrogram_ratio=0.15,
        cbar_pos=None,
        xticklabels=False,
        yticklabels=False,
    )
