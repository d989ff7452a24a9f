"""The demo is of all genes and samples, and its picture shows what is in the results."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from PIL import Image
from scipy.cluster.hierarchy import is_valid_linkage, leaves_list

from clustergrid.pipeline.cli import main
from clustergrid.pipeline.demo import demo_request
from clustergrid.pipeline.drawing import check_figure, plot_run
from clustergrid.pipeline.render.colormaps import get_colormap
from clustergrid.pipeline.request import ClusterChoice
from clustergrid.storage.datasets import load_endometrial


@pytest.fixture
def request_and_colors(tmp_path):
    colors = tmp_path / "colors.tsv"
    asked = demo_request(
        tmp_path / "run", colors, memory_bytes=10**9, cluster=ClusterChoice(cluster="none")
    )
    return asked, pd.read_csv(colors, sep="\t", index_col=0, keep_default_na=False)


def test_the_demo_is_of_all_genes_and_samples(request_and_colors):
    asked, colors = request_and_colors
    matrix, clinical = load_endometrial()
    assert matrix.shape == (28_057, 115)
    assert asked.input.endswith(".parquet")
    assert asked.row.cluster
    assert asked.column.cluster
    assert (asked.memory_bytes, asked.cluster.cluster) == (10**9, "none")
    assert list(colors.index) == list(matrix.columns) == list(clinical.index)


def test_every_sample_has_the_colours_of_what_it_is(request_and_colors):
    asked, colors = request_and_colors
    _, clinical = load_endometrial()
    legends = asked.figure.legends
    assert list(legends) == list(colors.columns)
    for title, name in (
        ("tissue", "tissue"), ("subtype", "genomics_subtype"), ("histology", "histologic_type"),
    ):  # fmt: skip
        meaning = {color: label for label, color in legends[title].items()}
        assert len(meaning) == len(legends[title])  # no colour means two things
        for sample, color in colors[title].items():
            value = clinical.loc[sample, name]
            assert meaning.get(color) == (None if pd.isna(value) else value.replace("_", " "))
    assert (colors["tissue"] == legends["tissue"]["Tumor"]).sum() == 101
    assert (colors["tissue"] == legends["tissue"]["Adjacent normal"]).sum() == 14


def test_the_demo_can_be_drawn(request_and_colors):
    asked, _ = request_and_colors
    check_figure(asked.figure)
    assert asked.figure.heatmap["cmap"] == "mako"


def runs(line, minimum=1):
    """First and last place of every run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], line.astype(int), [0]])))
    return [(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True) if b - a >= minimum]


def find(picture, color, tolerance=3):
    return np.abs(picture.astype(int) - np.round(np.array(to_rgb(color)) * 255)).max(2) <= tolerance


