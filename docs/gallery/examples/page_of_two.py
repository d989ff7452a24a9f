"""Two cluster maps on one page.

``figure=`` takes a Figure or a SubFigure; the trees, legends and colour bars of each grid stay in
its own part of the page.
"""

import matplotlib.pyplot as plt

from clustergrid.pipeline import clustermap
from clustergrid.storage.datasets import load_endometrial

rna, clinical = load_endometrial()
genes = rna.loc[rna.var(axis=1).nlargest(30).index]
figure = plt.figure(figsize=(14, 7))
left, right = figure.subfigures(1, 2)
options = {
    "cmap": "vlag",
    "center": 0,
    "xticklabels": False,
    "cbar_pos": (0.03, 0.8, 0.03, 0.14),
}
for part, tissue in ((left, "Tumor"), (right, "Adjacent_normal")):
    samples = clinical.index[clinical["tissue"] == tissue]
    chosen = genes[samples].loc[genes[samples].std(axis=1) > 0]
    purity = clinical["purity_cancer"].rename("purity")
    shown = {"purity": purity} if tissue == "Tumor" else None
    part.suptitle(f"{len(samples)} samples of {tissue.lower().replace('_', ' ')} tissue, z-scores")
    g = clustermap(chosen, z_score=0, figure=part, col_annotations=shown, **options)
