"""Matrices and metrics whose clusters are means."""

import pickle

import numpy as np
from scipy.stats import rankdata

from clustergrid.pipeline.execution import SerialExecutor
from clustergrid.pipeline.monitor import Progress
from clustergrid.pipeline.normalize import Normalization, matrix_statistics
from clustergrid.pipeline.operands import distance_input
from clustergrid.pipeline.summaries import lists, means, plan, source
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


def cut_small(monkeypatch, *, a_task=None, buffered=None):
    """Let lists, rows and squares of few clusters be made of many ranges, in many tasks."""
    small = {
        "OWNERS": 16,
        "MOST_COMPARED": 48,
        "_COLUMNS": 64,
        "SENT_DISTANCES": 700,
        "_LEAST_IN_THREADS": 0,
        "_LEAST_SENT": 0,
    }
    if a_task is not None:
        small["RANGES_A_TASK"] = a_task
    if buffered is not None:
        small["BUFFERED"] = buffered
    for module in (plan, lists, source, means):
        for name, value in small.items():
            if hasattr(module, name):
                monkeypatch.setattr(module, name, value)


class Sending(SerialExecutor):
    """A plain loop over what is sent as other processes get it, and what comes back of that.

    Attributes
    ----------
    sent
        Bytes of everything that was shared.
    n_tasks
        How many there were of each name.
    """

    in_process = False

    def __init__(self, threads=2):
        self.threads, self.sent, self.n_tasks = threads, [], {}

    def share(self, value):
        content = pickle.dumps(value)
        self.sent.append(len(content))
        return pickle.loads(content)

    def map(self, function, shared, items, *, name):
        for item in items:
            self.n_tasks[name] = self.n_tasks.get(name, 0) + 1
            yield pickle.loads(pickle.dumps(function(shared, item)))
