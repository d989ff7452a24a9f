"""Inputs that look wrong and are right are read as what they hold, and clustered."""

import warnings
from pathlib import Path

import numpy as np
import pytest

from clustergrid.pipeline.cli import main
from clustergrid.pipeline.status import read_status
from clustergrid.storage import open_matrix

from .odd import CASES

pytestmark = pytest.mark.quick_cases(one_in=4)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(case, folder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the libraries, which would write something else
        case.write(folder)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_read_as_what_it_holds(case, folder):
    write(case, folder)
    layer = case.options[1] if case.options else None
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        matrix = open_matrix(case.input, layer=layer)
    ours = [str(each.message) for each in told if "chunks of" in str(each.message)]
    assert len(ours) == bool(case.warns)
    for axis, labels in enumerate((case.rows, case.columns)):
        found = matrix.get_index(matrix.dims[axis])
        assert [str(label) for label in found] == [str(label) for label in labels]
    np.testing.assert_array_equal(matrix.to_numpy(), np.asarray(case.values))


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_clustered(case, folder, capfd):
    write(case, folder)
    capfd.readouterr()
    main(["run", case.input, "-o", "run", "--figsize", "3", "3", "--dpi", "40", *case.options])
    out, err = capfd.readouterr()
    assert out.startswith("finished in")
    # A long label leaves no room in so small a figure, which matplotlib says.
    warnings_told = err.count("clustergrid: warning") - err.count("Tight layout not applied")
    assert bool(warnings_told) == bool(case.warns), err
    assert read_status(Path("run")).state == "finished"
    order = Path("run/order_row.txt").read_text(encoding="utf-8").splitlines()
    assert len(order) == len(case.rows)
    assert len(np.load("run/linkage_row.npy")) == len(case.rows) - 1
