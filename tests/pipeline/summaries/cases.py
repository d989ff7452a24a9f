"""Matrices and metrics whose clusters are means."""

import numpy as np
from scipy.stats import rankdata

from clustergrid.pipeline.execution import SerialExecutor
from clustergrid.pipeline.monitor import Progress
from clustergrid.pipeline.normalize import Normalization, matrix_statistics
from clustergrid.pipeline.operands import distance_input
from clustergrid.storage.source import ArraySource


def distances_of(values, metric, *, keywords=None, z_score=False, features_at_once=2048):
    executor, progress = SerialExecutor(), Progress()
    if metric == "spearman":
        values = rankdata(values, axis=1)
    source = ArraySource(values)
    statistics = matrix_statistics(source, executor, progress)
    return distance_input(
        source,
        statistics,
        Normalization.z_score(statistics, 1) if z_score else Normalization(),
        metric,
        keywords,
        dtype=values.dtype if values.dtype == np.float32 else np.dtype(np.float64),
        features_at_once=features_at_once,
        executor=executor,
        progress=progress,
        name="distance",
    )
