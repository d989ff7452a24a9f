"""Trees with more links than pixels: what is drawn of them looks like all of it."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.collections import LineCollection
from scipy.cluster.hierarchy import linkage

from clustergrid.pipeline.render.thinning import merge_runs
from clustergrid.pipeline.render.tree_lines import ThinnedLines
from clustergrid.pipeline.tree.orders import dendrogram_coordinates
from tests.pipeline.tree.trees import chain, random_tree

pytestmark = pytest.mark.quick_cases(one_in=16)

MANY = 30_000


def balanced(levels: int) -> np.ndarray:
    """Every merge is of two clusters of the same size."""
    live, formed, rows = np.arange(2**levels), 2**levels, []
    for level in range(levels):
        pairs = live.reshape(-1, 2)
        rows.append(np.column_stack([pairs, np.full((len(pairs), 2), level + 1.0)]))
        live = formed + np.arange(len(pairs))
        formed += len(pairs)
    return np.concatenate(rows)


def single() -> np.ndarray:
    points = np.random.default_rng(0).normal(size=(4000, 2))
    return linkage(points, "single")


TREES = {
    "random": lambda: random_tree(MANY),
    "chain": lambda: chain(MANY),
    "balanced": lambda: balanced(15),
    "single": single,
}


def draw(Z: np.ndarray, *, thin: bool, dpi: float, rotate: bool = False, **kws: Any) -> Any:
    """Draw a tree as a figure does, 7.7 inches of leaves, all of it or what can be seen."""
    along, height = dendrogram_coordinates(Z)
    size = (1.6, 7.7) if rotate else (7.7, 1.6)
    figure = plt.figure(figsize=size, dpi=dpi)
    ax = figure.add_axes((0.013, 0.017, 0.97, 0.97))
    ax.set_axis_off()
    limits = (0, 10 * (len(Z) + 1)), (0, 1.05 * height.max())
    if rotate:
        ax.set(xlim=limits[1][::-1], ylim=limits[0][::-1])
    else:
        ax.set(xlim=limits[0], ylim=limits[1])
    points = np.stack([height, along] if rotate else [along, height], axis=-1)
    kws = {"colors": (0.2, 0.2, 0.2), "linewidths": 0.5, **kws}
    lines = (
        ThinnedLines(ax, points, leaf_axis=int(rotate), **kws)
        if thin
        else LineCollection(points, **kws)
    )
    ax.add_collection(lines, autolim=False)
    return figure, lines


def raster(figure: Any) -> np.ndarray:
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba()).astype(int)
    plt.close(figure)
    return pixels


def assert_alike(full: np.ndarray, thinned: np.ndarray) -> None:
    """No difference that eyes find: of shades from 0 to 255, hardly any pixel is 30 off."""
    difference = np.abs(full - thinned)
    ink = np.abs(full - 255).mean()
    assert ink > 5, "there is a tree"
    assert difference.mean() < 0.04 * ink
    assert (difference > 30).mean() < 0.015


@pytest.mark.parametrize("name", TREES)
@pytest.mark.parametrize(("dpi", "rotate"), [(50, True), (72, False), (100, True), (300, False)])
def test_a_thinned_tree_looks_like_the_whole(name: str, dpi: float, rotate: bool) -> None:
    Z = TREES[name]()
    full = raster(draw(Z, thin=False, dpi=dpi, rotate=rotate)[0])
    figure, lines = draw(Z, thin=True, dpi=dpi, rotate=rotate)
    assert_alike(full, raster(figure))
    assert len(lines.get_segments()) < 20_000


@pytest.mark.parametrize("kws", [{"linewidths": 1.5}, {"alpha": 0.5}, {"colors": "red"}])
def test_width_and_color_look_the_same(kws: dict[str, Any]) -> None:
    Z = random_tree(MANY)
    full, thinned = (raster(draw(Z, thin=thin, dpi=100, **kws)[0]) for thin in (False, True))
    assert_alike(full, thinned)


def test_colors_of_links_look_the_same() -> None:
    Z = random_tree(MANY)
    colors = [f"C{i % 7}" for i in np.arange(MANY - 1) // 3000]
    full, thinned = (
        raster(draw(Z, thin=thin, dpi=100, colors=colors)[0]) for thin in (False, True)
    )
    assert_alike(full, thinned)


def test_a_view_that_is_zoomed_into_has_lines_of_its_own() -> None:
    Z = random_tree(MANY)
    pictures = []
    for thin in (False, True):
        figure, _ = draw(Z, thin=thin, dpi=100)
        if thin:
            figure.canvas.draw()  # the whole tree first
        figure.axes[0].set(xlim=(100_000, 103_000), ylim=(0, 15_000))
        pictures.append(raster(figure))
    assert_alike(*pictures)


def test_a_color_that_is_set_later_is_that_of_all_lines() -> None:
    figure, lines = draw(random_tree(MANY), thin=True, dpi=72, colors=["b", "g"])
    lines.set_color("red")
    pixels = raster(figure)
    assert (pixels[..., 0] == 255).all()
    assert pixels[..., 1].min() < 10


@pytest.mark.parametrize("kind", [pytest.param("pdf", marks=pytest.mark.slow), "svg"])
def test_vector_files_have_lines(kind: str) -> None:
    figure, lines = draw(random_tree(MANY), thin=True, dpi=100)
    file = io.BytesIO()
    with plt.rc_context({"pdf.compression": 0}):
        figure.savefig(file, format=kind)
    text = file.getvalue().decode("latin-1")
    plt.close(figure)
    n_paths = text.count("<path") if kind == "svg" else text.count(" l\n") + text.count(" l S")
    assert n_paths >= len(lines.get_segments()) > 2000
    assert "<image" not in text
    assert "/Subtype /Image" not in text


def test_lines_of_a_vector_file_look_like_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    # Drawn with Agg, as a viewer at 288 dpi does, the lines that a PDF at 72 units an inch gets.
    Z = random_tree(MANY)
    full = raster(draw(Z, thin=False, dpi=288)[0])
    figure, lines = draw(Z, thin=True, dpi=72)
    lines._thin(figure.axes[0], 1.0, cells=4)
    monkeypatch.setattr(lines, "_thin", lambda *args, **kws: None)
    figure.set_dpi(288)
    assert_alike(full, raster(figure))


runs = st.lists(
    st.tuples(st.integers(-2, 2), st.integers(-5, 20), st.integers(-5, 20)), max_size=40
)


@settings(deadline=None)
@given(runs, st.integers(1, 5))
def test_runs_cover_what_they_did(runs: list[tuple[int, int, int]], layers: int) -> None:
    line, begin, end = (np.array([run[i] for run in runs], dtype=np.int64) for i in range(3))

    def depth(runs: Any) -> dict[tuple[int, int], int]:
        covered: dict[tuple[int, int], int] = {}
        for row, low, high in runs:
            for cell in range(low, high):
                covered[row, cell] = covered.get((row, cell), 0) + 1
        return covered

    merged = merge_runs(line + 2, begin, end, layers=layers)
    expected = {at: min(count, layers) for at, count in depth(runs).items()}
    assert depth(zip(merged[0] - 2, *merged[1:], strict=True)) == expected
    assert len(merged[0]) <= len(runs)


MILLION = """
import sys
from pathlib import Path
import matplotlib; matplotlib.use("Agg")
import matplotlib.pyplot as plt, numpy as np, pandas as pd
from clustergrid.pipeline.render.dendrogram import DendrogramPlotter
Z = np.load(sys.argv[1])
figure, ax = plt.subplots(figsize=(10, 2))
data = pd.DataFrame(np.zeros((len(Z) + 1, 1), np.int8))
DendrogramPlotter(data, axis=0, compute_linkage=None, linkage=Z).plot(ax, None)
most = 0
for name in ("a.png", "a.pdf", "a.svg"):
    figure.savefig(f"{sys.argv[2]}/{name}", dpi=150, bbox_inches="tight")
    most = max(most, len(ax.collections[0].get_segments()))
# Not of `getrusage`, which begins with what the process had that started this one.
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(most, int(status["VmHWM"].split()[0]) * 1024)
"""


@pytest.mark.slow
@pytest.mark.parametrize("make", [random_tree, chain])
def test_a_tree_of_a_million_leaves(make: Any, tmp_path: Path) -> None:
    np.save(tmp_path / "Z.npy", make(1_000_000))
    done = subprocess.run(
        [sys.executable, "-c", MILLION, str(tmp_path / "Z.npy"), str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        timeout=280,
    )
    segments, peak_bytes = map(int, done.stdout.split())
    assert 1000 < segments < 40_000
    assert peak_bytes < 1.5e9
    assert (tmp_path / "a.svg").stat().st_size < 5e6
    assert (tmp_path / "a.pdf").stat().st_size < 5e5