class Panels:
    """Where things are in the picture, told from its pixels alone."""

    def __init__(self, picture, legends):
        self.picture = picture
        width = picture.shape[1]
        # The strip of tissues: the widest bar of its two colours, above the body.
        tissue = [find(picture, color) for color in legends["tissue"].values()]
        wide = (tissue[0] | tissue[1]).sum(axis=1)
        (self.strip_top, strip_bottom), *_ = runs(wide > 0.4 * width, 10)
        line = (tissue[0] | tissue[1])[(self.strip_top + strip_bottom) // 2]
        self.left, self.right = max(runs(line, 100), key=lambda run: run[1] - run[0])
        self.strip_height = strip_bottom - self.strip_top
        # The body begins below the white cells that normal samples have in the other strips, and
        # ends where its columns do.
        normal = int(np.flatnonzero(tissue[1][(self.strip_top + strip_bottom) // 2])[3])
        middle = self.strip_top + int(1.5 * self.strip_height)
        painted = (picture < 250).any(axis=2)
        self.top = middle + int(np.argmax(painted[middle:, normal]))
        share = painted[:, self.left : self.right].mean(axis=1)
        self.bottom = self.top + int(np.argmax(share[self.top :] < 0.5))

    def column(self, leaf, n=115):
        return int(self.left + (leaf + 0.5) * (self.right - self.left) / n)

    def row(self, place, n):
        return int(self.top + (place + 0.5) * (self.bottom - self.top) / n)


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The whole demo: minutes."""
    directory = tmp_path_factory.mktemp("demo") / "run"
    main(["demo", "-o", str(directory), "--cluster", "local", "--dashboard-port", "0"])
    return directory


@pytest.fixture(scope="module")
def seen(demo):
    matrix, clinical = load_endometrial()
    state = json.loads((demo / "run.json").read_text())
    legends = state["request"]["figure"]["legends"]
    picture = np.asarray(Image.open(demo / "figure.png").convert("RGB"))
    trees = [np.load(demo / f"linkage_{axis}.npy") for axis in ("row", "col")]
    orders = [leaves_list(tree) if len(tree) < 900 else None for tree in trees]
    labels = (demo / "order_row.txt").read_text().splitlines()
    orders[0] = matrix.index.get_indexer(labels)
    return matrix, clinical, state, legends, picture, trees, orders, Panels(picture, legends)


@pytest.mark.slow
@pytest.mark.timeout(1500)
class TestTheWholeDemo:
    def test_it_leaves_what_the_design_lists(self, demo, seen):
        matrix, _, state, *_ = seen
        names = {path.name for path in demo.iterdir()}
        assert names >= {
            *("run.json", "progress.jsonl", "linkage_row.npy", "linkage_col.npy", "report"),
            *("order_row.txt", "order_col.txt", "clusters_row.tsv", "clusters_col.tsv"),
            *("figure.png", "matrix.zarr", "arrays.zarr"),
        }
        assert state["shape"] == [28_057, 115]
        reports = {path.name for path in (demo / "report").iterdir()}
        assert reports >= {"statistics.html", "linkage-row.html", "picture.html"}
        for axis, index in (("row", matrix.index), ("col", matrix.columns)):
            order = (demo / f"order_{axis}.txt").read_text().splitlines()
            assert sorted(order) == sorted(index)
            assert is_valid_linkage(np.load(demo / f"linkage_{axis}.npy"))
        clusters = pd.read_csv(demo / "clusters_row.tsv", sep="\t")
        assert clusters["cluster"].nunique() == 20

    def test_nothing_is_clipped(self, seen):
        picture = seen[4]
        height, width, _ = picture.shape
        for edge in (picture[:2], picture[-2:], picture[:, :2], picture[:, -2:]):
            assert (edge > 200).all()
        # And what is cut off around it is little: the figure is as large as was asked for.
        assert 0.95 * 12 * 150 < height <= 1.02 * 12 * 150
        assert 0.95 * 10 * 150 < width < 1.25 * 10 * 150

    def test_the_body_is_in_clustered_order(self, seen):
        matrix, _, _, _, picture, _, (rows, columns), panels = seen
        values = matrix.to_numpy()[rows][:, columns]
        n_pixels = panels.bottom - panels.top
        low, high = np.percentile(matrix.to_numpy(), [2, 98])
        edges = -(-np.arange(n_pixels + 1) * len(values) // n_pixels)
        means = np.add.reduceat(values, edges[:-1]) / np.diff(edges)[:, None]
        colors = get_colormap("mako")(np.clip((means - low) / (high - low), 0, 1))[..., :3] * 255
        shown = np.stack(
            [picture[panels.top : panels.bottom, panels.column(j)] for j in range(115)], axis=1
        )
        off = np.abs(shown.astype(float) - colors).max(axis=2)
        # Where the frame of the body falls between pixels, rows are off by one.
        assert np.median(off) <= 2
        assert (off <= 12).mean() > 0.97
        # Another order would not do.
        wrong = np.abs(shown.astype(float) - colors[::-1]).max(axis=2)
        assert (wrong <= 12).mean() < 0.5

    def test_the_strips_have_the_right_colours(self, seen):
        matrix, clinical, _, legends, picture, _, (_, columns), panels = seen
        names = ("tissue", "genomics_subtype", "histologic_type")
        for strip, (name, legend) in enumerate(zip(names, legends.values(), strict=True)):
            y = panels.strip_top + int((strip + 0.5) * panels.strip_height)
            for place, sample in enumerate(matrix.columns[columns]):
                value = clinical.loc[sample, name]
                color = "white" if pd.isna(value) else legend[value.replace("_", " ")]
                shown = picture[y, panels.column(place)]
                wanted = np.round(np.array(to_rgb(color)) * 255)
                assert np.abs(shown - wanted).max() <= 2, (name, sample)

    def test_the_column_tree_stands_on_its_leaves(self, seen):
        picture, trees, panels = seen[4], seen[5], seen[7]
        dark = (picture < 140).all(axis=2)
        feet = dark[panels.strip_top - 4]
        for place in range(115):
            x = panels.column(place)
            assert feet[x - 2 : x + 3].any(), place
        # Nothing stands between them.
        for place in range(114):
            middle = (panels.column(place) + panels.column(place + 1)) // 2
            assert not feet[middle]
        # The last merge is the highest line, over the means of its two branches' feet.
        tree = trees[1]
        centers = _centers(tree)
        left, right = sorted(centers[int(c)] for c in tree[-1, :2])
        rows = np.flatnonzero(dark[: panels.strip_top, panels.left : panels.right].any(axis=1))
        (first, last), *_ = runs(dark[rows[0]], 10)
        assert abs(first - panels.column(left - 0.5)) <= 3
        assert abs(last - panels.column(right - 0.5)) <= 3

    def test_the_row_tree_reaches_the_right_rows(self, seen):
        picture, trees, panels = seen[4], seen[5], seen[7]
        dark = (picture < 140).all(axis=2)
        tree, n = trees[0], len(trees[0]) + 1
        centers = _centers(tree)
        left_part = dark[panels.top - 2 : panels.bottom + 2, : panels.left - 2]
        columns = np.flatnonzero(left_part.any(axis=0))
        (first, last), *_ = runs(left_part[:, columns[0]], 10)
        top, bottom = sorted(centers[int(c)] for c in tree[-1, :2])
        scale = (panels.bottom - panels.top) / n
        assert abs(first - 2 - top * scale) <= 3
        assert abs(last - 3 - bottom * scale) <= 3

    def test_the_colour_bar_says_what_the_colours_are(self, seen):
        matrix, _, _, _, picture, _, _, panels = seen
        corner = picture[: panels.strip_top + 20, : panels.left - 10]
        mako = np.round(get_colormap("mako")(np.linspace(0, 1, 256))[:, :3] * 255)
        colored = (corner.max(axis=2).astype(int) - corner.min(axis=2)) > 12
        rows, columns = np.flatnonzero(colored.sum(1) > 20), np.flatnonzero(colored.sum(0) > 20)
        middle = (columns[0] + columns[-1]) // 2
        top = rows[0] + 2  # below what is blended with the background
        below = (corner[top:, middle] > 250).all(axis=1)
        bar = corner[top : top + int(np.argmax(below)), middle]
        expected = np.round(np.linspace(255, 0, len(bar))).astype(int)
        off = np.abs(bar.astype(float) - mako[expected]).max(axis=1)
        assert np.median(off) < 6
        assert 0.1 * picture.shape[0] < len(bar) < 0.25 * picture.shape[0]
        limits = seen[2]["stages"]["limits-robust"]["limits"]
        np.testing.assert_allclose(limits, np.percentile(matrix, [2, 98]), atol=1e-3)

    def test_it_is_drawn_again_in_seconds(self, demo):
        import time

        started = time.monotonic()
        before = (demo / "figure.png").read_bytes()
        asked = demo_request(
            demo, demo.parent / "colors.tsv", memory_bytes=None, cluster=ClusterChoice()
        )
        plot_run(Path(demo), asked.figure, output="again")
        assert time.monotonic() - started < 30
        assert (demo / "again.png").read_bytes() == before


def _centers(tree):
    """Where the middle of every cluster stands, in leaves, as dendrograms are drawn."""
    n = len(tree) + 1
    order = np.empty(n)
    children = tree[:, :2].astype(int)
    stack, place = [2 * n - 2], 0
    while stack:
        node = stack.pop()
        if node < n:
            order[node] = place + 0.5
            place += 1
        else:
            stack += [children[node - n, 1], children[node - n, 0]]
    centers = np.empty(2 * n - 1)
    centers[:n] = order
    for merge, (a, b) in enumerate(children):
        centers[n + merge] = (centers[a] + centers[b]) / 2
    return centers
