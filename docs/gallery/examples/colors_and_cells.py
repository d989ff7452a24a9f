"""Colours that were chosen, a legend, and values in the cells.

``row_colors`` and ``col_colors`` take colours as seaborn does; `add_legend` says what they mean.
``annot`` writes values, ``mask`` leaves cells out.
"""

import numpy as np
import pandas as pd

from clustergrid.pipeline import clustermap

rng = np.random.default_rng(4)
countries = ["Peru", "Chile", "Brazil", "Kenya", "Ghana", "Egypt", "Nepal", "India", "Japan"]
regions = pd.Series(["#D55E00"] * 3 + ["#009E73"] * 3 + ["#0072B2"] * 3, countries, name="region")
years = [str(year) for year in range(2016, 2024)]
growth = pd.DataFrame(
    rng.normal(3, 1, (9, 8)) + np.repeat(rng.normal(0, 2, (3, 8)), 3, axis=0), countries, years
)

g = clustermap(
    growth,
    col_cluster=False,
    method="complete",
    row_colors=regions,
    annot=True,
    fmt=".1f",
    mask=growth.abs() < 0.5,
    linewidths=1.5,
    cmap="RdBu_r",
    center=0,
    figsize=(7.5, 6),
    dendrogram_ratio=(0.15, 0.05),
    cbar_pos=None,
)
g.add_legend({"America": "#D55E00", "Africa": "#009E73", "Asia": "#0072B2"}, title="region")
