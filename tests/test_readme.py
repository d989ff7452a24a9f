"""The README's examples run as they stand there, on small files of the names they use."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.DOTALL | re.MULTILINE)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Directory with ``expression`` in each of the formats: 150 genes, 60 samples."""
    ad = pytest.importorskip("anndata")
    values = np.random.default_rng(7).normal(size=(150, 60)).round(3)
    genes, samples = [f"gene{i}" for i in range(150)], [f"sample{i}" for i in range(60)]
    frame = pd.DataFrame(values, index=pd.Index(genes, name="gene"), columns=samples)
    frame.to_csv(tmp_path / "expression.csv")
    array = xr.DataArray(
        values, dims=("gene", "sample"), coords={"gene": genes, "sample": samples}
    ).chunk(gene=40, sample=30)
    array.to_dataset(name="expression").to_zarr(tmp_path / "expression.zarr", zarr_format=2)
    ad.AnnData(
        values, obs=pd.DataFrame(index=pd.Index(genes)), var=pd.DataFrame(index=pd.Index(samples))
    ).write_h5ad(tmp_path / "expression.h5ad")
    return tmp_path


def _run(command: list[str], directory: Path) -> str:
    programs = str(Path(sys.executable).parent)
    done = subprocess.run(
        command,
        cwd=directory,
        env={
            **os.environ,
            "MPLBACKEND": "Agg",
            "PATH": os.pathsep.join((programs, os.environ["PATH"])),
        },
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_python(directory: Path) -> None:
    (directory / "example.py").write_text(_blocks("python")[0])
    _run([sys.executable, "-W", "error", "example.py"], directory)
    assert (directory / "expression.png").stat().st_size > 10_000


@pytest.mark.slow
def test_xarray(directory: Path) -> None:
    checks = "    assert corner.shape == (100, 50)\n    assert tree.shape == (149, 4)\n"
    (directory / "example.py").write_text(_blocks("python")[1] + checks)
    assert "distance-row" in _run([sys.executable, "example.py"], directory)
    assert (directory / "expression.png").stat().st_size > 10_000


def test_distances(directory: Path) -> None:
    checks = "assert near.shape == (150, 150)\nassert tree.shape == (149, 4)\n"
    example = _blocks("python")[2].replace("ESR1", "gene7")
    (directory / "example.py").write_text(example + checks)
    _run([sys.executable, "-W", "error", "example.py"], directory)


def test_command_line(directory: Path) -> None:
    commands = _blocks("sh")[1]
    printed = _run(["bash", "-ec", commands], directory)
    assert "run: finished" in printed
    run = directory / "run"
    for name in ("figure.png", "small.pdf", "README.txt", "clusters_col.tsv", "linkage_row.npy"):
        assert (run / name).stat().st_size > 0
    assert len((run / "order_row.txt").read_text().splitlines()) == 150


def test_a_job_is_written_as_the_readme_submits_it(directory: Path) -> None:
    submit = _blocks("sh")[2].splitlines()[0]
    printed = _run(["bash", "-ec", f"{submit} --dry-run"], directory)
    assert printed.count("#!/") == 2  # the driver's and a worker's
    assert "#SBATCH --cpus-per-task=4" in printed or "#SBATCH -c 4" in printed


def test_make_targets_of_the_first_screen_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"\bmake ([a-z-]+)", _blocks("sh")[0]):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE)


PAGES = [
    *("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "deploy/README.md"),
    *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md")),
]


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    path = ROOT / page
    text = path.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#]+)[^)]*\)|src=\"([^\"]+)\"", text)
    for link in (a or b for a, b in links):
        if not link.startswith("http"):
            assert (path.parent / link).exists(), f"{page} links to {link}"
