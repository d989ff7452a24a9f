"""The Containerfile and its lock files. No container engine is here: nothing is built."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.deploy.manifests import DEPLOY, ROOT, container, pod_specs

CONTAINERFILE = (DEPLOY / "Containerfile").read_text(encoding="utf-8")
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LOCK_SCRIPT = (DEPLOY / "lock.sh").read_text(encoding="utf-8")


def hadolint(path: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("hadolint")
    return subprocess.run(
        [program, "--no-color", path], capture_output=True, text=True, check=False
    )


def locked(name: str) -> dict[str, str]:
    """Versions in a lock file, every one of which has digests."""
    text = (DEPLOY / name).read_text(encoding="utf-8")
    entries = re.findall(
        r"^(\S+)==(\S+)( ;[^\\\n]*)? \\\n((?:    --hash=\S+(?: \\)?\n)+)", text, re.M
    )
    assert len(entries) == len(re.findall(r"^[A-Za-z0-9]", text, re.M))
    assert all(re.search(r"--hash=sha256:[0-9a-f]{64}\b", digests) for *_, digests in entries)
    return {canonicalize_name(name): version for name, version, _, _ in entries}


# The Containerfile


def test_the_linter_finds_nothing() -> None:
    done = hadolint(DEPLOY / "Containerfile")
    assert done.returncode == 0, done.stdout


def test_the_linter_would_find_something(tmp_path: Path) -> None:
    careless = tmp_path / "Containerfile"
    careless.write_text("FROM python\nRUN pip install clustergrid\n")
    done = hadolint(careless)
    assert done.returncode == 1
    assert {"DL3006", "DL3013"} <= set(re.findall(r"DL\d{4}", done.stdout))


def test_what_is_copied_is_there() -> None:
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", CONTAINERFILE, re.M)
    sources = [source for line in copied for source in line.split()]
    assert len(sources) >= 8
    assert [source for source in sources if not (ROOT / source).exists()] == []
    # Whatever the wheel is made of is among them.
    for needed in ("pyproject.toml", PYPROJECT["project"]["readme"], "pipeline", "storage"):
        assert needed in sources
    for license_file in PYPROJECT["project"]["license-files"]:
        assert license_file.split("/")[0] in sources


def test_it_runs_as_nobody_in_particular() -> None:
    final = CONTAINERFILE.rsplit("\nFROM ", 1)[1]
    (user,) = re.findall(r"^USER (\S+)$", final, re.M)
    assert user == "1000:1000"
    for spec in pod_specs().values():
        assert spec["securityContext"]["runAsUser"] == 1000
    # The operator and the manifests say what is started.
    assert "ENTRYPOINT " not in re.sub(r"#.*", "", CONTAINERFILE)
    for spec in pod_specs().values():
        assert "command" not in container(spec)
        assert container(spec)["args"][0] in ("dask", "python", "clustergrid")


def test_only_what_is_pinned_is_installed() -> None:
    commands = CONTAINERFILE.replace("\\\n", " ")
    installs = re.findall(r"pip (?:install|wheel) ([^&\n]*)", commands)
    assert len(installs) == 4
    for arguments in installs:
        assert "--require-hashes" in arguments or "--no-deps" in arguments


# The locks


def test_the_locks_are_of_the_images_python() -> None:
    (version,) = re.findall(r"^ARG PYTHON=.*python:(3\.\d+)-", CONTAINERFILE, re.M)
    assert f"--python-version {version}\n" in LOCK_SCRIPT


def test_the_lock_has_what_the_package_needs() -> None:
    extras = re.findall(r"--extra (\S+)", LOCK_SCRIPT)
    assert {"anndata", "dashboard", "kubernetes", "object-stores", "tls"} == set(extras)
    asked = list(PYPROJECT["project"]["dependencies"])
    asked += [
        line for extra in extras for line in PYPROJECT["project"]["optional-dependencies"][extra]
    ]
    versions = locked("requirements.lock")
    assert len(versions) > 60
    environment = {**default_environment(), "sys_platform": "linux", "python_version": "3.13"}
    for requirement in map(Requirement, asked):
        if requirement.marker is None or requirement.marker.evaluate(environment):
            name = canonicalize_name(requirement.name)
            assert name in versions, f"{name} is not in the lock: run deploy/lock.sh"
            assert requirement.specifier.contains(versions[name]), f"run deploy/lock.sh for {name}"


def test_the_lock_of_the_build() -> None:
    versions = locked("build.lock")
    for requirement in map(Requirement, PYPROJECT["build-system"]["requires"]):
        assert requirement.specifier.contains(versions[canonicalize_name(requirement.name)])


def test_nothing_with_a_known_hole_is_locked() -> None:
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        from check_advisories import findings, read_advisories
    finally:
        sys.path.pop(0)
    versions = locked("requirements.lock") | locked("build.lock")
    assert list(findings(read_advisories(), versions, [])) == []


@pytest.mark.slow
def test_the_build_stage_makes_a_wheel_that_is_complete(tmp_path: Path) -> None:
    """The same two lines that build the wheel in the image, with the locked setuptools."""
    builder = tmp_path / "builder"
    subprocess.run([sys.executable, "-m", "venv", builder], check=True)
    pip = [builder / "bin" / "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run(
        [*pip, "install", "--require-hashes", "--only-binary", ":all:",
         "--requirement", DEPLOY / "build.lock"],
        check=True,
    )  # fmt: skip
    source = tmp_path / "source"
    source.mkdir()
    for line in re.findall(r"^COPY (?!--from|deploy)(.+) (\S+)$", CONTAINERFILE, re.M):
        for name in line[0].split():
            subprocess.run(["cp", "-r", ROOT / name, source], check=True)
    subprocess.run(
        [*pip, "wheel", "--no-build-isolation", "--no-deps", "--wheel-dir", tmp_path, source],
        check=True,
    )
    (wheel,) = tmp_path.glob("clustergrid-*.whl")
    assert wheel.stat().st_size > 10**6
