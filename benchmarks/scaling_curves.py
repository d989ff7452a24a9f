"""Draw what the model predicts, and write its tables into the page about scaling.

    python benchmarks/scaling_curves.py

Reads `scaling_calibration.json`; writes `docs/images/scaling.svg`, and what stands between the
marks in `docs/scaling.md`. Seconds on one machine.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import matplotlib as mpl
from scaling_model import Calibration, Site, Tree, predict_run

from clustergrid.pipeline.sizes import format_seconds
from clustergrid.storage.errors import ClustergridError

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "scaling.md"
PICTURE = ROOT / "docs" / "images" / "scaling.svg"
CALIBRATION = Path(__file__).with_name("scaling_calibration.json")

ROWS = (100_000, 300_000, 1_000_000, 5_000_000)
WORKERS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
METHODS = ("ward", "average", "single")
FEATURES = (50, 500)
TOLD = (10, 100, 1000)
COLORS = dict(zip(ROWS, ("#9ecae1", "#4292c6", "#08519c", "#081d3a"), strict=True))


def total(tree: Tree, site: Site, workers: int, calibration: Calibration) -> float | None:
    """Seconds of a whole run; None where the plan refuses it."""
    try:
        return sum(each.seconds for each in predict_run(tree, site, workers, calibration))
    except ClustergridError:
        return None


def draw(site: Site, calibration: Calibration) -> None:
    """Draw seconds against workers, a panel a method and a number of features."""
    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "clustergrid"  # the same bytes every time
    from matplotlib import pyplot as plt
    from matplotlib.ticker import FuncFormatter

    figure, axes = plt.subplots(
        len(FEATURES), len(METHODS), figsize=(11, 7), sharex=True, sharey=True, layout="tight"
    )
    for i, k in enumerate(FEATURES):
        for j, method in enumerate(METHODS):
            ax = axes[i][j]
            for n in ROWS:
                tree = Tree(n=n, k=k, method=method)
                points = [(w, total(tree, site, w, calibration)) for w in WORKERS]
                known = [(w, s) for w, s in points if s is not None]
                if not known:
                    continue
                workers, taken = zip(*known, strict=True)
                ax.plot(workers, taken, "o-", ms=3, color=COLORS[n], label=f"{n:,} rows")
                ideal = [taken[0] * workers[0] / each for each in workers]
                ax.plot(workers, ideal, ":", lw=0.8, color=COLORS[n])
            ax.set(xscale="log", yscale="log", title=f"{method}, {k} features")
            ax.set_ylim(1, 3e6)
            ax.grid(visible=True, which="major", lw=0.3)
            ax.spines[["top", "right"]].set_visible(False)
    for ax in axes[-1]:
        ax.set_xlabel(f"workers of {site.cores} cores")
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    for row in axes:
        row[0].set_yticks(
            [1, 10, 60, 600, 3600, 36_000, 864_000],
            ["1 s", "10 s", "1 min", "10 min", "1 h", "10 h", "10 d"],
        )
        row[0].set_yticks([], minor=True)
    axes[0][-1].legend(frameon=False, fontsize=8)
    figure.savefig(PICTURE, metadata={"Date": None})
    plt.close(figure)


def totals(site: Site, calibration: Calibration) -> Iterator[str]:
    """Lines of a table: seconds of whole runs, and what of them is the driver's alone."""
    counts = ["1 worker", *(f"{workers:,} workers" for workers in TOLD)]
    yield "| tree | " + " | ".join(counts) + " | the driver alone |"
    yield "|---|" + "---|" * (len(TOLD) + 2)
    for method in METHODS:
        for k in FEATURES:
            for n in ROWS:
                tree = Tree(n=n, k=k, method=method)
                cells, alone = [], 0.0
                for workers in (1, *TOLD):
                    try:
                        found = predict_run(tree, site, workers, calibration)
                    except ClustergridError:
                        cells.append("refused")
                        continue
                    cells.append(format_seconds(sum(each.seconds for each in found)))
                    alone = sum(each.parts["driver"] for each in found)
                told = " | ".join(cells)
                yield f"| {method}, {n:,} x {k} | {told} | {format_seconds(alone)} |"


def stages(tree: Tree, site: Site, calibration: Calibration) -> Iterator[str]:
    """Lines of a table: each stage, and what it waits for."""
    yield f"{tree.method}, {tree.n:,} x {tree.k}:"
    yield ""
    yield "| stage | " + " | ".join(f"{w:,} workers: tasks | seconds | limit" for w in TOLD) + " |"
    yield "|---|" + "---:|---:|---|" * len(TOLD)
    by_workers = [predict_run(tree, site, workers, calibration) for workers in TOLD]
    for same in zip(*by_workers, strict=True):
        cells = " | ".join(
            f"{each.tasks:,.0f} | {format_seconds(each.seconds)} | {each.limit}" for each in same
        )
        yield f"| {same[0].stage} | {cells} |"


def write(mark: str, lines: list[str]) -> None:
    """Replace what stands between two marks of the page."""
    text = PAGE.read_text(encoding="utf-8")
    start, end = f"<!-- {mark}:start -->", f"<!-- {mark}:end -->"
    assert start in text
    body = "\n".join(lines)
    pattern = re.compile(f"{re.escape(start)}.*?{re.escape(end)}", re.DOTALL)
    PAGE.write_text(
        pattern.sub(lambda _: f"{start}\n{body}\n{end}", text, count=1), encoding="utf-8"
    )


def main() -> None:
    site = Site()
    calibration = Calibration(json.loads(CALIBRATION.read_text(encoding="utf-8")))
    draw(site, calibration)
    write("totals", list(totals(site, calibration)))
    lines: list[str] = []
    for method in METHODS:
        lines += [*stages(Tree(n=1_000_000, k=50, method=method), site, calibration), ""]
    write("stages", lines[:-1])


if __name__ == "__main__":
    main()
