"""An altered file is refused in words, or read as what it now says."""

import os
import subprocess
import sys
import warnings

import numpy as np
import pytest

from clustergrid.storage import open_matrix
from clustergrid.storage.errors import ClustergridError

from .flips import FORMATS, alter

pytestmark = pytest.mark.quick_cases(one_in=4)

SEEDS = 40
MORE_SEEDS = 400
HANGING_SEEDS = {"h5ad": {202}}
"""Where libhdf5 itself never comes back from damaged metadata, which carry no checksum."""


def outcome(kind, seed, folder):
    """Alter a file and open it: whether it was refused."""
    form = FORMATS[kind]
    path = folder / f"{seed}-{form.input}"
    form.write(path)
    before = form.read(path)
    alter(path / form.altered if form.altered else path, seed)
    said, found = None, None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = open_matrix(path).to_numpy()
    except ClustergridError as error:
        said = str(error)
    if said is not None:
        assert str(path) in said
        return True
    np.testing.assert_array_equal(found, before if form.is_checked else form.read(path))
    return False


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", FORMATS)
def test_refused_or_read_as_what_it_says(kind, tmp_path):
    refused = [outcome(kind, seed, tmp_path) for seed in range(SEEDS)]
    assert sum(refused) >= SEEDS // 5


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", FORMATS)
def test_many_more_in_a_process_that_must_not_crash(kind, tmp_path):
    """A library that is written in C could die of damaged bytes, and take its process along."""
    code = (
        "import pathlib, sys, warnings; warnings.simplefilter('ignore')\n"
        "from malformed.test_flips import HANGING_SEEDS, MORE_SEEDS, SEEDS, outcome\n"
        "for seed in {*range(SEEDS, MORE_SEEDS)} - HANGING_SEEDS.get(sys.argv[1], set()):\n"
        "    print(seed, outcome(sys.argv[1], seed, pathlib.Path('.').absolute()), flush=True)\n"
    )
    tests = os.path.dirname(os.path.dirname(__file__))
    paths = os.pathsep.join(filter(None, [tests, os.environ.get("PYTHONPATH")]))
    ended = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", code, kind],
        cwd=tmp_path, capture_output=True, text=True, timeout=800, check=False,
        env={**os.environ, "PYTHONPATH": paths},
    )  # fmt: skip
    assert ended.returncode == 0, f"{ended.stdout[-200:]}\n{ended.stderr[-4000:]}"
    hanging = len(HANGING_SEEDS.get(kind, set()))
    assert len(ended.stdout.splitlines()) == MORE_SEEDS - SEEDS - hanging
