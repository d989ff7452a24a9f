"""Bars, points and boxes beside the body.

Tracks have small axes of their own, and stand among the strips in the order in which they are
given. Boxes without values are of the body. Dates are numbers with dates at the ticks.
"""

import numpy as np
import pandas as pd

from clustergrid.pipeline import Bars, Boxes, Points, clustermap

rng = np.random.default_rng(3)
plots = pd.Index([f"plot {i + 1}" for i in range(36)], name="plot")
species = pd.Index([f"species {c}" for c in "ABCDEFGHIJKLMNOPQRSTUVWX"], name="species")
habitat = pd.Series(np.repeat(["bog", "heath", "meadow"], 12), index=plots)
niche = rng.gamma(1.5, 2.0, size=(3, 24))
cover = pd.DataFrame(
    rng.poisson(niche.repeat(12, axis=0)).clip(0, 12), index=plots, columns=species
).loc[rng.permutation(plots)]
first_visit = pd.Timestamp("2023-04-20") + pd.to_timedelta(rng.integers(0, 110, 36), "D")

g = clustermap(
    cover,
    method="ward",
    figsize=(10, 9),
    cmap="mako_r",
    cbar_kws={"label": "cover"},
    cbar_pos=(0.02, 0.83, 0.03, 0.15),
    dendrogram_ratio=0.12,
    row_annotations={
        "habitat": habitat,
        "first visit": pd.Series(first_visit, index=plots),
        "pH": Points(pd.Series(rng.normal(5.5, 0.8, 36), index=plots)),
        "richness": Bars((cover > 0).sum(axis=1), color="#5790fc"),
    },
    col_annotations={
        "cover": Boxes(),
        "plots": Bars((cover > 0).sum()),
    },
)
