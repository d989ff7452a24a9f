"""What is installed: every package with its data, under the promised names, quick to import."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGES = PYPROJECT["tool"]["setuptools"]["packages"]


def _folders() -> dict[str, Path]:
    """Folders with Python files, by their package names."""
    folders = {
        path.parent for top in ("pipeline", "storage") for path in (ROOT / top).rglob("*.py")
    }
    return {
        ".".join(("clustergrid", *folder.relative_to(ROOT).parts)): folder for folder in folders
    }


def test_every_folder_is_a_listed_package() -> None:
    # A package that is missing from the list is missing from the wheel, without an error.
    assert sorted(PACKAGES) == sorted(_folders())


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_is_typed_and_has_an_init(package: str) -> None:
    folder = _folders()[package]
    assert (folder / "py.typed").is_file()
    assert (folder / "__init__.py").is_file()


def test_the_root_is_a_namespace() -> None:
    assert not (ROOT / "__init__.py").exists()
    assert getattr(importlib.import_module("clustergrid"), "__file__", None) is None


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("clustergrid.pipeline", ["ClusterGrid", "clustermap", "linkage", "pdist", "plan"]),
        (
            "clustergrid.pipeline",
            [
                *("leaf_order", "cut", "check_linkage", "is_monotonic", "inconsistency"),
                *("cophenetic_distances", "cophenetic_correlation", "optimal_leaf_ordering"),
                *("to_newick", "write_newick"),
            ],
        ),
        ("clustergrid.storage", ["open_matrix"]),
    ],
)
def test_public_names(module: str, names: list[str]) -> None:
    package = importlib.import_module(module)
    assert set(names) <= set(package.__all__)
    for name in names:
        found = getattr(package, name)
        assert callable(found)
        assert found.__doc__


def test_no_public_name_is_a_submodule() -> None:
    # `from clustergrid.pipeline import linkage` would give the function or the module, depending
    # on what was imported before.
    for module in ("clustergrid.pipeline", "clustergrid.storage"):
        package = importlib.import_module(module)
        submodules = {path.stem for folder in package.__path__ for path in Path(folder).iterdir()}
        assert not submodules & set(package.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nothing_of_that_name"):
        importlib.import_module("clustergrid.pipeline").nothing_of_that_name  # noqa: B018


def test_version() -> None:
    assert importlib.metadata.version("clustergrid") == PYPROJECT["project"]["version"]


def _imported() -> set[str]:
    """Libraries that the package imports anywhere."""
    names: set[str] = set()
    for folder in _folders().values():
        for path in folder.glob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    names |= {alias.name.partition(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and node.module:
                    names.add(node.module.partition(".")[0])
    return names - set(sys.stdlib_module_names) - {"clustergrid"}


def _declared(requirements: list[str]) -> set[str]:
    names = (re.split(r"[^\w-]", requirement)[0] for requirement in requirements)
    return {name.replace("-", "_") for name in names}


def test_what_is_imported_is_declared_and_the_other_way_round() -> None:
    needed = _declared(PYPROJECT["project"]["dependencies"])
    extras = PYPROJECT["project"]["optional-dependencies"]
    optional = _declared(
        [line for name in extras if name not in ("test", "bench") for line in extras[name]]
    )
    assert _imported() - optional == needed


def _in_a_new_process(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


HEAVY = ("dask", "distributed", "matplotlib", "numba", "scipy.cluster", "zarr")


def test_importing_the_packages_loads_nothing_heavy() -> None:
    loaded = _in_a_new_process(
        "import sys, clustergrid.pipeline, clustergrid.storage\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    assert loaded == "[]"


def test_importing_the_pipeline_registers_the_accessor() -> None:
    assert _in_a_new_process(
        "import xarray as xr, clustergrid.pipeline\n"
        "print(type(xr.DataArray([[0.0]]).clustergrid).__name__)"
    ).startswith("ClustergridAccessor")


def test_importing_changes_no_global_state() -> None:
    assert (
        _in_a_new_process(
            "import os, signal, warnings\n"
            "import xarray, numpy\n"
            "def state():\n"
            "    return (dict(os.environ), signal.getsignal(signal.SIGTERM),\n"
            "            numpy.geterr(), str(xarray.get_options()))\n"
            "before = state()\n"
            "import clustergrid.pipeline.api, clustergrid.pipeline.render, clustergrid.storage\n"
            "print(before == state())"
        )
        == "True"
    )
