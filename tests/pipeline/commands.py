"""What the tests of the command share."""

import re
import sys

import numpy as np
import pandas as pd

COMMAND = [sys.executable, "-m", "clustergrid.pipeline.cli"]
SMALL = ["--figsize", "3", "3", "--dpi", "40"]


def frame(n=30, k=5, seed=0):
    values = np.random.default_rng(seed).normal(size=(n, k)).round(6)
    return pd.DataFrame(values, [f"g{i}" for i in range(n)], [f"s{i}" for i in range(k)])


def assert_one_line(answer, says):
    """The command failed, and its last line says why."""
    status, _, err = answer
    assert status == 1, answer
    assert "Traceback" not in err
    assert re.search(says, err.splitlines()[-1]), err
