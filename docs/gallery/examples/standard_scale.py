"""Columns of different units, scaled.

``standard_scale=1`` brings every column to the range from 0 to 1 before it is compared and drawn
(``0`` every row); ``z_score`` is the other way to make them comparable. The methods and metrics of
rows and columns may differ.
"""

import numpy as np
import pandas as pd

from clustergrid.pipeline import clustermap

rng = np.random.default_rng(11)
size = np.repeat([1.0, 2.0, 3.5], 12)
animals = pd.DataFrame(
    {
        "mass (kg)": 40 * size**3 * rng.lognormal(0, 0.2, 36),
        "length (cm)": 110 * size * rng.lognormal(0, 0.05, 36),
        "heart rate (1/min)": 120 / size * rng.lognormal(0, 0.1, 36),
        "litter size": rng.poisson(5 / size) + 1,
        "speed (km/h)": rng.normal(45, 8, 36),
        "sleep (h)": rng.normal(9, 2, 36),
    },
    index=[f"animal {number + 1}" for number in range(36)],
).sample(frac=1, random_state=1)

g = clustermap(
    animals,
    standard_scale=1,
    row_method="ward",
    col_metric="correlation",
    cmap="mako_r",
    figsize=(6, 8.5),
    dendrogram_ratio=(0.2, 0.1),
    cbar_pos=(0.02, 0.9, 0.04, 0.08),
)
