"""Every example in a docstring runs and says the truth.

pytest's ``--doctest-modules`` would import each file a second time, under the name of its folder;
here modules are imported under their own.
"""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import matplotlib as mpl
import pytest

import clustergrid.pipeline
import clustergrid.storage

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
MODULES = sorted(
    {
        found.name
        for package in (clustergrid.pipeline, clustergrid.storage)
        for found in pkgutil.walk_packages(package.__path__, package.__name__ + ".")
    }
)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str, tmp_path, monkeypatch) -> None:
    # Examples may write files, and draw: into an empty directory, on no screen.
    monkeypatch.chdir(tmp_path)
    with mpl.rc_context({"backend": "agg"}):
        result = doctest.testmod(importlib.import_module(name), optionflags=FLAGS)
    assert result.failed == 0


def test_there_are_examples() -> None:
    examples = doctest.DocTestFinder().find(importlib.import_module("clustergrid.storage.grid"))
    assert sum(len(found.examples) for found in examples) > 5


def test_a_wrong_example_is_seen() -> None:
    wrong = doctest.DocTestParser().get_doctest(">>> 1 + 1\n3\n", {}, "wrong", None, None)
    assert doctest.DocTestRunner(verbose=False).run(wrong, out=lambda text: None).failed == 1
