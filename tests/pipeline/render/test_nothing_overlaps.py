"""The renderer is asked where everything is: nothing is clipped or lies over another thing."""

from __future__ import annotations

from itertools import combinations, product
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from clustergrid.pipeline.render import Bars, Boxes, ClusterGrid, Points, clustermap

pytestmark = pytest.mark.quick_cases(one_in=16)

SLACK_PIXELS = 1.5
"""Text is placed at whole pixels."""

N_ROWS, N_COLUMNS = 40, 18
ROWS = pd.Index([f"gene {i}" for i in range(N_ROWS)], name="gene")
COLUMNS = pd.Index([f"a sample {i}" for i in range(N_COLUMNS)], name="sample")
TABLE = pd.DataFrame(
    np.random.default_rng(5).normal(size=(N_ROWS, N_COLUMNS)), index=ROWS, columns=COLUMNS
)
SLIM = {"cbar_pos": (0.02, 0.84, 0.03, 0.12)}

ROW_PARTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "colours": {"row_colors": pd.Series(["r", "g"] * 20, index=ROWS, name="kind")},
    "annotated": {
        "row_annotations": {
            "pathway": ["one pathway", "another, with a long name", None, "third"] * 10,
            "score": np.arange(N_ROWS) * 1234.5,
            "bars": Bars(np.linspace(-3, 40, N_ROWS)),
            "boxes": Boxes(),
        },
        "row_mark": ["gene 3", "gene 4", "gene 5", "gene 39"],
    },
}
COLUMN_PARTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "colours": {"col_colors": [["r", "g", "b"] * 6, ["k", "w"] * 9]},
    "annotated": {
        "col_annotations": {
            "treated": [True, False, None] * 6,
            "day": pd.date_range("2020-03-01", periods=N_COLUMNS, freq="31D"),
            "weight (kg)": Points(np.linspace(40, 110, N_COLUMNS)),
            "cells": Bars(np.linspace(0, 2e6, N_COLUMNS)),
        },
        "col_mark": [0, 1, 2, 17],
    },
}
FIGURES: dict[str, dict[str, Any]] = {
    "large": {"figsize": (11, 11)},
    "small": {"figsize": (7, 6)},
    "given": {},
}


def _draw(row: str, column: str, figure: str, **kws: Any) -> ClusterGrid:
    where = FIGURES[figure] or {"figure": plt.figure(figsize=(12, 11)).subfigures(1, 1)}
    return clustermap(TABLE, **SLIM, **ROW_PARTS[row], **COLUMN_PARTS[column], **where, **kws)


def texts_of(g: ClusterGrid) -> dict[str, Bbox]:
    """Where each text is that is seen."""
    figure = g.figure
    shown = [*figure.texts, *(text for legend in figure.legends for text in legend.findobj(Text))]
    for ax in figure.axes:
        shown += ax.texts
        if not ax.axison:
            continue
        of_axes = [ax.xaxis.findobj(Text), ax.yaxis.findobj(Text), ax.texts]
        shown += [text for text in ax.findobj(Text) if not any(text in each for each in of_axes)]
        for axis in (ax.xaxis, ax.yaxis):
            shown += [axis.label, axis.get_offset_text()] if axis.get_visible() else []
            low, high = sorted(axis.get_view_interval())
            for tick in axis.get_major_ticks(len(axis.get_majorticklocs())):
                shown += [tick.label1, tick.label2] if low <= tick.get_loc() <= high else []
    found: dict[str, Bbox] = {}
    for text in shown:
        if text.get_visible() and text.get_text().strip():
            box = text.get_window_extent()
            found[f"{text.get_text()!r} at {box.x0:.0f}, {box.y0:.0f}"] = box
    return found


def panels_of(g: ClusterGrid) -> dict[str, Bbox]:
    """Where the axes are that show something."""
    named = {
        "body": g.ax_heatmap,
        "row tree": g.ax_row_dendrogram,
        "column tree": g.ax_col_dendrogram,
        "row colours": g.ax_row_colors,
        "column colours": g.ax_col_colors,
        "colour bar": g.ax_cbar,
        **{f"rows: {title}": ax for title, ax in g.ax_row_annotations.items()},
        **{f"columns: {title}": ax for title, ax in g.ax_col_annotations.items()},
    }
    return {name: ax.get_window_extent() for name, ax in named.items() if ax is not None}


