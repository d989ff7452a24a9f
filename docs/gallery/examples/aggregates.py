"""What a pixel shows of many cells.

Where cells are finer than pixels, a pixel shows their mean, or by ``aggregate`` the least, the
greatest, the median, or the one of largest magnitude. Here 40,000 rows of noise hold 24 single
peaks, up or down: means hide them, ``"max_abs"`` does not.
"""

import matplotlib.pyplot as plt
import numpy as np

from clustergrid.pipeline import clustermap

rng = np.random.default_rng(5)
values = rng.normal(size=(40_000, 12)).astype(np.float32)
peaks = rng.choice(len(values), 24, replace=False)
values[peaks, rng.integers(0, 12, 24)] = rng.choice([-30, 30], 24)

figure = plt.figure(figsize=(9, 4.5))
for part, aggregate in zip(figure.subfigures(1, 2), ("mean", "max_abs"), strict=True):
    part.suptitle(f'aggregate="{aggregate}"')
    clustermap(
        values,
        row_cluster=False,
        col_cluster=False,
        figure=part,
        aggregate=aggregate,
        cmap="RdBu_r",
        center=0,
        dendrogram_ratio=(0.18, 0.08),
        cbar_pos=(0.05, 0.3, 0.03, 0.4),
        xticklabels=False,
        yticklabels=False,
    )
