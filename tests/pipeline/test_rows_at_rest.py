"""Trees whose rows are at rest, in a store that others use at the same time."""

import numpy as np
import pytest
import xarray as xr
from scipy.cluster.hierarchy import linkage as scipy_linkage
from scipy.spatial.distance import pdist

from clustergrid.pipeline import row_reader
from clustergrid.pipeline.axis_needs import AxisNeeds
from clustergrid.pipeline.execution import SerialExecutor
from clustergrid.pipeline.planning import Resources
from clustergrid.pipeline.row_reader import RowsAtRest
from clustergrid.pipeline.stages import Stages
from clustergrid.storage.errors import IntegrityError

VALUES = np.random.default_rng(0).normal(size=(300, 8))
KINDS = [("ward", "euclidean"), ("average", "euclidean"), ("complete", "cityblock")]


def bound(store, values=VALUES):
    return Stages(
        xr.DataArray(values, dims=("gene", "sample")),
        executor=SerialExecutor(),
        resources=Resources(memory_bytes=10**9, threads=1),
        store=str(store),
    )


@pytest.fixture(autouse=True)
def at_rest(monkeypatch):
    """Put rows at rest though there is memory for them, in several chunks."""
    resting = property(lambda needs: needs.work.row_tree and needs.work.row_tree.resting)
    monkeypatch.setattr(AxisNeeds, "row_memory", resting)
    monkeypatch.setattr(row_reader, "CHUNK_VALUES", 64 * 8)


def when_read(monkeypatch, do):
    """Do something when the first rows that are in order were read."""
    block, done = RowsAtRest.block, []

    def read(rows, start, stop):
        found = block(rows, start, stop)
        if not done and not rows.path.endswith("-read"):
            done.append(True)
            do()
        return found

    monkeypatch.setattr(RowsAtRest, "block", read)
    return done


def tree(stages, method, metric):
    return stages.linkage(0, method=method, metric=metric, engine="data")


@pytest.mark.parametrize(("method", "metric"), KINDS)
def test_others_in_the_same_store_leave_the_rows_of_a_tree(tmp_path, monkeypatch, method, metric):
    other = np.random.default_rng(1).normal(size=(200, 8))

    def others():
        bound(tmp_path, other).distances(0, metric=metric)
        tree(bound(tmp_path, other), method, metric)

    done = when_read(monkeypatch, others)
    found = tree(bound(tmp_path), method, metric)
    assert done
    expected = scipy_linkage(pdist(VALUES, metric), method)
    np.testing.assert_array_equal(found[:, [0, 1, 3]], expected[:, [0, 1, 3]])
    np.testing.assert_allclose(found[:, 2], expected[:, 2], rtol=1e-10)
    assert list(tmp_path.glob("points*")) == []


@pytest.mark.parametrize(("method", "metric"), KINDS)
def test_a_tree_whose_rows_are_removed_is_refused(tmp_path, monkeypatch, method, metric):
    def remove():
        for array in tmp_path.glob("points*"):
            for file in array.glob("c/*/0"):
                file.unlink()

    done = when_read(monkeypatch, remove)
    with pytest.raises(IntegrityError, match="is not there any more: something removed it"):
        tree(bound(tmp_path), method, metric)
    assert done
    assert list(tmp_path.glob("points*")) == []