def overlap(one: Bbox, other: Bbox) -> bool:
    """Whether two boxes share more than the rounding of places."""
    shared = Bbox.intersection(one, other)
    return shared is not None and min(shared.width, shared.height) > SLACK_PIXELS


def clashes(boxes: dict[str, Bbox]) -> list[str]:
    """Pairs that lie over one another."""
    return [f"{a} over {b}" for a, b in combinations(boxes, 2) if overlap(boxes[a], boxes[b])]


def outside(boxes: dict[str, Bbox], frame: Bbox) -> list[str]:
    """What is clipped at the edge of the figure."""
    return [
        name
        for name, box in boxes.items()
        if box.x0 < frame.x0 - SLACK_PIXELS
        or box.y0 < frame.y0 - SLACK_PIXELS
        or box.x1 > frame.x1 + SLACK_PIXELS
        or box.y1 > frame.y1 + SLACK_PIXELS
    ]


def assert_clear(g: ClusterGrid) -> None:
    """Nothing is clipped, and nothing overlaps."""
    g.figure.figure.canvas.draw()
    texts, panels = texts_of(g), panels_of(g)
    legends = {
        f"legend {legend.get_title().get_text()}": legend.get_window_extent()
        for legend in g.figure.legends
    }
    assert not outside(texts | panels | legends, g.figure.bbox)
    assert not clashes(panels)
    assert not clashes(texts)
    assert not clashes(panels | legends)
    for name, panel in panels.items():
        over = [text for text, box in texts.items() if overlap(box, panel)]
        assert not over, f"{name} is under {over}"


@pytest.mark.parametrize(
    ("row", "column", "figure"), list(product(ROW_PARTS, COLUMN_PARTS, FIGURES))
)
def test_nothing_is_clipped_or_overlaps(row: str, column: str, figure: str) -> None:
    assert_clear(_draw(row, column, figure))


OPTIONS: dict[str, dict[str, Any]] = {
    "colour bar with a label": {"cbar_kws": {"label": "expression"}, "dendrogram_ratio": 0.25},
    "no trees": {"row_cluster": False, "col_cluster": False},
    "no colour bar": {"cbar_pos": None},
    "splits": {
        "row_split": 3,
        "col_split": ["one", "two", "three"] * 6,
        "row_annotations": {"kind": ["a", None] * 20, "boxes": Boxes()},
        "row_mark": ["gene 0", "gene 20"],
    },
    "a scale of heights": {"tree_style": {"axis": True, "k": 3}},
    "a legend": {"legend": {"of the user": "r"}},
}


@pytest.mark.parametrize("kws", OPTIONS.values(), ids=OPTIONS)
def test_nor_with_other_options(kws: dict[str, Any]) -> None:
    kws = dict(kws)
    legend = kws.pop("legend", None)
    where = SLIM | {"figsize": (10, 10)} | ROW_PARTS["annotated"] | COLUMN_PARTS["annotated"]
    g = clustermap(TABLE, **(where | kws))
    if legend:
        g.add_legend(legend, title="more")
    assert_clear(g)


def test_many_legends_hang_in_columns() -> None:
    words = {f"kind {i}": [f"{i}.{j % 8}" for j in range(N_ROWS)] for i in range(5)}
    g = clustermap(TABLE, figsize=(7, 5), row_annotations=words, **SLIM, dendrogram_ratio=0.25)
    assert_clear(g)
    assert len({round(legend.get_window_extent().x0) for legend in g.figure.legends}) > 1


def test_what_overlaps_is_seen() -> None:
    g = _draw("plain", "plain", "large")
    g.figure.text(0.5, 0.5, "over the body")
    g.figure.text(0.99, 0.9, "beyond the edge")
    g.figure.canvas.draw()
    texts = texts_of(g)
    assert any(overlap(box, panels_of(g)["body"]) for box in texts.values())
    assert any("beyond" in name for name in outside(texts, g.figure.bbox))
    g.figure.text(0.5, 0.5, "twice")
    assert clashes(texts_of(g))
