"""One measured process: a clustered heatmap of a matrix, from its file to a PNG.

    python benchmarks/job.py clustergrid|seaborn MATRIX OUTPUT

Nothing is imported that the measured library would not import itself.
"""

import sys


def main() -> None:
    library, matrix, output = sys.argv[1:]
    import matplotlib

    matplotlib.use("Agg")
    if matrix.endswith(".parquet"):
        import pandas as pd

        data = pd.read_parquet(matrix)
    else:
        import numpy as np

        data = np.load(matrix)
    if library == "seaborn":
        # SciPy's dendrogram recurses; without this it fails on the larger trees.
        sys.setrecursionlimit(1_000_000)
        from seaborn import clustermap
    else:
        from clustergrid.pipeline import clustermap
    clustermap(data).savefig(output)


if __name__ == "__main__":
    main()
