"""Nothing with a known hole is installed, or may be; and the check that says so can fail."""

from __future__ import annotations

import datetime
import importlib.util
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "scripts" / "check_advisories.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("check_advisories", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture
def advisory(script):
    return script.Advisory(
        package="some-lib", affected=">=2,<3.1", fixed="3.1", id="CVE-1", summary="It opens"
    )


def test_nothing_with_a_known_hole_is_installed_or_allowed(script, capsys):
    assert script.main() == 0, capsys.readouterr().out
    assert "none in" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("version", "is_affected"),
    [("1.9", False), ("2.0", True), ("3.0.5", True), ("3.1", False), ("4", False)],
)
def test_an_affected_version_is_seen(script, advisory, version, is_affected):
    lines = script.findings([advisory], {"some-lib": version}, [])
    assert bool(lines) == is_affected
    assert all("CVE-1 (It opens), fixed in 3.1" in line for line in lines)


@pytest.mark.parametrize(
    ("requirement", "is_allowed"),
    [("some-lib", True), ("Some_Lib>=3.0", True), ("some-lib<3", True), ("some-lib>=3.1", False),
     ("some-lib==4.*", False), ("some-lib>=3.2,!=3.3", False), ("other-lib", False)],
)  # fmt: skip
def test_a_bound_that_is_too_low_is_seen(script, advisory, requirement, is_allowed):
    assert bool(script.findings([advisory], {}, [Requirement(requirement)])) == is_allowed


def test_the_list_is_well_formed(script):
    content = tomllib.loads(script.LIST.read_text(encoding="utf-8"))
    assert isinstance(content["looked_up"], datetime.date)
    entries = [script.Advisory(**entry) for entry in content["advisory"]]
    assert len(entries) > 50
    assert len({(entry.package, entry.id) for entry in entries}) == len(entries)
    # What our own code and Dask stand on has been looked up.
    assert {entry.package for entry in entries} >= {
        "bokeh", "distributed", "jinja2", "msgpack", "numpy", "pillow", "pyarrow", "tornado",
        "pyyaml", "setuptools", "urllib3", "requests", "aiohttp", "cryptography", "certifi",
    }  # fmt: skip


def test_an_entry_that_contradicts_itself_is_refused(script):
    with pytest.raises(ValueError, match="is fixed"):
        script.Advisory(package="a", affected="<3", fixed="2.9", id="x", summary="x")
    with pytest.raises(ValueError, match="write a-b"):
        script.Advisory(package="A_b", affected="<3", fixed="3", id="x", summary="x")


def test_every_requirement_is_looked_at(script):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    names = {requirement.name for requirement in script.required(project)}
    assert {"setuptools", "distributed", "h5py", "pytest", "seaborn"} <= names
