"""Compare what is installed, and what pyproject.toml allows, with the holes that are known.

    python scripts/check_advisories.py

It needs no network: the list is `.ci/advisories.toml`. Exit status 1 and a line for each finding.
"""

from __future__ import annotations

import importlib.metadata
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
LIST = ROOT / ".ci" / "advisories.toml"
_BOUNDS = (">=", "==", "~=", "===")


@dataclass(frozen=True, slots=True, kw_only=True)
class Advisory:
    """A known hole.

    Attributes
    ----------
    package, affected, fixed
        The distribution, the versions with the hole, and the first without it.
    id, summary
        Its number, and what it is.
    not_ours
        Why it cannot be reached from clustergrid; empty where it can.
    """

    package: str
    affected: str
    fixed: str
    id: str
    summary: str
    not_ours: str = ""

    def __post_init__(self) -> None:
        if self.package != canonicalize_name(self.package):
            raise ValueError(f"{self.id}: write {canonicalize_name(self.package)}")
        if SpecifierSet(self.affected).contains(self.fixed, prereleases=True):
            raise ValueError(f"{self.id}: {self.fixed} is fixed, and {self.affected} has it")

    def affects(self, version: str) -> bool:
        """Whether a version has the hole."""
        return SpecifierSet(self.affected).contains(version, prereleases=True)

    def allowed_by(self, requirement: Requirement) -> bool:
        """Whether a requirement's lower bound is below the version that has the fix."""
        bounds = [Version(s.version.removesuffix(".*")) for s in requirement.specifier
                  if s.operator in _BOUNDS]  # fmt: skip
        return not bounds or max(bounds) < Version(self.fixed)


def read_advisories(path: Path = LIST) -> list[Advisory]:
    """Read the list, without what cannot be reached from here."""
    content = tomllib.loads(path.read_text(encoding="utf-8"))
    advisories = [Advisory(**entry) for entry in content["advisory"]]
    return [advisory for advisory in advisories if not advisory.not_ours]


def installed() -> dict[str, str]:
    """Versions of the distributions of this environment, by their names."""
    return {
        canonicalize_name(found.metadata["Name"]): found.version
        for found in importlib.metadata.distributions()
    }


def required(project: Mapping[str, Any]) -> Iterator[Requirement]:
    """All requirements of a pyproject.toml: to build, to run, and of every extra."""
    yield from map(Requirement, project["build-system"]["requires"])
    yield from map(Requirement, project["project"]["dependencies"])
    for extra in project["project"]["optional-dependencies"].values():
        yield from map(Requirement, extra)


def findings(
    advisories: list[Advisory], versions: Mapping[str, str], requirements: list[Requirement]
) -> list[str]:
    """Lines about what is affected; none where all is well."""
    lines = []
    for advisory in advisories:
        version = versions.get(advisory.package)
        what = f"{advisory.id} ({advisory.summary}), fixed in {advisory.fixed}"
        if version is not None and advisory.affects(version):
            lines.append(f"{advisory.package} {version} is installed: {what}")
        for requirement in requirements:
            same = canonicalize_name(requirement.name) == advisory.package
            if same and advisory.allowed_by(requirement):
                lines.append(f"pyproject.toml allows {requirement}: {what}")
    return lines


def main() -> int:
    """Print the findings."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    advisories, versions = read_advisories(), installed()
    lines = findings(advisories, versions, list(required(project)))
    print("\n".join(lines) or f"{len(advisories)} known holes: none in {len(versions)} packages")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
