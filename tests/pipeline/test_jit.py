"""Machine code that was kept is used again, unless anything that it was made of has changed."""

import importlib
import os
import pickle
import pkgutil
import subprocess
import sys
from types import ModuleType
from typing import get_type_hints

import numpy as np
import pytest

import clustergrid.pipeline
from clustergrid.pipeline import _ingredients
from clustergrid.pipeline._ingredients import digest_of
from clustergrid.pipeline._jit import Kernel, borrowing, jit

CALLER = """
from clustergrid.pipeline._jit import jit
from package.helper import FACTOR, Pair, combine

@jit
def call(pair: Pair) -> float:
    return FACTOR * combine(pair.first, pair.second) + pair.first
"""
HELPER = """
from typing import NamedTuple
from clustergrid.pipeline._jit import {decorator}

FACTOR = {factor}

class {tuple}(NamedTuple):
    {fields[0]}: float
    {fields[1]}: float

Pair = {tuple}

@{decorator}
def scale(x: float) -> float:
    return {scale} * x

@{decorator}
def combine(x: float, y: float) -> float:
    return scale(x) {sign} y
"""
PLAIN = {
    "decorator": "jit",
    "factor": 10.0,
    "fields": ("first", "second"),
    "scale": 1.0,
    "sign": "-",
    "tuple": "Pair",
}
RUN = """
from package import caller, helper
print(caller.call(helper.Pair(first=5.0, second=3.0)))
stats = caller.call.compiled.stats
print(sum(stats.cache_hits.values()), sum(stats.cache_misses.values()))
"""


class Package:
    """A package of two modules with kernels, which is imported by processes of its own."""

    def __init__(self, folder):
        self.folder = folder / "package"
        self.folder.mkdir()
        (self.folder / "__init__.py").touch()
        (self.folder / "caller.py").write_text(CALLER)

    def call(self, **changes):
        """Return what the kernel returns, whether it was kept, and whether it was compiled."""
        (self.folder / "helper.py").write_text(HELPER.format(**PLAIN | changes))
        # Python's own cache takes a file of the same second and length for the same.
        paths = [str(self.folder.parent), os.environ.get("PYTHONPATH", "")]
        found = subprocess.run(
            [sys.executable, "-B", "-c", RUN],
            env=os.environ
            | {"NUMBA_CACHE_DIR": str(self.folder), "PYTHONPATH": os.pathsep.join(paths)},
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        value, hits, misses = found.stdout.split()
        return float(value), int(hits), int(misses)


@pytest.mark.slow
def test_what_a_kernel_takes_from_other_files_is_compiled_anew(tmp_path):
    package = Package(tmp_path)
    assert package.call() == (25.0, 0, 1)
    assert package.call() == (25.0, 1, 0)
    for changes, expected in (
        ({"factor": 20.0}, 45.0),
        ({"sign": "+"}, 85.0),
        ({"scale": 2.0}, 75.0),  # of a helper's helper
        ({"fields": ("second", "first")}, 25.0),
        ({"decorator": "inline"}, 25.0),
    ):
        assert package.call(**changes) == (expected, 0, 1), changes
        assert package.call(**changes) == (expected, 1, 0), changes


@pytest.mark.slow
def test_an_index_that_names_a_type_that_is_gone_is_not_read(tmp_path):
    package = Package(tmp_path)
    package.call(tuple="Earlier")
    (index,) = package.folder.rglob("caller.call*.nbi")
    content = index.read_bytes()
    assert b"Earlier" in content
    # As versions of clustergrid left it that knew of no digest.
    version = pickle.loads(content).partition(" ")[0]
    rest = content[len(pickle.dumps(pickle.loads(content), protocol=-1)) :]
    assert pickle.dumps(pickle.loads(content), protocol=-1) + rest == content
    for before in (content, pickle.dumps(version, protocol=-1) + rest):
        index.write_bytes(before)
        assert package.call() == (25.0, 0, 1)
        assert package.call() == (25.0, 1, 0)


@pytest.mark.slow
def test_machine_code_of_other_sources_has_another_name(tmp_path):
    package = Package(tmp_path)
    package.call()
    (first,) = package.folder.rglob("caller.call*.nbc")
    (index,) = package.folder.rglob("caller.call*.nbi")
    code, listed = first.read_bytes(), index.read_bytes()
    package.call(factor=20.0)
    assert first.read_bytes() == code
    (second,) = (path for path in package.folder.rglob("caller.call*.nbc") if path != first)
    # An index is there before the machine code that it names.
    second.unlink()
    assert package.call(factor=20.0) == (45.0, 0, 1)
    index.write_bytes(listed)
    assert package.call() == (25.0, 1, 0)


FACTOR = 1.0


@jit
def scaled(x: float) -> float:
    return FACTOR * x


@jit
def called(x: float) -> float:
    return scaled(x) + np.pi


def test_digests_are_of_what_is_named(monkeypatch):
    before = digest_of(called)
    assert before == digest_of(called)
    monkeypatch.setattr(sys.modules[__name__], "FACTOR", 1)
    assert digest_of(called) != before  # an integer is compiled otherwise
    monkeypatch.undo()
    assert digest_of(called) == before
    monkeypatch.setattr(scaled, "is_inline", True)
    assert digest_of(called) != before
    monkeypatch.undo()
    monkeypatch.setattr(scaled, "is_borrowing", True)
    assert digest_of(called) != before


def test_kernels_that_borrow_count_no_references():
    def last(values):
        return values[-1]

    assert borrowing(last).compiled.targetoptions["_nrt"] is False
    assert jit(last).compiled.targetoptions["_nrt"] is True
    assert borrowing(last)(np.array([1.0, 2.0])) == 2.0


def test_digests_are_the_same_once_it_is_compiled():
    before = digest_of(called)
    assert called(2.0) == 2.0 + np.pi
    assert not isinstance(called.python.__globals__["scaled"], Kernel)
    assert digest_of(called) == before


def test_order_is_part_of_a_digest():
    def one(x, y):
        return x.real - y.imag

    def other(x, y):
        return x.imag - y.real

    other.__qualname__ = one.__qualname__
    assert digest_of(one) != digest_of(other)


def _kernels():
    found = {}
    for module in pkgutil.walk_packages(clustergrid.pipeline.__path__, "clustergrid.pipeline."):
        for value in vars(importlib.import_module(module.name)).values():
            function = _ingredients._function_of(value)
            if function is not None and (
                isinstance(value, Kernel) or hasattr(value, "targetoptions")
            ):
                found[function] = value
    return found


def test_digests_see_all_that_kernels_name():
    kernels = _kernels()
    assert len(kernels) > 200
    for function in kernels:
        get_type_hints(function)  # every annotation is of something that is imported
        for name, value in _ingredients._named_by(function):
            where = f"{function.__module__}.{function.__name__} names {name}"
            if isinstance(value, ModuleType):
                assert value.__name__ in ("numpy", "math"), where
            elif _ingredients._function_of(value) is not None:
                assert _ingredients._function_of(value) in kernels, where
