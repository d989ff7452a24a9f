"""Annotations from raw metadata.

Columns of a DataFrame become strips: categories, booleans, numbers with colour bars. Palettes that
people of every colour vision tell apart, and legends, are made; what is missing is hatched.
"""

from clustergrid.pipeline import clustermap
from clustergrid.storage.datasets import load_endometrial

rna, clinical = load_endometrial()
genes = rna.loc[rna.var(axis=1).nlargest(40).index]
samples = clinical.rename(
    columns={"genomics_subtype": "subtype", "tp53_mutated": "TP53 mutated", "bmi": "BMI"}
)
g = clustermap(
    genes,
    z_score=0,
    metric="correlation",
    cmap="vlag",
    center=0,
    figsize=(9, 8),
    xticklabels=False,
    cbar_kws={"label": "z-score"},
    cbar_pos=(0.02, 0.83, 0.03, 0.15),
    col_annotations=samples[["tissue", "subtype", "TP53 mutated", "age", "BMI"]],
    annotation_palettes={"BMI": "cividis"},
)
